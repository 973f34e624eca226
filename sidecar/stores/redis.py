"""The store in Redis or Valkey: one stream is log and snapshot, bindings are strings with a TTL.

    {lg:rv}:log       stream without TTL, one field `e` = one packed revocation. No TTL, or it would be the first victim
                      of a volatile-* eviction policy.
    {lg:rv}:meta      hash: schema, epoch (random, set once: a changed one means that all was lost), secret, and since
                      when that is `superseded`; `asked` means nothing (`redis_append.py`)
    {lg:rv}:replicas  hash: process -> its heartbeat, and how far it has come (`redis_presence.py`)
    lg:b:<digest>     one binding
    lg:v:<digest>     one sealed value, where a feature keeps one; lg:c:<digest>: one claim

`lg` is the namespace; the braces keep the first three in one cluster slot. No Lua, no CONFIG, no keyspace events. The
commands are those of the ACL in docs/operations.md; a test runs everything with exactly these rights.

A Redis can lose entries in silence: XREAD after a FLUSHALL, a failover or a restart looks like a quiet log. So about
every second `follow` compares the stream's own count of entries ever added with what it has seen, asks who answers
(`run_id`, and that it is a master), and writes a heartbeat, because a master cut off from its replicas still answers
reads. Any difference is a StoreError, upon which the feed loads everything again. Reads
between two checks count as proofs of freshness: the server took writes at most CHECK_S before they were sent.
"""

import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sidecar import clock
from sidecar.core.identity import BoundSession
from sidecar.core.revocation import Revocation
from sidecar.log import event
from sidecar.stores.group_commit import GroupCommit
from sidecar.stores.interface import PAGE, WAIT_S, Batch, Mark, StoreError, StoreUnusable
from sidecar.stores.packing import Entries, pack_binding, unpack_binding
from sidecar.stores.redis_append import Appender, Durability, log_name
from sidecar.stores.redis_client import raise_first
from sidecar.stores.redis_presence import Presence
from sidecar.stores.redis_roll import entry_of
from sidecar.stores.redis_topology import Clients
from sidecar.stores.redis_trim import trim

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
CHECK_S = 1.0  # a loss is found within 1.5 s
MEMORY = Durability()
_START = b"0-0"  # the position before the first entry


@dataclass(frozen=True, slots=True)
class _Server:
    """Who answers. Another `run_id` is another server, another `epoch` another data set."""

    run_id: str
    epoch: bytes | None

    @property
    def log(self) -> bytes:
        return log_name(self.run_id, self.epoch)


@dataclass(frozen=True, slots=True)
class _Log:
    """The stream at one moment: its last id, and how many entries it ever had (None where servers do not count)."""

    last: bytes
    added: int | None


@dataclass(frozen=True, slots=True)
class _Position:
    """How far `follow` has come, and whom and what it must find there if nothing was lost."""

    log: _Log
    server: _Server
    connection: int


