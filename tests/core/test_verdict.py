"""The verdict: every row of the table, and the boundaries of `dead`."""

import dataclasses
import itertools
from typing import NamedTuple

import pytest

from sidecar.core import verdict
from sidecar.core.freshness import State
from sidecar.core.identity import BoundSession, Digester, Kind, Session, shared
from sidecar.core.replica import Replica
from sidecar.core.revocation import Revocation, covers, of_logout
from sidecar.core.verdict import (
    ALLOW,
    ANONYMOUS,
    CLOCK_SKEW_MS,
    TEMPORARY,
    Allow,
    Deny,
    Identity,
    Permit,
    Policy,
    Reason,
    cutoff_of,
    decide,
    is_revoked,
    is_session_revoked,
)

ISSUER, CLIENT = "https://idp.test", "app"
DIGESTER = Digester(b"0123456789abcdef")
LOGIN = 1_790_000_000_000
MAX_AGE = 3_600_000
NOW = LOGIN + 1000
COOKIE, OTHER_COOKIE = DIGESTER.credential(b"R"), DIGESTER.credential(b"L")


def session(
    login: int = LOGIN, *, sid: str | None = "s-1", sub: str | None = "alice", auth: int | None = None
) -> BoundSession:
    return DIGESTER.bound(Session(ISSUER, CLIENT, sid, sub, login, auth))


def after_the_change(login: int) -> BoundSession:
    """Alice's session as a token proves it once another digest key is in use and the old one still accepted."""
    digester = Digester(b"another digest key", [b"0123456789abcdef"])
    return digester.bound(Session(ISSUER, CLIENT, "s-1", "alice", login))


ALICE = session()
OLD = session(NOW - MAX_AGE - CLOCK_SKEW_MS - 1)


def replica_of(*revocations: Revocation) -> Replica:
    replica = Replica()
    for revocation in revocations:
        replica.apply(revocation)
    return replica


def logout(cutoff: int, *, sid: str | None = None, sub: str | None = None) -> Replica:
    return replica_of(*of_logout(DIGESTER, ISSUER, CLIENT, sid, sub, cutoff=cutoff, expires=2**31))


def credential_revoked(cutoff: int) -> Replica:
    return replica_of(Revocation(Kind.CREDENTIAL, COOKIE, cutoff, 2**31))


NOTHING_REVOKED = Replica()
# Ends the session of everybody below, and the cookie itself.
ALL_REVOKED = replica_of(
    Revocation(Kind.SID, ALICE.own, LOGIN, 2**31), Revocation(Kind.CREDENTIAL, COOKIE, LOGIN, 2**31)
)


class Row(NamedTuple):
    """One kind of identity, and the outcome by the state of the replica; `revoked` where nothing else comes first."""

    identity: Identity
    known: Reason | None  # FRESH or STALE
    blind: Reason | None
    fails_open: bool  # whether `fail_open` turns the denial of `blind` into a marked permission
    unbound: bool = False  # whether `unbound: deny` is about it
    is_revocable: bool = True


