"""Messages that were obeyed, remembered by name, so that a repetition can be told.

In the memory of one process, bounded: beyond `MAX_REMEMBERED` the oldest is forgotten. Obeying a message twice does no
harm.
"""

import hashlib
import json
from collections import OrderedDict

MAX_REMEMBERED = 100_000
REMEMBER_S = 24 * 3600.0


def name_of(*parts: str | None) -> bytes:
    """A name of bounded length that names nobody."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).digest()


class Seen:
    """Names, each with what came under it, until it cannot come again."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()

    def get(self, name: bytes, now: float) -> bytes | None:
        """What came under this name; None when nothing did."""
        until, what = self._known.get(name, (0.0, b""))
        return what if until > now else None

    def add(self, name: bytes, what: bytes, until: float, now: float) -> None:
        """Remember it, for `REMEMBER_S` at the most."""
        self._known[name] = min(until, now + REMEMBER_S), what
        self._known.move_to_end(name)
        while len(self._known) > MAX_REMEMBERED or self._oldest_until() <= now:
            self._known.popitem(last=False)

    def _oldest_until(self) -> float:
        return next((until for until, _ in self._known.values()), float("inf"))
