"""The decision about one request: a table, and the permit without which nothing is forwarded.

`decide` looks at what the request presents, what is revoked, how fresh the replica is and what the operator chose. It
returns `Allow`, which carries the only kind of object that opens the way to the app, or `Deny` with a reason. The rows
are ordered: what is proven dead stays dead in an outage too (promise 2), and doubt denies. Where the operator
only observes, the table is the same, and each `Deny` of it becomes an `Allow` that names the reason.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

from sidecar.core.freshness import State
from sidecar.core.identity import BoundSession

CLOCK_SKEW_MS = 5 * 60 * 1000  # between the provider's clock and ours, when the age of a login is judged


class Reason(enum.StrEnum):
    """Why a request is denied. Stable: metrics, logs and error bodies show it."""

    REVOKED = "revoked"
    EXPIRED = "session_too_old"
    BAD_TOKEN = "bad_token"  # noqa: S105 - a reason, not a password
    AMBIGUOUS = "ambiguous_credential"
    UNTRUSTED = "untrusted_header"
    UNBOUND = "unbound_credential"
    STALE = "replica_stale"
    STORE = "store_unavailable"
    KEYS = "keys_unavailable"
    LOGIN = "login_not_recorded"


# Denials that say "not now" instead of "not any more": the session and its cookies are kept.
TEMPORARY: Final = frozenset((Reason.STALE, Reason.STORE, Reason.KEYS, Reason.LOGIN))


class Identity(NamedTuple):
    """What a request presents, as far as it could be found out."""

    sessions: tuple[BoundSession, ...] = ()  # proven by a verified token
    bound: tuple[tuple[bytes, BoundSession], ...] = ()  # credential digest, its session
    unbound: tuple[bytes, ...] = ()  # digests that no binder knows
    is_ambiguous: bool = False
    has_bad_token: bool = False
    is_store_silent: bool = False  # a look-up was needed and failed
    are_keys_missing: bool = False  # a token could not be judged for want of the provider's keys
    # s since the epoch: when the visit began for which all of `unbound` were given out (`core/voucher.py`).
    visiting_since: int | None = None
    is_untrusted: bool = False  # a peer that is not trusted names a session in a header of trusted proxies

    def first_session(self) -> BoundSession | None:
        """The session that new cookies inherit: a proven one, else that of the first bound credential."""
        if self.sessions:
            return self.sessions[0]
        return self.bound[0][1] if self.bound else None

    @property
    def is_of_several(self) -> bool:
        """Whether different sessions are presented at once: nobody can say which of them the app will use."""
        first, *others = self.all_sessions() or (None,)
        return first is not None and not all(map(first.is_same, others))

    @property
    def is_unclear(self) -> bool:
        """Whether it could not be found out to the full: sessions may be missing."""
        doubts = (self.is_ambiguous, self.has_bad_token, self.is_store_silent, self.are_keys_missing, self.is_untrusted)
        return any(doubts)

    @property
    def is_somebodys(self) -> bool:
        """Whether anything was presented that a logout could concern."""
        return bool(self.sessions or self.bound or self.unbound)

    def all_sessions(self) -> list[BoundSession]:
        """Every session that the request proves or is bound to; the proven ones first."""
        return [*self.sessions, *(session for _, session in self.bound)]


ANONYMOUS: Final = Identity()


class Permit:
    """Proof that `decide` allowed a request. Forwarding asks for one, and only this module makes it."""

    __slots__ = ("_seal",)

    def __init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a permit comes from decide()")
        self._seal = seal


_SEAL: Final = object()
_PERMIT: Final = Permit(_SEAL)


@dataclass(frozen=True, slots=True)
class Allow:
    """The request may go to the app."""

    permit: Permit
    is_failing_open: bool = False  # it would have been denied for want of a fresh replica
    would_deny: Reason | None = None  # why it would have been denied, where the operator only observes


@dataclass(frozen=True, slots=True)
class Deny:
    """The request may not go to the app as it is."""

    reason: Reason

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may be allowed later."""
        return self.reason in TEMPORARY


Verdict = Allow | Deny

