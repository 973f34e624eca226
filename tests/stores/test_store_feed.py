"""The feed on real servers that are killed, flushed, suspended and filled."""

import asyncio
from itertools import pairwise

import pytest

from sidecar import clock, metrics
from sidecar.core.freshness import State
from sidecar.stores import feed
from sidecar.stores.interface import PAGE
from sidecar.stores.packing import pack_revocation

LOG = "{lg:rv}:log"


async def in_thread(call, *args, **kwargs):
    """The server helpers block; the feeds must go on meanwhile."""
    return await asyncio.to_thread(call, *args, **kwargs)


# Load and follow


async def test_what_was_stored_before_the_start_is_known_when_loaded(tmp_path, start_node, revocation):
    url = f"sqlite:///{tmp_path}/state.db"
    first = await start_node(url)
    expected = [revocation(number) for number in range(1200)]
    await first.publisher.publish(expected)
    await first.close()

    second = await start_node(url)

    assert second.knows(*expected)
    assert second.feed.state is State.FRESH


async def test_a_logout_at_one_replica_is_enforced_by_the_other_within_250_ms(
    redis_server, start_node, revocation, until
):
    one, other = await start_node(redis_server.url), await start_node(redis_server.url)
    for number, (here, there) in enumerate([(one, other), (other, one)] * 5):
        await here.publisher.publish([revocation(number)])

        assert await until(lambda there=there, number=number: there.knows(revocation(number))) < 0.25


async def test_every_change_is_announced_once_own_ones_too(redis_server, start_node, revocation, until):
    one, other = await start_node(redis_server.url), await start_node(redis_server.url)
    await one.publisher.publish([revocation(1)])
    await one.publisher.publish([revocation(1)])
    await other.publisher.publish([revocation(2)])
    await until(lambda: one.knows(revocation(2)) and other.knows(revocation(1)))

    assert one.seen == [revocation(1), revocation(2)]
    assert sorted(each.digest for each in other.seen) == [revocation(1).digest, revocation(2).digest]


async def test_an_idle_replica_stays_fresh(redis_server, start_node):
    node = await start_node(redis_server.url, fresh=0.75)
    end = clock.boot() + 2.5
    while clock.boot() < end:
        assert node.feed.state is State.FRESH
        await asyncio.sleep(0.005)


async def test_an_answer_that_leaves_something_behind_proves_nothing(start_node, revocation):
    node = await start_node("sqlite://", running=False)
    await node.store.open()
    async for _ in node.store.snapshot():
        pass
    await node.store.append([revocation(number) for number in range(PAGE + 1)])

    await node.feed._follow()
    assert node.feed.state is State.BLIND

    await node.feed._follow()
    assert node.feed.state is State.FRESH


# Outages


async def test_a_server_that_is_absent_at_the_start_is_waited_for(redis_server, start_node, until):
    redis_server.kill()
    node = await start_node(redis_server.url, loaded=False)
    await until(lambda: node.feed.last_error == "store_unavailable")
    assert not node.feed.loaded.is_set()
    assert node.feed.state is State.BLIND

    await in_thread(redis_server.start)

    assert await until(node.feed.loaded.is_set) < 5
    assert node.feed.state is State.FRESH
    assert node.feed.last_error is None


@pytest.mark.parametrize("fault", ["suspend", "kill"])
async def test_a_replica_cut_off_is_fresh_then_stale_then_blind_and_recovers(redis_server, start_node, until, fault):
    node = await start_node(redis_server.url, fresh=1.0, grace=2.0)
    loaded = node.freshness._proved
    await until(lambda: node.freshness._proved > loaded + 0.5)  # it follows
    await in_thread(getattr(redis_server, fault))
    cut = clock.boot()

    await until(lambda: node.feed.state is State.STALE)
    assert clock.boot() - cut >= 0.4  # the last proof may be half a second old when the cut comes
    await until(lambda: node.feed.state is State.BLIND)
    assert clock.boot() - cut < 2.5
    assert node.feed.loaded.is_set()

    await in_thread(redis_server.resume if fault == "suspend" else redis_server.start)
    assert await until(lambda: node.feed.state is State.FRESH) < 3


async def test_an_outage_is_logged_once_and_its_end_once(redis_server, start_node, until, caplog):
    caplog.set_level("INFO")
    node = await start_node(redis_server.url)
    await in_thread(redis_server.kill)
    await until(lambda: node.feed.state is State.BLIND)
    await in_thread(redis_server.start)
    await until(lambda: node.feed.state is State.FRESH)

    said = [record.getMessage() for record in caplog.records]
    reasons = [record.fields["reason"] for record in caplog.records if record.getMessage() == "store_failed"]
    assert len(reasons) == len(set(reasons))
    assert said.count("store_recovered") == 1
    assert said.count("freshness_changed") >= 2


# Healing

