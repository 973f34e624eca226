"""One login, two processes: the relay is in the control process, the browser's callback in a worker.

The rules are those of `bindings/logins.py`, for the pod as a whole. A callback takes its turn among those of its worker
and then among those of all workers. What the relay learns is told to the worker that holds the callback, and the relay
releases the provider's answer only when the worker has said that it knows: by the time the app can answer, the
knowledge is there. What cannot be told, the relay does not release.

A code that no callback is known for concerns every callback in flight, because it may have come in a body: every worker
hears of it. A worker without a line hears nothing. Its logins fail, and none is taken for an ordinary answer.
"""

import asyncio
import contextlib
import hashlib
import math
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from sidecar.bindings.logins import Login, LoginRefused, Logins
from sidecar.core.identity import Session
from sidecar.workers.line import Call, LineLost, Refused
from sidecar.workers.messages import pack_code, pack_join, unpack_code, unpack_join

BEGIN_S: Final = 12.0  # the turn is waited for at the other end, which gives up first
TELL_S: Final = 1.0  # a worker that is well needs a millisecond
END_ATTEMPTS: Final = 5
_YES: Final = b"\x01"
_NO: Final = b"\x00"


class Asks(Protocol):
    """A line, seen from one end."""

    def call(self, call: Call, payload: bytes = b"", *, timeout_s: float = ...) -> Coroutine[Any, Any, bytes]:
        """Raises LineLost or Refused."""


class WorkerLogins(Logins):
    """The callbacks of one worker."""

    def __init__(self, line: Asks, *, clock: Callable[[], float]) -> None:
        super().__init__(clock=clock)
        self._line = line
        self._before = self.strays  # as long as there is no line
        self._ends: set[asyncio.Task[None]] = set()
        self.went()

    async def begin(self, code: str) -> Login:
        login = await super().begin(code)
        login.then(lambda: self._give_back(code))
        try:
            await self._take_turn_in_pod(code)
        except BaseException:
            login.end()
            raise
        return login

    def came(self) -> None:
        """The line is up. Whatever was redeemed meanwhile was not told to us."""
        self.strays = self._before + 1

    def went(self) -> None:
        """The line is down: a number that differs from every other and from itself, so that no login passes as none."""
        if not math.isnan(self.strays):
            self._before = self.strays
        self.strays = math.nan

    async def joined(self, payload: bytes) -> bytes:
        """JOIN: the relay has seen whom a code stands for."""
        return _YES if self.complete(*unpack_join(payload)) else _NO

    async def failed(self, payload: bytes) -> bytes:
        """FAIL: the relay has seen a code redeemed, and nobody can say for whom."""
        return _YES if self.fail(unpack_code(payload)) else _NO

    async def strayed(self, _payload: bytes) -> bytes:
        """STRAY: somebody redeemed a code that no callback is known for."""
        self.strays += 1
        return b""

    async def _take_turn_in_pod(self, code: str) -> None:
        try:
            await self._line.call(Call.BEGIN, pack_code(code), timeout_s=BEGIN_S)
        except Refused as error:
            raise LoginRefused(error.reason, str(error)) from None
        except LineLost:
            raise LoginRefused("login_unavailable", "the pod's control process does not answer") from None

    def _give_back(self, code: str) -> None:
        task = asyncio.ensure_future(self._end(code))
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    async def _end(self, code: str) -> None:
        for _ in range(END_ATTEMPTS):  # a turn that is not given back is kept until the line ends
            with contextlib.suppress(LineLost):
                with contextlib.suppress(Refused):  # a defect at the other end, which has logged it
                    await self._line.call(Call.END, pack_code(code))
                return


class PodLogins:
    """The callbacks of all workers, as the relay sees them (`Joins` in `oidc/relay.py`)."""

    def __init__(self, turns: Logins) -> None:
        self._turns = turns
        self._key = secrets.token_bytes(32)
        self._lines: set[Asks] = set()
        self._begun: dict[tuple[Asks, bytes], asyncio.Task[Login]] = {}  # those that wait for their turn as well
        self._holders: dict[bytes, Asks] = {}  # whose turn it is, by code

    def came(self, line: Asks) -> None:
        """A worker is connected."""
        self._lines.add(line)

    def went(self, line: Asks) -> None:
        """A worker is gone, and with it its callbacks."""
        self._lines.discard(line)
        for place in [place for place in self._begun if place[0] is line]:
            self._release(*place)

    async def begin(self, line: Asks, code: str) -> None:
        """A callback of this worker starts: return when it is its turn. Raises LoginRefused."""
        digest = self._digest(code)
        self._release(line, digest)  # a worker asks for one callback of a code at a time: an earlier one is over
        turn = self._begun[line, digest] = asyncio.ensure_future(self._turn(line, digest, code))
        try:
            await turn
        except BaseException:
            if self._begun.get((line, digest)) is turn:
                self._release(line, digest)
            raise

    def end(self, line: Asks, code: str) -> None:
        """A callback of this worker is over, or does not wait for its turn any more."""
        self._release(line, self._digest(code))

    async def complete(self, code: str, session: Session) -> bool:
        """The code was exchanged for `session`; returns when its worker knows. Raises LineLost or Refused."""
        if self._digest(code) not in self._holders:
            self._turns.complete(code, session)  # counts it, and says so in the log
        return await self._tell(code, Call.JOIN, pack_join(code, session))

    async def fail(self, code: str) -> bool:
        """The code was exchanged for something that could not be verified. The same."""
        if self._digest(code) not in self._holders:
            self._turns.fail(code)
        return await self._tell(code, Call.FAIL, pack_code(code))

    def is_awaited(self, code: str) -> bool:
        """Whether a callback with this code is in flight in some worker. One that is not is counted and logged."""
        return self._turns.is_awaited(code)

    async def _tell(self, code: str, call: Call, payload: bytes) -> bool:
        holder = self._holders.get(self._digest(code))
        if holder is not None and await holder.call(call, payload, timeout_s=TELL_S) == _YES:
            return True
        await asyncio.gather(*(line.call(Call.STRAY, timeout_s=TELL_S) for line in self._lines))
        return False

    async def _turn(self, line: Asks, digest: bytes, code: str) -> Login:
        login = await self._turns.begin(code)
        self._holders[digest] = line
        return login

    def _release(self, line: Asks, digest: bytes) -> None:
        turn = self._begun.pop((line, digest), None)
        if turn is None:
            return
        if not turn.done():
            turn.cancel()
        elif not turn.cancelled() and turn.exception() is None:
            del self._holders[digest]
            turn.result().end()

    def _digest(self, code: str) -> bytes:
        return hashlib.blake2b(pack_code(code), key=self._key, digest_size=16).digest()
