"""The workers that may be serving, and the promise that all of them enforce a logout.

A worker is listed from its first question, or from the start of this control process when it was alive then, until it
is dead: a process that cannot be heard may still be serving. Who has not confirmed a change in time is killed. With
the process its connections end, so that afterwards nobody is served by it. The supervisor starts a new one.

Linux: a `pidfd` names exactly one process, tells when it is dead, and cannot hit another that got its number.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping

from sidecar import log, metrics
from sidecar.stores.interface import StoreError
from sidecar.workers.bell import Bell
from sidecar.workers.journal import Reader

CONFIRM_S = 0.3  # of the second within which a logout is answered; a worker that is well needs a few milliseconds
KILL_S = 0.3
SETTLE_S = 0.1  # for what other pods have been told; it is asked again
WATCH_S = 1.0
SILENT_WATCHES = 10  # in a row: a machine that was suspended wakes up to one of them, not to ten

logger = logging.getLogger(__name__)


class Member:
    """One worker process."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.reader: Reader | None = None  # None: it has not asked this control process yet
        self.silent = 0  # watches since its last question

    def __repr__(self) -> str:
        return f"<Member {self.pid}>"

    @property
    def is_silent(self) -> bool:
        """Whether it has missed a watch: it asks several times a second."""
        return self.silent > 1

    def has(self, position: int) -> bool:
        """Whether it enforces everything up to this position of the journal."""
        return self.reader is not None and self.reader.has(position)

    def kill(self, reason: str) -> None:
        """It does not answer, and may be serving whom it should not."""
        log.event(logger, logging.ERROR, "worker_killed", pid=self.pid, reason=reason)
        metrics.workers_killed.labels(reason).inc()
        with contextlib.suppress(ProcessLookupError):  # died by itself meanwhile
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)


class Roster:
    """The workers that may be serving. `living`: pid to pidfd of those that were there before this process."""

    def __init__(self, *, living: Mapping[int, int]) -> None:
        self._members: dict[int, Member] = {}
        self._moved = Bell()
        for pid, pidfd in living.items():
            self._list(Member(pid, pidfd))

    def __contains__(self, pid: int) -> bool:
        return pid in self._members

    def listed(self, pid: int) -> Member:
        """This worker, listed from now on. Raises StoreError when there is no such process any more."""
        if pid not in self._members:
            try:
                self._list(Member(pid, os.pidfd_open(pid)))
            except ProcessLookupError:
                raise StoreError("control_unavailable", "no such worker") from None
        return self._members[pid]

    def confirmed(self, member: Member) -> None:
        """A question came: what the worker was told before, it enforces."""
        member.silent = 0
        self._moved.ring()

    async def enforced(self, position: int) -> None:
        """Return when every worker enforces all up to `position`, or is dead.

        Raises StoreError when one can neither be heard nor killed.
        """
        behind = await self._behind(position, CONFIRM_S)
        for member in behind:
            member.kill("unconfirmed")
        if behind and await self._behind(position, KILL_S):
            raise StoreError("workers_behind", "a worker of this pod does not enforce it yet, and cannot be ended")

    async def settled(self, position: int, within_s: float = SETTLE_S) -> bool:
        """Whether every worker enforces all up to `position`, or is dead, within this time. Nobody is killed for it."""
        return not await self._behind(position, within_s)

    async def watch(self) -> None:
        """End workers that ask nothing any more: the kernel would go on giving them connections."""
        while True:
            await asyncio.sleep(WATCH_S)
            for member in list(self._members.values()):
                member.silent += 1
                if member.silent == SILENT_WATCHES:
                    member.kill("silent")

    def close(self) -> None:
        """Stop watching for deaths."""
        for member in self._members.values():
            self._unwatch(member)
        self._members.clear()

    async def _behind(self, position: int, within_s: float) -> list[Member]:
        """Those that do not have it after so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._without(position):
                    await self._moved.wait()
        return self._without(position)

    def _without(self, position: int) -> list[Member]:
        return [member for member in self._members.values() if not member.has(position)]

    def _list(self, member: Member) -> None:
        self._members[member.pid] = member
        asyncio.get_running_loop().add_reader(member.pidfd, self._died, member)

    def _died(self, member: Member) -> None:
        # Readable: the process has ended, and with it every socket that it had.
        self._unwatch(member)
        self._members.pop(member.pid, None)
        self._moved.ring()

    def _unwatch(self, member: Member) -> None:
        asyncio.get_running_loop().remove_reader(member.pidfd)
        os.close(member.pidfd)
