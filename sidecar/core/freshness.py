"""How old a replica's knowledge may be, and what that age means.

Not a clock and not a policy: it is told when a complete answer of a writable store was *asked for*, and names the state
that follows from the age of that proof. What to do in each state is the verdict's matter. Times are
seconds of the boot clock, which never steps and goes on in suspend; wall time would let a clock step extend a lease.
"""

import enum
import math


class State(enum.Enum):
    """What the age of the last proof allows."""

    FRESH = "fresh"  # serve
    STALE = "stale"  # serve from the complete local set, and alarm
    BLIND = "blind"  # a logout may exist that we never heard of: deny bound sessions unless told otherwise


class Freshness:
    """The age of the last proof, judged by two limits. Before the first proof it is infinitely old, hence BLIND."""

    __slots__ = ("_fresh", "_grace", "_proved")

    def __init__(self, fresh: float, grace: float) -> None:
        if not 0 < fresh <= grace:
            raise ValueError("fresh must be positive and not longer than grace")
        self._fresh = fresh
        self._grace = grace
        self._proved = -math.inf

    def __repr__(self) -> str:
        return f"<Freshness fresh={self._fresh} grace={self._grace} proved={self._proved}>"

    def proved(self, at: float) -> None:
        """Everything that the store knew at `at` is in the replica. `at` is when the question was SENT."""
        # A slow answer may come after a newer one; it must not make the replica look older than it is.
        self._proved = max(self._proved, at)

    def age(self, now: float) -> float:
        """Seconds since the last proof; infinite before the first."""
        return now - self._proved

    def state(self, now: float) -> State:
        """The state at `now`. Both limits still belong to the better state."""
        age = now - self._proved
        if age <= self._fresh:
            return State.FRESH
        return State.STALE if age <= self._grace else State.BLIND


class BorrowedFreshness(Freshness):
    """Of a replica that learns from another one: how fresh that one was when all that it knew had been applied here."""

    __slots__ = ()

    def proved(self, at: float) -> None:
        """An answer of the other replica, which proves nothing of the store behind it."""

    def borrowed(self, at: float) -> None:
        """The other replica's proof."""
        super().proved(at)
