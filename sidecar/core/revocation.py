"""What is over: revocations, how two of them merge, and whether one covers a session.

A revocation set only grows and expires. Two revocations of the same digest merge to the later cut-off and the later
expiry; the merge is idempotent, commutative and associative, so replicas may receive the log twice, late, or in any
order and still agree.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from sidecar.core.identity import BoundSession, Digester, Kind

SLACK_S = 15 * 60  # a code or token in flight (10 min) and clock skew (5 min) on top of the longest session
LONGEST_S = 366 * 24 * 3600 + SLACK_S  # no `session.max_age` asks for a longer retention


@dataclass(frozen=True, slots=True)
class Revocation:
    """`digest` is over for every login at or before `cutoff`; kept until `expires`."""

    kind: Kind
    digest: bytes = field(repr=False)
    cutoff: int  # ms since the epoch, provider's clock: the logout token's `iat`
    expires: int  # s since the epoch, our clock: no session that old can exist any more


@dataclass(frozen=True, slots=True)
class Logout:
    """What a verified message ends, at each of our clients that it concerns: a session, a subject, or everybody."""

    issuer: str
    client_ids: tuple[str, ...]
    sid: str | None = field(repr=False)
    sub: str | None = field(repr=False)
    cutoff: int  # ms since the epoch, provider's clock
    whole_subject: bool = False  # the sid does not narrow it
    everybody: bool = False  # then it names neither; spelled out, so that nothing becomes it by omission

    @property
    def scope(self) -> Literal["sid", "sub", "both", "everybody"]:
        """Whom it names."""
        if self.everybody:
            return "everybody"
        if self.sid is None:
            return "sub"
        return "sid" if self.sub is None else "both"


def meant_by(logout: Logout, digester: Digester, *, expires: int) -> Iterator[Revocation]:
    """The revocations of a logout, for each client that it concerns; kept until `expires`."""
    sid, sub, cutoff = logout.sid, logout.sub, logout.cutoff
    for client in logout.client_ids:
        named = (digester, logout.issuer, client)
        if logout.everybody:
            yield Revocation(Kind.EVERYBODY, digester.everybody(logout.issuer, client), cutoff, expires)
            continue
        yield from of_logout(*named, sid, sub, cutoff=cutoff, expires=expires)
        if logout.whole_subject and sid is not None and sub is not None:  # case L208
            yield from of_logout(*named, None, sub, cutoff=cutoff, expires=expires)


def merge(one: Revocation, other: Revocation) -> Revocation:
    """The revocation that says what both say. Both must have the same digest."""
    if one.digest != other.digest:
        raise ValueError("only revocations of the same digest merge")
    return Revocation(one.kind, one.digest, max(one.cutoff, other.cutoff), max(one.expires, other.expires))


def covers(revocation: Revocation, session: BoundSession) -> bool:
    """Whether `session` is dead by `revocation` (`<=`: `iat` has whole seconds, promise 3)."""
    return any(_covers(revocation, each) for each in session.all)


def _covers(revocation: Revocation, session: BoundSession) -> bool:
    if revocation.digest == session.own:
        return session.sid_time <= revocation.cutoff
    if revocation.digest == session.sub or revocation.digest in session.parties:
        return session.login_time <= revocation.cutoff
    return False


def expiry(now: float, max_age: float) -> int:
    """Second until which a revocation made at `now` is kept, for sessions of at most `max_age` seconds."""
    return int(now + max_age + SLACK_S)


def of_logout(
    digester: Digester, issuer: str, client_id: str, sid: str | None, sub: str | None, *, cutoff: int, expires: int
) -> Iterator[Revocation]:
    """The revocations that one logout means.

    Without a sid: all sessions of the subject (Back-Channel Logout 1.0 section 2.4). With a sid: that session only,
    and with a sub beside it, those sessions of the subject for which no sid is known.
    """
    if sid is not None:
        yield Revocation(Kind.SID, digester.sid(issuer, client_id, sid), cutoff, expires)
        if sub is not None:
            without_sid = digester.sub_without_sid(issuer, client_id, sub)
            yield Revocation(Kind.SUB_WITHOUT_SID, without_sid, cutoff, expires)
    elif sub is not None:
        yield Revocation(Kind.SUB, digester.sub(issuer, client_id, sub), cutoff, expires)
    else:
        raise ValueError("a logout names a sid or a sub")
