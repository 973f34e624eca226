"""What a denial does to a request: the answer, or the request without its credentials.

Holds what it has seen of how the app scopes its cookies, because a browser only lets go of a cookie when Path and
Domain are repeated (RFC 6265 section 5.3).
"""

from collections.abc import Iterable, Sequence

from sidecar.core.cookies import Scope, SetCookie, expire
from sidecar.core.credentials import Carriers
from sidecar.core.denial import Action, Answer, answer, is_navigation
from sidecar.core.paths import path_of
from sidecar.core.routes import Rule
from sidecar.core.stripping import strip_fields, strip_target
from sidecar.core.verdict import Deny
from sidecar.http1.request import RequestHead
from sidecar.proxy.identify import Identifier

_SCOPES_A_NAME = 8
_EXPIRED_AT_ONCE = 40  # Set-Cookie lines in one answer
_TOKEN_COOKIES_A_REQUEST = 16  # chunks that a request may name


class Enforcement:
    """Turns denials into answers or stripped requests."""

    def __init__(self, *, carriers: Carriers, identifier: Identifier, token_cookies: Sequence[bytes]) -> None:
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

    def expired_cookies(self, request: RequestHead) -> tuple[bytes, ...]:
        """Set-Cookie values that take the declared cookies out of this browser, all chunks and scopes."""
        names = dict.fromkeys((*self._names, *self._chunks_of(request)))
        lines = (expire(name, scope) for name in names for scope in self._scopes_of(name, request))
        return tuple(dict.fromkeys(lines))[:_EXPIRED_AT_ONCE]

    def answer(self, denial: Deny, rule: Rule, request: RequestHead) -> Answer:
        """The answer to a denied request."""
        return answer(
            denial,
            action=rule.action or Action.REJECT,
            login_url=rule.login_url,
            navigation=is_navigation(request.method, request.fields) and not request.upgrade,
            expired_cookies=() if denial.is_temporary else self.expired_cookies(request),
        )

    def strips(self, denial: Deny, rule: Rule, request: RequestHead) -> bool:
        """Whether this denial means: forward without credentials.

        On the login URL itself always: sending the browser there again would be a loop (DESIGN, pinned numbers).
        """
        if denial.is_temporary:
            return False
        if rule.action is Action.REDIRECT and rule.login_url:
            return path_of(request.target) == path_of(_local_part(rule.login_url))
        return rule.action is Action.STRIP

    def strip(self, request: RequestHead) -> bool:
        """Take the credentials out of the request; False when that is not possible with certainty."""
        target = strip_target(request.target, self._carriers)
        if target is None:
            return False
        request.target = target
        fields = [(name, value) for name, _, value in (line.partition(b": ") for line in request.lines)]
        stripped = strip_fields(fields, self._carriers, self._identifier.is_token_cookie)
        request.lines = list(map(b": ".join, stripped))
        request.cookies = ()
        request.block = None  # it is not that block any more
        return True

    def _may_learn(self, name: bytes) -> bool:
        return name.lower() in self._scopes or len(self._scopes) < len(self._names) + _TOKEN_COOKIES_A_REQUEST

    def _chunks_of(self, request: RequestHead) -> Iterable[bytes]:
        if not any(self._identifier.is_token_cookie(name) for name in self._names):
            return ()
        names = (pair.partition(b"=")[0].strip() for line in request.cookies for pair in line.split(b";"))
        return [name for name in names if self._identifier.is_token_cookie(name)][:_TOKEN_COOKIES_A_REQUEST]

    def _scopes_of(self, name: bytes, request: RequestHead) -> Iterable[Scope]:
        """The scopes that were seen, and without any (after a restart) the likely ones: root and context path."""
        seen = self._scopes.get(name.lower())
        if seen:
            return tuple(seen)
        context = path_of(request.target).split(b"/", 2)[1:2]
        guesses = [Scope(path=b"/")]
        if context and context[0] and b"/" in path_of(request.target)[1:] and context[0].isalnum():
            guesses.append(Scope(path=b"/" + context[0]))
        return guesses


def _local_part(url: str) -> bytes:
    """The path and query of a login URL, which may be absolute."""
    _, mark, rest = url.partition("://")
    return b"/" + rest.partition("/")[2].encode() if mark else url.encode()
