"""Losses that nobody announces: entries taken out of the log, files taken away, tasks that met a defect."""

import sqlite3

import pytest
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from sidecar.config.session_settings import SessionSettings
from sidecar.core.freshness import State
from sidecar.core.identity import BoundSession
from sidecar.core.replica import Replica
from sidecar.core.revocation import LONGEST_S, SLACK_S
from sidecar.stores import backoff, publish, sqlite_file
from sidecar.stores.interface import Batch, StoreError
from sidecar.stores.packing import pack_revocation
from sidecar.stores.redis_trim import first_live
from sidecar.stores.sqlite import SqliteStore

LOG = "{lg:rv}:log"
SESSION = BoundSession(b"o" * 16, None, 1, 1)


# Entries taken out of the log


def trim_all(server):
    server.command("XTRIM", LOG, "MAXLEN", 0)


def delete_the_first(server):
    ((entry, _),) = server.command("XRANGE", LOG, "-", "+", "COUNT", 1)
    server.command("XDEL", LOG, entry)


@pytest.mark.parametrize("take_out", [trim_all, delete_the_first])
async def test_what_somebody_takes_out_of_the_log_is_put_back(redis_server, start_node, revocation, until, take_out):
    node = await start_node(redis_server.url, running=False)
    node.feed._audit_s = 0.1
    await node.start()
    await node.loaded()
    expected = [revocation(number) for number in range(3)]
    await node.publisher.publish(expected)
    take_out(redis_server)

    await until(lambda: redis_server.command("XLEN", LOG) == 3)
    assert (await start_node(redis_server.url)).knows(*expected)


async def look(node):
    node.feed._known = known = Replica()
    await node.feed._compare(node.store.reread(), known)


async def test_a_look_at_a_whole_log_writes_nothing_and_what_ends_soon_is_left_alone(
    redis_server, start_node, revocation
):
    node = await start_node(redis_server.url)
    await node.publisher.publish([revocation(1), revocation(2)])
    await look(node)
    assert redis_server.command("XLEN", LOG) == 2

    ending = revocation(3, expires=int(node.wall()) + 30)
    await node.publisher.publish([ending])
    trim_all(redis_server)
    await look(node)
    assert redis_server.command("XLEN", LOG) == 2


async def test_a_log_that_cannot_be_read_again_is_looked_at_later(redis_server, start_node, revocation, until):
    node = await start_node(redis_server.url, running=False)
    node.feed._audit_s = 0.05
    fails = iter([True, True])
    reread = node.store.reread

    async def failing():
        if next(fails, False):
            raise StoreError("store_timeout")
        async for page in reread():
            yield page

    node.store.reread = failing
    await node.start()
    await node.loaded()
    await node.publisher.publish([revocation()])
    trim_all(redis_server)

    await until(lambda: redis_server.command("XLEN", LOG) == 1)


@pytest.mark.parametrize(("behind_s", "is_trimmed"), [(120, False), (0, True)])
async def test_only_what_has_expired_by_the_servers_clock_and_by_ours_is_trimmed(
    redis_server, start_node, revocation, behind_s, is_trimmed
):
    store = (await start_node(redis_server.url, running=False)).store
    seconds, _ = await store._writer.ask("TIME")
    await store.append([revocation(number, expires=seconds - 60) for number in range(1000)])  # by the server's clock
    store._early = lambda: seconds - behind_s
    await store.prune()

    assert (redis_server.command("XLEN", LOG) < 1000) == is_trimmed  # `~`: whole nodes of the stream


NOW_MS = 1_800_000_000_000


