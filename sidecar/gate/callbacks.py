"""Callbacks of the app's login: recognised by their path, held until it is their turn, joined by their codes.

A callback with an authorization code waits while another one with the same code is in flight (`bindings/logins.py`
says why), so every code that some app could read in the request counts. What cannot be read in bounded work is refused:
no login needs it. Nothing here knows sessions or answers; the gate judges.
"""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl

from sidecar.bindings.logins import Login, Logins
from sidecar.core.credentials import MAX_PAIRS
from sidecar.core.identity import Session
from sidecar.core.paths import may_match
from sidecar.errors import SidecarError

_CODE: Final = re.compile(r"\s*code(?:\[.*|\s*|\0.*)", re.IGNORECASE | re.DOTALL)  # PHP and Express take `code[]` too
_SEPARATOR: Final = re.compile(rb"[&;?]")
_CODES_A_REQUEST: Final = 4
_LONGEST: Final = 16 * 1024  # to read it costs; a code has 2 KiB at the most, and most proxies stop at 8 KiB


class CallbackRefused(SidecarError):
    """More authorization codes than any login has, more to search for them, or a body beside them. Answer 400."""


class Callbacks:
    """The paths of the app's callbacks, and the way to begin one."""

    def __init__(self, *, patterns: Iterable[re.Pattern[bytes]], logins: Logins) -> None:
        self._patterns = tuple(re.compile(pattern.pattern, re.IGNORECASE) for pattern in patterns)
        self._logins = logins

    def may_be(self, path: bytes) -> bool:
        """Whether some app could take this path for a callback."""
        for pattern in self._patterns:
            if may_match(pattern, path):
                return True
        return False

    async def begin(self, target: bytes, *, has_body: bool) -> "Callback":
        """Wait for the turn of every code in the target. Raises CallbackRefused or LoginRefused.

        A body beside a code is refused. An app has its code with the head, and logs in while the client still keeps
        the request open; no login sends both.
        """
        if len(target) > _LONGEST:
            raise CallbackRefused("callback_too_long")
        if len(_SEPARATOR.findall(target)) > MAX_PAIRS:  # reading them would cost
            raise CallbackRefused("too_many_codes")
        codes = codes_in(target)
        if len(codes) > _CODES_A_REQUEST:
            raise CallbackRefused("too_many_codes")
        if codes and has_body:
            raise CallbackRefused("callback_with_body")
        callback = Callback(self._logins)
        try:
            for code in codes:
                callback.add(await self._logins.begin(code))
        except BaseException:
            callback.end()
            raise
        return callback


class Callback:
    """The logins of one callback, one for each code that it carries; as one."""

    def __init__(self, logins: Logins) -> None:
        self._all = logins
        self._strays = logins.strays
        self._logins: list[Login] = []

    def add(self, login: Login) -> None:
        """One more code."""
        self._logins.append(login)

    @property
    def session(self) -> Session | None:
        """The session of the code that the app exchanged."""
        return next((login.session for login in self._logins if login.session is not None), None)

    @property
    def failed(self) -> bool:
        """Whether an answer could not be verified, more than one code was exchanged, or one that was not seen here.

        A code that no callback seems to carry came in one all the same: in its body, or in a spelling of its own.
        """
        joined = [login for login in self._logins if login.session is not None]
        if not joined and self._all.strays != self._strays:
            return True
        return any(login.failed for login in self._logins) or len(joined) > 1

    @property
    def is_at_stake(self) -> bool:
        """Whether the app may log somebody in with this request."""
        return bool(self._logins) or self.failed

    def end(self) -> None:
        """The callback is over."""
        for login in self._logins:
            login.end()


def codes_in(target: bytes) -> list[str]:
    """Every authorization code in the query, form-decoded as apps do: with other separators, cases and arrays too."""
    query = target.partition(b"?")[2].decode("latin-1")
    texts = dict.fromkeys((query, re.sub("[?;]", "&", query)))
    pairs = [pair for text in texts for pair in parse_qsl(text)]
    return list(dict.fromkeys(value for name, value in pairs if _CODE.fullmatch(name)))
