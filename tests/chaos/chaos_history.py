"""What one round of chaos looked like from outside: logouts, answers, faults, and the processes that lived.

Only facts with their times (seconds of the boot clock). What they mean is the checker's matter.
"""

import enum
import math
from dataclasses import dataclass, field


class Outcome(enum.Enum):
    """What became of one request of a session."""

    SERVED = "served"  # the app answered, and for this session
    DENIED = "denied"  # 401
    UNKNOWN = "unknown"  # 503: the replica says that it cannot know
    WRONG = "wrong"  # anything else; no replica may answer so


@dataclass(eq=False, slots=True)
class Life:
    """One process of a replica, from its start to its end."""

    name: str
    born: float
    could_know: float = math.inf  # when its way to the store was open for the first time
    died: float = math.inf

    def __str__(self) -> str:
        return f"{self.name} born {self.born:.3f}"


@dataclass(frozen=True, slots=True)
class Logout:
    """One POST of the provider. `status` is None when nothing came back: it may have taken effect, or not."""

    sessions: frozenset[str]  # that it ends
    by: Life
    sent: float
    answered: float
    status: int | None

    def __str__(self) -> str:
        took = self.answered - self.sent
        return f"{self.sent:.3f} logout of {sorted(self.sessions)} at {self.by.name}: {self.status} after {took:.3f}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a replica to a request of a session."""

    session: str
    by: Life
    sent: float
    answered: float
    outcome: Outcome
    status: int = 0
    is_final: bool = False  # after everything has been well for as long as healing may take

    def __str__(self) -> str:
        took = self.answered - self.sent
        what = f"{self.outcome.value} ({self.status}){' in the end' * self.is_final}"
        return f"{self.sent:.3f} {self.session} at {self.by}: {what} after {took:.3f}"


@dataclass(eq=False, slots=True)
class Fault:
    """One thing that the nemesis did."""

    name: str
    began: float
    applied: float = math.inf  # from here on it was fully there
    mending: float = math.inf  # until here
    ended: float = math.inf
    loses: bool = False  # the store may forget what it has acknowledged
    refuses: bool = False  # the store takes no writes meanwhile

    def __str__(self) -> str:
        return f"{self.began:.3f} {self.name}, there from {self.applied:.3f} until {self.mending:.3f}, {self.ended:.3f}"


@dataclass(slots=True)
class History:
    """Everything that was seen in one round."""

    seed: str
    logouts: list[Logout] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    delays: list[tuple[float, float]] = field(default_factory=list)  # (when, how late the bench itself woke up)

    def around(self, session: str, at: float, *, span: float = 4.0) -> str:
        """The events of one session and the faults near a moment, in order."""
        events: list[tuple[float, str]] = [(each.sent, str(each)) for each in self.logouts if session in each.sessions]
        events += [(each.sent, str(each)) for each in self.answers if each.session == session]
        events += [(each.began, str(each)) for each in self.faults if each.ended >= at - 2 * span]
        return "\n".join(text for when, text in sorted(events) if abs(when - at) < 2 * span)
