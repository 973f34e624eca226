"""Joins the two halves of a login: the browser's callback at the proxy and the app's token request at the relay.

Both carry the authorization code. While the app works on the callback it exchanges the code at the relay, which calls
`complete`; when the app answers the callback, the proxy finds the session in the `Login` and binds the cookie to it.
Codes are kept as keyed digests, and only while their callback is in flight. One pod: the relay is its own. Where the
pod has several processes, `sidecar/workers/logins.py` keeps the same rules across them.

**One callback per code.** A second callback with the same code waits until the first has ended. Else a stranger could
send a victim's browser to the callback with the stranger's code while their own callback is in flight: one exchange,
two waiting answers, and the victim's cookie would be bound to the stranger's session (so that the victim's logout does
nothing) or the other way round. Waiting is bounded in number and time; who cannot wait is refused, never let through.
For the same reason `begin` has to be called for every request that could make the app exchange the code, wherever the
request carries it (query, body), and once for each code when it carries several.
"""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Callable

from sidecar import metrics
from sidecar.core.identity import Session
from sidecar.errors import SidecarError
from sidecar.log import Repeated

_logger = logging.getLogger(__name__)


class LoginRefused(SidecarError):
    """The callback cannot be let through now: too many are in flight, or one with the same code is. Answer 503."""


class Login:
    """One callback in flight. Call `end` when the app has answered or the request is gone."""

    __slots__ = ("_on_end", "failed", "session")

    def __init__(self, on_end: Callable[[], None]) -> None:
        self.session: Session | None = None  # whom the app has just logged in
        self.failed = False  # the app got an answer that could not be verified: withhold its cookie
        self._on_end: Callable[[], None] | None = on_end

    def __repr__(self) -> str:
        return f"<Login {'failed' if self.failed else 'joined' if self.session else 'waiting'}>"

    def then(self, step: Callable[[], None]) -> None:
        """One more thing to do at the end, before the next callback with this code goes on."""
        on_end = self._on_end

        def both() -> None:
            step()
            if on_end is not None:
                on_end()

        self._on_end = both

    def end(self) -> None:
        """Let the next callback with this code go on. May be called twice."""
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()


class _Flight:
    """The callbacks with one code: the one in flight and those that wait for it."""

    __slots__ = ("login", "turn", "waiting")

    def __init__(self) -> None:
        self.turn = asyncio.Lock()  # fair: whoever came first goes on first
        self.waiting = 0
        self.login: Login | None = None


class Logins:
    """The callbacks in flight, by code."""

    def __init__(
        self, *, clock: Callable[[], float], capacity: int = 4096, waiting: int = 4, wait_s: float = 10.0
    ) -> None:
        """`clock` is boot time. At most `capacity` codes at once, `waiting` callbacks for each besides the one."""
        self._capacity = capacity
        self._waiting = waiting
        self._wait_s = wait_s
        self._key = secrets.token_bytes(32)
        self._flights: dict[bytes, _Flight] = {}
        self.strays: float = 0  # codes exchanged so far for which no callback was waiting
        self._unjoined = Repeated(_logger, logging.WARNING, "login_unjoined", clock=clock)

    async def begin(self, code: str) -> Login:
        """A callback starts; `code` as the app reads it, form-decoded. Raises LoginRefused."""
        digest = self._digest(code)
        flight = self._flights.get(digest)
        if flight is None:
            if len(self._flights) >= self._capacity:
                raise LoginRefused("too_many_logins", "too many logins are in flight")
            flight = self._flights[digest] = _Flight()
        await self._take_turn(digest, flight)
        flight.login = Login(lambda: self._ended(digest, flight))
        return flight.login

    def complete(self, code: str, session: Session) -> bool:
        """The code was exchanged for `session`. False when no callback is waiting for it."""
        login = self._login(code)
        if login is None:
            return False
        if login.session not in (None, session):
            login.failed = True  # one code, two people: believe neither
            return True
        login.session = session
        metrics.logins.labels("joined").inc()
        return True

    def fail(self, code: str) -> bool:
        """The code was exchanged for something that could not be verified."""
        login = self._login(code)
        if login is None:
            return False
        login.failed = True
        metrics.logins.labels("unverified").inc()
        return True

    def is_awaited(self, code: str) -> bool:
        """Whether a callback with this code is in flight. One that is not is counted and logged."""
        flight = self._flights.get(self._digest(code))
        if flight is None or flight.login is None:
            self._note_unjoined()
            return False
        return True

    async def _take_turn(self, digest: bytes, flight: _Flight) -> None:
        if flight.turn.locked() and flight.waiting >= self._waiting:
            raise LoginRefused("login_in_flight", "too many callbacks with the same code")
        flight.waiting += 1
        try:
            async with asyncio.timeout(self._wait_s):
                await flight.turn.acquire()
        except TimeoutError as error:
            raise LoginRefused("login_in_flight", "another callback with the same code is in flight") from error
        finally:
            flight.waiting -= 1
            self._forget_if_idle(digest, flight)

    def _ended(self, digest: bytes, flight: _Flight) -> None:
        flight.login = None
        flight.turn.release()
        self._forget_if_idle(digest, flight)

    def _forget_if_idle(self, digest: bytes, flight: _Flight) -> None:
        if not flight.waiting and not flight.turn.locked():
            self._flights.pop(digest, None)

    def _login(self, code: str) -> Login | None:
        flight = self._flights.get(self._digest(code))
        if flight is None or flight.login is None:
            self.strays += 1
            self._note_unjoined()
            return None
        return flight.login

    def _note_unjoined(self) -> None:
        """The app logs in past the proxy, or after it has answered the callback: that login stays unbound."""
        metrics.logins.labels("unjoined").inc()
        self._unjoined.note()

    def _digest(self, code: str) -> bytes:
        return hashlib.blake2b(code.encode(errors="surrogatepass"), key=self._key, digest_size=16).digest()
