"""The open client connections of a listener, and how many there may be.

A connection changes hands during its life: requests, then perhaps a tunnel, then a last moment in which the answer is
delivered. It counts once, from accept to close.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from sidecar.http1.forwarded import Peer
from sidecar.proxy.limits import REFUSED_AT_ONCE


class Connection(Protocol):
    """Whoever holds a client connection at the moment."""

    peer: Peer

    @property
    def buffered(self) -> int:
        """Bytes that are held for it."""

    def tick(self, now: float) -> None:
        """Called a few times a second: end what waits too long."""

    def cut(self) -> None:
        """The process ends: nothing more of this, and none of it may look complete."""

    def abort(self) -> None:
        """Close with a reset."""


class Connections:
    """A set that can say no."""

    def __init__(self, *, most: int, most_a_peer: int) -> None:
        self._most = most
        self._most_a_peer = most_a_peer  # 0: as many as there are
        self._open: set[Connection] = set()
        self._of_peer: Counter[bytes] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._open))  # they come and go while they are looked at

    def add(self, connection: Connection) -> str | None:
        """Count a new connection; the reason why it is one too many, if it is."""
        self._open.add(connection)
        if self._is_counted(connection.peer):
            self._of_peer[connection.peer.address] += 1
            if self._of_peer[connection.peer.address] > self._most_a_peer:
                return "too_many_connections_of_peer"
        return "too_many_connections" if len(self._open) > self._most else None

    @property
    def are_far_too_many(self) -> bool:
        """So many that even saying no costs too much."""
        return len(self._open) > self._most + REFUSED_AT_ONCE

    def replace(self, old: Connection, new: Connection) -> None:
        """The same connection in other hands."""
        self._open.discard(old)
        self._open.add(new)

    def discard(self, connection: Connection) -> None:
        """It is closed, or `replace` has handed it on."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        if self._is_counted(connection.peer):
            address = connection.peer.address
            self._of_peer[address] -= 1
            if not self._of_peer[address]:
                del self._of_peer[address]

    def _is_counted(self, peer: Peer) -> bool:
        """Behind a trusted proxy are many people, and it has limits of its own."""
        return self._most_a_peer > 0 and not peer.is_trusted