LOSSES = {
    "FLUSHALL": lambda server: server.command("FLUSHALL"),
    "DEL": lambda server: server.command("DEL", LOG),
    "kill -9 without persistence": lambda server: server.restart(),
    "DEL and ids that go back": lambda server: (
        server.command("DEL", LOG),
        server.command("XADD", LOG, "1-1", "e", b"?"),
    ),
}


@pytest.mark.parametrize("loss", LOSSES)
async def test_what_the_store_lost_is_published_again_within_three_seconds(
    redis_server, start_node, revocation, until, loss
):
    expected = [revocation(number) for number in range(1200)]
    nodes = [await start_node(redis_server.url) for _ in range(2)]
    await nodes[0].publisher.publish(expected)
    await until(lambda: nodes[1].knows(*expected))

    await in_thread(LOSSES[loss], redis_server)

    reader = (await start_node(redis_server.url, running=False)).store

    async def known_to_a_new_one() -> bool:
        found = {each async for page in reader.snapshot() for each in page}
        return found >= set(expected)

    async with asyncio.timeout(3):
        while not await known_to_a_new_one():
            await asyncio.sleep(0.05)
    assert (await start_node(redis_server.url)).knows(*expected)
    for node in nodes:
        assert node.knows(*expected)


async def test_a_logout_after_a_silent_loss_is_enforced_everywhere_in_time(redis_server, start_node, revocation, until):
    one, other = await start_node(redis_server.url), await start_node(redis_server.url)
    await one.publisher.publish([revocation(1)])
    redis_server.command("FLUSHALL")

    await one.publisher.publish([revocation(2)])

    assert await until(lambda: other.knows(revocation(2))) < 2


async def test_ids_that_go_back_are_noticed_within_a_second_and_a_half(redis_server, start_node, revocation, until):
    node = await start_node(redis_server.url)
    await node.publisher.publish([revocation(1)])
    redis_server.command("DEL", LOG)
    redis_server.command("XADD", LOG, "1-1", "e", pack_revocation(revocation(2), 0))

    assert await until(lambda: node.knows(revocation(2))) < 1.6


async def test_a_lost_connection_is_no_loss_of_data_and_publishes_nothing(redis_server, start_node, revocation, until):
    node = await start_node(redis_server.url)
    await node.publisher.publish([revocation(number) for number in range(700)])
    before = metrics.store_errors.labels(reason="store_unavailable")._value.get()
    redis_server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await until(lambda: node.feed.last_error is None and node.feed.state is State.FRESH)
    await node.publisher.publish([revocation(9999)])
    await until(lambda: node.feed._known is None)

    assert redis_server.command("XLEN", LOG) == 701
    assert metrics.store_errors.labels(reason="store_unavailable")._value.get() >= before


async def test_the_digest_secret_comes_back_with_the_rest(redis_server, start_node, until):
    node = await start_node(redis_server.url)
    secret = await node.store.secret()
    redis_server.command("FLUSHALL")

    await until(lambda: redis_server.command("HGET", "{lg:rv}:meta", "secret") == secret)


async def test_an_entry_that_nobody_can_read_does_not_stop_the_others(redis_server, start_node, revocation, until):
    redis_server.command("XADD", LOG, "*", "e", b"rubbish")
    redis_server.command("XADD", LOG, "*", "f", b"rubbish")
    node = await start_node(redis_server.url)
    redis_server.command("XADD", LOG, "*", "e", b"\xff" * 31)

    await node.publisher.publish([revocation()])
    redis_server.command("XADD", LOG, "*", "e", pack_revocation(revocation(2), 0))

    await until(lambda: node.knows(revocation(), revocation(2)))


# Not a writable master


async def test_a_server_that_is_not_a_master_proves_nothing(start_redis, start_node, until):
    master = start_redis("redis")
    copy = start_redis("redis", replicaof=f"127.0.0.1 {master.port}")
    node = await start_node(copy.url, loaded=False)
    await until(lambda: node.feed.last_error == "store_not_master")

    assert node.feed.state is State.BLIND
    assert not node.feed.loaded.is_set()


async def test_a_master_that_becomes_a_copy_is_not_believed_any_more(start_redis, start_node, until):
    master, other = start_redis("redis"), start_redis("redis")
    node = await start_node(master.url, fresh=1.0, grace=1.5)
    master.command("REPLICAOF", "127.0.0.1", other.port)

    await until(lambda: node.feed.state is State.BLIND)


async def test_a_master_without_its_replicas_is_not_believed(redis_server, start_node, until):
    node = await start_node(redis_server.url, fresh=1.0, grace=1.5)
    redis_server.command("CONFIG", "SET", "min-replicas-to-write", "1")

    await until(lambda: node.feed.state is State.BLIND)
    assert node.feed.last_error == "store_refused"


async def test_a_full_server_refuses_logouts_and_stays_fresh(redis_server, start_node, revocation, until):
    node = await start_node(redis_server.url)
    redis_server.command("CONFIG", "SET", "maxmemory", "1")
    end = clock.boot() + 2
    while clock.boot() < end:
        assert node.feed.state is State.FRESH
        await asyncio.sleep(0.01)
    newborn = await start_node(redis_server.url)
    assert newborn.feed.state is State.FRESH


