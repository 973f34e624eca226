"""Whether somebody keeps a transfer moving: no long stand-still, and no trickle either.

A stall time-out alone is beaten by one byte just before it runs out; that pins a connection, a buffer and a request of
the app for ever (reference cases 86 and 87). So bytes are counted in windows as long as the stall time-out, and each
window needs a minimum. Speed that was saved up in one window does not count in the next.

It measures one side only: whoever pauses that side calls `restart`, because the time until it goes on is not its fault.
"""


class Pace:
    """`count` is what has moved in all; its owner adds to it."""

    __slots__ = ("_base", "_began", "_moved_at", "_seen", "_unsent", "count")

    def __init__(self, now: float, unsent: int = 0) -> None:
        self.count = 0
        self._unsent = unsent  # in a write buffer, for `look`
        self.restart(now)

    def restart(self, now: float) -> None:
        """The time until now does not count."""
        self._began = self._moved_at = now
        self._base = self._seen = self.count

    def look(self, unsent: int) -> bool:
        """Count what has left a write buffer since the last look; whether it was anything."""
        taken, self._unsent = self._unsent - unsent, unsent
        if taken > 0:
            self.count += taken
        return taken > 0

    def is_too_slow(self, now: float, *, stall: float, rate: float) -> bool:
        """Nothing for `stall` seconds, or less than `rate` bytes a second in a window of that length."""
        if self.count != self._seen:
            self._seen, self._moved_at = self.count, now
        if now - self._moved_at > stall:
            return True
        elapsed = now - self._began
        if elapsed < stall:
            return False
        moved = self.count - self._base
        self._began, self._base = now, self.count
        return moved < rate * elapsed
