"""A million revocations come, grow and go without keeping the event loop from its other work.

Measured in CPU time of the loop's thread, so that a busy machine does not count; how long it takes on the wall is a
benchmark's matter (`benchmarks/replica.py`).
"""

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Self

import pytest

from sidecar.core.freshness import Freshness
from sidecar.core.identity import Kind
from sidecar.core.replica import SHARDS, Replica
from sidecar.core.revocation import Revocation
from sidecar.stores.feed import Feed
from sidecar.stores.interface import PAGE
from sidecar.stores.packing import Entries, pack_revocation
from sidecar.stores.sqlite import SqliteStore

ENTRIES = 1_000_000
LONGEST_S = 0.020
NOW = 1_800_000_000


class Large(SqliteStore):
    """A store whose log is made up as it is read; what has been read costs what it costs from a real one."""

    def __init__(self) -> None:
        super().__init__(None)
        self._reader = Entries()

    async def snapshot(self) -> AsyncIterator[Sequence[Revocation]]:
        for _ in range(ENTRIES // PAGE):
            names = os.urandom(16 * PAGE)
            packed = [
                pack_revocation(Revocation(Kind.SID, names[start : start + 16], NOW * 1000, NOW + 3600), 0)
                for start in range(0, 16 * PAGE, 16)
            ]
            await asyncio.sleep(0)  # what it took to make them up is not the feed's
            yield self._reader.unpack(packed)


class Watch:
    """The longest turn of the loop while the block runs."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0)
        self._task.cancel()

    async def _run(self) -> None:
        before = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.longest, before = max(self.longest, now - before), now


@pytest.fixture(autouse=True)
def small_heap() -> Iterator[None]:
    """The heap of a test run is many times that of the process, and a collection of it takes as much longer."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.timeout(180)
async def test_a_million_revocations_come_grow_and_go_without_holding_up_the_loop():
    replica = Replica()
    store = Large()
    now = float(NOW)
    feed = Feed(
        store=store,
        replica=replica,
        freshness=Freshness(60.0, 60.0),
        on_revocation=lambda _: None,
        wall=lambda: now,
    )
    await store.open()
    try:
        async with Watch() as loading:  # every shard is resized many times on the way
            await feed._load()
        assert len(replica) == ENTRIES
        assert loading.longest < LONGEST_S

        async with Watch() as listing:  # what healing and the workers of a pod go through
            for number, _ in enumerate(replica.lacking(Replica(), now)):
                if number % PAGE == 0:
                    await asyncio.sleep(0)
        assert listing.longest < LONGEST_S

        now += 7200
        async with Watch() as expiring:
            for _ in range(SHARDS):
                replica.sweep(now)
                await asyncio.sleep(0)
        assert len(replica) == 0
        assert expiring.longest < LONGEST_S
    finally:
        await feed.aclose()
        await store.aclose()
