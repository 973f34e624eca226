"""The app's own logout: whether an answer says that the app ended its session, and where the browser may go then.

Pure rules. What follows from them (a revocation, the provider's end of the session) is for `gate/app_logout.py` and
`outbound/`. Two things must never happen here: that a redirect leads to where nobody meant it to (`local_target` gives
paths of the app only), and that an answer is taken for a logout when the app may not have logged anybody out.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, urlencode, urljoin, urlsplit

from sidecar.core.identity import BoundSession, Session
from sidecar.core.paths import matches, path_of

MAX_URL: Final = 4096  # of the way to the provider: a common ingress takes heads of 4 to 8 KiB from us
MAX_TARGET: Final = 1024

_REDIRECTS: Final = frozenset((302, 303))  # 301, 307 and 308 send the same request to where the page really is
_DONE: Final = frozenset((204, 205))
_IDLE_METHODS: Final = frozenset((b"HEAD", b"OPTIONS"))  # ask about a page, and end nothing
_LOCAL: Final = re.compile(r"/(?!/)[!-~]*")  # no blank, no control character: a browser would drop some of these
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class AppPath:
    """One of the app's logout paths. Empty methods and statuses: those that mean it in most apps."""

    pattern: re.Pattern[bytes]
    methods: frozenset[bytes] = frozenset()
    statuses: frozenset[int] = frozenset()

    def has_ended(
        self, method: bytes, path: bytes, status: int, *, location: bytes = b"", deletes_session: bool = False
    ) -> bool:
        """Whether this answer says that the session is over.

        A page (200) is often the question whether the user is sure, so that alone it says nothing. An app that also
        takes its cookie out of the browser has ended the session, whatever it shows. A redirect to the same place (a
        slash at its end, https) has not done anything yet.
        """
        if method in _IDLE_METHODS if not self.methods else method not in self.methods:
            return False
        if not matches(self.pattern, path):
            return False
        if self.statuses:
            return status in self.statuses
        if status in _REDIRECTS:
            return deletes_session or not _is_same_place(location, path)
        return status in _DONE or (200 <= status < 300 and deletes_session)


def has_ended(
    paths: Iterable[AppPath], method: bytes, target: bytes, status: int, *, location: bytes, deletes_session: bool
) -> bool:
    """The same for several paths, and the target of a request."""
    path = path_of(target)
    return any(
        each.has_ended(method, path, status, location=location, deletes_session=deletes_session) for each in paths
    )


@dataclass(frozen=True, slots=True)
class Ended:
    """An app session that its user has ended, and what the app wants the browser to do next."""

    session: BoundSession
    proof: tuple[Session, str] | None = field(repr=False)  # what a token in the request said, with the token
    target: bytes = field(repr=False)  # of the request
    location: bytes = field(repr=False)  # of the answer, empty without one
    is_navigation: bool


def local_target(location: bytes, request_target: bytes, origin: str) -> str | None:
    """The path and query that a Location names, where it stays on `origin`; None where it leaves it, or may.

    Browsers read a Location more generously than any specification (backslashes, blanks, several slashes), so that
    whatever is not plain is no target.
    """
    try:
        text = location.decode("ascii")
        if not re.fullmatch(r"[!-~]+", text) or "\\" in text or text.startswith("///"):
            return None
        base = urlsplit(origin)
        # The path alone: a query or a fragment of the request says nothing about where a relative one leads.
        url = urlsplit(urljoin(f"{base.scheme}://{base.netloc}{path_of(request_target).decode('ascii')}", text))
        if _origin(url) != _origin(base) or "@" in url.netloc:
            return None
    except ValueError:  # not ASCII; a bad port or bracket
        return None
    target = url._replace(scheme="", netloc="", fragment="", path=url.path or "/").geturl()
    return target if len(target) <= MAX_TARGET and _LOCAL.fullmatch(target) else None


def leads_to(location: bytes, endpoint: str) -> bool:
    """Whether a Location is this endpoint already: an app that logs out at the provider by itself."""
    try:
        url, wanted = urlsplit(location.decode("ascii")), urlsplit(endpoint)
        return (_origin(url), url.path) == (_origin(wanted), wanted.path)
    except ValueError:
        return False


def end_session_url(
    endpoint: str,
    *,
    client_id: str,
    back: str,
    state: str,
    id_token: str | None = None,
    hint: str | None = None,
) -> str | None:
    """The way to the provider (RP-Initiated Logout 1.0 section 2); None when it does not fit anywhere.

    An ID token that makes it too long is left out, and the other hint takes its place.
    """
    always = [("client_id", client_id), ("post_logout_redirect_uri", back), ("state", state)]
    hints: Sequence[tuple[str, str | None]] = (("id_token_hint", id_token), ("logout_hint", hint))
    candidates = [[(name, value), *always] for name, value in hints if value]
    for parameters in [*candidates, always]:
        url = endpoint + ("&" if urlsplit(endpoint).query else "?") + urlencode(parameters)
        if len(url) <= MAX_URL:
            return url
    return None


def _is_same_place(location: bytes, path: bytes) -> bool:
    try:
        led = urlsplit(urljoin("http://host" + path.decode("latin-1"), location.decode("latin-1"))).path
    except ValueError:
        return False
    return led.rstrip("/").lower() == path.decode("latin-1").rstrip("/").lower()


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    """RFC 6454 section 4."""
    return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)
