"""`store.durability`: 200 only when the replicas, or the disk, of the master have it."""

import asyncio

import pytest

from sidecar import clock
from sidecar.core.identity import BoundSession
from sidecar.stores import publish
from sidecar.stores.interface import StoreError, StoreUnusable
from sidecar.stores.open import open_store

LOG = "{lg:rv}:log"


def count_calls(store, name):
    """A list that grows with each call of a method."""
    method, calls = getattr(store, name), []

    async def counted():
        calls.append(name)
        return await method()

    setattr(store, name, counted)
    return calls


@pytest.fixture
def pair(start_redis):
    """A master, and one replica that is up to date."""
    master = start_redis("redis")
    replica = start_redis("redis", replicaof=f"127.0.0.1 {master.port}")
    end = clock.boot() + 10
    while master.command("INFO", "replication").get("slave0", {}).get("state") != "online":
        assert clock.boot() < end
    return master, replica


@pytest.mark.parametrize("confirms", [False, True])
async def test_with_enough_replicas_it_is_written_once_and_there(pair, start_node, revocation, patience, confirms):
    master, replica = pair
    node = await start_node(master.url, options={"durable_replicas": 1, "confirms": confirms}, **patience)
    await node.publisher.publish([revocation(1), revocation(2)])

    assert replica.command("XLEN", LOG) == 2
    assert node.publisher.waiting == 0


async def test_a_replica_that_hangs_costs_the_acknowledgement_and_nothing_else(
    pair, start_node, revocation, until, monkeypatch
):
    monkeypatch.setattr(publish, "PAUSE_S", 0.2)
    master, replica = pair
    node = await start_node(master.url, options={"durable_replicas": 1})
    other = await start_node(master.url)
    replica.suspend()
    began = clock.boot()
    with pytest.raises(StoreError) as caught:
        await node.publisher.publish([revocation()])

    assert clock.boot() - began < 0.9
    assert caught.value.reason == "store_not_replicated"
    assert node.knows(revocation())
    assert node.publisher.waiting == 1
    await until(lambda: other.knows(revocation()))  # it is in the log all the same

    replica.resume()
    await until(lambda: node.publisher.waiting == 0)


async def test_a_server_that_stays_without_replicas_has_each_logout_once(
    pair, start_node, revocation, until, monkeypatch
):
    monkeypatch.setattr(publish, "PAUSE_S", 0.01)
    master, _ = pair
    node = await start_node(master.url, options={"durable_replicas": 2})
    asked = count_calls(node.store, "durable")
    for number in range(3):
        with pytest.raises(StoreError):
            await node.publisher.publish([revocation(number)])
    node.publisher._keep([revocation(4)])  # as one that the store had not taken
    await until(lambda: len(asked) >= 4)

    assert master.command("XLEN", LOG) == 4
    assert node.publisher.waiting == 4


async def test_a_logout_that_came_after_the_question_is_not_meant_by_the_answer(
    pair, start_node, revocation, until, monkeypatch
):
    monkeypatch.setattr(publish, "PAUSE_S", 0.01)
    master, replica = pair
    node = await start_node(master.url, options={"durable_replicas": 1})
    replica.suspend()
    durable, asked, go_on = node.store.durable, asyncio.Event(), asyncio.Event()

    async def slow():
        asked.set()
        await go_on.wait()
        return True

    with pytest.raises(StoreError):
        await node.publisher.publish([revocation(1)])
    node.store.durable = slow
    await asked.wait()
    with pytest.raises(StoreError):
        await node.publisher.publish([revocation(2)])
    node.store.durable = durable
    go_on.set()

    await until(lambda: node.publisher.waiting == 1)
    assert [each.digest for each in node.publisher._outbox.first(9)] == [revocation(2).digest]


async def test_what_was_not_durable_is_written_again_where_another_master_may_lack_it(
    pair, start_node, revocation, until, monkeypatch
):
    monkeypatch.setattr(publish, "PAUSE_S", 0.05)
    master, _ = pair
    node = await start_node(master.url, options={"durable_replicas": 2})
    with pytest.raises(StoreError):
        await node.publisher.publish([revocation()])
    await node.feed.aclose()  # else it would heal
    await asyncio.to_thread(master.restart)  # with nothing in it

    await until(lambda: master.command("XLEN", LOG) == 1)
    assert node.publisher.waiting == 1


