"""The store of a worker: the control process's, over a real line. Nothing is fresher, lost or late."""

import asyncio
import os

import pytest
from bench_line import Bench, revocation, until

from sidecar import clock
from sidecar.core.freshness import State
from sidecar.core.identity import BoundSession
from sidecar.stores.interface import PAGE, StoreError

SESSION = BoundSession(own=b"o" * 16, sub=b"s" * 16, login_time=1_790_000_000_123, sid_time=1_790_000_000_000)


async def test_a_worker_loads_all_that_the_control_process_knows(bench: Bench) -> None:
    control = await bench.control()
    await control.publisher.publish([revocation(number) for number in range(2 * PAGE + 7)])
    worker = await bench.worker().loaded()
    assert len(worker.replica) == 2 * PAGE + 7


async def test_a_worker_hears_of_a_logout_within_milliseconds(bench: Bench) -> None:
    control = await bench.control()
    worker = await bench.worker().loaded()
    await until(lambda: worker.freshness.age(clock.boot()) < 1)
    began = clock.boot()
    await control.publisher.publish([revocation(1)])
    await until(lambda: worker.knows(1))
    assert clock.boot() - began < 0.09  # long before the turn of an idle question is over


async def test_what_a_worker_publishes_is_in_the_store_and_in_the_other_workers(bench: Bench) -> None:
    control = await bench.control()
    one, two = await bench.worker(0).loaded(), await bench.worker(1).loaded()
    await one.store.append([revocation(1), revocation(2)])
    stored = [each async for page in bench.store.snapshot() for each in page]
    assert stored == [revocation(1), revocation(2)]
    assert len(control.replica) == 2
    await until(lambda: two.knows(1, 2))


async def test_a_worker_that_falls_behind_what_is_kept_gets_everything_again(bench: Bench) -> None:
    control = await bench.control(capacity=10)
    worker = await bench.worker().loaded()
    await control.publisher.publish([revocation(number) for number in range(100)])
    await until(lambda: worker.knows(*range(100)))
    await control.publisher.publish([revocation(100)])
    await until(lambda: worker.knows(100))


async def test_a_worker_is_never_fresher_than_the_control_process(bench: Bench) -> None:
    control = await bench.control()
    worker = await bench.worker().loaded()
    began = clock.boot()
    while clock.boot() - began < 0.7:
        now = clock.boot()
        assert worker.freshness.age(now) >= control.freshness.age(now) - 1e-6
        await asyncio.sleep(0.005)
    assert worker.freshness.state(clock.boot()) is State.FRESH


async def test_a_worker_goes_stale_with_the_control_process_though_it_is_answered(bench: Bench) -> None:
    control = await bench.control()
    worker = await bench.worker().loaded()
    await until(lambda: worker.freshness.age(clock.boot()) < 1)
    await control.feed.aclose()  # its store is silent from here on
    await until(lambda: worker.freshness.state(clock.boot()) is State.STALE)
    assert worker.feed.last_error is None


async def test_a_worker_is_not_loaded_before_the_control_process_is(bench: Bench) -> None:
    control = await bench.control()
    await until(control.feed.loaded.is_set)
    control.feed.loaded.clear()
    worker = bench.worker()
    worker.feed.start()
    await control.publisher.publish([revocation(1)])
    await until(lambda: worker.knows(1))  # it need not wait for that
    assert not worker.feed.loaded.is_set()
    control.feed.loaded.set()
    await until(worker.feed.loaded.is_set)


async def test_bindings_are_those_of_the_store(bench: Bench) -> None:
    await bench.control()
    worker = bench.worker()
    await worker.store.put_binding(b"c" * 16, SESSION, 3600)
    assert await bench.store.get_binding(b"c" * 16) == SESSION
    assert await worker.store.get_binding(b"c" * 16) == SESSION
    assert await worker.store.get_binding(b"d" * 16) is None


async def test_sealed_values_and_claims_are_those_of_the_store(bench: Bench) -> None:
    await bench.control()
    one, two = bench.worker(0).store, bench.worker(1).store
    await one.put_sealed(b"n" * 16, b"value", 3600)
    assert await bench.store.get_sealed(b"n" * 16) == await two.get_sealed(b"n" * 16) == b"value"
    assert await two.get_sealed(b"m" * 16) is None
    await two.delete_sealed(b"n" * 16)
    assert await one.get_sealed(b"n" * 16) is None
    assert await one.claim(b"n" * 16, 3600)
    assert not await two.claim(b"n" * 16, 3600)
    assert not await bench.store.claim(b"n" * 16, 3600)


async def test_a_secret_that_the_store_made_once_is_told(bench: Bench) -> None:
    await bench.control()
    worker = bench.worker().store
    assert await worker.kept_secret() == await bench.store.kept_secret()
    made = await bench.store.secret()
    assert await worker.kept_secret() == made


async def test_the_secret_is_that_of_the_store(bench: Bench) -> None:
    await bench.control()
    assert await bench.worker().store.secret() == await bench.store.secret()


