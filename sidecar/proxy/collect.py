"""Bodies for the control application, of callbacks and of forms, held until each is here completely.

The control application has few connections, and a provider's logout must find one. A stranger's body that never comes
to its end would keep one for ten seconds. So it takes no connection before it is complete: it waits here, bounded in
size, time and sum. When the sum is reached the one that has waited longest goes: a logout is here within one round
trip, so who waits longest is not a provider.

A callback's body may hold the code or the token of a login, so the gate has to have all of it before it says anything.
So may a form hold a session, where such a field is declared. The same bounds hold there, with a sum of its own:
strangers' callbacks and forms must not push out logouts. All other requests are streamed and never come here.
"""

from typing import Protocol

MAX_BODY = 64 * 1024  # a logout request is a few KiB (Back-Channel Logout 1.0 section 2.5), and so is a callback
MAX_HELD = 16 * 1024 * 1024  # of all that wait here, and of those that have not been answered yet
TIMEOUT = 9.5  # for a whole body, in seconds; with a tick it is less than the ten that are promised


class Owner(Protocol):
    """The exchange that a body belongs to."""

    def body_refused(self, status: int, reason: str) -> None:
        """Answer so. It ends the exchange, which calls `discard`."""


class _Body:
    __slots__ = ("content", "is_complete", "since")

    def __init__(self, now: float) -> None:
        self.content = bytearray()
        self.is_complete = False
        self.since = now


class Collector:
    """The bodies of one data plane for one reader, oldest first. `busy` is the reason when there are too many."""

    def __init__(self, *, max_held: int = MAX_HELD, timeout: float = TIMEOUT, busy: str = "control_busy") -> None:
        self._busy = busy
        self._max_held = max_held
        self._timeout = timeout
        self._bodies: dict[Owner, _Body] = {}
        self.held = 0  # bytes

    def begin(self, owner: Owner, now: float, announced: int) -> None:
        """A body of `announced` bytes begins, or of 0 when nobody knows. It may be refused at once."""
        self._bodies[owner] = _Body(now)
        if announced > MAX_BODY:
            owner.body_refused(400, "too_large")  # the status of every invalid request (section 2.8)

    def add(self, owner: Owner, piece: bytes) -> None:
        """More of it. This body may be refused, or older ones."""
        body = self._bodies.get(owner)
        if body is None:
            return
        body.content += piece
        self.held += len(piece)
        if len(body.content) > MAX_BODY:
            owner.body_refused(400, "too_large")
        while self.held > self._max_held:
            self._oldest(owner).body_refused(503, self._busy)

    def complete(self, owner: Owner) -> bytes:
        """The whole body. It counts until the exchange is over, and nothing ends it any more."""
        body = self._bodies[owner]
        body.is_complete = True
        return bytes(body.content)

    def discard(self, owner: Owner) -> None:
        """The exchange is over."""
        body = self._bodies.pop(owner, None)
        if body is not None:
            self.held -= len(body.content)

    def sweep(self, now: float) -> None:
        """Called a few times a second: refuse what takes too long."""
        for owner, body in list(self._bodies.items()):
            if now - body.since > self._timeout and not body.is_complete:
                owner.body_refused(400, "body_timeout")

    def _oldest(self, newest: Owner) -> Owner:
        return next((owner for owner, body in self._bodies.items() if not body.is_complete), newest)