TABLE = {
    "anonymous": Row(ANONYMOUS, None, None, fails_open=False, is_revocable=False),
    "ambiguous": Row(
        Identity((ALICE,), ((COOKIE, ALICE),), (OTHER_COOKIE,), is_ambiguous=True),
        Reason.AMBIGUOUS,
        Reason.AMBIGUOUS,
        fails_open=False,
        is_revocable=False,
    ),
    "ambiguous, bad token": Row(
        Identity(is_ambiguous=True, has_bad_token=True),
        Reason.AMBIGUOUS,
        Reason.AMBIGUOUS,
        fails_open=False,
        is_revocable=False,
    ),
    "bad token": Row(
        Identity((ALICE,), (), (OTHER_COOKIE,), has_bad_token=True),
        Reason.BAD_TOKEN,
        Reason.BAD_TOKEN,
        fails_open=False,
        is_revocable=False,
    ),
    "proven": Row(Identity((ALICE,)), None, Reason.STALE, fails_open=True),
    "bound": Row(Identity((), ((COOKIE, ALICE),)), None, Reason.STALE, fails_open=True),
    "proven and bound": Row(Identity((session(sid="s-2"),), ((COOKIE, ALICE),)), None, Reason.STALE, fails_open=True),
    "unbound": Row(Identity((), (), (COOKIE,)), None, Reason.STALE, fails_open=True, unbound=True),
    "bound beside unbound": Row(
        Identity((), ((COOKIE, ALICE),), (OTHER_COOKIE,)), None, Reason.STALE, fails_open=True, unbound=True
    ),
    "unbound beside bound": Row(
        Identity((), ((OTHER_COOKIE, session(sid="s-2")),), (COOKIE,)),
        None,
        Reason.STALE,
        fails_open=True,
        unbound=True,
    ),
    "vouched for": Row(Identity((), (), (COOKIE,), visiting_since=1), None, Reason.STALE, fails_open=True),
    "bound beside vouched for": Row(
        Identity((), ((COOKIE, ALICE),), (OTHER_COOKIE,), visiting_since=1), None, Reason.STALE, fails_open=True
    ),
    "too old, proven": Row(Identity((OLD,)), Reason.EXPIRED, Reason.EXPIRED, fails_open=False),
    "too old, bound": Row(Identity((ALICE,), ((COOKIE, OLD),)), Reason.EXPIRED, Reason.EXPIRED, fails_open=False),
    "too old, beside unbound": Row(
        Identity((OLD,), (), (OTHER_COOKIE,)), Reason.EXPIRED, Reason.EXPIRED, fails_open=False
    ),
    "store silent, unbound": Row(
        Identity((), (), (COOKIE,), is_store_silent=True), Reason.STORE, Reason.STORE, fails_open=True
    ),
    "store silent, proven": Row(Identity((ALICE,), is_store_silent=True), Reason.STORE, Reason.STORE, fails_open=True),
    "keys missing": Row(
        Identity(are_keys_missing=True), Reason.KEYS, Reason.KEYS, fails_open=False, is_revocable=False
    ),
    "keys missing, store silent": Row(
        Identity(are_keys_missing=True, is_store_silent=True),
        Reason.KEYS,
        Reason.KEYS,
        fails_open=False,
        is_revocable=False,
    ),
}


def expected(row: Row, state: State, policy: Policy, *, is_revoked: bool) -> Reason | str:
    if is_revoked and row.is_revocable:
        return Reason.REVOKED
    if row.unbound and policy.deny_unbound:
        return Reason.UNBOUND
    reason = row.blind if state is State.BLIND else row.known
    if reason is None:
        return "allow"
    return "fail open" if row.fails_open and policy.fail_open else reason


def outcome(judged: Allow | Deny) -> Reason | str:
    if isinstance(judged, Deny):
        return judged.reason
    return "fail open" if judged.is_failing_open else "allow"


POLICIES = [
    Policy(deny_unbound=deny_unbound, fail_open=fail_open, max_age_ms=MAX_AGE)
    for deny_unbound, fail_open in itertools.product((False, True), repeat=2)
]


@pytest.mark.parametrize("kind", TABLE)
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("policy", POLICIES, ids=["allow", "allow-open", "deny", "deny-open"])
@pytest.mark.parametrize("replica", [NOTHING_REVOKED, ALL_REVOKED], ids=["nothing revoked", "revoked"])
def test_every_row_of_the_table(kind: str, state: State, policy: Policy, replica: Replica) -> None:
    row = TABLE[kind]
    judged = decide(row.identity, replica.cutoff, state, policy, NOW)
    assert outcome(judged) == expected(row, state, policy, is_revoked=replica is ALL_REVOKED)


@pytest.mark.parametrize("kind", TABLE)
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("policy", POLICIES, ids=["allow", "allow-open", "deny", "deny-open"])
@pytest.mark.parametrize("replica", [NOTHING_REVOKED, ALL_REVOKED], ids=["nothing revoked", "revoked"])
def test_who_only_observes_allows_all_and_knows_what_would_be_denied(
    kind: str, state: State, policy: Policy, replica: Replica
) -> None:
    identity = TABLE[kind].identity
    enforced = decide(identity, replica.cutoff, state, policy, NOW)
    observed = decide(identity, replica.cutoff, state, dataclasses.replace(policy, observes=True), NOW)
    assert isinstance(observed, Allow)
    assert isinstance(observed.permit, Permit)
    assert observed.would_deny == (enforced.reason if isinstance(enforced, Deny) else None)
    assert observed.is_failing_open == (isinstance(enforced, Allow) and enforced.is_failing_open)


def test_what_is_proven_dead_stays_dead_when_the_operator_chose_to_fail_open() -> None:
    """Promise 2: revoked stays revoked."""
    judged = decide(Identity((ALICE,)), ALL_REVOKED.cutoff, State.BLIND, Policy(fail_open=True), NOW)
    assert judged == Deny(Reason.REVOKED)