@pytest.mark.parametrize(
    ("age_s", "is_kept"), [(0, True), (12 * 3600, True), (LONGEST_S - 60, True), (LONGEST_S + 60, False)]
)
async def test_an_entry_that_cannot_be_read_may_be_a_newer_releases_and_is_kept_until_nobody_can_need_it(
    redis_server, start_node, revocation, age_s, is_kept
):
    store = (await start_node(redis_server.url, running=False)).store
    expired = pack_revocation(revocation(1, expires=NOW_MS // 1000 - 10 * LONGEST_S), 0)
    redis_server.command("XADD", LOG, "1-1", "e", expired)
    redis_server.command("XADD", LOG, f"{NOW_MS - age_s * 1000}-1", "e", b"\x02" + bytes(60))  # a later version
    redis_server.command("XADD", LOG, f"{NOW_MS + 1}-1", "e", pack_revocation(revocation(2, expires=2**32 - 1), 0))

    first = await first_live(store._writer, LOG, store._unpack, NOW_MS / 1000)
    assert first == b"%d-1" % (NOW_MS - age_s * 1000 if is_kept else NOW_MS + 1)


def test_no_configuration_asks_for_a_longer_retention_than_the_longest():
    bounds = SessionSettings.model_fields["max_age"].metadata[-1]
    assert isinstance(bounds, AfterValidator)
    assert bounds.func(LONGEST_S - SLACK_S)
    with pytest.raises(PydanticCustomError):
        bounds.func(LONGEST_S - SLACK_S + 1)


# The file


@pytest.mark.parametrize("is_all_deleted", [True, False])
async def test_a_file_that_is_deleted_while_in_use_costs_no_logout(
    tmp_path, start_node, revocation, until, is_all_deleted
):
    path = tmp_path / "state.db"
    url = f"sqlite:///{path}"
    node = await start_node(url)
    secret = await node.store.secret()
    await node.publisher.publish([revocation(1)])
    for each in tmp_path.iterdir() if is_all_deleted else [path]:
        each.unlink()

    with pytest.raises(StoreError) as caught:
        await node.publisher.publish([revocation(2)])

    assert caught.value.reason in {"store_replaced", "store_closed"}
    await until(lambda: node.publisher.waiting == 0 and node.feed.state is State.FRESH)
    await until(lambda: node.feed._known is None)
    await node.close()
    after = await start_node(url)
    assert after.knows(revocation(1), revocation(2))
    assert await after.store.secret() == secret


async def test_a_file_that_was_replaced_proves_nothing(tmp_path):
    store = SqliteStore(str(tmp_path / "state.db"))
    await store.open()
    other = tmp_path / "other.db"
    other.write_bytes(b"")
    other.rename(tmp_path / "state.db")

    with pytest.raises(StoreError) as caught:
        await store.follow()
    await store.aclose()

    assert caught.value.reason == "store_replaced"


async def test_a_file_of_an_older_schema_is_brought_up_to_date_once_and_keeps_what_it_has(tmp_path, monkeypatch):
    path = tmp_path / "state.db"
    store = SqliteStore(str(path))
    await store.open()
    await store.put_binding(b"c" * 16, SESSION, 60)
    await store.aclose()
    step = ("CREATE TABLE later (name TEXT)", "ALTER TABLE binding ADD COLUMN more INTEGER DEFAULT 7")
    monkeypatch.setattr(sqlite_file, "STEPS", (*sqlite_file.STEPS, step))

    for _ in range(2):
        store = SqliteStore(str(path))
        await store.open()
        assert await store.get_binding(b"c" * 16) == SESSION
        await store.aclose()

    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (len(sqlite_file.STEPS),)
        assert connection.execute("SELECT more FROM binding").fetchone() == (7,)
    connection.close()


async def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "state.db"
    store = SqliteStore(str(path))
    await store.open()
    await store.aclose()
    before = len(sqlite_file.STEPS)
    monkeypatch.setattr(
        sqlite_file, "STEPS", (*sqlite_file.STEPS, ("CREATE TABLE later (name TEXT)", "CREATE TABLE log (a)"))
    )

    with pytest.raises(StoreError):
        await SqliteStore(str(path)).open()

    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (before,)
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'later'").fetchall()
    connection.close()


async def test_a_file_that_becomes_read_only_refuses_logouts_and_is_read_on(tmp_path, start_node, revocation, until):
    node = await start_node(f"sqlite:///{tmp_path}/state.db")
    await node.publisher.publish([revocation(1)])
    connection = node.store._database._connection
    await node.store._in_thread(lambda: connection.execute("PRAGMA query_only = 1").fetchone())

    with pytest.raises(StoreError) as caught:
        await node.publisher.publish([revocation(2)])

    assert caught.value.reason == "store_read_only"
    assert node.knows(revocation(1), revocation(2))
    proved = node.freshness._proved
    await until(lambda: node.freshness._proved > proved)
    await node.store._in_thread(lambda: connection.execute("PRAGMA query_only = 0").fetchone())
    await until(lambda: node.publisher.waiting == 0)


# Tasks


async def test_a_defect_while_the_outbox_is_written_does_not_end_it(start_node, revocation, until, caplog, monkeypatch):
    monkeypatch.setattr(publish, "PAUSE_S", 0.01)
    node = await start_node("sqlite://")
    append, node.store.append = node.store.append, lambda _revocations: 1 / 0
    with pytest.raises(ZeroDivisionError):
        await node.publisher.publish([revocation()])
    await until(lambda: "outbox_fault" in caplog.text)

    node.store.append = append
    await until(lambda: node.publisher.waiting == 0)


async def test_a_log_that_loads_and_never_follows_is_loaded_ever_more_slowly(start_node, until, monkeypatch):
    limits = []
    monkeypatch.setattr(backoff.random, "uniform", lambda _low, high: limits.append(high) or 0)
    node = await start_node("sqlite://", running=False)

    async def follow():
        raise StoreError("log_gap")

    node.store.follow = follow
    node.feed._spawn(node.feed._run())
    await until(lambda: backoff.LAST_S in limits)

    assert limits == sorted(limits)


async def test_one_answer_is_enough_to_be_quick_again_after_the_next_failure(start_node, until, monkeypatch):
    limits = []
    monkeypatch.setattr(backoff.random, "uniform", lambda _low, high: limits.append(high) or 0)
    node = await start_node("sqlite://", running=False)
    answers = iter([True, False] * 5)

    async def follow():
        if next(answers, False):
            return Batch([], complete=True)
        raise StoreError("log_gap")

    node.store.follow = follow
    node.feed._spawn(node.feed._run())
    await until(lambda: len(limits) > 5)

    assert limits[:5] == [backoff.FIRST_S] * 5


async def test_what_is_in_no_log_does_not_wait_for_what_is_not_durable(
    redis_server, start_node, revocation, until, monkeypatch
):
    monkeypatch.setattr(publish, "PAGE", 2)
    node = await start_node(redis_server.url, options={"durable_replicas": 1})  # there is none
    other = await start_node(redis_server.url)
    expected = [revocation(number) for number in range(5)]
    node.publisher._keep(expected)  # as after an outage

    await until(lambda: other.knows(*expected), within=publish.PAUSE_S)
    assert node.publisher.waiting == 5


def test_an_outbox_gives_what_is_in_the_log_last_and_in_turn(revocation):
    outbox = publish.Outbox(10)
    one, two, three = (revocation(number) for number in range(3))
    for each in (one, two):
        outbox.put(each)
    outbox.written([one])
    assert outbox.first(5) == [two]
    outbox.written([two])
    assert outbox.is_all_written
    outbox.written([one])
    assert outbox.first(5) == [two, one]

    later = revocation(1, cutoff=one.cutoff + 1)
    assert outbox.put(later)
    assert outbox.put(three)
    assert outbox.first(5) == [later, three]
    outbox.done([one, two, later, three])
    assert len(outbox) == 0
