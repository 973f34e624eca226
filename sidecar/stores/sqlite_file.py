"""The SQLite file itself: its schema, its statements, and what its errors mean. Everything here blocks.

A file that is not ours, or of a newer schema, is refused before anything is written to it. Another file in its place is
found out before a write is called durable or a read is called fresh.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from sidecar.stores.interface import PAGE, StoreError, StoreUnusable

BUSY_S = 0.5  # how long a write waits for another process's write

APPLICATION_ID = 0x4C475343  # "LGSC", in the file's header
# A file of version N gets the steps after the Nth. A step that was released is never changed: a change is a new step.
STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE log (seq INTEGER PRIMARY KEY AUTOINCREMENT, entry BLOB NOT NULL, expires INTEGER NOT NULL)",
        """CREATE TABLE binding (
           credential BLOB PRIMARY KEY, session BLOB NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX binding_expires ON binding (expires)",
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    ),
    (
        "CREATE TABLE sealed (name BLOB PRIMARY KEY, value BLOB NOT NULL, expires INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE INDEX sealed_expires ON sealed (expires)",
        "CREATE TABLE claim (name BLOB PRIMARY KEY, expires INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE INDEX claim_expires ON claim (expires)",
    ),
)

# By primary result code, which is stable; the text of an error is not.
_REASONS = {
    sqlite3.SQLITE_BUSY: (StoreError, "store_locked", "locked by another process"),
    sqlite3.SQLITE_LOCKED: (StoreError, "store_locked", "locked by another process"),
    sqlite3.SQLITE_FULL: (StoreError, "store_full", "disk full"),
    sqlite3.SQLITE_IOERR: (StoreError, "store_io", "the disk failed to read or write"),
    sqlite3.SQLITE_NOTADB: (StoreUnusable, "store_not_a_database", "not a database"),
    sqlite3.SQLITE_CORRUPT: (StoreUnusable, "store_corrupt", "the database is damaged"),
    sqlite3.SQLITE_READONLY: (StoreUnusable, "store_read_only", "the file or its folder is read-only"),
    sqlite3.SQLITE_PERM: (StoreUnusable, "store_read_only", "the file or its folder may not be written"),
    sqlite3.SQLITE_CANTOPEN: (StoreUnusable, "store_unwritable", "cannot be opened or created"),
}
_OTHER = (StoreError, "store_failed", "the database refused")

Statement = tuple[str, tuple[Any, ...]]


