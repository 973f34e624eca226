"""Sessions that a trusted proxy names in header fields: found in the request, and given a login time.

A field says who it is, not always since when. Then the first sight counts, and is kept like a binding. It is written
only while the replica is fresh: what had been revoked before, unheard, would pass as a later login for ever.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from sidecar import clock
from sidecar.bindings.directory import Directory
from sidecar.bindings.trusted_header import BadHeader, HeaderBinder, Named
from sidecar.core.identity import BINDERS, BoundSession, Digester, Session
from sidecar.field_names import fold
from sidecar.http1.fields import parse_line
from sidecar.http1.request import RequestHead
from sidecar.stores.interface import StoreError

_BINDER: Final = BINDERS.index("header")
_EARLIER_S: Final = 60.0  # how far the provider's clock may be behind ours: a logout soon after must reach the session


@dataclass(frozen=True, slots=True)
class Said:
    """What the fields of a request say, before anybody was asked about it."""

    named: tuple[Named, ...] = ()
    is_untrusted: bool = False  # by a peer that is not trusted
    is_bad: bool = False  # by one that is, and it names nothing


SILENCE: Final = Said()


class Known(NamedTuple):
    """A named session with its login time, and the credential under which that is kept, if it is."""

    session: BoundSession
    credential: bytes | None


class NamedSessions:
    """The `header` binders of one gate."""

    def __init__(
        self,
        binders: Sequence[HeaderBinder],
        *,
        directory: Directory,
        digester: Digester,
        cutoff: Callable[[bytes], int | None],
        is_fresh: Callable[[], bool],
    ) -> None:
        self._binders = tuple(binders)
        self._directory = directory
        self._digester = digester
        self._cutoff = cutoff
        self._is_fresh = is_fresh
        self.names = frozenset(name for binder in binders for name in binder.names)

    def said(self, request: RequestHead) -> Said:
        """Which sessions the request names."""
        if request.is_spoofed:
            return Said(is_untrusted=True)
        fields = [(fold(name), value) for name, value in map(parse_line, request.lines)]
        fields = [(name, value) for name, value in fields if name in self.names]
        if not fields:
            return SILENCE
        if not request.is_trusted:  # nobody else's fields are left by now, but of a request from before a reload
            return Said(is_untrusted=True)
        try:
            named = [binder.read(fields) for binder in self._binders]
        except BadHeader:
            return Said(is_bad=True)
        return Said(tuple(each for each in named if each is not None))

    def now(self, named: Named, now: float) -> Known | None:
        """The session, as far as memory can tell. `now` is boot time."""
        if named.is_timed:
            return Known(self._bound(named.session), None)
        credential = self._digester.credential(named.digest_name)
        session = self._directory.cached(credential, now)
        return Known(session, credential) if isinstance(session, BoundSession) else None

    async def later(self, named: Named) -> Known:
        """The session; at first sight it is written down. Raises StoreError."""
        if named.is_timed:
            return Known(self._bound(named.session), None)
        credential, *others = (digester.credential(named.digest_name) for digester in self._digester.all)
        try:
            session = await self._directory.find(credential, others=others)
        except StoreError:
            if not self._was_ended(named, credential, others):
                raise
            session = self._bound(named.session)  # dead in an outage too (DESIGN promise 2)
        if session is None:
            session = await self._first_seen(named, credential, others)
        return Known(session, credential)

    def _bound(self, session: Session) -> BoundSession:
        return replace(self._digester.bound(session), binder=_BINDER)

    async def _first_seen(self, named: Named, credential: bytes, others: Sequence[bytes]) -> BoundSession:
        if not self._is_fresh():
            raise StoreError("store_unavailable", "a session cannot be met for the first time now")
        if self._was_ended(named, credential, others):
            return self._bound(named.session)  # of the year 1970: whatever ended it came later
        since = int((clock.early() - _EARLIER_S) * 1000)
        session = self._bound(replace(named.session, login_time=since))
        await self._directory.bind(credential, session, binder="header")
        return session

    def _was_ended(self, named: Named, credential: bytes, others: Sequence[bytes]) -> bool:
        """Whether anything is revoked that ends this session, whenever that was: nothing says when it began."""
        session = self._bound(named.session)
        digests = (name for pair in ((session.own, session.sub), *session.others) for name in pair)
        names = (credential, *others, *digests, *session.parties)
        return any(name is not None and self._cutoff(name) is not None for name in names)
