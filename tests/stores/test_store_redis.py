"""What only Redis has: its schema, its warnings, its passwords and its clusters of trouble."""

import asyncio
import time

import pytest

from sidecar import clock
from sidecar.core.identity import BoundSession
from sidecar.stores.interface import StoreError, StoreUnusable
from sidecar.stores.open import open_store

SESSION = BoundSession(b"o" * 16, b"s" * 16, 1, 1)


@pytest.fixture
async def store(redis_server):
    store = open_store(redis_server.url)
    await store.open()
    yield store
    await store.aclose()


async def test_the_log_has_no_ttl_and_a_binding_has_one(redis_server, store, revocation):
    await store.append([revocation()])
    await store.put_binding(b"c" * 16, SESSION, 500)

    assert redis_server.command("TTL", "{lg:rv}:log") == -1
    assert redis_server.command("TTL", "{lg:rv}:meta") == -1
    assert 490 < redis_server.command("TTL", b"lg:b:" + b"c" * 16) <= 500


async def test_a_log_entry_is_one_field_of_31_bytes(redis_server, store, revocation):
    await store.append([revocation()])

    ((_, fields),) = redis_server.command("XRANGE", "{lg:rv}:log", "-", "+")
    assert {name: len(value) for name, value in fields.items()} == {b"e": 31}


async def test_the_epoch_is_made_once(redis_server, store):
    before = redis_server.command("HGETALL", "{lg:rv}:meta")
    other = open_store(redis_server.url)
    await other.open()
    await other.aclose()

    assert redis_server.command("HGETALL", "{lg:rv}:meta") == before


@pytest.mark.parametrize("schema", ["2", "a word"])
async def test_a_newer_schema_is_refused(redis_server, schema):
    redis_server.command("HSET", "{lg:rv}:meta", "schema", schema)
    store = open_store(redis_server.url)
    with pytest.raises(StoreUnusable) as caught:
        await store.open()
    await store.aclose()

    assert caught.value.reason == "store_schema_newer"


@pytest.mark.parametrize(("policy", "warned"), [("allkeys-lru", True), ("volatile-lru", False), ("noeviction", False)])
async def test_a_policy_that_may_evict_the_log_is_warned_of_once(redis_server, caplog, policy, warned):
    redis_server.command("CONFIG", "SET", "maxmemory-policy", policy)
    store = open_store(redis_server.url)
    await store.open()
    await store.open()
    await store.aclose()

    assert [record.getMessage() for record in caplog.records].count("store_may_evict") == warned


async def test_a_process_leaves_a_heartbeat_with_the_time_of_the_server(redis_server, store):
    async for _ in store.snapshot():
        pass

    beat = redis_server.command("HGET", "{lg:rv}:replicas", store._presence.name).split()[0]
    assert abs(float(beat) / 1000 - time.time()) < 5


async def test_following_without_a_snapshot_is_refused(store):
    with pytest.raises(StoreError) as caught:
        await store.follow()
    assert caught.value.reason == "log_not_loaded"


async def test_a_connection_replaced_behind_our_back_is_noticed(redis_server, store):
    async for _ in store.snapshot():
        pass
    await store.follow()
    redis_server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    (connection,) = store._reader._redis.connection_pool._available_connections
    async with asyncio.timeout(5):
        while not connection._reader.at_eof():
            await asyncio.sleep(0.005)

    with pytest.raises(StoreError) as caught:
        await store.follow()
    assert caught.value.reason == "store_reconnected"


async def test_the_first_write_after_a_restart_of_the_server_succeeds(redis_server, store, revocation):
    await store.append([revocation(1)])
    await store.put_binding(b"c" * 16, SESSION, 60)
    await asyncio.to_thread(redis_server.restart)

    await store.append([revocation(2)])
    await store.put_binding(b"c" * 16, SESSION, 60)
    assert await store.get_binding(b"c" * 16) == SESSION


async def test_a_hung_server_holds_no_binding_call_longer_than_its_time_out(redis_server, store):
    await store.put_binding(b"c" * 16, SESSION, 60)
    redis_server.suspend()
    began = clock.boot()
    outcomes = await asyncio.gather(*(store.get_binding(b"c" * 16) for _ in range(20)), return_exceptions=True)

    assert clock.boot() - began < 0.8
    assert {outcome.reason for outcome in outcomes} <= {"store_timeout", "store_unavailable"}


async def test_cancelled_calls_never_mix_up_answers(store):
    sessions = {bytes((n,)) * 16: BoundSession(bytes((n,)) * 16, None, n, n) for n in range(20)}
    for credential, session in sessions.items():
        await store.put_binding(credential, session, 60)
    for round_ in range(10):
        calls = {credential: asyncio.create_task(store.get_binding(credential)) for credential in sessions}
        for _ in range(round_):
            await asyncio.sleep(0)
        for credential in list(calls)[::3]:
            calls[credential].cancel()
        await asyncio.wait(calls.values())
        for credential, call in calls.items():
            assert call.cancelled() or call.result() == sessions[credential]


async def test_a_cancelled_follow_always_ends_cancelled(store):
    cancelled = 0
    for steps in range(600):
        async for _ in store.snapshot():
            pass
        following = asyncio.create_task(store.follow())
        for _ in range(steps % 15):
            await asyncio.sleep(0)
        time.sleep(0.0005)  # let the answer arrive, so that it and the cancellation come together
        if following.cancel():
            cancelled += 1
            await asyncio.wait((following,))

            assert following.cancelled()
    assert cancelled > 100


async def test_a_wrong_password_is_named_as_such_and_not_repeated(redis_server):
    redis_server.command("CONFIG", "SET", "requirepass", "richtig")
    store = open_store(redis_server.url.replace("127", ":geheim@127"))
    with pytest.raises(StoreError) as caught:
        await store.open()
    await store.aclose()

    assert caught.value.reason == "store_auth"
    assert "geheim" not in str(caught.value)


async def test_two_namespaces_on_one_server_see_nothing_of_each_other(redis_server, store, revocation):
    other = open_store(redis_server.url, "other")
    await other.open()
    await store.append([revocation()])
    await store.put_binding(b"c" * 16, SESSION, 60)

    assert [each async for page in other.snapshot() for each in page] == []
    assert await other.get_binding(b"c" * 16) is None
    assert await other.secret() != await store.secret()
    await other.aclose()


async def test_a_binding_that_cannot_be_read_is_an_error_and_not_a_miss(redis_server, store):
    redis_server.command("SET", b"lg:b:" + b"c" * 16, b"rubbish")

    with pytest.raises(StoreError) as caught:
        await store.get_binding(b"c" * 16)
    assert caught.value.reason == "store_entry_unreadable"


async def test_a_connection_that_cannot_be_closed_keeps_no_other_open(redis_server):
    store = open_store(redis_server.url)
    await store.open()
    await store.get_binding(b"c" * 16)
    closed = []

    async def stuck(*_):
        closed.append("writer")
        raise TimeoutError("Timed out closing connection")

    store._writer._redis.aclose, close = stuck, store._writer._redis.aclose
    await store.aclose()
    await close()

    assert closed
    assert not store._bindings._pool._available_connections[0].is_connected
