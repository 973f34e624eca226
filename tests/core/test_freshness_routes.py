"""`on_stale`, for everything and route by route: it matters only to a replica that hears nothing any more."""

import pytest

from sidecar import clock
from sidecar.core.denial import Action
from sidecar.core.freshness import Freshness
from sidecar.core.identity import BoundSession, Kind
from sidecar.core.replica import Replica
from sidecar.core.revocation import Revocation
from sidecar.core.routes import Rule
from sidecar.core.verdict import Allow, Deny, Identity, Policy, Reason
from sidecar.gate.verdicts import Verdicts

FRESH, GRACE = 1.0, 3.0
PROVED = 1000.0
SESSION = BoundSession(b"o" * 16, b"s" * 16, int(clock.wall() * 1000), int(clock.wall() * 1000))
IDENTITY = Identity(bound=((b"c" * 16, SESSION),))


def verdicts(*, fail_open: bool) -> tuple[Verdicts, Replica]:
    replica, freshness = Replica(), Freshness(FRESH, GRACE)
    freshness.proved(PROVED)
    return Verdicts(replica=replica, freshness=freshness, policy=Policy(fail_open=fail_open)), replica


def rule(on_stale: bool | None) -> Rule:
    return Rule(Action.REJECT, None, on_stale)


@pytest.mark.parametrize(
    ("everywhere", "here", "is_allowed"),
    [
        (False, None, False),
        (False, False, False),
        (False, True, True),
        (True, None, True),
        (True, True, True),
        (True, False, False),
    ],
)
def test_a_blind_replica_does_what_the_route_says_and_else_what_the_store_says(
    everywhere: bool, here: bool | None, is_allowed: bool
) -> None:
    judge, _ = verdicts(fail_open=everywhere)
    judged = judge.decide(IDENTITY, rule(here), PROVED + GRACE + 0.001)

    if is_allowed:
        assert isinstance(judged, Allow)
        assert judged.is_failing_open
    else:
        assert judged == Deny(Reason.STALE)


@pytest.mark.parametrize("here", [None, True, False])
@pytest.mark.parametrize("age", [0.0, FRESH, FRESH + 0.1, GRACE])
def test_within_grace_the_route_does_not_matter(here: bool | None, age: float) -> None:
    judge, _ = verdicts(fail_open=False)
    judged = judge.decide(IDENTITY, rule(here), PROVED + age)

    assert isinstance(judged, Allow)
    assert not judged.is_failing_open


@pytest.mark.parametrize("here", [None, True, False])
def test_what_is_known_to_be_over_stays_so_on_every_route(here: bool | None) -> None:
    judge, replica = verdicts(fail_open=True)
    replica.apply(Revocation(Kind.SID, SESSION.own, SESSION.sid_time, 2**31))

    assert judge.decide(IDENTITY, rule(here), PROVED + 100) == Deny(Reason.REVOKED)
