"""Who is logged in, in the words that everything else uses.

A `Session` is what a provider said, in clear. A `BoundSession` is the same thing as the sidecar keeps it: keyed digests
and times, so that neither the store nor a memory dump of it names a person. Times are integer milliseconds since the
epoch **on the provider's clock**; they are only ever compared with other times of the same provider.
"""

import enum
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

DIGEST_BYTES = 16

# Who has found out whose a credential is. The places in this row are stored: never move one.
BINDERS = ("unknown", "token", "token_endpoint", "form_post", "keycloak_code", "header")
BINDERS_AT_MOST = 16  # a stored binding has four bits for it, and the ones of a later release are counted too


class Kind(enum.IntEnum):
    """What a revocation names. The numbers are stored: never re-use one."""

    SID = 1
    SUB = 2  # every session of the subject
    CREDENTIAL = 3  # one cookie (or other carrier) value
    SUB_WITHOUT_SID = 4  # the sessions of the subject that were bound without any sid
    EVERYBODY = 5  # every session of the client at this issuer


@dataclass(frozen=True, slots=True)
class Session:
    """An app session as OpenID Connect sees it. At least one of `sid` and `sub` is present."""

    issuer: str
    client_id: str
    sid: str | None = field(repr=False)
    sub: str | None = field(repr=False)
    login_time: int  # ms; `iat` of the first ID token of this login
    auth_time: int | None = None  # ms; only where a refreshed token must not outlive its sid (binder `token`)


@dataclass(frozen=True, slots=True)
class BoundSession:
    """A session as it is stored beside a credential.

    `own` is the digest that a logout of exactly this session revokes: of the sid, or of the sub for a session that was
    bound without any sid (Back-Channel Logout 1.0 leaves that case open; promise 3). `sub` is the digest that a
    logout of the whole subject revokes; None where the binder saw no sub.
    """

    own: bytes = field(repr=False)
    sub: bytes | None = field(repr=False)
    login_time: int  # ms, against revocations of the subject or of the credential
    sid_time: int  # ms, against revocations of the sid: the earlier of login and authentication
    # The same two digests under the other keys that are accepted. Not stored: only a session that has just been proven
    # can have met a revocation that was written before the key changed.
    others: tuple[tuple[bytes, bytes | None], ...] = field(default=(), repr=False, compare=False)
    # The digest that a logout of everybody revokes, and the same under the other keys. Empty unless somebody can send
    # such a logout here; only the first is stored.
    parties: tuple[bytes, ...] = field(default=(), repr=False, compare=False)
    binder: int = field(default=0, repr=False, compare=False)  # the place in BINDERS; only for the numbers

    @property
    def all(self) -> "tuple[BoundSession, ...]":
        """Every session that the credential may belong to, this one first."""
        return (self,)

    def is_same(self, other: "BoundSession") -> bool:
        """Whether both are one session, digested with different keys perhaps."""
        return self.own == other.own or any(own == other.own for own, _ in self.others)

    def is_of_same_subject(self, other: "BoundSession") -> bool:
        """Whether both are of one subject; never where a subject is not known."""
        if other.sub is None:
            return False
        return self.sub == other.sub or any(sub == other.sub for _, sub in self.others)


@dataclass(frozen=True, slots=True)
class SharedSession(BoundSession):
    """The latest of several sessions that one credential may belong to; it dies with any of them (decision 018).

    Another type and not only another value: what is quick because a credential has one session must not meet this.
    """

    also: tuple[BoundSession, ...] = field(default=(), repr=False)

    @property
    def all(self) -> tuple[BoundSession, ...]:
        return (self, *self.also)


def shared(new: BoundSession, olds: Iterable[BoundSession]) -> BoundSession:
    """`new`, and whatever the credential belonged to before: who cannot tell which it is keeps all of them.

    The same session again keeps its first login time, so that nobody makes a session younger by naming it once more.
    """
    first: dict[tuple[bytes, bytes | None], BoundSession] = {}
    for session in (*new.all[1:], *(each for old in olds for each in old.all)):
        known = first.setdefault((session.own, session.sub), session)
        if session.login_time < known.login_time:
            first[session.own, session.sub] = session
    also = tuple(_plain(old) for old in first.values() if not _covers(new, old))
    if not also:
        return _plain(new)
    return sharing(new, also)


def sharing(session: BoundSession, also: tuple[BoundSession, ...]) -> SharedSession:
    """This session and others, of one credential."""
    return SharedSession(
        session.own,
        session.sub,
        session.login_time,
        session.sid_time,
        session.others,
        parties=session.parties,
        binder=session.binder,
        also=also,
    )


def _plain(session: BoundSession) -> BoundSession:
    return BoundSession(
        session.own,
        session.sub,
        session.login_time,
        session.sid_time,
        session.others,
        parties=session.parties,
        binder=session.binder,
    )