async def test_what_is_over_is_cared_for_no_more(pair, start_node, revocation, until, monkeypatch):
    monkeypatch.setattr(publish, "PAUSE_S", 0.05)
    now, offset = clock.wall(), 0.0
    node = await start_node(pair[0].url, options={"durable_replicas": 2}, wall=lambda: now + offset)
    with pytest.raises(StoreError):
        await node.publisher.publish([revocation()])
    offset = 7200.0

    await until(lambda: node.publisher.waiting == 0)


async def test_without_the_right_to_wait_nothing_is_written_and_nobody_is_ready(start_redis, start_node, until):
    server = start_redis("redis")
    server.command("ACL", "SETUSER", "lg", "on", ">secret", "~*", "+@all", "-wait")
    options = {"durable_replicas": 1, "username": "lg", "password": lambda: b"secret"}
    node = await start_node(server.url, loaded=False, options=options)

    await until(lambda: node.feed.last_error == "store_forbidden")
    assert not node.feed.loaded.is_set()


async def test_healing_waits_for_no_replica(redis_server, start_node, revocation, until):
    node = await start_node(redis_server.url)
    node.replica.apply(revocation())
    healing = await start_node(redis_server.url, running=False, options={"durable_replicas": 3})
    healing.replica.apply(revocation())
    await healing.start()

    await until(lambda: redis_server.command("XLEN", LOG) == 1, within=2)
    await until(lambda: healing.feed._known is None, within=2)


async def test_a_binding_waits_for_no_replica(redis_server, start_node):
    store = (await start_node(redis_server.url, options={"durable_replicas": 3})).store
    began = clock.boot()
    await store.put_binding(b"c" * 16, BoundSession(b"o" * 16, None, 1, 1), 60)

    assert clock.boot() - began < 0.15


async def test_a_full_master_is_told_from_one_without_replicas(pair, start_node, revocation):
    master, _ = pair
    node = await start_node(master.url, options={"durable_replicas": 1})
    master.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreError) as caught:
        await node.publisher.publish([revocation()])

    assert caught.value.reason == "store_full"
    assert master.command("XLEN", LOG) == 0


# On the disk


async def test_a_logout_is_on_the_disk_of_the_master(start_redis, start_node, revocation, patience):
    server = start_redis("valkey", appendonly="yes", appendfsync="always")
    node = await start_node(server.url, options={"durable_fsync": True}, **patience)
    for number in range(5):
        await node.publisher.publish([revocation(number)])
    server.restart()

    assert server.command("XLEN", LOG) == 5


@pytest.mark.parametrize("turned_off", [("appendfsync", "no"), ("appendonly", "no")])
async def test_what_is_not_on_the_disk_in_time_is_not_acknowledged_and_written_once(
    start_redis, start_node, revocation, until, monkeypatch, turned_off
):
    monkeypatch.setattr(publish, "PAUSE_S", 0.01)
    server = start_redis("valkey", appendonly="yes", appendfsync="always")
    node = await start_node(server.url, options={"durable_fsync": True})
    server.command("CONFIG", "SET", *turned_off)
    asked = count_calls(node.store, "durable")
    with pytest.raises(StoreError) as caught:
        await node.publisher.publish([revocation()])
    await until(lambda: asked)

    assert caught.value.reason == "store_not_on_disk"
    assert server.command("XLEN", LOG) == 1


@pytest.mark.parametrize(("program", "settings"), [("redis", {"appendonly": "yes"}), ("valkey", {"appendonly": "no"})])
async def test_a_server_that_can_never_do_it_ends_the_start_with_one_line(start_redis, program, settings):
    store = open_store(start_redis(program, **settings).url, durable_fsync=True)
    with pytest.raises(StoreUnusable) as caught:
        await store.open()
    await store.aclose()

    assert caught.value.reason == "store_cannot_fsync"
    assert "appendonly yes" in str(caught.value)
    assert "\n" not in str(caught.value)