@pytest.mark.parametrize("reason", Reason)
def test_a_denial_is_temporary_where_nothing_is_known_against_the_session(reason: Reason) -> None:
    outages = {Reason.STALE, Reason.STORE, Reason.KEYS, Reason.LOGIN}
    assert Deny(reason).is_temporary is (reason in outages)
    assert set(TEMPORARY) == outages


@pytest.mark.parametrize(
    ("what", "replica", "presented", "dead"),
    [
        ("sid, login before", logout(LOGIN, sid="s-1"), session(LOGIN - 1), True),
        ("sid, login at the cut-off", logout(LOGIN, sid="s-1"), session(LOGIN), True),
        ("sid, login after", logout(LOGIN, sid="s-1"), session(LOGIN + 1), False),
        ("sub, login before", logout(LOGIN, sub="alice"), session(LOGIN - 1), True),
        ("sub, login at the cut-off", logout(LOGIN, sub="alice"), session(LOGIN), True),
        ("sub, login after", logout(LOGIN, sub="alice"), session(LOGIN + 1), False),
        ("sub, session without sid", logout(LOGIN, sub="alice"), session(sid=None), True),
        ("sub, session without sub", logout(LOGIN, sub="alice"), session(sub=None), False),
        ("both, the sid", logout(LOGIN, sid="s-1", sub="alice"), session(), True),
        ("both, another sid of the user", logout(LOGIN, sid="s-2", sub="alice"), session(), False),
        ("both, session without sid", logout(LOGIN, sid="s-2", sub="alice"), session(sid=None), True),
        (
            "both, session without sid, later",
            logout(LOGIN, sid="s-2", sub="alice"),
            session(LOGIN + 1, sid=None),
            False,
        ),
        ("sid, session without sid", logout(LOGIN, sid="s-1"), session(sid=None), False),
        ("sid, session without sub", logout(LOGIN, sid="s-1"), session(sub=None), True),
        ("another user", logout(LOGIN, sub="bob"), session(), False),
        # A refreshed token of the same sid lives only if the authentication is later too.
        ("sid, refreshed, authenticated before", logout(LOGIN, sid="s-1"), session(LOGIN + 9, auth=LOGIN), True),
        ("sid, refreshed, authenticated after", logout(LOGIN, sid="s-1"), session(LOGIN + 9, auth=LOGIN + 1), False),
        ("sid, token of before, authenticated later", logout(LOGIN, sid="s-1"), session(LOGIN, auth=LOGIN + 9), True),
        ("sub, refreshed, authenticated before", logout(LOGIN, sub="alice"), session(LOGIN + 1, auth=LOGIN), False),
        # Revoked before the digest key changed, proven by a token after it.
        ("sid, the key has changed", logout(LOGIN, sid="s-1"), after_the_change(LOGIN), True),
        ("sub, the key has changed", logout(LOGIN, sub="alice"), after_the_change(LOGIN), True),
        ("sid, the key has changed, login after", logout(LOGIN, sid="s-1"), after_the_change(LOGIN + 1), False),
        ("another user, the key has changed", logout(LOGIN, sub="bob"), after_the_change(LOGIN), False),
    ],
)
def test_a_session_is_dead_iff_its_login_is_not_after_the_cut_off(
    what: str, replica: Replica, presented: BoundSession, dead: bool
) -> None:
    """Promise 3: never the wrong session."""
    assert is_session_revoked(presented, replica.cutoff) is dead
    for identity in (Identity((presented,)), Identity((), ((OTHER_COOKIE, presented),))):
        assert is_revoked(identity, replica.cutoff) is dead


@pytest.mark.parametrize(
    ("identity", "dead"),
    [
        (Identity((), (), (COOKIE,)), True),  # the binding is lost: never access
        (Identity((), (), (OTHER_COOKIE,)), False),
        (Identity((), (), (OTHER_COOKIE, COOKIE)), True),
        (Identity((), ((COOKIE, session(LOGIN - 1)),)), True),
        (Identity((), ((COOKIE, session(LOGIN)),)), True),
        (Identity((), ((COOKIE, session(LOGIN + 1)),)), False),  # bound again by a later verified login
        (Identity((), ((OTHER_COOKIE, session()), (COOKIE, session()))), True),
        (Identity((session(LOGIN + 1),), (), (COOKIE,)), True),
    ],
)
def test_a_revoked_credential_lives_again_only_by_a_later_login(identity: Identity, dead: bool) -> None:
    """Doubt denies: the same time is not later."""
    assert is_revoked(identity, credential_revoked(LOGIN).cutoff) is dead


