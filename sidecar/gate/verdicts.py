"""The verdict as of now: the rules of `core/verdict`, fed with the replica, its age and the clock."""

import itertools
from dataclasses import replace

from sidecar import clock
from sidecar.core import verdict as rules
from sidecar.core.freshness import Freshness, State
from sidecar.core.identity import BoundSession, Kind
from sidecar.core.replica import Replica
from sidecar.core.revocation import Revocation
from sidecar.core.routes import Rule
from sidecar.core.verdict import Allow, Deny, Identity, Policy


class Verdicts:
    """Asked for every request, and again for its response."""

    def __init__(self, *, replica: Replica, freshness: Freshness, policy: Policy) -> None:
        self._replica = replica
        self._freshness = freshness
        self._policy = policy
        # What a rule says differently, by what it can say.
        self._policies = {
            (fail_open, deny_unbound): replace(
                policy,
                fail_open=policy.fail_open if fail_open is None else fail_open,
                deny_unbound=policy.deny_unbound if deny_unbound is None else deny_unbound,
            )
            for fail_open, deny_unbound in itertools.product((None, True, False), repeat=2)
        }
        self.tick()

    def decide(self, identity: Identity, rule: Rule, now: float) -> Allow | Deny:
        """The whole table. `now` is boot time."""
        policy = self._policies[rule.fail_open, rule.deny_unbound]
        return rules.decide(identity, self._replica.cutoff, self._freshness.state(now), policy, clock.early() * 1000)

    def is_blind(self, now: float) -> bool:
        """Whether a logout may exist that we never heard of."""
        return self._freshness.state(now) is State.BLIND

    def is_in_doubt(self, identity: Identity, session: BoundSession | None, rule: Rule, now: float) -> bool:
        """Whether that may concern what was allowed before, and nobody chose to go on regardless."""
        is_somebodys = session is not None or identity.is_somebodys
        return is_somebodys and self.is_blind(now) and not self._policies[rule.fail_open, None].fail_open

    def is_well(self, credential: bytes, session: BoundSession, now: float) -> bool:
        """The row of the verdict that nearly every request is: one bound session, untouched, young, replica fresh.

        True only where `decide` allows; anything else is for `decide` to say.
        """
        return (
            session.login_time > self._oldest
            and self._freshness.state(now) is State.FRESH
            and not self._replica.knows(session.own, credential, session.sub)
        )

    def revoked(self, revocation: Revocation) -> None:
        """A revocation changed the replica. One of everybody costs the request in the common case no look-up.

        Logins at or before it are for `decide` to judge, whichever client it names.
        """
        if revocation.kind is Kind.EVERYBODY:
            self.tick()

    def tick(self) -> None:
        """Called a few times a second: notes how old a login may be, so that not every request asks the clock.

        The floor is the replica's: a gate that a reload has made has not heard of the logouts before it (decision 026).
        """
        self._oldest: float = max(clock.early() * 1000 - self._policy.max_age_ms, self._replica.floor)

    def is_dead(self, identity: Identity) -> bool:
        """Whether anything that was presented is revoked."""
        return rules.is_revoked(identity, self._replica.cutoff)

    def is_over(self, session: BoundSession | None) -> bool:
        """Whether this session is revoked."""
        return session is not None and rules.is_session_revoked(session, self._replica.cutoff)
