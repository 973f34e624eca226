"""`store.durability`: 200 only when the replicas, or the disk, of the master have it."""

import pytest

from sidecar import clock
from sidecar.core.identity import BoundSession
from sidecar.stores import publish
from sidecar.stores.interface import StoreError, StoreUnusable
from sidecar.stores.open import open_store

LOG = "{lg:rv}:log"


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
async def test_with_enough_replicas_it_is_written_once_and_there(pair, start_node, revocation, confirms):
    master, replica = pair
    node = await start_node(master.url, options={"durable_replicas": 1, "confirms": confirms})
    await node.publisher.publish([revocation(1), revocation(2)])

    assert replica.command("XLEN", LOG) == 2
    assert node.publisher.waiting == 0


async def test_a_replica_that_hangs_costs_the_acknowledgement_and_nothing_else(
    pair, start_node, revocation, until, monkeypatch
):
    monkeypatch.setattr(publish, "REWRITE_S", 0.2)
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


async def test_what_is_in_the_log_and_not_durable_is_not_written_again_and_again(pair, start_node, revocation, until):
    master, _ = pair
    node = await start_node(master.url, options={"durable_replicas": 2})
    with pytest.raises(StoreError):
        await node.publisher.publish([revocation()])
    await until(lambda: master.command("XLEN", LOG) == 2)  # the outbox, once
    end = clock.boot() + 1
    await until(lambda: clock.boot() > end)

    assert master.command("XLEN", LOG) == 2


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


async def test_a_logout_is_on_the_disk_of_the_master(start_redis, start_node, revocation):
    server = start_redis("valkey", appendonly="yes", appendfsync="always")
    node = await start_node(server.url, options={"durable_fsync": True})
    for number in range(5):
        await node.publisher.publish([revocation(number)])
    server.restart()

    assert server.command("XLEN", LOG) == 5


async def test_what_is_not_on_the_disk_in_time_is_not_acknowledged(start_redis, start_node, revocation):
    server = start_redis("valkey", appendonly="yes", appendfsync="no")
    node = await start_node(server.url, options={"durable_fsync": True})
    with pytest.raises(StoreError) as caught:
        await node.publisher.publish([revocation()])

    assert caught.value.reason == "store_not_on_disk"
    assert server.command("XLEN", LOG) >= 1


@pytest.mark.parametrize(("program", "settings"), [("redis", {"appendonly": "yes"}), ("valkey", {"appendonly": "no"})])
async def test_a_server_that_can_never_do_it_ends_the_start_with_one_line(start_redis, program, settings):
    store = open_store(start_redis(program, **settings).url, durable_fsync=True)
    with pytest.raises(StoreUnusable) as caught:
        await store.open()
    await store.aclose()

    assert caught.value.reason == "store_cannot_fsync"
    assert "appendonly yes" in str(caught.value)
    assert "\n" not in str(caught.value)
