"""This replica among the others on one log: what it says of itself, and what it asks of them (`store.confirm: all`).

    {lg:rv}:replicas   hash: process -> its report (`redis_roll.py`)

The order is what makes it safe. A replica renews its report before it reads what its next proof of freshness stands
for, so that whoever appends and then reads the reports finds everybody who may be serving without the new entry. And it
reports a position only for what it has been told is enforced.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final

from sidecar import metrics
from sidecar.stores.group_commit import GroupCommit
from sidecar.stores.interface import Mark, StoreError
from sidecar.stores.redis_client import Commands, raise_first
from sidecar.stores.redis_roll import Report, Roll

FIRST_LOOK_S: Final = 0.001
LAST_LOOK_S: Final = 0.02
_DRIFT: Final = 1.01  # two machines do not count seconds alike
_MARGIN_S: Final = 1.5  # from the verdict to the first byte at the app, and until what was open is cut (decision 025)

Command = tuple[Any, ...]


class Presence:
    """Not a client: it makes commands for the reader's round trips, and asks by itself only when somebody waits."""

    def __init__(self, *, writer: Commands, key: str, serves_s: float, asks: bool, boot: Callable[[], float]) -> None:
        """`serves_s`: how long this replica may serve bound sessions after a check of the store has begun."""
        self._writer = writer
        self._key = key
        self._lease_ms = int((serves_s * _DRIFT + _MARGIN_S) * 1000)
        self._asks = asks
        self._boot = boot
        self.name = secrets.token_hex(8).encode()
        self._report = Report(0, self._lease_ms, asks)
        self._told = self._report.applied
        self._roll = Roll(self.name)
        self._looks = GroupCommit(self._look)

    @property
    def is_awaited(self) -> bool:
        """Whether anybody wants to hear of each step."""
        return self._asks or self._roll.is_asked(self._boot())

    def applied(self, mark: Mark) -> None:
        """Everything up to here is enforced."""
        self._report = self._report._replace(applied=mark)

    # As a part of what the reader asks anyway

    def renewal(self, server_ms: int) -> list[Command]:
        """Commands, at least once a second, before the log is read."""
        self._report = self._report._replace(beat_ms=server_ms)
        ended = self._roll.ended(self._boot(), server_ms)
        forget: list[Command] = [("HDEL", self._key, *ended)] if ended else []
        return [self._command(), ("HGETALL", self._key), *forget]

    def renewed(self, answers: Sequence[Any]) -> None:
        """The answers. Raises StoreError when this is no server that takes writes."""
        own, reports, *_ = answers
        # A full server refuses logouts, but what it knows is still all there is to know.
        raise_first([reports, *([] if _is_full(own) else [own])])
        self._roll.saw(reports, self._boot())
        metrics.replicas.set(1 + self._roll.serving(self._boot()))

    def news(self) -> Command | None:
        """The report, when there is something in it that somebody waits for."""
        return self._command() if self._report.applied != self._told and self.is_awaited else None

    def told(self, answer: Any) -> None:
        """The answer to `news`. Raises StoreError."""
        if not _is_full(answer):
            raise_first([answer])
            self._told = self._report.applied

    # By itself

    async def confirmed(self, mark: Mark, within_s: float) -> None:
        """Return when nobody else may be serving without what stands up to the mark."""
        pause = FIRST_LOOK_S
        try:
            async with asyncio.timeout(within_s):
                while True:
                    await asyncio.sleep(pause)
                    await self._looks.add([None])  # one look for all who wait
                    if not self._roll.behind(mark, self._boot()):
                        return
                    pause = min(2 * pause, LAST_LOOK_S)
        except TimeoutError:
            behind, serving = self._roll.behind(mark, self._boot()), self._roll.serving(self._boot())
            what = f"{behind} of {serving} other replicas have not confirmed it, and may be serving"
            raise StoreError("logout_unconfirmed", what) from None

    async def leave(self) -> None:
        """This process serves nobody any more."""
        if self._report.beat_ms and self.is_awaited:
            self._report = self._report._replace(lease_ms=0)
            with contextlib.suppress(StoreError):  # then the lease has to run out
                await self._writer.ask(*self._command())

    async def _look(self, _waiting: Sequence[None]) -> None:
        reports = await self._writer.ask("HGETALL", self._key)
        self._roll.saw(reports, self._boot())

    def _command(self) -> Command:
        return ("HSET", self._key, self.name, self._report.pack())


def _is_full(answer: Any) -> bool:
    return isinstance(answer, StoreError) and answer.reason == "store_full"