@pytest.mark.parametrize(
    ("login", "denied"),
    [
        (NOW - MAX_AGE - CLOCK_SKEW_MS - 1, True),
        (NOW - MAX_AGE - CLOCK_SKEW_MS, False),
        (NOW - MAX_AGE - CLOCK_SKEW_MS + 1, False),
        (NOW, False),
        (NOW + CLOCK_SKEW_MS, False),  # the provider's clock is ahead
    ],
)
def test_a_session_ends_at_its_maximum_age(login: int, denied: bool) -> None:
    """Revocations are forgotten after that: an older login could be one of them."""
    judged = decide(Identity((session(login),)), Replica().cutoff, State.FRESH, Policy(max_age_ms=MAX_AGE), NOW)
    assert judged == (Deny(Reason.EXPIRED) if denied else ALLOW)


@pytest.mark.parametrize(
    ("replica", "presented", "cutoff"),
    [
        (Replica(), session(), LOGIN),
        (Replica(), session(sub=None), LOGIN),
        (logout(LOGIN + 5, sid="s-1"), session(), LOGIN + 5),
        (logout(LOGIN + 5, sid="s-1"), session(sub=None), LOGIN + 5),
        (logout(LOGIN + 7, sub="alice"), session(), LOGIN + 7),
        (logout(LOGIN - 5, sub="alice"), session(), LOGIN),  # too old, after an earlier logout: at least its own login
        (logout(LOGIN, sid="s-1"), session(LOGIN + 9, auth=LOGIN), LOGIN + 9),
    ],
)
def test_a_dead_sessions_credentials_are_revoked_up_to_the_latest_word_and_their_own_login(
    replica: Replica, presented: BoundSession, cutoff: int
) -> None:
    assert cutoff_of(presented, replica.cutoff) == cutoff


def test_the_session_that_new_cookies_inherit_is_a_proven_one_first() -> None:
    bound = session(sid="s-2")
    assert Identity((ALICE,), ((COOKIE, bound),)).first_session() is ALICE
    assert Identity((), ((COOKIE, bound),)).first_session() is bound
    assert Identity((), (), (COOKIE,)).first_session() is None
    assert Identity((ALICE,), ((COOKIE, bound),)).all_sessions() == [ALICE, bound]


def test_nobody_else_can_make_a_permit() -> None:
    """The forward call requires the permit that only the verdict can make."""
    for seal in (None, object(), "seal"):
        with pytest.raises(TypeError):
            Permit(seal)
    judged = decide(ANONYMOUS, Replica().cutoff, State.BLIND, Policy(), NOW)
    assert isinstance(judged, Allow)
    assert isinstance(judged.permit, Permit)
    assert not hasattr(Deny(Reason.REVOKED), "permit")
    assert not hasattr(verdict.Deny, "permit")


def test_reasons_are_stable_words() -> None:
    """Metrics, logs and error bodies show them; a dashboard must survive an upgrade."""
    assert {reason.name: reason.value for reason in Reason} == {
        "REVOKED": "revoked",
        "EXPIRED": "session_too_old",
        "BAD_TOKEN": "bad_token",
        "AMBIGUOUS": "ambiguous_credential",
        "UNTRUSTED": "untrusted_header",
        "UNBOUND": "unbound_credential",
        "STALE": "replica_stale",
        "STORE": "store_unavailable",
        "KEYS": "keys_unavailable",
        "LOGIN": "login_not_recorded",
    }


def test_a_credential_of_several_sessions_dies_with_any_of_them() -> None:
    old, new = session(LOGIN, sid="old"), session(LOGIN + 1000, sid="new", sub=None)
    both = shared(new, [old])
    for own in (old.own, new.own, old.sub):
        cutoffs = {own: LOGIN + 5000}
        assert is_session_revoked(both, cutoffs.get)
        assert cutoff_of(both, cutoffs.get) == LOGIN + 5000
        assert covers(Revocation(Kind.SID, own, LOGIN + 5000, 1), both)
    assert not is_session_revoked(both, {old.own: LOGIN - 1}.get)


def test_a_credential_of_several_sessions_is_as_old_as_the_oldest() -> None:
    identity = Identity(bound=((COOKIE, shared(ALICE, [session(NOW - MAX_AGE - CLOCK_SKEW_MS - 1, sid="old")])),))
    judged = decide(identity, Replica().cutoff, State.FRESH, Policy(max_age_ms=MAX_AGE), NOW)
    assert judged == Deny(Reason.EXPIRED)


def test_what_a_stranger_says_in_a_trusted_header_is_denied() -> None:
    judged = decide(Identity(is_untrusted=True), Replica().cutoff, State.FRESH, Policy(fail_open=True), NOW)
    assert judged == Deny(Reason.UNTRUSTED)
