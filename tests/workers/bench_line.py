"""A control process's end and workers' ends of real lines over a real Unix socket, in one loop.

Each worker has the pid of a real child process, so that one that has to be killed can really be killed.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from sidecar import clock
from sidecar.bindings.logins import Logins
from sidecar.core.freshness import BorrowedFreshness, Freshness
from sidecar.core.identity import Digester, Kind
from sidecar.core.replica import Replica
from sidecar.core.revocation import Revocation
from sidecar.stores.feed import Feed
from sidecar.stores.publish import Publisher
from sidecar.stores.sqlite import SqliteStore
from sidecar.workers.hub import Hub
from sidecar.workers.journal import Journal
from sidecar.workers.line import Call
from sidecar.workers.logins import PodLogins, WorkerLogins
from sidecar.workers.remote import RemoteStore
from sidecar.workers.roster import Roster
from sidecar.workers.uplink import Uplink

SECRET = b"made up for these tests"


def revocation(number: int, *, cutoff: int = 1_790_000_000_000) -> Revocation:
    return Revocation(Kind.SID, number.to_bytes(16), cutoff, int(clock.wall()) + 3600)


async def until(condition: Callable[[], object], *, within: float = 5) -> None:
    began = clock.boot()
    while not condition():
        assert clock.boot() - began < within, "waited too long"
        await asyncio.sleep(0.002)


class Control:
    """The control process: everything that stands behind the hub."""

    def __init__(self, path: str, *, store: SqliteStore, capacity: int, living: dict[int, int]) -> None:
        self.path = path
        self.store = store
        self.replica = Replica()
        self.freshness = Freshness(1.0, 3.0)
        self.journal = Journal(self.replica, capacity=capacity)
        self.feed = Feed(store=store, replica=self.replica, freshness=self.freshness, on_revocation=self._fed)
        self.publisher = Publisher(store=store, replica=self.replica, on_revocation=self.journal.append)
        self.roster = Roster(living=living)
        self.turns = Logins(clock=clock.boot, wait_s=5.0)
        self.logins = PodLogins(self.turns)
        self.keyed = asyncio.Event()
        self.keyed.set()
        self.hub = Hub(
            journal=self.journal,
            freshness=self.freshness,
            digester=Digester(SECRET),
            keyed=self.keyed,
            is_loaded=self.feed.loaded.is_set,
            secret=store.secret,
            kept_secret=store.kept_secret,
            bindings=store,
            keeping=store,
            publish=self.publisher.publish,
            roster=self.roster,
            logins=self.logins,
            boot=clock.boot,
            wall=clock.early,
        )
        self._runner = web.AppRunner(self.hub.app(), access_log=None, shutdown_timeout=0.1)

    def _fed(self, revocation: Revocation) -> None:
        if self.feed.loaded.is_set():
            self.journal.append(revocation)

    async def start(self) -> None:
        await self.store.open()
        await self._runner.setup()
        await web.UnixSite(self._runner, self.path).start()
        self.feed.start()

    async def stop(self) -> None:
        await self.feed.aclose()
        await self._runner.cleanup()
        self.roster.close()


class Worker:
    """One worker, without its data plane."""

    def __init__(self, path: str, slot: int, *, key: bytes = SECRET) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        self.uplink = Uplink(path=path, slot=slot, pid=self.process.pid)
        self.replica = Replica()
        self.freshness = BorrowedFreshness(1.0, 3.0)
        self.is_serving = False
        self.store = RemoteStore(self.uplink, borrowed=self.freshness.borrowed, is_serving=lambda: self.is_serving)
        self.store.use_key(Digester(key).key_id)
        self.heard: list[Revocation] = []
        self.feed = Feed(
            store=self.store, replica=self.replica, freshness=self.freshness, on_revocation=self.heard.append
        )
        self.logins = WorkerLogins(self.uplink, clock=clock.boot)
        self.uplink.on_up, self.uplink.on_down = self.logins.came, self.logins.went
        self.uplink.handlers.update(
            {Call.JOIN: self.logins.joined, Call.FAIL: self.logins.failed, Call.STRAY: self.logins.strayed}
        )
        self._task = asyncio.create_task(self.uplink.run())

    def knows(self, *numbers: int) -> bool:
        return all(self.replica.cutoff(revocation(number).digest) is not None for number in numbers)

    async def loaded(self) -> "Worker":
        """Follow, as a worker does from its start."""
        self.feed.start()
        await until(self.feed.loaded.is_set)
        return self

    async def cut(self) -> None:
        """The line breaks, as at the end of the process."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def stop(self) -> None:
        await self.feed.aclose()
        await self.cut()
        self.process.kill()
        self.process.communicate()


class Bench:
    """Starts control processes and workers on one socket, and stops them all."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "hub")
        self.store = SqliteStore(None)
        self._workers: list[Worker] = []
        self._control: Control | None = None

    async def control(self, *, capacity: int = 1000, living: dict[int, int] | None = None) -> Control:
        """A control process in place of the one that may have been there; the store is the same."""
        if self._control is not None:
            await self._control.stop()
        self._control = Control(self.path, store=self.store, capacity=capacity, living=living or {})
        await self._control.start()
        return self._control

    def worker(self, slot: int = 0, **options: Any) -> Worker:
        self._workers.append(Worker(self.path, slot, **options))
        return self._workers[-1]

    async def stop(self) -> None:
        for worker in self._workers:
            await worker.stop()
        if self._control is not None:
            await self._control.stop()
        await self.store.aclose()