class RedisStore:
    """`Store` in Redis or Valkey. See `stores/interface.py` for what each method promises."""

    def __init__(
        self,
        clients: Clients,
        *,
        place: str,
        namespace: str,
        durability: Durability = MEMORY,
        confirms: bool = False,  # whether appends give marks
        grace: float = 60.0,  # how long this process serves bound sessions after its last proof of freshness
        boot: Callable[[], float] = clock.boot,
        early: Callable[[], float] = clock.early,
    ) -> None:
        self._clients = clients
        self._reader = clients.reader
        self._writer = clients.writer
        self._bindings = clients.bindings
        self._where = place
        self._log = log_key(namespace)
        self._meta = f"{{{namespace}:rv}}:meta"
        self._binding_prefix, self._sealed_prefix, self._claim_prefix = (f"{namespace}:{k}:".encode() for k in "bvc")
        self._boot = boot
        self._early = early
        self._durability = durability
        self._appender = Appender(clients.writer, durability, place=place, meta=self._meta, gives_marks=confirms)
        self._presence = Presence(
            writer=clients.writer,
            key=f"{{{namespace}:rv}}:replicas",
            serves_s=CHECK_S + grace,  # a read that is a proof is sent at most CHECK_S after a check has begun
            asks=confirms,
            boot=boot,
        )
        self._commits = GroupCommit(self._commit)
        self._entries = Entries()
        self._position: _Position | None = None
        self._next_check = 0.0
        self._secret: bytes | None = None
        self._warned = False

    def __repr__(self) -> str:
        return f"<RedisStore {self._where}>"

    # Life

    async def open(self) -> None:
        await self._keep_meta()
        await self._durability.check(self._writer, self._where)
        if not self._warned:
            await self._warn()

    async def aclose(self) -> None:
        await self._presence.leave()
        await self._clients.aclose()

    async def kept_secret(self) -> bytes | None:
        (found,) = await self._writer.ask("HMGET", self._meta, "secret")
        return None if found is None else bytes(found)

    async def secret(self) -> bytes:
        await self._writer.ask("HDEL", self._meta, "superseded")
        found = await self.kept_secret()
        if found is None:
            await self._writer.ask("HSETNX", self._meta, "secret", secrets.token_bytes(32))
            found = await self.kept_secret()
        if found is None:
            raise StoreError("store_secret_lost", f"{self._where}: lost what was just written")
        self._secret = found
        return found

    async def superseded(self, now: int) -> int | None:
        await self._writer.ask("HSETNX", self._meta, "superseded", now)
        secret, since = await self._writer.ask("HMGET", self._meta, "secret", "superseded")
        return None if secret is None or since is None else int(since)

    def use_key(self, key_id: int, *others: int) -> None:
        self._entries.use_key(key_id, *others)

    # Log

    async def append(self, revocations: Sequence[Revocation]) -> Mark | None:
        if not revocations:
            return None
        return await self._commits.add([self._entries.pack(each) for each in revocations])

    async def durable(self) -> bool:
        return await self._appender.durable()

    async def restore(self, revocations: Sequence[Revocation]) -> None:
        await self._appender.write(self._adds(map(self._entries.pack, revocations)))

    async def snapshot(self) -> AsyncIterator[Sequence[Revocation]]:
        self._position = None
        # Something may have happened to the server, or it is not the master any more. An old connection would not tell:
        # after a failover nothing closes one that merely reads.
        for client in (self._reader, self._writer, self._bindings):
            client.leave()
        server = await self._inspect()
        connection = self._reader.connects
        log, _ = await self._look(after=None)
        first = b"-"
        complete = False
        while not complete:
            # Up to the entry that was the last when the count was taken; `follow` brings and counts the others.
            page = await self._reader.ask("XRANGE", self._log, first, log.last, "COUNT", PAGE)
            complete = len(page) < PAGE
            first = b"(" + page[-1][0] if page else first
            yield self._unpack(page)
        self._position = _Position(log, server, connection)
        self._next_check = self._boot()  # the first `follow` looks whether all of this was one server and one log

    async def follow(self) -> Batch:
        position, self._position = self._position, None  # to be given back when all went well
        if position is None:
            raise StoreError("log_not_loaded", "take a snapshot first")
        if self._boot() >= self._next_check:
            page = await self._checked_read(position)
        else:
            page = await self._waiting_read(position.log.last)
        if self._reader.connects != position.connection:
            # The library connected again by itself, who knows to whom. Nothing may be concluded from this answer.
            raise StoreError("store_reconnected", f"{self._where}: the connection was lost")
        self._position = replace(position, log=_moved(position.log, page))
        return Batch(self._unpack(page), complete=len(page) < PAGE)

    async def reread(self) -> AsyncIterator[Sequence[Revocation]]:
        first, complete = b"-", False
        while not complete:
            page = await self._writer.ask("XRANGE", self._log, first, "+", "COUNT", PAGE)
            complete = len(page) < PAGE
            first = b"(" + page[-1][0] if page else first
            yield self._unpack(page)

    @property
    def is_awaited(self) -> bool:
        return self._presence.is_awaited

    def applied(self) -> None:
        if self._position is not None:
            self._presence.applied(Mark(self._position.server.log, entry_of(self._position.log.last)))

    async def confirmed(self, mark: Mark, within_s: float) -> None:
        await self._presence.confirmed(mark, within_s)

    async def prune(self) -> None:
        # Expired is what the server's clock and ours agree on: neither a wrong clock of one process nor a step of the
        # server's must trim for all.
        seconds, _ = await self._writer.ask("TIME")
        await trim(self._writer, self._log, self._unpack, min(seconds, self._early()))

    # Bindings, sealed values, claims

    async def get_binding(self, credential: bytes) -> BoundSession | None:
        value = await self._bindings.ask("GET", self._binding_prefix + credential)
        return None if value is None else unpack_binding(value)

    async def put_binding(self, credential: bytes, session: BoundSession, ttl: int) -> None:
        # Not more durable than the master's memory, whatever is configured: a lost binding denies nobody's logout, and
        # every login would wait for it.
        key, value = self._binding_prefix + credential, pack_binding(session)
        await self._bindings.ask("SET", key, value, "EX", max(ttl, 1))

    async def put_sealed(self, name: bytes, value: bytes, ttl: int) -> None:
        await self._bindings.ask("SET", self._sealed_prefix + name, value, "EX", max(ttl, 1))

    async def get_sealed(self, name: bytes) -> bytes | None:
        value: bytes | None = await self._bindings.ask("GET", self._sealed_prefix + name)
        return value

    async def delete_sealed(self, name: bytes) -> None:
        await self._bindings.ask("DEL", self._sealed_prefix + name)

    async def claim(self, name: bytes, ttl: int) -> bool:
        return await self._bindings.ask("SET", self._claim_prefix + name, b"", "NX", "EX", max(ttl, 1)) is not None

    # Parts of the above

    async def _commit(self, entries: Sequence[bytes]) -> Mark | None:
        return await self._appender.append(self._adds(entries))

    def _adds(self, entries: Iterable[bytes]) -> list[tuple[Any, ...]]:
        return [("XADD", self._log, "*", "e", entry) for entry in entries]

    async def _keep_meta(self) -> None:
        """Make sure that schema, epoch and secret are there, and that the schema is one of ours.

        Written only where missing: a full server refuses even a HSETNX that would change nothing.
        """
        wanted = {"schema": str(SCHEMA_VERSION).encode(), "epoch": secrets.token_bytes(16)}
        if self._secret is not None:
            wanted["secret"] = self._secret  # lost with the rest of the data: digests must not change with it
        found = await self._writer.ask("HMGET", self._meta, *wanted)
        for (name, value), present in zip(wanted.items(), found, strict=True):
            if present is None:
                await self._writer.ask("HSETNX", self._meta, name, value)
        schema, _, *secret = await self._writer.ask("HMGET", self._meta, *wanted)
        if schema is None or not schema.isdigit() or int(schema) > SCHEMA_VERSION:
            raise StoreUnusable("store_schema_newer", f"{self._where}: written by a newer release")
        if secret and secret[0] != self._secret:
            # A process that started after a loss of all data made another one before we could put ours back.
            event(logger, logging.ERROR, "store_secret_conflict", advice="restart the replicas, set store.secret")

    async def _warn(self) -> None:
        """Say once what in the server's settings may lose revocations."""
        memory, persistence = await self._writer.ask_all(("INFO", "memory"), ("INFO", "persistence"), transaction=False)
        raise_first((memory, persistence))
        policy = str(memory.get("maxmemory_policy", ""))
        if policy.startswith("allkeys-"):
            event(logger, logging.WARNING, "store_may_evict", policy=policy, advice="use noeviction or volatile-*")
        if not _persists(persistence):
            event(logger, logging.WARNING, "store_may_forget", advice="use appendonly yes")
        self._warned = True

    async def _inspect(self) -> _Server:
        """Who answers the reader; StoreError unless it is a master that takes writes."""
        seconds, microseconds = await self._reader.ask("TIME")
        now_ms = seconds * 1000 + microseconds // 1000
        who = (("INFO", "server"), ("ROLE",), ("HMGET", self._meta, "epoch"))
        answers = await self._reader.ask_all(*who, *self._presence.renewal(now_ms), transaction=False)
        raise_first(answers[:3])
        self._presence.renewed(answers[3:])
        info, role, (epoch,) = answers[:3]
        if role[0] not in {b"master", "master"}:
            raise StoreError("store_not_master", f"{self._where}: not a master")
        return _Server(info["run_id"], epoch)

    async def _look(self, after: bytes | None) -> tuple[_Log, list[Any]]:
        """The state of the log and, at the same moment, what stands `after` a position."""
        read = [] if after is None else [("XREAD", "COUNT", PAGE, "STREAMS", self._log, after)]
        commands = [("EXISTS", self._log), *read, ("XINFO STREAM", self._log)]
        try:
            exists, *found, info = await self._reader.ask_all(*commands, transaction=True)
        except StoreError as error:
            if error.reason != "store_full":
                raise
            # A full server refuses everything inside MULTI. But then nobody can append in between either.
            exists, *found, info = await self._reader.ask_all(*commands, transaction=False)
        if exists == 0:  # nothing was ever appended, or the log is gone; XINFO is an error then
            return _Log(_START, 0), []
        raise_first([exists, *found, info])
        return _Log(info["last-generated-id"], info.get("entries-added")), _entries_of(*found)

    async def _checked_read(self, position: _Position) -> list[Any]:
        """Read without waiting, and make sure that nothing was lost up to here."""
        began = self._boot()
        # Before the read: whoever looks for us after an append finds us, or else we find the entry.
        if await self._inspect() != position.server:
            raise StoreError("store_replaced", f"{self._where}: another server or another data set answers")
        log, page = await self._look(after=position.log.last)
        if len(page) < PAGE:  # else there is more to read before the counts can agree
            if log != _moved(position.log, page):
                raise StoreError("log_gap", f"{self._where}: the log has lost entries")
            self._next_check = began + CHECK_S
        return page

    async def _waiting_read(self, last: bytes) -> list[Any]:
        read = ("XREAD", "COUNT", PAGE, "BLOCK", int(WAIT_S * 1000), "STREAMS", self._log, last)
        news = self._presence.news()
        if news is None:
            return _entries_of(await self._reader.ask(*read))
        # In one round trip, and on record before the wait begins.
        told, answer = await self._reader.ask_all(news, read, transaction=False)
        raise_first([answer])
        self._presence.told(told)
        return _entries_of(answer)

    def _unpack(self, page: Sequence[Any]) -> list[Revocation]:
        return self._entries.unpack(fields.get(b"e", b"") for _, fields in page)


def log_key(namespace: str) -> str:
    """The stream's name; what else belongs to the log shares its braces, and so its slot."""
    if not namespace or set(namespace) & set("{}"):
        raise StoreUnusable("store_namespace_invalid", "store.namespace must not be empty or hold braces")
    return f"{{{namespace}:rv}}:log"


def _persists(info: Mapping[str, Any]) -> bool:
    """Whether anything is on a disk, as far as INFO says: whether snapshots are switched on only CONFIG would tell."""
    snapshots = info.get("rdb_last_bgsave_time_sec", 0) != -1 or info.get("rdb_last_load_keys_loaded", 0) > 0
    return bool(info.get("aof_enabled", 1)) or snapshots


def _entries_of(answer: Any = None) -> list[Any]:
    """The entries in the answer to XREAD of one stream."""
    return list(answer[0][1]) if answer else []


def _moved(log: _Log, page: Sequence[Any]) -> _Log:
    """Where a log stands after these entries, if nothing else happened to it."""
    added = None if log.added is None else log.added + len(page)
    return _Log(page[-1][0] if page else log.last, added)
