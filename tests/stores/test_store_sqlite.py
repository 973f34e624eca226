"""What only SQLite has: files that are not ours, that cannot be written, that are locked or full."""

import asyncio
import contextlib
import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar import clock
from sidecar.core.identity import BoundSession, Kind
from sidecar.core.revocation import Revocation
from sidecar.stores import sqlite
from sidecar.stores.interface import StoreError, StoreUnusable
from sidecar.stores.sqlite import SqliteStore

REVOCATION = Revocation(Kind.SID, b"d" * 16, 1, 2**31)


def not_a_database(path: Path) -> None:
    path.write_bytes(b"This is a letter, not a database.\n" * 100)


def newer_schema(path: Path) -> None:
    asyncio.run(make_store(path))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def of_another_program(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()


def folder(path: Path) -> None:
    path.mkdir()


async def make_store(path: Path) -> None:
    store = SqliteStore(str(path))
    await store.open()
    await store.aclose()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (not_a_database, "store_not_a_database"),
        (newer_schema, "store_schema_newer"),
        (of_another_program, "store_foreign"),
        (folder, "store_unwritable"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_by_name_and_left_untouched(tmp_path, make, reason):
    path = tmp_path / "state.db"
    make(path)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.is_file()}

    with pytest.raises(StoreUnusable) as caught:
        asyncio.run(open_and_close(path))

    assert caught.value.reason == reason
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.is_file()} == before


async def open_and_close(path: Path) -> None:
    store = SqliteStore(str(path))
    try:
        await store.open()
    finally:
        await store.aclose()


async def test_a_folder_that_does_not_exist_is_named_with_what_to_do_and_not_made(tmp_path):
    with pytest.raises(StoreUnusable) as caught:
        await open_and_close(tmp_path / "missing" / "state.db")

    assert caught.value.reason == "store_unwritable"
    assert "missing" in str(caught.value)
    assert "store.url" in str(caught.value)
    assert not (tmp_path / "missing").exists()


