"""The master moves, hangs or dies: reader and writer follow, and what the new one lacks is published again."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from redis_places import ADMIN, USER, flush, password, taken, wait_until

from sidecar import clock
from sidecar.core.freshness import Freshness, State
from sidecar.core.identity import BoundSession, Kind
from sidecar.core.replica import Replica
from sidecar.core.revocation import Revocation
from sidecar.stores.feed import Feed
from sidecar.stores.interface import Store, StoreError
from sidecar.stores.open import open_store
from sidecar.stores.publish import Publisher

SESSION = BoundSession(b"o" * 16, b"s" * 16, 1, 1)
SOON = int(time.time()) + 3600


def revocation(number: int) -> Revocation:
    return Revocation(Kind.SID, number.to_bytes(16), 1_790_000_000_123, SOON)


class Node:
    """What one sidecar process has of the state."""

    def __init__(self, url: str, **options: Any) -> None:
        self.store: Store = open_store(url, **options)
        self.replica = Replica()
        common = {"store": self.store, "replica": self.replica, "on_revocation": lambda _: None}
        self.feed = Feed(freshness=Freshness(1.0, 3.0), **common)
        self.publisher = Publisher(**common)

    async def start(self) -> None:
        self.feed.start()
        self.publisher.start()
        await self.until(self.feed.loaded.is_set)

    async def close(self) -> None:
        await self.feed.aclose()
        await self.publisher.aclose()
        await self.store.aclose()

    async def publishes(self, number: int, within: float) -> float:
        """Publish until the store takes it; the seconds that took."""
        began = clock.boot()
        while True:
            try:
                await self.publisher.publish([revocation(number)])
            except StoreError:
                assert clock.boot() - began < within, "no master took it in time"
                await asyncio.sleep(0.05)
            else:
                return clock.boot() - began

    def knows(self, *numbers: int) -> bool:
        return all(self.replica.cutoff(number.to_bytes(16)) is not None for number in numbers)

    async def until(self, condition: Callable[[], Any], within: float = 10) -> float:
        began = clock.boot()
        while not condition():
            assert clock.boot() - began < within, "waited too long"
            await asyncio.sleep(0.005)
        return clock.boot() - began


@pytest.fixture
async def start_node() -> AsyncIterator[Callable[..., Any]]:
    nodes: list[Node] = []

    async def start(url: str, **options: Any) -> Node:
        node = Node(url, username=USER, password=password, **options)
        nodes.append(node)
        await node.start()
        return node

    yield start
    for node in nodes:
        await node.close()


async def numbers_in(url: str, **options: Any) -> set[int]:
    """What a process that is born now would know."""
    store = open_store(url, username=USER, password=password, **options)
    try:
        await store.open()
        return {int.from_bytes(each.digest) async for page in store.snapshot() for each in page}
    finally:
        await store.aclose()


async def known_to_the_newborn(expected: set[int], url: str, **options: Any) -> None:
    """Within the 3 s that healing may take, and the time to start."""
    async with asyncio.timeout(5):
        while not expected <= await taken(partial(numbers_in, url, **options)):
            await asyncio.sleep(0.05)


# Sentinel


@pytest.fixture
def watched(places: Any) -> Any:
    """A master, a replica and three Sentinels that know each other: (url, master, replica)."""
    master = places.guarded(masterauth=ADMIN)
    replica = places.guarded(masterauth=ADMIN)
    replica.command("REPLICAOF", "127.0.0.1", master.port)
    wait_until(lambda: replica.command("INFO", "replication").get("master_link_status") == "up")
    sentinels = places.sentinels(master)
    sentinels.ready_for_failover(replicas=1)
    return f"redis+sentinel://{sentinels.hosts}/main?min_other_sentinels=2", master, replica


SENTINEL_USER = {"sentinel_username": USER, "sentinel_password": password}


@pytest.mark.timeout(90)  # three Sentinels find each other, agree, and elect
async def test_when_the_master_is_killed_the_next_one_is_followed_and_what_it_lost_is_published_again(
    watched, start_node
):
    url, master, replica = watched
    ours, theirs = await start_node(url, **SENTINEL_USER), await start_node(url, **SENTINEL_USER)
    await ours.publisher.publish([revocation(1)])
    await taken(partial(ours.store.put_binding, b"c" * 16, SESSION, 600))
    await theirs.until(lambda: theirs.knows(1))
    # Cut replication, so that the next entry is lost in the failover although it was acknowledged.
    await asyncio.to_thread(_lose_on_failover, master, replica)
    await ours.publisher.publish([revocation(2)])
    await theirs.until(lambda: theirs.knows(2))
    assert replica.command("XLEN", "{lg:rv}:log") == 1

    await asyncio.to_thread(master.kill)
    await ours.publishes(3, within=20)

    await theirs.until(lambda: theirs.knows(1, 2, 3))
    await theirs.until(lambda: theirs.feed.state is State.FRESH)
    await known_to_the_newborn({1, 2, 3}, url, **SENTINEL_USER)
    assert replica.command("ROLE")[0] == b"master"
    assert await ours.store.get_binding(b"c" * 16) == SESSION


def _lose_on_failover(master: Any, replica: Any) -> None:
    """From now on the replica gets nothing: it forgot the password that the master wants."""
    replica.command("CONFIG", "SET", "masterauth", "wrong")
    master.command("CLIENT", "KILL", "TYPE", "replica")
    wait_until(lambda: replica.command("INFO", "replication")["master_link_status"] == "down")


async def test_a_demoted_master_is_left_at_once_although_nobody_closes_its_connections(places, start_node):
    first, second = places.guarded(masterauth=ADMIN), places.guarded(masterauth=ADMIN)
    url = f"redis+sentinel://{places.sentinels(first, count=1).hosts}/main"
    node = await start_node(url, **SENTINEL_USER)
    assert first.command("CLIENT", "LIST", "TYPE", "normal").count(f" user={USER} ".encode()) >= 2

    # What a Sentinel does in a failover, without its CLIENT KILL.
    port = int(url.rpartition(":")[2].partition("/")[0])
    import redis

    with redis.Redis(port=port) as sentinel:
        sentinel.execute_command("SENTINEL", "REMOVE", "main")
        sentinel.execute_command("SENTINEL", "MONITOR", "main", "127.0.0.1", second.port, 1)
        sentinel.execute_command("SENTINEL", "SET", "main", "auth-pass", ADMIN)
    first.command("REPLICAOF", "127.0.0.1", second.port)

    await node.publishes(1, within=5)
    assert second.command("XLEN", "{lg:rv}:log") >= 1  # more when the outbox was as quick
    await node.until(lambda: node.feed.last_error is None and node.feed.state is State.FRESH, within=5)
    await taken(partial(node.store.put_binding, b"c" * 16, SESSION, 600))
    assert second.command("EXISTS", b"lg:b:" + b"c" * 16) == 1


async def test_without_enough_sentinels_in_agreement_nobody_is_the_master(places):
    master = places.guarded()
    store = open_store(
        f"redis+sentinel://{places.sentinels(master, count=1).hosts}/main?min_other_sentinels=1",
        username=USER,
        password=password,
        **SENTINEL_USER,
    )
    with pytest.raises(StoreError) as caught:
        await store.open()
    await store.aclose()

    assert caught.value.reason == "store_no_master"


async def test_an_unknown_master_name_and_a_dead_sentinel_are_errors_within_the_bound(places):
    master = places.guarded()
    hosts = places.sentinels(master, count=1).hosts
    for url in (f"redis+sentinel://{hosts}/other", f"redis+sentinel://127.0.0.1:{places.free_port()}/main"):
        store = open_store(url, username=USER, password=password, **SENTINEL_USER)
        began = clock.boot()
        with pytest.raises(StoreError):
            await store.get_binding(b"c" * 16)
        assert clock.boot() - began < 0.7
        await store.aclose()


async def test_a_sentinel_that_hangs_delays_nothing(places):
    master = places.guarded()
    sentinels = places.sentinels(master)
    sentinels.suspend(0)
    store = open_store(f"redis+sentinel://{sentinels.hosts}/main", username=USER, password=password, **SENTINEL_USER)
    began = clock.boot()
    await store.put_binding(b"c" * 16, SESSION, 60)
    await store.aclose()

    assert clock.boot() - began < 0.3


# Cluster


@pytest.fixture
def cluster_url(cluster: Any) -> str:
    flush(cluster.masters())
    return f"redis+cluster://{cluster.hosts}"


async def test_after_a_takeover_reader_and_writer_are_at_the_new_master(cluster, cluster_url, start_node):
    ours, theirs = await start_node(cluster_url), await start_node(cluster_url)
    await ours.publisher.publish([revocation(1)])
    await theirs.until(lambda: theirs.knows(1))
    replica = cluster.replica()
    wait_until(lambda: _link(replica) == "up")

    replica.command("CLUSTER", "FAILOVER", "TAKEOVER")
    assert await ours.publishes(2, within=10) < 5

    await theirs.until(lambda: theirs.knows(2), within=5)
    await theirs.until(lambda: theirs.feed.state is State.FRESH, within=5)
    await known_to_the_newborn({1, 2}, cluster_url)  # what the old master took in its last moment is healed
    wait_until(lambda: len(cluster.masters()) == 3 and _link(cluster.replica()) == "up")


async def test_the_slot_of_the_log_may_move_to_another_master(cluster, cluster_url, start_node):
    ours, theirs = await start_node(cluster_url), await start_node(cluster_url)
    await ours.publisher.publish([revocation(1)])
    await theirs.until(lambda: theirs.knows(1))
    before = cluster.owner()

    await asyncio.to_thread(cluster.move_log)
    assert cluster.owner() is not before
    assert await ours.publishes(2, within=10) < 5

    await theirs.until(lambda: theirs.knows(2), within=5)
    await theirs.until(lambda: theirs.feed.state is State.FRESH, within=5)
    assert cluster.owner().command("XLEN", "{lg:rv}:log") >= 2


async def test_bindings_are_read_and_written_while_their_slots_move(cluster, cluster_url):
    store = open_store(cluster_url, username=USER, password=password)
    await taken(store.open)
    credentials = [number.to_bytes(16) for number in range(40)]
    for credential in credentials:
        await taken(partial(store.put_binding, credential, SESSION, 600))
    slots = {cluster.masters()[0].command("CLUSTER KEYSLOT", b"lg:b:" + each): each for each in credentials}
    slot, moving = next((slot, each) for slot, each in slots.items() if cluster.owner_of(slot) is not None)
    source = cluster.owner_of(slot)
    target = next(server for server in cluster.masters() if server is not source)

    target.command("CLUSTER SETSLOT", slot, "IMPORTING", cluster.id_of(source))
    source.command("CLUSTER SETSLOT", slot, "MIGRATING", cluster.id_of(target))
    try:
        assert await store.get_binding(moving) == SESSION  # still there
        source.command("DEL", b"lg:b:" + moving)
        await store.put_binding(moving, SESSION, 600)  # now it is written to where the slot goes
        assert target.command("CLUSTER COUNTKEYSINSLOT", slot) == 1
        assert await store.get_binding(moving) == SESSION
    finally:
        for server in (target, source):
            server.command("CLUSTER SETSLOT", slot, "NODE", cluster.id_of(target))
    assert await store.get_binding(moving) == SESSION
    for credential in credentials:
        assert await store.get_binding(credential) == SESSION
    await store.aclose()


async def test_a_master_that_hangs_holds_up_none_of_the_others(cluster, cluster_url):
    store = open_store(cluster_url, username=USER, password=password)
    await taken(store.open)
    credentials = [number.to_bytes(16) for number in range(40)]
    for credential in credentials:
        await taken(partial(store.put_binding, credential, SESSION, 600))
    hung = cluster.owner()
    slot_of = {each: hung.command("CLUSTER KEYSLOT", b"lg:b:" + each) for each in credentials}
    theirs = [each for each in credentials if cluster.owner_of(slot_of[each]) is not hung]
    ours = next(each for each in credentials if each not in theirs)

    hung.suspend()
    try:
        began = clock.boot()
        with pytest.raises(StoreError):
            await store.get_binding(ours)
        assert clock.boot() - began < 0.7
        for credential in theirs:
            assert await store.get_binding(credential) == SESSION
        assert clock.boot() - began < 1.2
    finally:
        hung.resume()
        await store.aclose()
    wait_until(lambda: len(cluster.masters()) == 3 and all(_is_well(server) for server in cluster.servers))


async def test_bindings_spread_over_the_masters_and_the_log_stays_in_one(cluster, cluster_url):
    store = open_store(cluster_url, username=USER, password=password)
    await taken(store.open)
    for number in range(60):
        await taken(partial(store.put_binding, number.to_bytes(16), SESSION, 600))
    await store.append([revocation(number) for number in range(60)])
    await store.aclose()

    sizes = [server.command("DBSIZE") for server in cluster.masters()]
    assert all(sizes)
    assert sum(sizes) == 60 + 2  # the log and its hash; nobody has followed yet


def _is_well(server: Any) -> bool:
    return server.command("CLUSTER INFO")["cluster_state"] == "ok"


def _link(server: Any) -> str:
    return server.command("INFO", "replication").get("master_link_status", "")
