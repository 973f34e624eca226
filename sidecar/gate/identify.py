"""Which session a request belongs to: candidates from the head, tokens, bindings.

`now` answers from memory and is all that most requests need. `later` may ask the store or the provider; it also binds
what travels with a verified token for the first time, because dropping the token would otherwise shed the logout
(DESIGN, pinned numbers).
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sidecar.bindings.carrier import AmbiguousToken, assemble, from_header
from sidecar.bindings.directory import UNKNOWN, Directory
from sidecar.bindings.token import NEEDS_KEYS, UNDECIDED, BadToken, TokenBinder
from sidecar.core.credentials import MAX_CANDIDATES, MAX_PAIRS, NOTHING, Carriers, Reading, merged, pairs
from sidecar.core.identity import BoundSession, Digester, Session
from sidecar.core.verdict import ANONYMOUS, Identity
from sidecar.field_names import fold
from sidecar.gate.vouched import SILENCE, Known, Said, Vouched
from sidecar.http1.fields import parse_line
from sidecar.http1.request import RequestHead
from sidecar.stores.interface import StoreError

_CACHED_LINES = 8192
_CACHED_LINE_BYTES = 4096  # of a Cookie line worth remembering: 32 MiB at the most
_MAX_SPELLINGS = 4 * MAX_PAIRS  # of cookies, each in as many readings at the most; what is more only costs time
_FRESH_ENOUGH_S = 1.0  # how old a binding may be that a denial rests on


@dataclass(frozen=True, slots=True)
class TokenCarrier:
    """Where one `token` binder finds its tokens: a cookie (and its chunks) or a header, lower case."""

    binder: TokenBinder
    cookie: bytes | None = None
    header: bytes | None = None


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request shows, before anybody was asked about it."""

    credentials: tuple[bytes, ...]  # digests
    tokens: tuple[tuple[TokenBinder, bytes], ...] = field(repr=False)
    is_ambiguous: bool
    others: Mapping[bytes, tuple[bytes, ...]] = field(default_factory=dict)  # the same digests under other keys
    said: Said = SILENCE  # in the fields of a trusted proxy


_NOTHING_PRESENTED = Presented((), (), is_ambiguous=False)


