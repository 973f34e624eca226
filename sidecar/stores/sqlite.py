"""The store in one SQLite file, for one pod; `SqliteStore(None)` keeps it in memory, for trials.

One connection in one thread, so that nothing blocks the event loop and no two writes meet. WAL with synchronous=FULL:
a commit is on the disk when it returns (NORMAL may lose committed transactions on power loss). Writes commit in groups.
Other processes on the same file are followed by polling; they must be on the same machine, and the file never on NFS.
The statements are in `sqlite_file`.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from sidecar import clock
from sidecar.core.identity import BoundSession
from sidecar.core.revocation import Revocation
from sidecar.log import event
from sidecar.stores.group_commit import GroupCommit
from sidecar.stores.interface import PAGE, WAIT_S, Batch, Mark, StoreError
from sidecar.stores.packing import Entries, pack_binding, unpack_binding
from sidecar.stores.sqlite_file import Database, Statement

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

POLL_S = 0.05  # for what other processes append; our own appends wake `follow` at once
TIMEOUT_S = 2.0  # a disk that hangs fails the call; the thread may still be in it
PRUNE_PAGES = 20


class SqliteStore:
    """`Store` on one file. See `stores/interface.py` for what each method promises."""

    def __init__(
        self, path: str | None, *, early: Callable[[], float] = clock.early, late: Callable[[], float] = clock.late
    ) -> None:
        self._path = path
        self._early = early
        self._late = late
        self._thread: ThreadPoolExecutor | None = None
        self._busy_since: float | None = None  # boot time; since when the thread has been in one call
        self._database: Database | None = None
        self._commits = GroupCommit(self._commit)
        self._entries = Entries()
        self._cursor = 0
        self._secret: bytes | None = None
        self._news = asyncio.Event()  # set by our own appends

    def __repr__(self) -> str:
        return f"<SqliteStore {self._path or 'in memory'}>"

    async def open(self) -> None:
        if self._database is not None:
            if await self._in_thread(self._database.is_in_place):
                return
            database, self._database = self._database, None
            await self._in_thread(database.close)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite")
        self._database = await self._in_thread(Database, self._path)
        if self._secret is not None:
            await self.secret()  # lost with the file: digests must not change with it

    async def aclose(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(StoreError):  # a disk that hangs; what was acknowledged is on it
                await self._in_thread(database.close)
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._thread = None

    async def kept_secret(self) -> bytes | None:
        return await self._in_thread(self._opened.kept_secret)

    async def secret(self) -> bytes:
        found = await self._in_thread(self._opened.secret, self._secret or secrets.token_bytes(32))
        if self._secret not in {None, found}:  # another process made one in the new file before we could put ours back
            event(logger, logging.ERROR, "store_secret_conflict", advice="restart the processes, set store.secret")
        self._secret = self._secret or found
        return self._secret

    async def superseded(self, now: int) -> int | None:
        return await self._in_thread(self._opened.superseded, now)

    def use_key(self, key_id: int, *others: int) -> None:
        self._entries.use_key(key_id, *others)

    async def append(self, revocations: Sequence[Revocation]) -> None:
        insert = "INSERT INTO log (entry, expires) VALUES (?, ?)"
        await self._commits.add([(insert, (self._entries.pack(each), each.expires)) for each in revocations])
        self._news.set()

    async def durable(self) -> bool:
        return True  # a commit is on the disk in any case

    async def restore(self, revocations: Sequence[Revocation]) -> None:
        await self.append(revocations)

    async def snapshot(self) -> AsyncIterator[Sequence[Revocation]]:
        self._cursor = 0
        complete = False
        while not complete:
            page, complete = await self._next()
            yield page

    async def follow(self) -> Batch:
        for _ in range(round(WAIT_S / POLL_S)):
            self._news.clear()
            batch = await self._next()
            if batch.revocations or not batch.complete:
                return batch
            await self._wait_for_news()
        return await self._next()

    def reread(self) -> None:
        """The log loses nothing but with its file, and that is noticed."""

    @property
    def is_awaited(self) -> bool:
        return False  # other processes poll: nobody could be told in time, so `store.confirm: all` is for Redis

    def applied(self) -> None:
        """Nobody listens."""

    async def confirmed(self, mark: Mark, within_s: float) -> None:
        """No append gives a mark."""

    async def prune(self) -> None:
        for _ in range(PRUNE_PAGES):
            if not await self._in_thread(self._opened.prune, self._early()):
                return

    async def get_binding(self, credential: bytes) -> BoundSession | None:
        value = await self._in_thread(self._opened.binding, credential, self._early())
        return None if value is None else unpack_binding(value)

    async def put_binding(self, credential: bytes, session: BoundSession, ttl: int) -> None:
        replace = "REPLACE INTO binding (credential, session, expires) VALUES (?, ?, ?)"
        await self._commits.add([(replace, (credential, pack_binding(session), int(self._late()) + ttl + 1))])

    async def put_sealed(self, name: bytes, value: bytes, ttl: int) -> None:
        replace = "REPLACE INTO sealed (name, value, expires) VALUES (?, ?, ?)"
        await self._commits.add([(replace, (name, value, int(self._late()) + ttl + 1))])

    async def get_sealed(self, name: bytes) -> bytes | None:
        return await self._in_thread(self._opened.sealed, name, self._early())

    async def delete_sealed(self, name: bytes) -> None:
        await self._commits.add([("DELETE FROM sealed WHERE name = ?", (name,))])

    async def claim(self, name: bytes, ttl: int) -> bool:
        return await self._in_thread(self._opened.claim, name, self._early(), int(self._late()) + ttl + 1)

    async def _next(self) -> Batch:
        rows = await self._in_thread(self._opened.log_after, self._cursor)
        if rows:
            self._cursor = rows[-1][0]
        return Batch(self._entries.unpack(entry for _, entry in rows), complete=len(rows) < PAGE)

    async def _wait_for_news(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):  # wait_for of Python 3.11 may swallow a cancellation
                await self._news.wait()

    async def _commit(self, statements: Sequence[Statement]) -> None:
        await self._in_thread(self._opened.commit, statements)

    @property
    def _opened(self) -> Database:
        if self._database is None:
            raise StoreError("store_closed", "the store is not open")
        return self._database

    async def _in_thread(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._thread is None:
            raise StoreError("store_closed", "the store is not open")
        since = self._busy_since
        if since is not None and clock.boot() - since > TIMEOUT_S:
            raise self._silent()  # at once: what would wait behind it, for as long as that takes, has no bound
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await asyncio.wrap_future(self._thread.submit(self._run, partial(call, *args, **kwargs)))
        except TimeoutError:
            raise self._silent() from None

    def _run(self, call: Callable[[], T]) -> T:
        """In the thread."""
        self._busy_since = clock.boot()
        try:
            return call()
        finally:
            self._busy_since = None

    def _silent(self) -> StoreError:
        return StoreError("store_timeout", f"{self._path}: the disk does not answer")
