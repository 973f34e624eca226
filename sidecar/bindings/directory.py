"""Which session a credential belongs to: the store's bindings, and what this process knows of them.

`cached` is asked for every request and never waits. `find` reads the store, once for all who ask at the same time. A
binding, once made, is true for as long as the credential lives, so hits are kept (least recently used go first) and
checked against the store now and then, because another replica may have bound the same cookie to a later login. That
happens behind the request's back while the binding is in use, and not at all while the store is known to be away: a
hung store must not slow a request whose binding is known. What the store has forgotten does not undo what is known.

A miss is worth little (the binding may be made at this moment elsewhere) and costs a stranger nothing: it is remembered
for a second, in a map of its own, and the reads that strangers can cause are bounded. Credentials are digests.
"""

import asyncio
import enum
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, Literal, Protocol

from sidecar import metrics
from sidecar.core.identity import BINDERS, BINDERS_AT_MOST, BoundSession, SharedSession
from sidecar.stores.interface import StoreError

MISS_S = 1.0  # never cache a miss for longer
MISS_CAPACITY = 8192
READS_AT_ONCE = 32
READS_WAITING = 1024
READ_S = 1.0  # one read, the wait for a place included: a hung store must not hold requests in a row


class Unknown(enum.Enum):
    """The cache cannot say: ask `find`."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN


class BindingStore(Protocol):
    """The part of a store that holds bindings. All methods may raise StoreError and are bounded in time."""

    async def get_binding(self, credential: bytes) -> BoundSession | None:
        """The session bound to a credential digest."""

    async def put_binding(self, credential: bytes, session: BoundSession, ttl: int) -> None:
        """Bind for at least `ttl` seconds."""


class _Known:
    __slots__ = ("checked", "session", "until")

    def __init__(self, session: BoundSession, checked: float, until: float) -> None:
        self.session = session
        self.checked = checked  # when the store was last asked
        self.until = until  # no binding is older than this: believe the store when it has none


class Directory:
    """Bindings by credential digest."""

    def __init__(
        self,
        store: BindingStore,
        *,
        ttl_s: int,
        clock: Callable[[], float],
        capacity: int = 65_536,
        recheck_s: float = 60.0,
        read_s: float = READ_S,
        is_store_well: Callable[[], bool] = lambda: True,
        parties: Callable[[], tuple[bytes, ...]] = tuple,
    ) -> None:
        """`ttl_s` is how long a binding is kept, `clock` is boot time.

        `parties`: whom a stored binding may belong to that does not say so, because it is older than the setting that
        makes bindings say it. A logout of everybody at any of them then ends its session (doubt denies).
        """
        self._store = store
        self._ttl_s = ttl_s
        self._clock = clock
        self._capacity = capacity
        self._crowded = capacity // 2  # below it nothing is forgotten soon, and the order of use is not worth keeping
        self._recheck_s = recheck_s
        self._read_s = read_s
        self._is_store_well = is_store_well
        self._parties = parties
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._misses: OrderedDict[bytes, float] = OrderedDict()
        self._by_session = _Groups()
        self._by_binder = [0] * BINDERS_AT_MOST
        self._reads: dict[bytes, asyncio.Task[BoundSession | None]] = {}
        self._slots = asyncio.Semaphore(READS_AT_ONCE)

    def cached(self, credential: bytes, now: float | None = None) -> BoundSession | Literal[Unknown.UNKNOWN] | None:
        """What is known without asking the store. `now` saves a look at the clock to those who have just had one."""
        now = self._clock() if now is None else now
        known = self._known.get(credential)
        if known is not None:
            if len(self._known) > self._crowded:
                self._known.move_to_end(credential)
            return known.session if now < known.checked + self._recheck_s else self._due(credential, known, now)
        if now < self._misses.get(credential, 0.0):
            return None
        return UNKNOWN

    def known(self, credential: bytes) -> BoundSession | None:
        """What is known here, however long ago the store was asked; for when it does not answer."""
        known = self._known.get(credential)
        return None if known is None else known.session

    def _due(self, credential: bytes, known: _Known, now: float) -> BoundSession | Literal[Unknown.UNKNOWN]:
        """The store has not been asked for long. One that was idle is worth waiting for, where there is hope."""
        if not self._is_store_well():
            return known.session  # `find` would end there as well, after the time-out of a store that hangs
        if now >= known.checked + 2 * self._recheck_s:
            return UNKNOWN
        if credential not in self._reads and len(self._reads) < READS_WAITING:
            self._begin_read(credential)
        return known.session

    async def find(
        self, credential: bytes, *, others: Sequence[bytes] = (), max_age_s: float | None = None
    ) -> BoundSession | None:
        """The session of a credential; raises StoreError when nothing is known and the store cannot say.

        Before a denial, ask again with a small `max_age_s`: a new login may have taken over the credential elsewhere.
        `others` are digests of the same credential under other accepted keys.
        """
        known = self._known.get(credential)
        max_age_s = self._recheck_s if max_age_s is None else max_age_s
        if known is not None and self._clock() < known.checked + max_age_s:
            return known.session
        try:
            found = await self._read_once(credential, others)
        except StoreError:
            if known is None:
                raise
            # Bindings do not change because the store is away; whether revocations are heard is the replica's matter.
            known.checked = self._clock()
            return known.session
        known = self._known.get(credential)  # a bind may have ended while we were reading
        return found if known is None else known.session

    async def bind(self, credential: bytes, session: BoundSession, *, binder: str) -> None:
        """Bind a credential, in the store first: other replicas know it before the browser does.

        A binder that is none of `BINDERS` only hands a session on, which keeps the one that found it out.
        """
        if binder in BINDERS:
            session = replace(session, binder=BINDERS.index(binder))
        await self._store.put_binding(credential, session, self._ttl_s)
        self._reads.pop(credential, None)  # a read that began before must not overwrite this
        self._remember(credential, session, self._clock())
        metrics.bindings.labels(binder).inc()

    def credentials_of(self, digest: bytes) -> Iterable[bytes]:
        """The credentials known here of a session (`own`) or of a subject (`sub`); a copy, safe to keep."""
        return self._by_session.members(digest)

    def bindings_of(self, digest: bytes) -> Iterable[tuple[bytes, BoundSession]]:
        """The same with their sessions, read one by one: use it up at once.

        However long ago the store was asked: a revocation must not miss idle ones.
        """
        return ((credential, self._known[credential].session) for credential in self.credentials_of(digest))

    def count_by_binder(self) -> Sequence[int]:
        """How many credentials are known here, by the binder's place in `BINDERS`."""
        return self._by_binder

    def sessions(self) -> Iterable[BoundSession]:
        """The sessions known here; one may come several times. A copy, safe to keep."""
        return [known.session for known in self._known.values()]

    async def aclose(self) -> None:
        """Stop reading."""
        reads = list(self._reads.values())
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)

    async def _read_once(self, credential: bytes, others: Sequence[bytes]) -> BoundSession | None:
        read = self._reads.get(credential)
        if read is None:
            if len(self._reads) >= READS_WAITING:
                raise StoreError("store_busy", "too many unknown credentials at once")
            read = self._begin_read(credential, others)
        return await asyncio.shield(read)  # one client that goes away must not take the answer from the others

    def _begin_read(self, credential: bytes, others: Sequence[bytes] = ()) -> asyncio.Task[BoundSession | None]:
        read = self._reads[credential] = asyncio.create_task(self._read(credential, others))
        read.add_done_callback(lambda task: self._read_ended(credential, task))
        return read

    async def _read(self, credential: bytes, others: Sequence[bytes]) -> BoundSession | None:
        try:
            async with asyncio.timeout(self._read_s), self._slots:
                asked = self._clock()
                found = await self._store.get_binding(credential)
                for other in others if found is None else ():
                    found = found or await self._store.get_binding(other)
            if found is not None and (parties := self._parties()):
                found = _of_some_party(found, parties)
        except TimeoutError:
            raise StoreError("store_busy", "the store is behind with its answers") from None
        if self._reads.get(credential) is asyncio.current_task():
            self._learn(credential, found, asked)
        return found

    def _read_ended(self, credential: bytes, read: asyncio.Task[BoundSession | None]) -> None:
        if self._reads.get(credential) is read:
            del self._reads[credential]
        if not read.cancelled():
            read.exception()  # every asker may be gone by now; the error has been theirs

    def _learn(self, credential: bytes, found: BoundSession | None, asked: float) -> None:
        if found is not None:
            self._remember(credential, found, asked)
            return
        known = self._known.get(credential)
        if known is not None and asked < known.until:
            known.checked = asked  # the store was flushed or has evicted it: what we know is still true
            return
        self._forget(credential)
        self._misses[credential] = asked + MISS_S
        if len(self._misses) > MISS_CAPACITY:
            self._misses.popitem(last=False)

    def _remember(self, credential: bytes, session: BoundSession, asked: float) -> None:
        self._forget(credential)
        self._misses.pop(credential, None)
        self._known[credential] = _Known(session, asked, asked + self._ttl_s)
        self._by_binder[session.binder] += 1
        for digest in _digests(session):
            self._by_session.add(digest, credential)
        if len(self._known) > self._capacity:
            self._forget(next(iter(self._known)))

    def _forget(self, credential: bytes) -> None:
        known = self._known.pop(credential, None)
        if known is not None:
            self._by_binder[known.session.binder] -= 1
            for digest in _digests(known.session):
                self._by_session.discard(digest, credential)


