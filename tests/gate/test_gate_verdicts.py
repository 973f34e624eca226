"""The row of the verdict that nearly every request is: it may never allow what the whole table would deny."""

import pytest

from sidecar import clock
from sidecar.core.freshness import Freshness
from sidecar.core.identity import BoundSession, Digester, Session
from sidecar.core.replica import Replica
from sidecar.core.revocation import Logout, Revocation, meant_by
from sidecar.core.routes import Rule
from sidecar.core.verdict import Allow, Identity, Policy
from sidecar.gate.verdicts import Verdicts

DIGESTER = Digester(b"0123456789abcdef", names_parties=True)
IDP, COOKIE = "https://idp.example", b"c" * 16


@pytest.fixture
def replica() -> Replica:
    return Replica()


def fresh_verdicts(replica: Replica) -> Verdicts:
    freshness = Freshness(60.0, 60.0)
    freshness.proved(clock.boot())
    return Verdicts(replica=replica, freshness=freshness, policy=Policy())


@pytest.fixture
def verdicts(replica: Replica) -> Verdicts:
    return fresh_verdicts(replica)


def session(age_s: float = 5.0, client: str = "wiki") -> BoundSession:
    return DIGESTER.bound(Session(IDP, client, "s", "jane", int((clock.wall() - age_s) * 1000)))


def everybody(client: str = "wiki") -> Revocation:
    now = clock.wall()
    logout = Logout(IDP, (client,), None, None, int(now * 1000), everybody=True)
    return next(meant_by(logout, DIGESTER, expires=int(now) + 60))


def is_well(verdicts: Verdicts, session: BoundSession) -> bool:
    return verdicts.is_well(COOKIE, session, clock.boot())


def is_allowed(verdicts: Verdicts, session: BoundSession) -> bool:
    return isinstance(verdicts.decide(Identity(bound=((COOKIE, session),)), Rule(None, None), clock.boot()), Allow)


def test_a_logout_of_everybody_takes_earlier_logins_out_of_the_short_way(verdicts: Verdicts, replica: Replica) -> None:
    before, after = session(), session(age_s=-5)
    assert is_well(verdicts, before)
    replica.apply(everybody())
    verdicts.tick()
    assert not is_well(verdicts, before)
    assert not is_allowed(verdicts, before)
    assert is_well(verdicts, after)


def test_verdicts_that_are_made_after_it_know_of_it_as_well(replica: Replica) -> None:
    """A changed configuration brings a new gate to an old replica."""
    replica.apply(everybody())
    verdicts = fresh_verdicts(replica)
    assert not is_well(verdicts, session())
    assert not is_allowed(verdicts, session())
    assert is_well(verdicts, session(age_s=-5))


def test_a_gate_that_is_made_after_a_logout_of_everybody_knows_of_it(verdicts: Verdicts, replica: Replica) -> None:
    replica.apply(everybody())
    later = Verdicts(replica=replica, freshness=verdicts._freshness, policy=Policy())
    assert not is_well(later, session())


def test_sessions_of_another_client_go_the_long_way_and_are_allowed(verdicts: Verdicts, replica: Replica) -> None:
    other = session(client="shop")
    replica.apply(everybody())
    verdicts.tick()
    assert not is_well(verdicts, other)
    assert is_allowed(verdicts, other)


def test_other_revocations_leave_the_short_way_as_it_is(verdicts: Verdicts, replica: Replica) -> None:
    revoked = next(meant_by(Logout(IDP, ("wiki",), "x", None, 2**50), DIGESTER, expires=1))
    replica.apply(revoked)
    verdicts.tick()
    assert is_well(verdicts, session())