class Database:
    """The file, as seen from the one thread that touches it."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        with self._errors():
            if path is not None:
                # Readable by its owner only: it holds the digest secret. SQLite gives its side files the same mode.
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
                self._file = _identity(path)
            self._connection = sqlite3.connect(path or ":memory:", timeout=BUSY_S, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def close(self) -> None:
        with self._errors():
            self._connection.close()

    def is_in_place(self) -> bool:
        """Whether the path still leads to the file that is open."""
        return self._path is None or _identity(self._path) == self._file

    def commit(self, statements: Sequence[Statement]) -> None:
        """All of them, durable, or none."""
        with self._errors(), self._transaction() as connection:
            for sql, values in statements:
                connection.execute(sql, values)
        self._check_in_place()  # after the commit: what was written before the file went is not durable either

    def log_after(self, cursor: int) -> list[tuple[int, bytes]]:
        with self._errors():
            self._check_in_place()  # no proof of freshness from a file that nobody else writes to
            sql = "SELECT seq, entry FROM log WHERE seq > ? ORDER BY seq LIMIT ?"
            return self._connection.execute(sql, (cursor, PAGE)).fetchall()

    def binding(self, credential: bytes, now: float) -> bytes | None:
        with self._errors():
            sql = "SELECT session FROM binding WHERE credential = ? AND expires > ?"
            row = self._connection.execute(sql, (credential, now)).fetchone()
            return None if row is None else row[0]

    def sealed(self, name: bytes, now: float) -> bytes | None:
        with self._errors():
            sql = "SELECT value FROM sealed WHERE name = ? AND expires > ?"
            row = self._connection.execute(sql, (name, now)).fetchone()
            return None if row is None else row[0]

    def claim(self, name: bytes, now: float, expires: int) -> bool:
        sql = """INSERT INTO claim VALUES (?, ?)
                 ON CONFLICT (name) DO UPDATE SET expires = excluded.expires WHERE claim.expires <= ?"""
        with self._errors(), self._transaction() as connection:
            return connection.execute(sql, (name, expires, now)).rowcount > 0

    def kept_secret(self) -> bytes | None:
        with self._errors():
            row = self._connection.execute("SELECT value FROM meta WHERE name = 'secret'").fetchone()
            return None if row is None else bytes(row[0])

    def secret(self, wanted: bytes) -> bytes:
        with self._errors(), self._transaction() as connection:
            connection.execute("DELETE FROM meta WHERE name = 'superseded'")
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('secret', ?)", (wanted,))
            return bytes(connection.execute("SELECT value FROM meta WHERE name = 'secret'").fetchone()[0])

    def superseded(self, now: int) -> int | None:
        with self._errors(), self._transaction() as connection:
            select = "SELECT name, value FROM meta"
            if "secret" not in dict(connection.execute(select)):
                return None
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('superseded', ?)", (b"%d" % now,))
            return int(dict(connection.execute(select))["superseded"])

    def prune(self, now: float) -> int:
        """Drop at most a page of each kind, and say how many that were.

        The log loses only its oldest end, up to the first entry that is live: no scan, and no order to keep.
        """
        log = """DELETE FROM log WHERE seq IN (SELECT seq FROM log WHERE seq <
                 ifnull((SELECT seq FROM log WHERE expires > ? ORDER BY seq LIMIT 1), 9223372036854775807) LIMIT ?)"""
        bindings = """DELETE FROM binding WHERE credential IN
                      (SELECT credential FROM binding WHERE expires <= ? LIMIT ?)"""
        sealed = "DELETE FROM sealed WHERE name IN (SELECT name FROM sealed WHERE expires <= ? LIMIT ?)"
        claims = "DELETE FROM claim WHERE name IN (SELECT name FROM claim WHERE expires <= ? LIMIT ?)"
        with self._errors(), self._transaction() as connection:
            return sum(connection.execute(sql, (now, PAGE)).rowcount for sql in (log, bindings, sealed, claims))

    def _prepare(self) -> None:
        if self._pragma("application_id") != APPLICATION_ID and self._has_tables():
            raise StoreUnusable("store_foreign", f"{self._path}: a database of another program")
        if (version := self._pragma("user_version")) > len(STEPS):
            raise StoreUnusable("store_schema_newer", f"{self._path}: written by a newer release (schema {version})")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        with self._transaction():  # writes in any case, so that a read-only file is found out here
            self._upgrade()

    def _upgrade(self) -> None:
        """Inside a transaction: of two processes that find an old file, one takes the steps and the other sees it."""
        for step in STEPS[self._pragma("user_version") :]:
            for statement in step:
                self._connection.execute(statement)
        self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._connection.execute(f"PRAGMA user_version = {len(STEPS)}")

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _check_in_place(self) -> None:
        """SQLite goes on writing to a file that was deleted or replaced, and no restart would find what it wrote."""
        if not self.is_in_place():
            raise StoreError("store_replaced", f"{self._path}: the file was deleted or replaced")

    def _has_tables(self) -> bool:
        return self._connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            # Not made here: without a volume at that place a restart would forget every logout, and nobody would know.
            text = "its folder does not exist or takes no files; make it on a volume that stays, or set store.url"
            raise StoreUnusable("store_unwritable", f"{self._path}: {text}") from error
        except OSError as error:
            raise StoreUnusable("store_unwritable", f"{self._path}: {error.strerror}") from error
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code is None:
                raise  # misuse of the module, a defect of ours and not a state of the file
            kind, reason, text = _REASONS.get(code & 0xFF, _OTHER)
            raise kind(reason, f"{self._path}: {text}") from error


def _identity(path: str) -> tuple[int, int] | None:
    """Which file that is; None when there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - for every commit and poll, and nothing but two numbers
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
