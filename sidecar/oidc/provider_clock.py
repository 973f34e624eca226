"""What time it is at the provider, from the `Date` of its answers to our fetches. Rather too early than too late.

A login that carries no `iat` is compared with logouts of the provider all the same (promise 3). Were its time
too late, a logout that came a moment after it would miss it. So what is kept is a lower bound: `Date` is the second
that had begun when the answer was made, and that was before the answer was here. The error is the second and the way.

Between two answers the boot clock counts on: it never steps. An answer that a cache has kept says nothing of now.
"""

import email.utils
from collections.abc import Mapping
from dataclasses import dataclass

UNHEARD_S = 60.0  # how far our own clock may be ahead, as long as the provider has not been heard


@dataclass(frozen=True, slots=True)
class Heard:
    """The provider's clock as one answer showed it: `lead` is how many seconds it is ahead of our boot clock."""

    lead: float

    def now(self, boot: float) -> float:
        """Seconds since the epoch at the provider, at boot time `boot`."""
        return boot + self.lead


def heard(headers: Mapping[str, str], boot: float) -> Heard | None:
    """What the answer's head says, which was complete at boot time `boot`; None when it says nothing."""
    if headers.get("Age", "0").strip() not in ("", "0"):
        return None
    try:
        date = email.utils.parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, OverflowError):
        return None
    return Heard(date.timestamp() - boot) if date.tzinfo is not None else None  # without a zone it would be ours