OPEN_AS_NOBODY = """
import asyncio, os, sys
from sidecar.stores.interface import StoreUnusable
from sidecar.stores.sqlite import SqliteStore
os.setgid(65534); os.setuid(65534)
try:
    asyncio.run(SqliteStore(sys.argv[1]).open())
except StoreUnusable as error:
    print(error.reason, error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="root is needed to become somebody without rights")
@pytest.mark.parametrize("read_only", ["file", "folder"])
def test_a_read_only_file_or_folder_is_named(tmp_path, read_only):
    for each in (tmp_path, *tmp_path.parents[:-2]):
        each.chmod(0o755)
    path = tmp_path / "state.db"
    if read_only == "file":
        asyncio.run(make_store(path))
        path.chmod(0o444)
        tmp_path.chmod(0o777)
    child = [sys.executable, "-c", OPEN_AS_NOBODY, str(path)]
    said = subprocess.run(child, capture_output=True, text=True, timeout=30, check=False)

    assert str(path) in said.stdout, said.stderr
    assert said.stdout.split()[0] in {"store_read_only", "store_unwritable"}


async def test_the_file_can_be_read_by_its_owner_only(tmp_path):
    store = SqliteStore(str(tmp_path / "state.db"))
    await store.open()
    await store.append([REVOCATION])
    try:
        assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o600}
    finally:
        await store.aclose()


async def test_a_database_locked_by_somebody_else_is_a_refusal_that_ends_with_the_lock(tmp_path):
    path = tmp_path / "state.db"
    store = SqliteStore(str(path))
    await store.open()
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught:
            await store.append([REVOCATION])
        other.execute("ROLLBACK")
    other.close()

    assert caught.value.reason == "store_locked"
    await store.append([REVOCATION])
    await store.aclose()


async def test_a_full_disk_is_a_refusal_and_keeps_what_was_there(tmp_path):
    store = SqliteStore(str(tmp_path / "state.db"))
    await store.open()
    await store.append([REVOCATION])
    await store._in_thread(lambda: store._database._connection.execute("PRAGMA max_page_count = 1").fetchone())

    with pytest.raises(StoreError) as caught:
        await store.append([REVOCATION] * 10_000)

    assert caught.value.reason == "store_full"
    assert REVOCATION in [each async for page in store.snapshot() for each in page]
    await store.aclose()


async def test_commits_are_durable_when_they_return(tmp_path):
    store = SqliteStore(str(tmp_path / "state.db"))
    await store.open()

    def pragma(name):
        return store._database._connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert await store._in_thread(pragma, "journal_mode") == "wal"
    assert await store._in_thread(pragma, "synchronous") == 2  # FULL
    await store.aclose()


async def test_appends_at_the_same_time_share_a_commit(tmp_path):
    store = SqliteStore(str(tmp_path / "state.db"))
    await store.open()
    commits = []

    def trace(sql):
        if sql == "COMMIT":
            commits.append(sql)

    await store._in_thread(lambda: store._database._connection.set_trace_callback(trace))
    await asyncio.gather(*(store.append([REVOCATION]) for _ in range(100)))

    assert 1 <= len(commits) <= 3
    await store.aclose()


async def test_an_own_append_is_not_found_by_polling(tmp_path, monkeypatch):
    monkeypatch.setattr("sidecar.stores.sqlite.POLL_S", 5.0)
    store = SqliteStore(str(tmp_path / "state.db"))
    await store.open()
    following = asyncio.create_task(store._wait_for_news())
    await asyncio.sleep(0)
    await store.append([REVOCATION])

    async with asyncio.timeout(1):
        await following
    await store.aclose()


@pytest.mark.parametrize("step", [3600, -3600])
async def test_a_step_of_the_wall_clock_drops_no_revocation_and_no_binding(tmp_path, monkeypatch, step):
    store = SqliteStore(str(tmp_path / "state.db"))
    await store.open()
    now = int(clock.wall())
    revocation = Revocation(Kind.SID, b"r" * 16, now * 1000, now + 1800)
    session = BoundSession(b"o" * 16, None, 1, 1)
    wall = clock.wall
    if step < 0:  # what is written while the clock is behind has to last until it is right again
        monkeypatch.setattr(clock, "wall", lambda: wall() + step)
    await store.append([revocation])
    await store.put_binding(b"a" * 16, session, 1800)
    monkeypatch.setattr(clock, "wall", lambda: wall() + max(step, 0))
    await store.prune()

    assert [each async for page in store.snapshot() for each in page] == [revocation]
    assert await store.get_binding(b"a" * 16) == session
    await store.aclose()


async def test_an_expired_binding_is_pruned_and_a_live_one_stays(tmp_path):
    now = 1_800_000_000.0
    store = SqliteStore(str(tmp_path / "state.db"), early=lambda: now, late=lambda: now)
    await store.open()
    session = BoundSession(b"o" * 16, None, 1, 1)
    await store.put_binding(b"a" * 16, session, 10)
    await store.put_binding(b"b" * 16, session, 100)
    now += 50
    await store.prune()

    count = await store._in_thread(
        lambda: store._database._connection.execute("SELECT count(*) FROM binding").fetchone()[0]
    )
    assert count == 1
    assert await store.get_binding(b"b" * 16) == session
    await store.aclose()


async def test_expired_sealed_values_and_claims_are_pruned_and_live_ones_stay(tmp_path):
    now = 1_800_000_000.0
    store = SqliteStore(str(tmp_path / "state.db"), early=lambda: now, late=lambda: now)
    await store.open()
    for name, ttl in ((b"a" * 16, 10), (b"b" * 16, 100)):
        await store.put_sealed(name, b"value", ttl)
        assert await store.claim(name, ttl)
    now += 50
    await store.prune()

    for table in ("sealed", "claim"):
        sql = f"SELECT name FROM {table}"
        rows = await store._in_thread(lambda sql=sql: store._database._connection.execute(sql).fetchall())
        assert rows == [(b"b" * 16,)]
    await store.aclose()


# A disk that hangs


@contextlib.contextmanager
def hanging(store: SqliteStore) -> Iterator[None]:
    """The thread is in a call that does not end, as in a write to a network volume that is gone."""
    mended = threading.Event()
    stuck = store._thread.submit(store._run, mended.wait)
    try:
        yield
    finally:
        mended.set()
        stuck.result()


async def test_a_disk_that_hangs_makes_nobody_queue_for_longer_than_one_time_out(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "TIMEOUT_S", 0.2)
    store = SqliteStore(str(tmp_path / "state.db"))
    await store.open()
    with hanging(store):
        with pytest.raises(StoreError) as first:
            await store.get_binding(b"c" * 16)
        waiting = store._thread._work_queue.qsize()
        began = clock.boot()
        for number in range(100):
            with pytest.raises(StoreError) as caught:
                await store.get_binding(number.to_bytes(16))
        assert clock.boot() - began < 0.2
        assert store._thread._work_queue.qsize() == waiting

    assert {first.value.reason, caught.value.reason} == {"store_timeout"}
    await store.append([REVOCATION])
    await store.aclose()


async def test_the_end_of_the_process_does_not_wait_for_a_disk_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "TIMEOUT_S", 0.2)
    store = SqliteStore(str(tmp_path / "state.db"))
    await store.open()
    with hanging(store):
        async with asyncio.timeout(1):
            await store.aclose()
