"""The control process's end of every line: one store for the whole pod.

Workers read the control process's replica as a log (`journal.py`), write through its publisher and reach the bindings
of its store. A page says how fresh the control process was when it was made, and a worker takes no other proof. Not a
store and not a judge: it hands on, and knows what each worker enforces (`roster.py`).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from sidecar import metrics
from sidecar.bindings.directory import BindingStore
from sidecar.bindings.vault import KeepingStore
from sidecar.core.freshness import Freshness
from sidecar.core.identity import Digester
from sidecar.core.revocation import Revocation
from sidecar.stores.interface import StoreError
from sidecar.stores.packing import pack_binding
from sidecar.workers.journal import Journal, Page, Reader
from sidecar.workers.line import Call, Handler, Line
from sidecar.workers.logins import PodLogins
from sidecar.workers.messages import News, pack_news, unpack_code, unpack_named, unpack_put, unpack_revocations
from sidecar.workers.roster import Member, Roster

TURN_S = 0.1  # how long a question waits for news: a worker is at most this much less fresh than the control process
KEY_S = 1.5  # a worker that is refused waits before it asks again, and would be late for the first logout


@dataclass(slots=True, eq=False)
class Visitor:
    """One worker that is connected."""

    pid: int
    slot: int
    line: Line
    member: Member | None = None  # None: it has not begun to load
    is_serving: bool = False

    def problem(self) -> str | None:
        """Why it is not ready; None when it is."""
        if not self.is_serving:
            return "not serving yet"
        return "silent" if self.member is not None and self.member.is_silent else None


class Hub:
    """Serves the workers."""

    def __init__(
        self,
        *,
        journal: Journal,
        freshness: Freshness,
        digester: Digester,
        keyed: asyncio.Event,
        is_loaded: Callable[[], bool],
        secret: Callable[[], Awaitable[bytes]],
        kept_secret: Callable[[], Awaitable[bytes | None]],
        bindings: BindingStore,
        keeping: KeepingStore,
        publish: Callable[[Sequence[Revocation]], Awaitable[None]],
        roster: Roster,
        logins: PodLogins,
        boot: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._freshness = freshness
        self._digester = digester
        self._keyed = keyed
        self._is_loaded = is_loaded
        self._secret = secret
        self._kept_secret = kept_secret
        self._bindings = bindings
        self._keeping = keeping
        self._publish = publish
        self._roster = roster
        self._logins = logins
        self._boot = boot
        self._wall = wall
        self._visitors: dict[int, Visitor] = {}  # by slot
        self._pids: dict[int, int] = {}  # who was there last, by slot

    def app(self) -> web.Application:
        """What the workers connect to."""
        app = web.Application()
        app.router.add_get("/", self._connected)
        return app

    async def everywhere(self) -> None:
        """Return when every worker enforces what this process enforces now. Raises StoreError."""
        await self._roster.enforced(self._journal.head)

    async def settled(self) -> bool:
        """Whether every worker enforces what this process enforces now; waits a little, and ends nobody."""
        return await self._roster.settled(self._journal.head)

    def problem(self, slot: int) -> str | None:
        """Why the worker in this slot is not ready; None when it is."""
        visitor = self._visitors.get(slot)
        return "not connected" if visitor is None else visitor.problem()

    @property
    def ready(self) -> int:
        """How many workers are."""
        return sum(visitor.problem() is None for visitor in self._visitors.values())

    @property
    def lines(self) -> dict[int, Line]:
        """The open lines, by pid."""
        return {visitor.pid: visitor.line for visitor in self._visitors.values()}

    async def _connected(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        handlers: dict[Call, Handler] = {}
        line = Line(socket, handlers)
        visitor = Visitor(int(request.query["pid"]), int(request.query["slot"]), line)
        handlers.update(self._handlers(visitor))
        self._arrived(visitor)
        try:
            await line.run()
        finally:
            self._logins.went(line)
            if self._visitors.get(visitor.slot) is visitor:
                del self._visitors[visitor.slot]
        return socket

    def _arrived(self, visitor: Visitor) -> None:
        if self._pids.setdefault(visitor.slot, visitor.pid) != visitor.pid:
            self._pids[visitor.slot] = visitor.pid
            metrics.worker_restarts.inc()
        self._visitors[visitor.slot] = visitor
        self._logins.came(visitor.line)

    def _handlers(self, visitor: Visitor) -> dict[Call, Handler]:
        answers = {
            Call.SECRET: self._tell_secret,
            Call.KEPT_SECRET: self._tell_kept_secret,
            Call.LOAD: self._load,
            Call.FOLLOW: self._follow,
            Call.APPEND: self._append,
            Call.GET_BINDING: self._get_binding,
            Call.PUT_BINDING: self._put_binding,
            Call.GET_SEALED: self._get_sealed,
            Call.PUT_SEALED: self._put_sealed,
            Call.DELETE_SEALED: self._delete_sealed,
            Call.CLAIM: self._claim,
            Call.BEGIN: self._begin,
            Call.END: self._end,
        }
        return {call: partial(answer, visitor) for call, answer in answers.items()}

    # The store

    async def _tell_secret(self, _visitor: Visitor, _payload: bytes) -> bytes:
        return await self._secret()

    async def _tell_kept_secret(self, _visitor: Visitor, _payload: bytes) -> bytes:
        return await self._kept_secret() or b""

    async def _load(self, visitor: Visitor, payload: bytes) -> bytes:
        await self._key_is_known()
        visitor.member = member = self._roster.listed(visitor.pid)
        if payload[0] != self._digester.key_id:
            # The store lost its secret and made another. What this worker knows matches nothing; a new one asks again.
            member.kill("foreign_key")
            raise StoreError("store_secret_conflict", "this worker has another digest key")
        member.reader = Reader(self._journal)
        return await self._page(member, member.reader)

    async def _key_is_known(self) -> None:
        try:
            async with asyncio.timeout(KEY_S):
                await self._keyed.wait()
        except TimeoutError:
            raise StoreError("store_unavailable", "the store has not been reached since the start") from None

    async def _follow(self, visitor: Visitor, payload: bytes) -> bytes:
        member = visitor.member
        if member is None or member.reader is None:
            raise StoreError("log_not_loaded", "this worker has not loaded yet")
        visitor.is_serving = payload == b"\x01"
        return await self._page(member, member.reader)

    async def _page(self, member: Member, reader: Reader) -> bytes:
        page = self._next(reader)
        self._roster.confirmed(member)
        if not page.revocations:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TURN_S):
                    await self._journal.moved.wait()
            page = self._next(reader)
        # A page and the proof belong to one moment: what the control process knew at `proved` is in its replica.
        now = self._boot()
        return pack_news(News(page.revocations, page.complete, now - self._freshness.age(now)))

    def _next(self, reader: Reader) -> Page:
        return reader.next(is_loaded=self._is_loaded(), now=self._wall())

    async def _append(self, _visitor: Visitor, payload: bytes) -> bytes:
        await self._publish(unpack_revocations(payload))
        return b""

    async def _get_binding(self, _visitor: Visitor, payload: bytes) -> bytes:
        session = await self._bindings.get_binding(payload)
        return b"" if session is None else pack_binding(session)

    async def _put_binding(self, _visitor: Visitor, payload: bytes) -> bytes:
        await self._bindings.put_binding(*unpack_put(payload))
        return b""

    async def _get_sealed(self, _visitor: Visitor, payload: bytes) -> bytes:
        return await self._keeping.get_sealed(payload) or b""

    async def _put_sealed(self, _visitor: Visitor, payload: bytes) -> bytes:
        name, ttl, value = unpack_named(payload)
        await self._keeping.put_sealed(name, value, ttl)
        return b""

    async def _delete_sealed(self, _visitor: Visitor, payload: bytes) -> bytes:
        await self._keeping.delete_sealed(payload)
        return b""

    async def _claim(self, _visitor: Visitor, payload: bytes) -> bytes:
        name, ttl, _ = unpack_named(payload)
        return b"\x01" if await self._keeping.claim(name, ttl) else b""

    # Logins

    async def _begin(self, visitor: Visitor, payload: bytes) -> bytes:
        await self._logins.begin(visitor.line, unpack_code(payload))
        return b""

    async def _end(self, visitor: Visitor, payload: bytes) -> bytes:
        self._logins.end(visitor.line, unpack_code(payload))
        return b""