async def test_an_error_of_the_store_arrives_with_its_reason(bench: Bench) -> None:
    await bench.control()
    worker = await bench.worker().loaded()
    await bench.store.aclose()
    with pytest.raises(StoreError) as caught:
        await worker.store.get_binding(b"c" * 16)
    assert caught.value.reason == "store_closed"


async def test_without_a_control_process_the_store_is_unavailable(bench: Bench) -> None:
    worker = bench.worker()
    began = clock.boot()
    with pytest.raises(StoreError) as caught:
        await asyncio.wait_for(worker.store.get_binding(b"c" * 16), 5)
    assert caught.value.reason == "control_unavailable"
    assert clock.boot() - began < 3


async def test_following_without_having_loaded_is_refused(bench: Bench) -> None:
    await bench.control()
    with pytest.raises(StoreError) as caught:
        await bench.worker().store.follow()
    assert caught.value.reason == "log_not_loaded"


async def test_a_new_control_process_is_followed_and_told_what_it_lacks(bench: Bench) -> None:
    control = await bench.control()
    await control.publisher.publish([revocation(1)])
    worker = await bench.worker().loaded()
    await bench.store.aclose()  # in memory: everything is forgotten
    control = await bench.control()
    assert len(control.replica) == 0
    await until(lambda: len(control.replica) == 1)
    await control.publisher.publish([revocation(2)])
    await until(lambda: worker.knows(1, 2))


# Every worker enforces


async def test_a_change_is_everywhere_when_the_workers_have_applied_it(bench: Bench) -> None:
    control = await bench.control()
    workers = [await bench.worker(slot).loaded() for slot in range(3)]
    for number in range(20):
        await asyncio.gather(control.publisher.publish([revocation(number)]), control.hub.everywhere())
        assert all(worker.knows(number) for worker in workers)
    assert all(worker.process.poll() is None for worker in workers)


async def test_a_worker_that_does_not_confirm_is_dead_when_the_answer_goes_out(bench: Bench) -> None:
    control = await bench.control()
    good, bad = await bench.worker(0).loaded(), await bench.worker(1).loaded()
    await bad.feed.aclose()  # it asks nothing any more
    began = clock.boot()
    await asyncio.gather(control.publisher.publish([revocation(1)]), control.hub.everywhere())
    assert clock.boot() - began < 0.8
    assert bad.process.wait(0) == -9
    assert good.process.poll() is None
    await control.hub.everywhere()  # and nobody waits for it again


async def test_a_worker_that_cannot_be_killed_keeps_the_logout_from_being_acknowledged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = await bench.control()
    worker = await bench.worker().loaded()
    await worker.feed.aclose()
    monkeypatch.setattr("signal.pidfd_send_signal", lambda pidfd, number: None)  # as for one in uninterruptible sleep
    await control.publisher.publish([revocation(1)])
    with pytest.raises(StoreError) as caught:
        await control.hub.everywhere()
    assert caught.value.reason == "workers_behind"


async def test_a_worker_from_before_the_control_process_has_to_confirm_as_well(bench: Bench) -> None:
    worker = bench.worker()
    control = await bench.control(living={worker.process.pid: os.pidfd_open(worker.process.pid)})
    await control.publisher.publish([revocation(1)])
    answer = asyncio.create_task(control.hub.everywhere())
    await worker.loaded()
    await answer
    assert worker.knows(1)
    assert worker.process.poll() is None


async def test_a_worker_of_before_that_never_comes_back_is_ended(bench: Bench) -> None:
    worker = bench.worker()
    control = await bench.control(living={worker.process.pid: os.pidfd_open(worker.process.pid)})
    await control.hub.everywhere()
    assert worker.process.wait(0) == -9


async def test_a_logout_reaches_a_worker_that_is_loading_before_the_rest_does(bench: Bench) -> None:
    control = await bench.control()
    await control.publisher.publish([revocation(number) for number in range(3 * PAGE)])
    await bench.store.follow()
    control = await bench.control()  # the load of this one is not in its journal
    await until(control.feed.loaded.is_set)
    worker = bench.worker()
    pages = worker.store.snapshot()
    await anext(pages)
    await control.publisher.publish([revocation(5000)])
    assert revocation(5000) in await anext(pages)
    assert await anext(pages)  # the question that confirms it
    await asyncio.wait_for(control.hub.everywhere(), 0.1)


async def test_a_worker_with_another_digest_key_is_replaced(bench: Bench) -> None:
    await bench.control()
    worker = bench.worker(key=b"another one, of the same length")
    with pytest.raises(StoreError) as caught:
        await anext(worker.store.snapshot())
    assert caught.value.reason == "store_secret_conflict"
    assert worker.process.wait(2) == -9


async def test_readiness_is_told_with_each_question(bench: Bench) -> None:
    control = await bench.control()
    assert control.hub.problem(0) == "not connected"
    worker = await bench.worker(0).loaded()
    assert control.hub.problem(0) == "not serving yet"
    worker.is_serving = True
    await until(lambda: control.hub.problem(0) is None)
    assert control.hub.ready == 1
    await worker.cut()
    await until(lambda: control.hub.problem(0) == "not connected")