def _covers(new: BoundSession, old: BoundSession) -> bool:
    """Whether every logout that ends `old` ends `new` as well."""
    return old.own == new.own and old.sub in (None, new.sub) and new.login_time <= old.login_time


class Digester:
    """Keyed digests of identifiers and credentials: BLAKE2b-128 over length-prefixed parts.

    The key is the deployment's secret, so that a reader of the store cannot test guesses of e-mail addresses or
    cookies. The length prefix keeps (`a|`, `b`) and (`a`, `|b`) apart (case L176).

    Bindings are written with this key. `others` are keys that are accepted beside it while the secret is being changed:
    bindings and revocations made with them count, and revocations are written with all of them (decision 015).
    """

    __slots__ = ("_blank", "_voucher_key", "key_id", "names_parties", "others")

    def __init__(self, secret: bytes, others: Sequence[bytes] = (), *, names_parties: bool = False) -> None:
        """`names_parties`: sessions say which client of which issuer they belong to, for logouts of everybody."""
        self.use(secret)
        self.names_parties = names_parties
        self.others: tuple[Digester, ...] = tuple(Digester(other) for other in others)

    @property
    def all(self) -> "tuple[Digester, ...]":
        """One digester for each accepted key, this one first."""
        return (self, *self.others)

    def use(self, secret: bytes) -> None:
        """Make digests with this secret from now on; the ones made before match no more."""
        if len(secret) < 16:
            raise ValueError("the digest secret needs at least 16 bytes")
        key = hashlib.blake2b(secret, digest_size=32, person=b"lgsc-digest").digest()
        self._blank = hashlib.blake2b(key=key, digest_size=DIGEST_BYTES)
        self._voucher_key = hashlib.blake2b(secret, digest_size=32, person=b"lgsc-voucher").digest()
        # Stored beside each revocation: a reader with another secret can say so instead of never matching.
        self.key_id = hashlib.blake2b(b"key-id", key=key, digest_size=1).digest()[0]

    def __repr__(self) -> str:
        return f"<Digester key_id={self.key_id}>"

    def sid(self, issuer: str, client_id: str, sid: str) -> bytes:
        """Digest that a logout by `sid` revokes."""
        return self._digest(Kind.SID, issuer, client_id, sid)

    def sub(self, issuer: str, client_id: str, sub: str) -> bytes:
        """Digest that a logout of all sessions of `sub` revokes."""
        return self._digest(Kind.SUB, issuer, client_id, sub)

    def sub_without_sid(self, issuer: str, client_id: str, sub: str) -> bytes:
        """Digest that a logout naming sid and sub revokes in addition: sessions of `sub` that know no sid."""
        return self._digest(Kind.SUB_WITHOUT_SID, issuer, client_id, sub)

    def everybody(self, issuer: str, client_id: str) -> bytes:
        """Digest that a logout of all sessions of the client revokes."""
        return self._digest(Kind.EVERYBODY, issuer, client_id)

    def credential(self, value: bytes) -> bytes:
        """Digest of a canonical credential value. A credential is its value, whatever carries it."""
        state = self._blank.copy()
        state.update(b"\x03")
        state.update(value)
        return state.digest()

    def voucher(self, credential: bytes, began: int) -> bytes:
        """The tag in a voucher for a credential (its digest) of a visit that began then, in s (`core/voucher.py`)."""
        visit = began.to_bytes(8) + credential  # fixed lengths: no two inputs run together
        return hashlib.blake2b(visit, key=self._voucher_key, digest_size=DIGEST_BYTES).digest()

    def bound(self, session: Session) -> BoundSession:
        """The session as it may be stored."""
        own, sub = self._names(session)
        others = tuple(other._names(session) for other in self.others)  # noqa: SLF001 - the same class
        auth_time = session.login_time if session.auth_time is None else session.auth_time
        issuer, client_id = session.issuer, session.client_id
        parties = tuple(each.everybody(issuer, client_id) for each in self.all) if self.names_parties else ()
        return BoundSession(own, sub, session.login_time, min(session.login_time, auth_time), others, parties)

    def _names(self, session: Session) -> tuple[bytes, bytes | None]:
        issuer, client_id = session.issuer, session.client_id
        sub = self.sub(issuer, client_id, session.sub) if session.sub else None
        if session.sid:
            return self.sid(issuer, client_id, session.sid), sub
        if session.sub:
            return self.sub_without_sid(issuer, client_id, session.sub), sub
        raise ValueError("a session has a sid or a sub")

    def _digest(self, kind: Kind, *parts: str) -> bytes:
        state = self._blank.copy()
        state.update(bytes((kind,)))
        for part in parts:
            raw = part.encode()
            state.update(len(raw).to_bytes(4))
            state.update(raw)
        return state.digest()
