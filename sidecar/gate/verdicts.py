"""The verdict as of now: the rules of `core/verdict`, fed with the replica, its age and the clock."""

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
        self._fail_open, self._fail_closed = (replace(policy, fail_open=choice) for choice in (True, False))
        self._floor = 0  # the latest cut-off of any logout of everybody
        self.tick()

    def decide(self, identity: Identity, rule: Rule, now: float) -> Allow | Deny:
        """The whole table. `now` is boot time."""
        state, policy = self._freshness.state(now), self._policy
        if rule.fail_open is not None:
            policy = self._fail_open if rule.fail_open else self._fail_closed
        return rules.decide(identity, self._replica.cutoff, state, policy, clock.early() * 1000)

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
            self._floor = max(self._floor, revocation.cutoff)
            self.tick()

    def tick(self) -> None:
        """Called a few times a second: notes how old a login may be, so that not every request asks the clock."""
        self._oldest: float = max(clock.early() * 1000 - self._policy.max_age_ms, self._floor)

    def is_dead(self, identity: Identity) -> bool:
        """Whether anything that was presented is revoked."""
        return rules.is_revoked(identity, self._replica.cutoff)

    def is_over(self, session: BoundSession | None) -> bool:
        """Whether this session is revoked."""
        return session is not None and rules.is_session_revoked(session, self._replica.cutoff)