class Identifier:
    """From request heads to identities."""

    def __init__(
        self,
        *,
        carriers: Carriers,
        tokens: Sequence[TokenCarrier],
        directory: Directory,
        digester: Digester,
        cutoff: Callable[[bytes], int | None],
        vouched: Vouched | None = None,
    ) -> None:
        """`cutoff` is the replica's look-up of a digest: when it was revoked. `vouched`: of the `header` binders."""
        self._vouched = vouched
        self._cutoff = cutoff
        self._carriers = carriers
        self._tokens = tokens
        self._directory = directory
        self._digester = digester
        self._bound = functools.lru_cache(16_384)(digester.bound)
        self._lines: dict[bytes, Presented] = {}
        self._mark = object()  # of what was made with the present key; heads are remembered longer than that
        names = vouched.names if vouched is not None else frozenset()
        self.token_headers = names | frozenset(fold(token.header) for token in tokens if token.header)
        self._reads_target = carriers.reads_target
        self._reads_headers = bool(carriers.headers or self.token_headers)

    def now(self, request: RequestHead, now: float) -> Identity | None:
        """The identity, as far as memory can tell; None when somebody has to be asked. `now` is boot time."""
        presented = self.presented(request)
        if presented is _NOTHING_PRESENTED:
            return ANONYMOUS
        if (doubt := _doubt(presented)) is not None:
            return doubt
        sessions: list[BoundSession] = []
        for binder, token in presented.tokens:
            read = binder.read(token)
            if read is NEEDS_KEYS:
                return None
            if isinstance(read, BadToken):
                return Identity(has_bad_token=True)
            if isinstance(read, Session):
                sessions.append(self._bound(read))
        bound: list[tuple[bytes, BoundSession]] = []
        if self._vouched is not None:
            for named in presented.said.named:
                known = self._vouched.now(named, now)
                if known is None:
                    return None
                _add(known, sessions, bound)
        return self._bound_now(sessions, bound, presented, now)

    def _bound_now(
        self,
        sessions: list[BoundSession],
        bound: list[tuple[bytes, BoundSession]],
        presented: Presented,
        now: float,
    ) -> Identity | None:
        unbound: list[bytes] = []
        for credential in presented.credentials:
            known = self._directory.cached(credential, now)
            if known is UNKNOWN:
                return None
            named = self._last_revoked(credential, presented)
            if known is None:
                unbound.append(named)
            else:
                bound.append((named, known))
        if sessions and (unbound or _outdated(sessions, bound)):
            return None  # something to write down
        return _identity(sessions, bound, unbound)

    def only_session(self, request: RequestHead, now: float) -> tuple[bytes, BoundSession] | None:
        """The one credential of a request and its session, where memory knows both and there is nothing else."""
        block = request.block
        if block is None or self._reads_target or self._reads_headers:
            return None
        remembered = block.remembered
        if remembered is None or remembered[0] is not self._mark:
            remembered = block.remembered = self._mark, self._single(self.presented(request))
        credential = remembered[1]
        session = self._directory.cached(credential, now) if credential else None
        return (credential, session) if type(session) is BoundSession else None  # one session: no shared one

    def _single(self, presented: Presented) -> bytes:
        is_plain = not (presented.tokens or presented.is_ambiguous or presented.others)
        return presented.credentials[0] if is_plain and len(presented.credentials) == 1 else b""

    async def later(self, request: RequestHead, *, recheck: bool = False) -> Identity:
        """The identity, asking store and provider where that is needed. `recheck`: nothing older than a second."""
        presented = self.presented(request)
        if presented is _NOTHING_PRESENTED:
            return ANONYMOUS
        if (doubt := _doubt(presented)) is not None:
            return doubt
        sessions: list[BoundSession] = []
        for binder, token in presented.tokens:
            read = await binder.read_slow(token)
            if read is UNDECIDED:
                return Identity(are_keys_missing=True)
            if isinstance(read, BadToken):
                return Identity(has_bad_token=True)
            if isinstance(read, Session):
                sessions.append(self._bound(read))
        by_header: list[tuple[bytes, BoundSession]] = []
        try:
            if self._vouched is not None:
                for named in presented.said.named:
                    _add(await self._vouched.later(named), sessions, by_header)
            bound, unbound = await self._find(presented, recheck=recheck)
            bound, unbound = await self._bind_companions(sessions, bound, unbound, presented)
        except StoreError:
            return Identity(tuple(sessions), unbound=presented.credentials, is_store_silent=True)
        return _identity(sessions, [*by_header, *bound], unbound)

    def presented(self, request: RequestHead) -> Presented:
        """The candidates of a request, as digests, and its tokens."""
        lines = request.cookies
        in_cookies = _NOTHING_PRESENTED
        if lines:
            in_cookies = self._in_line(lines[0]) if len(lines) == 1 else self._read_lines(lines)
        if not self._reads_target and not self._reads_headers:
            return in_cookies
        found = [in_cookies]
        if self._reads_target and (in_target := self._carriers.in_target(request.target)) is not NOTHING:
            found.append(self._digested(in_target, ()))
        if self._reads_headers:
            found.append(self._in_headers(request))
        said = self._vouched.said(request) if self._vouched is not None else SILENCE
        if said is not SILENCE:
            found.append(Presented((), (), is_ambiguous=False, said=said))
        found = [part for part in found if part is not _NOTHING_PRESENTED]
        if len(found) < 2:
            return found[0] if found else _NOTHING_PRESENTED
        return Presented(
            tuple(dict.fromkeys(digest for part in found for digest in part.credentials)),
            tuple(dict.fromkeys(token for part in found for token in part.tokens)),
            any(part.is_ambiguous for part in found),
            {credential: others for part in found for credential, others in part.others.items()},
            said,
        )

    def forget(self) -> None:
        """The digests that were made so far are worth nothing: the key has changed."""
        self._lines.clear()
        self._bound.cache_clear()
        self._mark = object()

    async def session_of_tokens(self, cookies: Sequence[tuple[bytes, bytes]]) -> BoundSession | None:
        """The session that tokens among these cookies prove, for cookies that the app sets."""
        for binder, token in self._tokens_in(cookies):
            read = await binder.read_slow(token)
            if isinstance(read, Session):
                return self._bound(read)
        return None

    @property
    def has_several_carriers(self) -> bool:
        """Whether the app may go by another credential than the one that it sets."""
        return self._reads_target or bool(self._carriers.headers) or len(self._carriers.cookies) > 1

    def in_target(self, target: bytes) -> tuple[bytes, ...]:
        """The digests of the credentials in an address."""
        return self._digested(self._carriers.in_target(target), ()).credentials if self._reads_target else ()

    def is_token_cookie(self, name: bytes) -> bool:
        """Whether a cookie name is a token binder's, or one of its chunks."""
        return any(token.cookie and _is_chunk(name, token.cookie) for token in self._tokens)

    def digest(self, value: bytes) -> bytes:
        """The digest of a canonical credential value."""
        return self._digester.credential(value)

    def bound(self, session: Session) -> BoundSession:
        """A session as it is stored."""
        return self._bound(session)

    # -- reading -------------------------------------------------------------------------------------------------

    def _in_line(self, line: bytes) -> Presented:
        """One Cookie line; browsers repeat theirs, so what it means is remembered."""
        presented = self._lines.get(line)
        if presented is None:
            presented = self._read_lines((line,))
            if len(line) <= _CACHED_LINE_BYTES:
                if len(self._lines) >= _CACHED_LINES:
                    self._lines.clear()  # cheaper than a list of the least used, and as good at this size
                self._lines[line] = presented
        return presented

    def _read_lines(self, lines: Sequence[bytes]) -> Presented:
        reading = self._carriers.in_cookies(lines)
        if not any(token.cookie for token in self._tokens):
            return self._digested(reading, ())
        try:
            found = list(itertools.islice(pairs(lines), _MAX_SPELLINGS + 1))
            if len(found) > _MAX_SPELLINGS:
                return Presented((), (), is_ambiguous=True)
            return self._digested(reading, self._tokens_in(found))
        except AmbiguousToken:
            return Presented((), (), is_ambiguous=True)

    def _tokens_in(self, cookies: Sequence[tuple[bytes, bytes]]) -> list[tuple[TokenBinder, bytes]]:
        return [
            (carrier.binder, token)
            for carrier in self._tokens
            if carrier.cookie
            for token in assemble(cookies, carrier.cookie)
        ]

    def _in_headers(self, request: RequestHead) -> Presented:
        values = [value for name in self._carriers.headers for value in _values(request, name)]
        if len(values) > MAX_CANDIDATES:
            return Presented((), (), is_ambiguous=True)
        readings = map(self._carriers.in_header, values)
        try:
            tokens = [
                (carrier.binder, token)
                for carrier in self._tokens
                if carrier.header
                for token in from_header(_values(request, carrier.header))
            ]
        except AmbiguousToken:
            return Presented((), (), is_ambiguous=True)
        return self._digested(merged(readings), tokens)

    def _digested(self, reading: Reading, tokens: Iterable[tuple[TokenBinder, bytes]]) -> Presented:
        tokens = tuple(tokens)
        if reading is NOTHING and not tokens:
            return _NOTHING_PRESENTED
        keys = self._digester.others
        others = {self.digest(value): tuple(key.credential(value) for key in keys) for value in reading.values if keys}
        return Presented(tuple(map(self.digest, reading.values)), tokens, reading.is_ambiguous, others)

    def _last_revoked(self, credential: bytes, presented: Presented) -> bytes:
        """The digest of a credential that was revoked last: under another key perhaps, before the key changed."""
        others = presented.others.get(credential)
        return max((credential, *others), key=lambda digest: self._cutoff(digest) or 0) if others else credential

    # -- asking --------------------------------------------------------------------------------------------------

    async def _find(
        self, presented: Presented, *, recheck: bool
    ) -> tuple[list[tuple[bytes, BoundSession]], list[bytes]]:
        bound: list[tuple[bytes, BoundSession]] = []
        unbound: list[bytes] = []
        max_age_s = _FRESH_ENOUGH_S if recheck else None
        for credential in presented.credentials:
            others = presented.others.get(credential, ())
            session = await self._directory.find(credential, others=others, max_age_s=max_age_s)
            named = self._last_revoked(credential, presented)
            if session is None:
                unbound.append(named)
            else:
                bound.append((named, session))
        return bound, unbound

    async def _bind_companions(
        self,
        sessions: list[BoundSession],
        bound: list[tuple[bytes, BoundSession]],
        unbound: list[bytes],
        presented: Presented,
    ) -> tuple[list[tuple[bytes, BoundSession]], list[bytes]]:
        """Write down what travels with a verified token: credentials that nobody knows, or know an older login.

        Only of the same subject: else the owner of any token could take over, and so revive, a stranger's cookie.
        """
        if not sessions:
            return bound, unbound
        newest = max(sessions, key=lambda session: session.login_time)
        binder = "token" if presented.tokens else "header"
        # One that is revoked already had an owner, whose binding is lost: it stays dead.
        dead = [credential for credential in unbound if self._cutoff(credential) is not None]
        ownerless = [credential for credential in unbound if credential not in dead]
        for credential in ownerless:
            await self._directory.bind(credential, newest, binder=binder)
        updated = [(credential, newest) for credential in ownerless]
        for credential, session in bound:
            if _is_later_login(newest, session):
                await self._directory.bind(_own_digest(credential, presented), newest, binder=binder)
                updated.append((credential, newest))
            else:
                updated.append((credential, session))
        return updated, dead