class _Groups:
    """Sets of credentials. A set of one, which nearly all are, is stored as its only member."""

    def __init__(self) -> None:
        self._groups: dict[bytes, bytes | set[bytes]] = {}

    def add(self, digest: bytes, credential: bytes) -> None:
        group = self._groups.get(digest)
        if group is None:
            self._groups[digest] = credential
        elif isinstance(group, set):
            group.add(credential)
        elif group != credential:
            self._groups[digest] = {group, credential}

    def discard(self, digest: bytes, credential: bytes) -> None:
        group = self._groups.get(digest)
        if isinstance(group, set):
            group.discard(credential)
        if group in (credential, set()):
            del self._groups[digest]

    def members(self, digest: bytes) -> tuple[bytes, ...]:
        group = self._groups.get(digest, ())
        return (group,) if isinstance(group, bytes) else tuple(group)


def _of_some_party(session: BoundSession, parties: tuple[bytes, ...]) -> BoundSession:
    if not session.parties:
        session = replace(session, parties=parties)
    if isinstance(session, SharedSession):
        session = replace(session, also=tuple(_of_some_party(each, parties) for each in session.also))
    return session


def _digests(session: BoundSession) -> Iterable[bytes]:
    names = (digest for each in session.all for digest in (each.own, each.sub, *each.parties))
    return dict.fromkeys(digest for digest in names if digest is not None)
