"""What a denial does to a request: the answer, or the request without its credentials.

Holds what it has seen of how the app scopes its cookies, because a browser only lets go of a cookie when Path and
Domain are repeated (RFC 6265 section 5.3).
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sidecar.core.cookies import Scope, SetCookie, expire
from sidecar.core.credentials import MAX_PAIRS, Carriers
from sidecar.core.denial import PLAIN, Action, Answer, Manner, answer, is_navigation
from sidecar.core.form import Body
from sidecar.core.paths import path_of
from sidecar.core.routes import Rule
from sidecar.core.stripping import strip_fields, strip_target
from sidecar.core.verdict import Deny, Reason
from sidecar.gate.identify import Identifier
from sidecar.gate.vouchers import Vouchers
from sidecar.http1.request import RequestHead

_SCOPES_A_NAME = 8
_EXPIRED_AT_ONCE = 40  # Set-Cookie lines in one answer
_NAMES_A_REQUEST = 16  # chunks and companions that a request may name
_FOLDERS = 4  # of one path
_DOMAINS = 4  # of one host
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # what else a request shows is not put into an answer
_LABEL = re.compile(rb"[A-Za-z0-9-]+")
_PLAIN_SEGMENT = re.compile(rb"[A-Za-z0-9._~-]+")


class Enforcement:
    """Turns denials into answers or stripped requests."""

    def __init__(
        self,
        *,
        carriers: Carriers,
        identifier: Identifier,
        token_cookies: Sequence[bytes],
        vouchers: Vouchers | None = None,
        manner: Manner = PLAIN,
    ) -> None:
        self._vouchers = vouchers
        self._manner = manner
        self._carriers = carriers
        self._identifier = identifier
        self._names = tuple(dict.fromkeys((*carriers.cookies, *token_cookies)))
        self._scopes: dict[bytes, dict[Scope, None]] = {name.lower(): {} for name in self._names}

    def is_declared(self, name: bytes) -> bool:
        """Whether a cookie name carries a session: declared, or a token's."""
        return self._carriers.is_cookie(name) or self._identifier.is_token_cookie(name)

    def saw(self, cookie: SetCookie) -> None:
        """The app set a declared cookie: remember where browsers keep it."""
        scopes = self._scopes.setdefault(cookie.name.lower(), {}) if self._may_learn(cookie.name) else {}
        scopes.pop(cookie.scope, None)
        scopes[cookie.scope] = None
        if len(scopes) > _SCOPES_A_NAME:
            del scopes[next(iter(scopes))]

    def expired_cookies(self, request: RequestHead, denial: Deny) -> tuple[bytes, ...]:
        """Set-Cookie values that take the declared cookies out of this browser, all chunks and scopes."""
        names = dict.fromkeys((*self._sent(request), *self._names))  # there may be no room for all
        # An unknown cookie may be from anywhere, a neighbour's host included: what was seen of the app's is no guide.
        is_strange = denial.reason is Reason.UNBOUND
        lines = (expire(name, scope) for name in names for scope in self._scopes_of(name, request, is_strange))
        own = [self._vouchers.expired] if self._vouchers is not None and request.aside else []
        return tuple(dict.fromkeys((*own, *lines)))[:_EXPIRED_AT_ONCE]

    def answer(self, denial: Deny, rule: Rule, request: RequestHead) -> Answer:
        """The answer to a denied request."""
        return answer(
            denial,
            action=rule.action or Action.REJECT,
            login_url=rule.login_url,
            navigation=is_navigation(request.method, request.fields) and not request.upgrade,
            expired_cookies=() if denial.is_temporary else self.expired_cookies(request, denial),
            accept_language=request.fields.get(b"accept-language", b""),
            manner=self._manner,
        )

    def strips(self, denial: Deny, rule: Rule, request: RequestHead) -> bool:
        """Whether this denial means: forward without credentials.

        On the login URL itself always: sending the browser there again would be a loop.
        """
        if denial.is_temporary:
            return False
        if rule.action is Action.REDIRECT and rule.login_url:
            return path_of(request.target) == path_of(_local_part(rule.login_url))
        return rule.action is Action.STRIP

    def strip(self, request: RequestHead) -> bool:
        """Take the credentials out of the request; False when that is not possible with certainty."""
        target = strip_target(request.target, self._carriers)
        if target is None or self._identifier.body_of(request) is not Body.NO_FORM:  # a body is not written anew
            return False
        request.target = target
        fields = [(name, value) for name, _, value in (line.partition(b": ") for line in request.lines)]
        identifier = self._identifier
        stripped = strip_fields(fields, self._carriers, identifier.is_token_cookie, identifier.token_headers)
        request.lines = list(map(b": ".join, stripped))
        request.cookies = ()
        request.block = None  # it is not that block any more
        return True

    def _may_learn(self, name: bytes) -> bool:
        return name.lower() in self._scopes or len(self._scopes) < len(self._names) + _NAMES_A_REQUEST

    def _sent(self, request: RequestHead) -> Iterable[bytes]:
        """What this browser has of all that is declared: chunks, companions and names with a prefix as well."""
        names = (pair.partition(b"=")[0].strip() for line in request.cookies for pair in line.split(b";", MAX_PAIRS))
        sent = itertools.islice(dict.fromkeys(name for name in names if _NAME.fullmatch(name)), MAX_PAIRS)
        return itertools.islice((name for name in sent if self.is_declared(name)), _NAMES_A_REQUEST)

    def _scopes_of(self, name: bytes, request: RequestHead, is_strange: bool) -> Iterable[Scope]:  # noqa: FBT001 - private
        """The scopes that were seen; where none was, for a strange one, or without a Path, those that are possible."""
        scopes = list(self._scopes.get(name.lower(), ()))
        if is_strange or not scopes:
            scopes += _possible_scopes(request.host)
        for scope in scopes:
            paths = (scope.path,) if scope.path else _folders(path_of(request.target))
            yield from (replace(scope, path=path) for path in paths)


def _possible_scopes(host: bytes) -> list[Scope]:
    """Where this host can have put a cookie. After a restart nothing was seen yet.

    A dead cookie that stays in the browser would also have the next login refused. Browsers ignore the domains that
    do not fit (RFC 6265 section 5.3 steps 5 and 6).
    """
    labels = host.partition(b":")[0].split(b".")
    if labels[-1].isdigit() or not all(map(_LABEL.fullmatch, labels)):  # an address has no parent
        return [Scope()]
    domains = (b".".join(labels[start:]) for start in range(len(labels) - 1))
    return [Scope(), *map(Scope, itertools.islice(domains, _DOMAINS))]


def _folders(path: bytes) -> list[bytes]:
    """Where a browser may keep a cookie that came with this request and was set without a Path.

    It was set in a folder at or above this path (RFC 6265 sections 5.1.4 and 5.4). A segment that could change the
    meaning of a Set-Cookie ends the list.
    """
    plain = itertools.takewhile(_PLAIN_SEGMENT.fullmatch, path.split(b"/")[1 : _FOLDERS + 1])
    return [b"/", *itertools.accumulate(b"/" + segment for segment in plain)]


def _local_part(url: str) -> bytes:
    """The path and query of a login URL, which may be absolute."""
    _, mark, rest = url.partition("://")
    return b"/" + rest.partition("/")[2].encode() if mark else url.encode()
