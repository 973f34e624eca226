"""Binder `header`: an authenticating proxy in front names the session in header fields of each request.

The fields are believed from trusted peers only. What anybody else says in them is no session but a reason to deny. The
proxy must overwrite what its own clients send; a field that stands twice is therefore denied as well.

Without a login time nobody can tell a later login from the session that was there before. So the time at which the
session was first seen is kept, as the binding of a credential that stands for the named session (`digest_name`). A
session that had been revoked before it was first seen stays dead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sidecar.core.identity import Session
from sidecar.core.logout_token import MAX_ID_BYTES
from sidecar.errors import SidecarError
from sidecar.field_names import fold

_SKEW_S: Final = 5 * 60.0  # between the proxy's clock and ours


class BadHeader(SidecarError):
    """A trusted peer's fields that name no session and are not empty either: deny."""


@dataclass(frozen=True, slots=True)
class Named:
    """The session that a request's fields name. Its login time is 0 as long as nobody has said one."""

    session: Session
    is_timed: bool
    digest_name: bytes = field(repr=False)  # what is digested as the credential that stands for it


class HeaderBinder:
    """The fields of one proxy. Names in any spelling; `login_time` is in seconds since the epoch."""

    def __init__(
        self,
        *,
        issuer: str,
        client_id: str,
        sid: str | None,
        sub: str | None,
        login_time: str | None = None,
        clock: Callable[[], float],
    ) -> None:
        """`clock` is wall time: a login in the future could never be logged out."""
        self._clock = clock
        self._issuer = issuer
        self._client_id = client_id
        self._sid, self._sub, self._login_time = map(_folded, (sid, sub, login_time))

    @property
    def names(self) -> frozenset[bytes]:
        """The fields, folded."""
        return frozenset(name for name in (self._sid, self._sub, self._login_time) if name)

    def read(self, fields: Sequence[tuple[bytes, bytes]]) -> Named | None:
        """The session that a trusted peer names; None where the fields are absent or empty. Raises BadHeader.

        `fields` are those of a request with one of our `names`, folded.
        """
        sid, sub, since = (_only(fields, name) for name in (self._sid, self._sub, self._login_time))
        if sid is None and sub is None:
            return None
        login_time = None if since is None else self._past(since)
        session = Session(self._issuer, self._client_id, sid, sub, login_time or 0)
        name = "\0".join(("header", self._issuer, self._client_id, sid or "", sub or "")).encode()
        return Named(session, login_time is not None, name)

    def _past(self, text: str) -> int:
        try:
            seconds = float(text) if text.isascii() else -1.0
        except ValueError:
            seconds = -1.0
        if not 0 < seconds <= self._clock() + _SKEW_S:  # NaN is not either; milliseconds are the likely mistake
            raise BadHeader("bad_header", "the login time is not a number of seconds since the epoch, in the past")
        return int(seconds * 1000)


def _folded(name: str | None) -> bytes:
    return fold(name.lower().encode()) if name else b""


def _only(fields: Sequence[tuple[bytes, bytes]], name: bytes) -> str | None:
    values = [value.strip() for key, value in fields if name and key == name]
    if len(values) > 1:
        raise BadHeader("header_twice", "a header that names the session stands twice")
    if not values or not values[0]:
        return None
    try:
        text = values[0].decode()
    except UnicodeDecodeError:
        raise BadHeader("bad_header", "a header that names the session is not UTF-8") from None
    if len(values[0]) > MAX_ID_BYTES:
        raise BadHeader("bad_header", "a header that names the session is too long")
    return text