def _doubt(presented: Presented) -> Identity | None:
    """The identity of a request that is denied as it is: there is nobody to be asked about it."""
    said = presented.said
    if not (presented.is_ambiguous or said.is_unvouched or said.is_bad):
        return None
    return Identity(is_ambiguous=presented.is_ambiguous, is_unvouched=said.is_unvouched, has_bad_token=said.is_bad)


def _add(known: Known, sessions: list[BoundSession], bound: list[tuple[bytes, BoundSession]]) -> None:
    sessions.append(known.session)
    if known.credential is not None:
        bound.append((known.credential, known.session))


def _identity(sessions: list[BoundSession], bound: list[tuple[bytes, BoundSession]], unbound: list[bytes]) -> Identity:
    if not sessions and not bound and not unbound:
        return ANONYMOUS
    return Identity(tuple(sessions), tuple(bound), tuple(unbound))


def _outdated(sessions: list[BoundSession], bound: list[tuple[bytes, BoundSession]]) -> bool:
    newest = max(sessions, key=lambda session: session.login_time)
    return any(_is_later_login(newest, session) for _, session in bound)


def _own_digest(named: bytes, presented: Presented) -> bytes:
    """A credential's digest under our own key, whichever key it was named by."""
    return next((credential for credential, others in presented.others.items() if named in others), named)


def _is_later_login(new: BoundSession, old: BoundSession) -> bool:
    """Another login of the same person. A refreshed token of the same sid is not: it keeps the first login time."""
    return all(
        not new.is_same(each) and new.is_of_same_subject(each) and new.login_time > each.login_time for each in old.all
    )


def _values(request: RequestHead, name: bytes) -> list[bytes]:
    """A field's values, under the spellings that CGI-like servers fold together as well (reference case 17)."""
    folded = fold(name)
    return [value for key, value in map(parse_line, request.lines) if fold(key) == folded]


def _is_chunk(name: bytes, base: bytes) -> bool:
    name, base = name.lower(), base.lower()
    rest = name[len(base) :]
    return name.startswith(base) and (not rest or (rest[:1] in (b".", b"_") and rest[1:].isdigit()))
