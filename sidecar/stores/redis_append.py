"""How entries get into the stream: all or nothing, as durable as configured, and where they stand then.

WAIT and WAITAOF follow the XADD on the same connection, because they speak of what that connection has written. They
do not take a write back: what is not durable in time is in the log all the same. It is not written again, or a server
that stays without its replicas would fill its log with one logout. It is asked about instead (`Appender.durable`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sidecar.stores.interface import Mark, StoreError, StoreUnusable
from sidecar.stores.redis_client import Commands, raise_first
from sidecar.stores.redis_roll import entry_of

# Each; a group that had to wait for the one before it still ends within the 0.8 s that a logout has.
DURABLE_MS: Final = 200

Command = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Durability:
    """Where an append has to be before it counts: in the master's memory, and where this says."""

    replicas: int = 0  # of the Redis master
    fsync: bool = False  # on the master's disk

    def commands(self) -> list[Command]:
        """What has to be asked after a write."""
        wait: list[Command] = [("WAIT", self.replicas, DURABLE_MS)] if self.replicas else []
        return [*wait, ("WAITAOF", 1, 0, DURABLE_MS)] if self.fsync else wait

    def judge(self, answers: Sequence[Any], place: str) -> None:
        """Raise StoreError, one of NOT_DURABLE, when these answers to `commands` do not suffice."""
        if self.replicas and (isinstance(answers[0], StoreError) or answers[0] < self.replicas):
            what = f"{answers[0]} of {self.replicas} replicas have it"
            raise StoreError("store_not_replicated", f"{place}: {what}")
        if self.fsync and (isinstance(answers[-1], StoreError) or answers[-1][0] < 1):
            raise StoreError("store_not_on_disk", f"{place}: not on its disk in time; appendfsync always is meant")

    async def check(self, writer: Commands, place: str) -> None:
        """Raise StoreUnusable when the server can never fulfil it, StoreError when its ACL does not let us ask."""
        if self.replicas:
            await writer.ask("WAIT", 0, 1)
        if not self.fsync:
            return
        try:
            await writer.ask("WAITAOF", 1, 0, 1)
        except StoreError as error:
            if error.reason != "store_refused":
                raise
            needed = "store.durability.fsync needs Redis 7.2 or Valkey, with appendonly yes"
            raise StoreUnusable("store_cannot_fsync", f"{place}: {needed}") from None


def log_name(run_id: str, epoch: bytes | None) -> bytes:
    """Names one log for `Mark`: this data set, on this run of this server."""
    return run_id.encode() + b"." + (epoch or b"").hex().encode()


class Appender:
    """Appends to the log, and knows in which logs there is something of ours that is not durable yet."""

    def __init__(
        self, writer: Commands, durability: Durability, *, place: str, meta: str, gives_marks: bool = False
    ) -> None:
        self._writer = writer
        self._durability = durability
        self._place = place
        self._meta = meta
        self._gives_marks = gives_marks
        self._owed: set[bytes] = set()  # names of logs

    async def append(self, adds: Sequence[Command]) -> Mark | None:
        """Write, and wait until it is durable; where the last entry stands, if anybody wants to know."""
        waits = self._durability.commands()
        if not waits and not self._gives_marks:
            await self.write(adds)
            return None
        # MULTI by hand, since neither WAIT nor WAITAOF waits inside of it. Who takes it is asked in one breath with it:
        # the next connection may lead elsewhere.
        answers = await self._writer.ask_all(*self._who(), ("MULTI",), *adds, ("EXEC",), *waits, transaction=False)
        done = len(answers) - len(waits)
        raise_first(answers[:done])
        log, ids = _named(answers), answers[done - 1]
        if any(isinstance(each, Exception) for each in ids):
            raise StoreError("store_refused", f"{self._place}: refused to append")
        try:
            self._durability.judge(answers[done:], self._place)
        except StoreError:
            self._owed.add(log)
            raise
        return Mark(log, entry_of(bytes(ids[-1]))) if self._gives_marks else None

    async def write(self, adds: Sequence[Command]) -> None:
        """Write into the master's memory, and wait for no more."""
        raise_first(await self._writer.ask_all(*adds, transaction=True))  # MULTI: all or nothing

    async def durable(self) -> bool:
        """Whether the log still has what `append` left undurable, and all that is in it is durable now.

        False: another server or another data set answers, and may lack it. StoreError: not yet, or it cannot be said.
        """
        waits = self._durability.commands()
        if not waits:
            return True
        owed, self._owed = self._owed, set()
        try:
            # Replicas and disk take everything in the order of writing, so that one more small write speaks for all.
            touch = ("HSET", self._meta, "asked", "1")
            answers = await self._writer.ask_all(*self._who(), touch, *waits, transaction=False)
            raise_first(answers[:3])
            if owed - {_named(answers)}:
                return False
            self._durability.judge(answers[3:], self._place)
        except BaseException:
            self._owed |= owed
            raise
        return True

    def _who(self) -> tuple[Command, ...]:
        return ("INFO", "server"), ("HMGET", self._meta, "epoch")


def _named(answers: Sequence[Any]) -> bytes:
    """The log, as the answers to `_who` name it."""
    info, (epoch,) = answers[:2]
    return log_name(info["run_id"], epoch)
