"""How entries get into the stream: all or nothing, as durable as configured, and where they stand then.

WAIT and WAITAOF follow the XADD on the same connection, because they speak of what that connection has written. They
do not take a write back: what is not durable in time is in the log all the same, and may be written once more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sidecar.stores.interface import Mark, StoreError, StoreUnusable
from sidecar.stores.redis_client import Commands, raise_first
from sidecar.stores.redis_roll import entry_of

# Each; a group that had to wait for the one before it still ends within the 0.8 s that a logout has.
DURABLE_MS: Final = 200


@dataclass(frozen=True, slots=True)
class Durability:
    """Where an append has to be before it counts: in the master's memory, and where this says."""

    replicas: int = 0  # of the Redis master
    fsync: bool = False  # on the master's disk

    def commands(self) -> list[tuple[Any, ...]]:
        """What has to be asked after a write."""
        wait = [("WAIT", self.replicas, DURABLE_MS)] if self.replicas else []
        return [*wait, ("WAITAOF", 1, 0, DURABLE_MS)] if self.fsync else wait

    def judge(self, answers: Sequence[Any], place: str) -> None:
        """Raise StoreError when these answers to `commands` do not suffice."""
        raise_first(answers)
        if self.replicas and answers[0] < self.replicas:
            what = f"{answers[0]} of {self.replicas} replicas have it"
            raise StoreError("store_not_replicated", f"{place}: {what}")
        if self.fsync and answers[-1][0] < 1:
            raise StoreError("store_not_on_disk", f"{place}: not on its disk in time; appendfsync always is meant")

    async def check(self, writer: Commands, place: str) -> None:
        """Raise StoreUnusable when the server can never fulfil it."""
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


async def append(writer: Commands, adds: Sequence[tuple[Any, ...]], durability: Durability, place: str) -> None:
    """Write, and wait until it is durable."""
    waits = durability.commands()
    if waits:
        await _append(writer, (), adds, durability, place)
    else:
        raise_first(await writer.ask_all(*adds, transaction=True))  # MULTI: all or nothing


async def append_marked(
    writer: Commands, adds: Sequence[tuple[Any, ...]], durability: Durability, place: str, *, meta: str
) -> Mark:
    """The same, and say where the last entry stands. Asked in one breath: the next connection may lead elsewhere."""
    who = (("INFO", "server"), ("HMGET", meta, "epoch"))
    (info, (epoch,)), last = await _append(writer, who, adds, durability, place)
    return Mark(log_name(info["run_id"], epoch), entry_of(last))


async def _append(
    writer: Commands,
    before: Sequence[tuple[Any, ...]],
    adds: Sequence[tuple[Any, ...]],
    durability: Durability,
    place: str,
) -> tuple[list[Any], bytes]:
    """The answers to what was asked `before`, and the id of the last entry."""
    waits = durability.commands()
    # MULTI by hand, since neither WAIT nor WAITAOF waits inside of it.
    answers = await writer.ask_all(*before, ("MULTI",), *adds, ("EXEC",), *waits, transaction=False)
    done = len(answers) - len(waits)
    raise_first(answers[:done])
    ids = answers[done - 1]
    if any(isinstance(each, Exception) for each in ids):
        raise StoreError("store_refused", f"{place}: refused to append")
    durability.judge(answers[done:], place)
    return answers[: len(before)], bytes(ids[-1])
