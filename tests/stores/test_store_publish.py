"""Publishing: enforced first, durable or refused, and never forgotten."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import clock
from sidecar.core.identity import Kind
from sidecar.core.revocation import Revocation
from sidecar.stores import publish
from sidecar.stores.interface import StoreError
from sidecar.stores.publish import Outbox


async def test_a_published_revocation_is_enforced_and_in_the_store(start_node, revocation):
    node = await start_node("sqlite://")
    await node.publisher.publish([revocation(1), revocation(2)])

    assert node.knows(revocation(1), revocation(2))
    assert [each async for page in node.store.snapshot() for each in page] == [revocation(1), revocation(2)]
    assert node.publisher.waiting == 0


async def test_it_is_enforced_before_the_store_is_asked(start_node, revocation):
    node = await start_node("sqlite://")
    publishing = asyncio.create_task(node.publisher.publish([revocation()]))
    await asyncio.sleep(0)  # one step of the task, far from any answer

    assert node.knows(revocation())
    assert node.seen == [revocation()]
    await publishing


FAULTS = {
    "hung": (lambda server: server.suspend(), lambda server: server.resume(), "store_timeout"),
    "gone": (lambda server: server.kill(), lambda server: server.start(), "store_unavailable"),
    "full": (
        lambda server: server.command("CONFIG", "SET", "maxmemory", "1"),
        lambda server: server.command("CONFIG", "SET", "maxmemory", "0"),
        "store_full",
    ),
    "without its replicas": (
        lambda server: server.command("CONFIG", "SET", "min-replicas-to-write", "1"),
        lambda server: server.command("CONFIG", "SET", "min-replicas-to-write", "0"),
        "store_refused",
    ),
    "a copy": (
        lambda server: server.command("REPLICAOF", "127.0.0.1", "1"),
        lambda server: server.command("REPLICAOF", "NO", "ONE"),
        "store_not_master",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_refused_logout_is_answered_in_time_enforced_here_and_published_later(
    redis_server, start_node, revocation, until, fault
):
    damage, mend, reason = FAULTS[fault]
    node, other = await start_node(redis_server.url), await start_node(redis_server.url)
    damage(redis_server)
    began = clock.boot()

    with pytest.raises(StoreError) as caught:
        await node.publisher.publish([revocation()])

    assert clock.boot() - began < 1
    assert caught.value.reason == reason
    assert node.knows(revocation())
    assert node.publisher.waiting == 1

    await asyncio.to_thread(mend, redis_server)
    assert await until(lambda: node.publisher.waiting == 0) < 5
    await until(lambda: other.knows(revocation()))


async def test_a_caller_that_goes_away_does_not_take_the_logout_with_it(redis_server, start_node, revocation, until):
    node = await start_node(redis_server.url)
    redis_server.suspend()
    publishing = asyncio.create_task(node.publisher.publish([revocation()]))
    await asyncio.sleep(0)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing

    assert node.publisher.waiting == 1
    redis_server.resume()
    await until(lambda: node.publisher.waiting == 0)


async def test_a_defect_in_the_store_does_not_take_the_logout_with_it(redis_server, start_node, revocation, until):
    node = await start_node(redis_server.url)
    append, node.store.append = node.store.append, lambda _revocations: 1 / 0
    with pytest.raises(ZeroDivisionError):
        await node.publisher.publish([revocation()])
    assert node.publisher.waiting == 1

    node.store.append = append
    await until(lambda: node.publisher.waiting == 0)
    assert redis_server.command("XLEN", "{lg:rv}:log") == 1


async def test_an_error_never_repeats_what_was_to_be_written(redis_server, start_node, revocation):
    node = await start_node(redis_server.url)
    redis_server.command("CONFIG", "SET", "maxmemory", "1")

    with pytest.raises(StoreError) as caught:
        await node.publisher.publish([Revocation(Kind.SID, b"sixteen-secrets!", 1, 2**32 - 1)])

    assert "secrets" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_what_expires_while_it_waits_is_not_published(redis_server, start_node, revocation, until):
    now = clock.wall()
    offset = 0.0
    node = await start_node(redis_server.url, wall=lambda: now + offset)
    redis_server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreError):
        await node.publisher.publish([revocation()])
    offset = 7200.0
    await until(lambda: node.publisher.waiting == 0)

    assert redis_server.command("XLEN", "{lg:rv}:log") == 0


async def test_closing_with_something_waiting_is_quick(redis_server, start_node, revocation):
    node = await start_node(redis_server.url)
    redis_server.kill()
    with pytest.raises(StoreError):
        await node.publisher.publish([revocation()])

    async with asyncio.timeout(1):
        await node.publisher.aclose()


async def test_a_full_outbox_still_enforces_and_says_what_it_drops(redis_server, start_node, revocation, caplog):
    node = await start_node(redis_server.url)
    node.publisher._outbox = Outbox(1)
    redis_server.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreError):
        await node.publisher.publish([revocation(1), revocation(2), revocation(3)])

    assert node.knows(revocation(1), revocation(2), revocation(3))
    assert node.publisher.waiting == 1
    assert [record.fields["dropped"] for record in caplog.records if record.getMessage() == "outbox_full"] == [2]


@pytest.mark.parametrize("options", [{}, {"durable_replicas": 1}])
async def test_a_write_whose_answer_is_lost_again_and_again_is_in_the_log_once(
    start_redis, start_node, revocation, until, monkeypatch, patience, options
):
    """As with a disk that is slower than our time-outs: each attempt does its work, and nobody hears of it."""
    monkeypatch.setattr(publish, "PAUSE_S", 0.05)
    server = start_redis("redis")
    if options:
        start_redis("redis", replicaof=f"127.0.0.1 {server.port}")
        await until(lambda: server.command("INFO", "replication").get("slave0", {}).get("state") == "online", 10)
    node = await start_node(server.url, options=options, **patience)
    append, attempts = node.store.append, []

    async def append_in_vain(revocations):
        attempts.append(revocations)
        await append(revocations)
        raise StoreError("store_timeout")

    node.store.append = append_in_vain
    node.publisher._keep([revocation()])  # as one whose first attempt is over

    await until(lambda: node.publisher.waiting == 0)
    assert len(attempts) == server.command("XLEN", "{lg:rv}:log")
    assert len(attempts) <= 3  # until the feed has heard it


# The outbox by itself


def entry(number: int, cutoff: int = 1, expires: int = 10) -> Revocation:
    return Revocation(Kind.SID, bytes((number,)) * 16, cutoff, expires)


@pytest.mark.parametrize(("limit", "taken"), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 3)])
def test_an_outbox_takes_no_more_than_its_limit(limit, taken):
    outbox = Outbox(limit)

    assert [outbox.put(entry(number)) for number in range(3)].count(True) == taken
    assert len(outbox) == taken


def test_a_full_outbox_still_merges_into_what_it_holds():
    outbox = Outbox(1)
    outbox.put(entry(1, cutoff=5))

    assert outbox.put(entry(1, cutoff=7))
    assert outbox.first(10) == [entry(1, cutoff=7)]


def test_an_outbox_keeps_what_grew_while_it_was_being_written():
    outbox = Outbox(10)
    outbox.put(entry(1, cutoff=5))
    outbox.put(entry(2))
    taken = outbox.first(10)
    outbox.put(entry(1, cutoff=7))
    outbox.done(taken)

    assert outbox.first(10) == [entry(1, cutoff=7)]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 9)), max_size=30), st.integers(1, 7))
def test_an_outbox_drains_in_batches_of_any_size_without_loss(puts, size):
    outbox = Outbox(100)
    latest: dict[bytes, tuple[int, int]] = {}
    for number, cutoff, expires in puts:
        put = entry(number, cutoff, expires)
        outbox.put(put)
        known = latest.get(put.digest, (0, 0))
        latest[put.digest] = (max(known[0], cutoff), max(known[1], expires))
    drained = {}
    while batch := outbox.first(size):
        assert len(batch) <= size
        drained |= {each.digest: (each.cutoff, each.expires) for each in batch}
        outbox.done(batch)

    assert drained == latest