# Expiry


async def test_expired_revocations_leave_the_replica_and_live_ones_stay(start_node, revocation, until):
    node = await start_node("sqlite://")
    old = revocation(0, expires=1000)  # digest 0: the shard that is swept first
    node.replica.apply(old)
    node.replica.apply(revocation(1))
    node.replica._next_swept = 0

    await until(lambda: not node.knows(old))
    assert node.knows(revocation(1))


@pytest.mark.parametrize("step", [3600, -3600])
async def test_a_step_of_the_wall_clock_expires_nothing(start_node, revocation, monkeypatch, step):
    node = await start_node("sqlite://")
    node.replica.apply(revocation(0, expires=int(clock.wall()) + 1800))
    wall = clock.wall
    monkeypatch.setattr(clock, "wall", lambda: wall() + step)
    for _ in range(256):
        node.replica.sweep(node.feed._wall())

    assert node.knows(revocation(0))


# SQLite


async def test_a_second_process_on_the_same_file_is_heard_within_250_ms(tmp_path, start_node, revocation, until):
    url = f"sqlite:///{tmp_path}/state.db"
    one, other = await start_node(url), await start_node(url)
    await one.publisher.publish([revocation()])

    assert await until(lambda: other.knows(revocation())) < 0.25


# Defects of ours


async def test_a_defect_in_the_feed_ends_the_proofs_is_loud_and_is_survived(
    start_node, revocation, until, caplog, monkeypatch
):
    monkeypatch.setattr(feed, "FAULT_S", 1.0)  # longer than `grace`: the load that follows is a proof again
    node = await start_node("sqlite://", fresh=0.3, grace=0.5)
    follow, node.store.follow = node.store.follow, lambda: 1 / 0
    await until(lambda: node.feed.state is State.BLIND)
    assert node.feed.last_error == "feed_fault"
    assert "feed_fault" in caplog.text

    await node.store.append([revocation()])
    node.store.follow = follow
    await until(lambda: node.feed.state is State.FRESH and node.feed.last_error is None)
    assert node.knows(revocation())


async def test_a_defect_that_strikes_once_is_over_before_it_blinds_anybody(start_node, until, caplog):
    node = await start_node("sqlite://", fresh=30.0, grace=30.0)
    follow, calls = node.store.follow, []

    async def once():
        calls.append(clock.boot())
        if len(calls) == 1:
            raise ZeroDivisionError
        return await follow()

    node.store.follow = once
    await until(lambda: len(calls) > 1)

    assert caplog.text.count("CRITICAL") == 1
    assert calls[1] - calls[0] < 1.0
    assert node.feed.state is State.FRESH


async def test_a_defect_that_goes_on_is_met_ever_more_slowly(start_node, until, monkeypatch):
    monkeypatch.setattr(feed, "FAULT_S", 0.4)
    node = await start_node("sqlite://", running=False)
    met = []

    async def defective():
        met.append(clock.boot())
        raise ZeroDivisionError

    node.feed._spawn(node.feed._lasting(defective))
    await until(lambda: len(met) == 5)

    pauses = [later - earlier for earlier, later in pairwise(met)]
    assert all(pause >= wanted for pause, wanted in zip(pauses, (0.1, 0.2, 0.4, 0.4), strict=True))


@pytest.mark.parametrize("part", ["prune", "reread", "sweep"])
async def test_a_defect_beside_the_feed_ends_neither_it_nor_the_work_itself(
    redis_server, start_node, until, caplog, monkeypatch, part
):
    monkeypatch.setattr(feed, "FAULT_S", 0.05)
    monkeypatch.setattr(feed, "PRUNE_S", 0.05)
    node = await start_node(redis_server.url, running=False)
    node.feed._audit_s = 0.05
    owner = node.replica if part == "sweep" else node.store
    calls = []

    def defective(*_):
        calls.append(part)
        raise ZeroDivisionError

    monkeypatch.setattr(type(owner), part, defective)
    await node.start()
    await until(lambda: len(calls) >= 3)

    assert node.feed.last_error is None
    assert node.feed.state is State.FRESH
    assert "feed_fault" in caplog.text


async def test_what_a_defect_kept_from_being_healed_is_healed_by_the_next_look_at_the_log(
    redis_server, start_node, revocation, until, caplog, monkeypatch
):
    node = await start_node(redis_server.url, running=False)
    node.feed._audit_s = 0.3
    await node.start()
    await node.loaded()
    await node.publisher.publish([revocation()])
    restore, node.store.restore = node.store.restore, lambda _: 1 / 0
    redis_server.command("FLUSHALL")
    await until(lambda: caplog.text.count("feed_fault") > 3)  # after the load, and at each look since then
    node.store.restore = restore

    await until(lambda: redis_server.command("XLEN", LOG) == 1)
