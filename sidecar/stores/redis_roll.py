"""The roll of the replicas that share a log: who may be serving, and how far each has come. No I/O, no clock.

Every replica keeps one report of itself in Redis, renews it at least every second, and may read those of the others. A
replica serves bound sessions for a while after it has last heard the store; that while is the lease in its report. Who
looks counts a lease on its own boot clock, from the moment at which it saw the report change: that moment is never
before the change. No wall clock takes part, so that no step of one, here or at the server, ends a lease early.
The price: a process that has just begun takes a report that it finds for a new one.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from sidecar.stores.interface import Mark

FORGET_S: Final = 60.0  # after the end of its lease
OUTDATED_MS: Final = 3 * 3600 * 1000  # by the server's clock, for reports that nobody lives to see run out
_UNREADABLE_LEASE_MS: Final = 3600 * 1000
_NOWHERE: Final = Mark(b"-", (0, 0))


class Report(NamedTuple):
    """What a replica says of itself."""

    beat_ms: int  # the server's time; that it changes says that the replica lives
    lease_ms: int  # how long it may go on serving bound sessions from here; 0: it has ended
    asks: bool = False  # whether it wants to hear at once how far the others are (`store.confirm: all`)
    applied: Mark = _NOWHERE  # all that stands up to here is enforced

    def pack(self) -> bytes:
        """As it stands in Redis."""
        first, second = self.applied.entry
        return b"%d %d %d %d-%d %s" % (self.beat_ms, self.lease_ms, self.asks, first, second, self.applied.log)


def unpack(text: bytes) -> Report:
    """What `pack` made. What cannot be read is from a replica of another release, that may be serving."""
    try:
        beat, lease, asks, entry, log = text.split(b" ")
        return Report(int(beat), int(lease), asks == b"1", Mark(log, entry_of(entry)))
    except ValueError:
        return Report(0, _UNREADABLE_LEASE_MS)


def entry_of(text: bytes) -> tuple[int, int]:
    """The id of an entry, so that it can be compared."""
    first, _, second = text.partition(b"-")
    return int(first), int(second)


class _Seen(NamedTuple):
    text: bytes
    report: Report
    since: float  # boot time at which we saw it change

    def lease_left(self, now: float) -> float:
        return self.since + self.report.lease_ms / 1000 - now

    def has(self, mark: Mark) -> bool:
        """Ids mean something in one log only: after a failover they may go back."""
        return self.report.applied.log == mark.log and self.report.applied.entry >= mark.entry


class Roll:
    """The other replicas. Times are seconds of this machine's boot clock."""

    def __init__(self, own: bytes) -> None:
        self._own = own
        self._seen: dict[bytes, _Seen] = {}

    def saw(self, reports: Mapping[bytes, bytes], now: float) -> None:
        """All reports, as they were at most until `now`.

        One that has vanished counts until its lease is over: Redis may have lost it, and the replica not.
        """
        for name, text in reports.items():
            known = self._seen.get(name)
            if name != self._own and (known is None or known.text != text):
                self._seen[name] = _Seen(text, unpack(text), now)
        for name in [name for name, seen in self._seen.items() if name not in reports and seen.lease_left(now) <= 0]:
            del self._seen[name]

    def serving(self, now: float) -> int:
        """How many may be serving."""
        return sum(seen.lease_left(now) > 0 for seen in self._seen.values())

    def is_asked(self, now: float) -> bool:
        """Whether one of them waits for what the others say."""
        return any(seen.report.asks and seen.lease_left(now) > 0 for seen in self._seen.values())

    def behind(self, mark: Mark, now: float) -> int:
        """How many may be serving without what stands up to the mark."""
        return sum(seen.lease_left(now) > 0 and not seen.has(mark) for seen in self._seen.values())

    def ended(self, now: float, server_ms: int) -> list[bytes]:
        """Names of those whose report nobody needs any more."""
        return [
            name
            for name, seen in self._seen.items()
            if seen.lease_left(now) < -FORGET_S or seen.report.beat_ms + seen.report.lease_ms + OUTDATED_MS < server_ms
        ]
