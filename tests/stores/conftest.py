"""A `node` is what one sidecar process has of the state: store, replica, freshness, feed and publisher."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from sidecar import clock
from sidecar.core.freshness import Freshness
from sidecar.core.identity import Kind
from sidecar.core.replica import Replica
from sidecar.core.revocation import Revocation
from sidecar.stores import redis_append, redis_topology
from sidecar.stores.feed import Feed
from sidecar.stores.open import open_store
from sidecar.stores.publish import Publisher


def make_revocation(number: int = 1, *, cutoff: int = 1_790_000_000_123, expires: int | None = None) -> Revocation:
    return Revocation(Kind.SID, number.to_bytes(16), cutoff, expires or int(time.time()) + 3600)


async def make_until(condition: Callable[[], Any], within: float = 5) -> float:
    """Wait for the condition, and say how many seconds that took."""
    began = clock.boot()
    while not condition():
        assert clock.boot() - began < within, "waited too long"
        await asyncio.sleep(0.005)
    return clock.boot() - began


@dataclass
class Node:
    url: str
    fresh: float = 1.0
    grace: float = 3.0
    wall: Callable[[], float] = clock.wall
    budget_s: float = 0.8
    seen: list[Revocation] = field(default_factory=list)
    everywhere: Callable[[], Any] | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.store = open_store(self.url, grace=self.grace, **self.options)
        self.replica = Replica()
        self.freshness = Freshness(self.fresh, self.grace)
        common = {"store": self.store, "replica": self.replica, "on_revocation": self.seen.append, "wall": self.wall}
        self.publisher = Publisher(budget_s=self.budget_s, **common)
        heard = {"on_read": self.publisher.heard, "everywhere": self.everywhere}
        self.feed = Feed(freshness=self.freshness, **heard, **common)

    async def start(self) -> None:
        self.feed.start()
        self.publisher.start()

    async def loaded(self) -> None:
        async with asyncio.timeout(5):
            await self.feed.loaded.wait()

    async def close(self) -> None:
        await self.feed.aclose()
        await self.publisher.aclose()
        await self.store.aclose()

    def knows(self, *revocations: Revocation) -> bool:
        return all(self.replica.cutoff(each.digest) == each.cutoff for each in revocations)


@pytest.fixture
async def start_node() -> AsyncIterator[Callable[..., Any]]:
    """A function that starts a node on a store address.

    `loaded=False` does not wait for the first load, `running=False` does not even begin it.
    """
    nodes: list[Node] = []

    async def start(url: str, *, running: bool = True, loaded: bool = True, **options: Any) -> Node:
        node = Node(url, **options)
        nodes.append(node)
        if running:
            await node.start()
        if running and loaded:
            await node.loaded()
        return node

    yield start
    for node in nodes:
        with contextlib.suppress(OSError):
            await node.close()


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Time-outs that no busy machine meets, for tests in which the servers are well; options for `start_node`."""
    monkeypatch.setattr(redis_append, "DURABLE_MS", 5000)
    monkeypatch.setitem(redis_topology.WRITER, "timeout_s", 10.0)
    return {"budget_s": 10.0}


@pytest.fixture
def revocation() -> Callable[..., Revocation]:
    return make_revocation


@pytest.fixture
def until() -> Callable[..., Any]:
    return make_until
