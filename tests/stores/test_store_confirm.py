"""`store.confirm: all`: a logout is acknowledged when no other replica may serve without it."""

import asyncio

import pytest

from sidecar import clock
from sidecar.core.freshness import State
from sidecar.stores.interface import Mark, StoreError
from sidecar.stores.redis_append import log_name

ALL = {"confirms": True}
REPLICAS = "{lg:rv}:replicas"


async def refusal(work) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await work
    return caught.value


@pytest.fixture
async def trio(redis_server, start_node):
    return [await start_node(redis_server.url, options=ALL) for _ in range(3)]


async def test_when_it_returns_every_other_replica_enforces_it(trio, revocation):
    for number in range(30):
        await trio[number % 3].publisher.publish_everywhere([revocation(number)])
        assert all(node.knows(revocation(number)) for node in trio)


async def test_a_hundred_at_once_are_confirmed_together(trio, revocation):
    revocations = [revocation(number) for number in range(100)]
    began = clock.boot()
    await asyncio.gather(*(trio[0].publisher.publish_everywhere([each]) for each in revocations))

    assert all(node.knows(*revocations) for node in trio)
    assert clock.boot() - began < 0.8


async def test_without_other_replicas_nobody_is_waited_for(redis_server, start_node, revocation):
    node = await start_node(redis_server.url, options=ALL)
    began = clock.boot()
    await node.publisher.publish_everywhere([revocation()])

    assert clock.boot() - began < 0.2


async def test_a_replica_that_does_not_ask_confirms_for_those_that_do(redis_server, start_node, revocation, until):
    quiet = await start_node(redis_server.url)
    asking = await start_node(redis_server.url, options=ALL)
    await until(lambda: quiet.store.is_awaited)  # it hears of the other at its next check
    await asking.publisher.publish_everywhere([revocation()])

    assert quiet.knows(revocation())


async def test_where_nobody_asks_no_replica_writes_more_than_its_heartbeat(redis_server, start_node, revocation, until):
    node, other = await start_node(redis_server.url), await start_node(redis_server.url)
    await node.publisher.publish([revocation(number) for number in range(20)])
    await until(lambda: other.knows(revocation(19)))

    assert redis_server.command("HGET", REPLICAS, other.store._presence.name).endswith(b" 0-0 -")


async def test_a_replica_that_hangs_keeps_it_unconfirmed_until_it_has_stopped_serving(
    redis_server, start_node, revocation, until
):
    node = await start_node(redis_server.url, options=ALL)
    hung = await start_node(redis_server.url, options=ALL, fresh=0.4, grace=0.5)
    await until(lambda: node.store._presence._roll.serving(clock.boot()) == 1)
    await hung.feed.aclose()

    error = await refusal(node.publisher.publish_everywhere([revocation()]))
    assert error.reason == "logout_unconfirmed"
    assert "1 of 1" in str(error)
    assert node.publisher.waiting == 0  # it is durable
    while (await _is_unconfirmed(node, revocation())) is not None:
        assert clock.boot() - hung.freshness._proved < 5
    assert hung.freshness.state(clock.boot()) is State.BLIND
    assert not hung.knows(revocation())


async def _is_unconfirmed(node, revocation) -> str | None:
    try:
        await node.publisher.publish_everywhere([revocation])
    except StoreError as error:
        return error.reason
    return None


async def test_a_replica_that_ends_in_order_is_not_waited_for(redis_server, start_node, revocation):
    node = await start_node(redis_server.url, options=ALL)
    other = await start_node(redis_server.url, options=ALL)
    await node.publisher.publish_everywhere([revocation(1)])
    await other.close()
    began = clock.boot()
    await node.publisher.publish_everywhere([revocation(2)])

    assert clock.boot() - began < 0.3


async def test_a_replica_confirms_only_what_all_its_processes_enforce(redis_server, start_node, revocation, until):
    settled = asyncio.Event()

    async def everywhere() -> bool:
        return settled.is_set()

    node = await start_node(redis_server.url, options=ALL)
    pod = await start_node(redis_server.url, options=ALL, everywhere=everywhere)
    assert (await refusal(node.publisher.publish_everywhere([revocation()]))).reason == "logout_unconfirmed"
    assert pod.knows(revocation())

    settled.set()
    await node.publisher.publish_everywhere([revocation()])


async def test_a_store_that_lost_everything_confirms_nothing_of_before(redis_server, start_node, revocation, until):
    node, other = [await start_node(redis_server.url, options=ALL) for _ in range(2)]
    await node.publisher.publish_everywhere([revocation(1)])
    mark = await node.store.append([revocation(2)])
    assert mark is not None
    await other.feed.aclose()
    await asyncio.to_thread(redis_server.restart)

    error = await refusal(node.store.confirmed(mark, 0.2))
    assert error.reason in {"logout_unconfirmed", "store_unavailable"}


async def test_a_mark_names_the_log_and_the_last_entry(redis_server, start_node, revocation):
    node = await start_node(redis_server.url, options=ALL)
    mark = await node.store.append([revocation(1), revocation(2)])
    info, epoch = redis_server.command("INFO", "server"), redis_server.command("HGET", "{lg:rv}:meta", "epoch")
    (last, _), *_ = redis_server.command("XREVRANGE", "{lg:rv}:log", "+", "-")

    first, _, second = last.partition(b"-")
    assert mark == Mark(log_name(info["run_id"], epoch), (int(first), int(second)))


async def test_the_confirmation_is_over_before_the_answer_is_due(redis_server, start_node, revocation):
    node = await start_node(redis_server.url, options=ALL)
    await (await start_node(redis_server.url, options=ALL)).feed.aclose()
    began = clock.boot()
    await refusal(node.publisher.publish_everywhere([revocation()]))

    assert clock.boot() - began < 0.9


async def test_a_replica_is_on_record_before_it_reads(redis_server, start_node):
    """Else somebody could append and look for it in between, and find neither it nor a reason to wait."""
    node = await start_node(redis_server.url, running=False, options=ALL)
    calls: list[str] = []
    inspect, look = node.store._inspect, node.store._look
    node.store._inspect = lambda: calls.append("record") or inspect()
    node.store._look = lambda **kw: calls.append("read") or look(**kw)
    await node.start()
    async with asyncio.timeout(5):
        while len(calls) < 4:
            await asyncio.sleep(0.01)

    assert calls[:4] == ["record", "read", "record", "read"]
