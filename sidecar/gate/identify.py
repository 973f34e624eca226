"""Which session a request belongs to: candidates from the head, tokens, bindings.

`now` answers from memory and is all that most requests need. `later` may ask the store or the provider; it also binds
what travels with a verified token for the first time, because dropping the token would otherwise shed the logout.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from sidecar.bindings.directory import UNKNOWN, Directory
from sidecar.bindings.token import NEEDS_KEYS, UNDECIDED, BadToken
from sidecar.core.cookies import SetCookie
from sidecar.core.credentials import Carriers
from sidecar.core.form import Body
from sidecar.core.identity import BINDERS, BoundSession, Digester, Session
from sidecar.core.verdict import ANONYMOUS, Identity
from sidecar.gate.named import Known, NamedSessions
from sidecar.gate.presented import NOTHING_PRESENTED, Presented, Reader, TokenCarrier
from sidecar.gate.vouchers import Vouchers
from sidecar.http1.request import RequestHead
from sidecar.stores.interface import StoreError

_BY_TOKEN = BINDERS.index("token")
_FRESH_ENOUGH_S = 1.0  # how old a binding may be that a denial rests on


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
        named_sessions: NamedSessions | None = None,
        vouchers: Vouchers | None = None,
    ) -> None:
        """`cutoff`: when a digest was revoked, as the replica knows. `named_sessions`: of the `header` binders."""
        self._reader = Reader(carriers=carriers, tokens=tokens, digester=digester, named_sessions=named_sessions)
        self._named_sessions = named_sessions
        self._cutoff = cutoff
        self._vouchers = vouchers
        self._directory = directory
        self._digester = digester
        self._bound = functools.lru_cache(16_384)(lambda session: replace(digester.bound(session), binder=_BY_TOKEN))
        self._mark = object()  # of what was made with the present key; heads are remembered longer than that
        self._reads_elsewhere = self._reader.reads_target or self._reader.reads_headers  # than in cookies
        self.token_headers = self._reader.token_headers
        self.reads_forms = carriers.reads_forms

    def now(self, request: RequestHead, now: float) -> Identity | None:
        """The identity, as far as memory can tell; None when somebody has to be asked. `now` is boot time."""
        presented = self.presented(request)
        if presented is NOTHING_PRESENTED:
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
        if self._named_sessions is not None:
            for named in presented.said.named:
                known = self._named_sessions.now(named, now)
                if known is None:
                    return None
                _add(known, sessions, bound)
        return self._bound_now(request, sessions, bound, presented, now)

    def _bound_now(
        self,
        request: RequestHead,
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
        return _identity(sessions, bound, unbound, self._visiting_since(request, unbound, presented))

    def only_session(self, request: RequestHead, now: float) -> tuple[bytes, BoundSession] | None:
        """The one credential of a request and its session, where memory knows both and there is nothing else."""
        block = request.block
        if block is None or (self._reads_elsewhere and self._reader.may_be_elsewhere(request.target)):
            return None
        remembered = block.remembered
        if remembered is None or remembered[0] is not self._mark:
            remembered = block.remembered = (self._mark, *self._single(self.presented(request)))
        credential = remembered[1]
        if remembered[2] and self._is_any_revoked(remembered[2]):
            return None
        session = self._directory.cached(credential, now) if credential else None
        return (credential, session) if type(session) is BoundSession else None  # one session: no shared one

    def _is_any_revoked(self, credentials: Iterable[bytes]) -> bool:
        return any(self._cutoff(credential) is not None for credential in credentials)

    def _single(self, presented: Presented) -> tuple[bytes, tuple[bytes, ...]]:
        if presented.tokens or presented.is_ambiguous or len(presented.credentials) != 1:
            return b"", ()
        credential = presented.credentials[0]
        return credential, presented.others.get(credential, ())

    async def later(self, request: RequestHead, *, recheck: bool = False) -> Identity:
        """The identity, asking store and provider where that is needed. `recheck`: nothing older than a second."""
        presented = self.presented(request)
        if presented is NOTHING_PRESENTED:
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
            if self._named_sessions is not None:
                for named in presented.said.named:
                    _add(await self._named_sessions.later(named), sessions, by_header)
            bound, unbound = await self._find(presented, recheck=recheck)
            bound, unbound = await self._bind_companions(sessions, bound, unbound, presented)
        except StoreError:
            return self._in_the_dark(presented, sessions, by_header)
        return _identity(sessions, [*by_header, *bound], unbound, self._visiting_since(request, unbound, presented))

    def _in_the_dark(
        self, presented: Presented, sessions: list[BoundSession], by_header: list[tuple[bytes, BoundSession]]
    ) -> Identity:
        """While the store is silent: what memory knows to be dead must not hide behind what it does not know."""
        bound, unbound = list(by_header), list[bytes]()
        for credential in presented.credentials:
            known, named = self._directory.known(credential), self._last_revoked(credential, presented)
            if known is None:
                unbound.append(named)
            else:
                bound.append((named, known))
        return Identity(tuple(sessions), tuple(bound), tuple(unbound), is_store_silent=True)

    def presented(self, request: RequestHead) -> Presented:
        """The candidates of a request, as digests, and its tokens."""
        return self._reader.presented(request)

    def body_of(self, request: RequestHead) -> Body:
        """Whether the body of a request may hold a credential, and can be read."""
        return self._reader.body_of(request)

    def is_token_cookie(self, name: bytes) -> bool:
        """Whether a cookie name is a token binder's, or one of its chunks."""
        return self._reader.is_token_cookie(name)

    def credentials_set(self, cookies: Sequence[SetCookie]) -> list[bytes]:
        """The digests of the credentials that an app sets."""
        return self._reader.credentials_set(cookies)

    def forget(self) -> None:
        """The digests that were made so far are worth nothing: the key has changed."""
        self._reader.forget()
        self._bound.cache_clear()
        self._mark = object()

    async def session_of_tokens(self, cookies: Sequence[tuple[bytes, bytes]]) -> BoundSession | None:
        """The session that tokens among these cookies prove, for cookies that the app sets."""
        for binder, token in self._reader.tokens_in(cookies):
            read = await binder.read_slow(token)
            if isinstance(read, Session):
                return self._bound(read)
        return None

    @property
    def has_several_carriers(self) -> bool:
        """Whether the app may go by another credential than the one that it sets."""
        return self._reader.has_several_carriers

    def in_target(self, target: bytes) -> tuple[bytes, ...]:
        """The digests of the credentials in an address."""
        return self._reader.in_target(target)

    def bound(self, session: Session) -> BoundSession:
        """A session as it is stored."""
        return self._bound(session)

    def _last_revoked(self, credential: bytes, presented: Presented) -> bytes:
        """The digest of a credential that was revoked last: under another key perhaps, before the key changed."""
        others = presented.others.get(credential)
        return max((credential, *others), key=lambda digest: self._cutoff(digest) or 0) if others else credential

    def _visiting_since(self, request: RequestHead, unbound: Sequence[bytes], presented: Presented) -> int | None:
        if self._vouchers is None or not unbound:
            return None
        own = (_own_digest(named, presented) for named in unbound)
        return self._vouchers.since(request, ((digest, *presented.others.get(digest, ())) for digest in own))

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
    if not (presented.is_ambiguous or said.is_untrusted or said.is_bad):
        return None
    return Identity(is_ambiguous=presented.is_ambiguous, is_untrusted=said.is_untrusted, has_bad_token=said.is_bad)


def _add(known: Known, sessions: list[BoundSession], bound: list[tuple[bytes, BoundSession]]) -> None:
    sessions.append(known.session)
    if known.credential is not None:
        bound.append((known.credential, known.session))


def _identity(
    sessions: list[BoundSession],
    bound: list[tuple[bytes, BoundSession]],
    unbound: list[bytes],
    visiting_since: int | None,
) -> Identity:
    if not sessions and not bound and not unbound:
        return ANONYMOUS
    return Identity(tuple(sessions), tuple(bound), tuple(unbound), visiting_since=visiting_since)


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