ALLOW: Final = Allow(_PERMIT)
_FAILING_OPEN: Final = Allow(_PERMIT, is_failing_open=True)
_OBSERVED: Final = {reason: Allow(_PERMIT, would_deny=reason) for reason in Reason}


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator chose."""

    deny_unbound: bool = False
    fail_open: bool = False
    max_age_ms: int = 12 * 3600 * 1000
    observes: bool = False  # nothing is denied


def decide(
    identity: Identity, cutoff: Callable[[bytes], int | None], freshness: State, policy: Policy, now_ms: float
) -> Verdict:
    """The verdict on one request. `cutoff` is the replica's look-up: digest to cut-off in ms, None when not revoked."""
    verdict = _decide(identity, cutoff, freshness, policy, now_ms)
    return _OBSERVED[verdict.reason] if policy.observes and isinstance(verdict, Deny) else verdict


def _decide(
    identity: Identity, cutoff: Callable[[bytes], int | None], freshness: State, policy: Policy, now_ms: float
) -> Verdict:
    if identity is ANONYMOUS:
        return ALLOW
    if identity.is_ambiguous:
        return Deny(Reason.AMBIGUOUS)
    if identity.is_untrusted:
        return Deny(Reason.UNTRUSTED)
    if identity.has_bad_token:
        return Deny(Reason.BAD_TOKEN)
    if is_revoked(identity, cutoff):
        return Deny(Reason.REVOKED)
    if _is_too_old(identity, now_ms - policy.max_age_ms - CLOCK_SKEW_MS):
        return Deny(Reason.EXPIRED)
    is_stranger = identity.unbound and identity.visiting_since is None
    if is_stranger and policy.deny_unbound and not identity.is_store_silent:
        return Deny(Reason.UNBOUND)
    if freshness is State.BLIND or identity.is_store_silent or identity.are_keys_missing:
        return _judge_in_the_dark(identity, freshness, fail_open=policy.fail_open)
    return ALLOW


def is_revoked(identity: Identity, cutoff: Callable[[bytes], int | None]) -> bool:
    """Whether any reading of the request is a revoked session or credential."""
    for session in identity.sessions:
        if is_session_revoked(session, cutoff):
            return True
    for credential, session in identity.bound:
        if is_session_revoked(session, cutoff):
            return True
        # Revoked by its own digest too, until a later verified login binds it again.
        until = cutoff(credential)
        if until is not None and session.login_time <= until:
            return True
    for credential in identity.unbound:
        if cutoff(credential) is not None:
            return True
    return False


def is_session_revoked(session: BoundSession, cutoff: Callable[[bytes], int | None]) -> bool:
    """Promise 3: dead iff the login is not after the cut-off, provider's clock against provider's clock."""
    for each in session.all:
        for own, sub in ((each.own, each.sub), *each.others):
            until = cutoff(own)
            if until is not None and each.sid_time <= until:
                return True
            until = cutoff(sub) if sub is not None else None
            if until is not None and each.login_time <= until:
                return True
        for party in each.parties:
            until = cutoff(party)
            if until is not None and each.login_time <= until:
                return True
    return False


def cutoff_of(session: BoundSession, cutoff: Callable[[bytes], int | None]) -> int:
    """Until when a dead session's credentials are revoked: the latest word about it, at least its own login."""
    names = (name for each in session.all for name in ((each.own, each.sub), *each.others, each.parties))
    digests = [digest for name in names for digest in name if digest is not None]
    return max([session.login_time, *(until for until in map(cutoff, digests) if until is not None)])


def _is_too_old(identity: Identity, oldest: float) -> bool:
    """An app may roll its session for ever; revocations are kept for `max_age`, so no older login may be served."""
    for session in identity.all_sessions():
        for each in session.all:
            if each.login_time < oldest:
                return True
    return False


def _judge_in_the_dark(identity: Identity, freshness: State, *, fail_open: bool) -> Verdict:
    if identity.are_keys_missing:
        return Deny(Reason.KEYS)  # not a matter of the store: an unread token proves nothing
    if identity.is_store_silent:
        return _FAILING_OPEN if fail_open else Deny(Reason.STORE)
    if freshness is State.BLIND and identity.is_somebodys:
        return _FAILING_OPEN if fail_open else Deny(Reason.STALE)
    return ALLOW
