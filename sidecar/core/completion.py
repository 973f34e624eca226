"""Whether the app's answer to a callback shows a completed login. Pure: status, Location and cookies in, a word out.

A callback may name a session that the app never begins: anybody can write a URL. What it names is believed only when
the app has accepted it, and the app says so in no standard way. Without a word of the operator the rule is: no error
status, and a session cookie that is new. The Location tells nothing by itself, because in many apps the user chooses
it (`?next=`): a rule that a user can make fail would let them leave a session unknown.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

_AUTHORITY = re.compile(rb"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*")


class Outcome(Enum):
    """What an answer says about the login."""

    COMPLETED = auto()
    UNCLEAR = auto()  # it looks well, but the session cookie is the one that was there before
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class Completion:
    """What the operator knows about the app's answers. Empty: nothing."""

    statuses: frozenset[int] = frozenset()
    location: re.Pattern[bytes] | None = None
    keeps_cookie: bool = False  # the app logs in the cookie that the browser has already

    def outcome(self, status: int, location: bytes | None, *, is_cookie_new: bool) -> Outcome:
        """What this answer says. `location` is the value of its Location field."""
        if status not in self.statuses if self.statuses else status >= 400:
            return Outcome.FAILED
        if self.location is not None and (location is None or not self.location.fullmatch(_path(location))):
            return Outcome.FAILED
        return Outcome.COMPLETED if is_cookie_new or self.keeps_cookie else Outcome.UNCLEAR


def _path(location: bytes) -> bytes:
    """Without origin, query and fragment."""
    return re.split(rb"[?#]", _AUTHORITY.sub(b"", location, count=1), maxsplit=1)[0] or b"/"
