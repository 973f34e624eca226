"""The last moment of a client connection: the answer is written, what still comes is thrown away, then the end.

Closing on a client that still sends would answer it with a reset, and a reset destroys the answer that is on its way
(reference cases 70 and 71). So the sending side is closed and the receiving side drained, bounded in bytes and time.
"""

import asyncio
from typing import TYPE_CHECKING

from sidecar.http1.forwarded import Peer
from sidecar.proxy.client import Client
from sidecar.proxy.limits import DRAIN_BYTES, LINGER_TIMEOUT
from sidecar.proxy.sockets import as_protocol

if TYPE_CHECKING:
    from sidecar.proxy.connections import Connection
    from sidecar.proxy.plane import Plane


class Lingering(Client):
    """The protocol of a connection that has had its last answer."""

    __slots__ = ("_drained",)

    def __init__(self, plane: "Plane", transport: asyncio.Transport, peer: Peer) -> None:
        super().__init__(plane)
        self._drained = 0
        self.transport = transport
        self.peer = peer

    def data_received(self, data: bytes) -> None:
        self._drained += len(data)
        if self._drained > DRAIN_BYTES:
            self._give_up()

    def connection_lost(self, _error: Exception | None) -> None:
        self._plane.connections.discard(self)

    def tick(self, now: float) -> None:
        """Called a few times a second: while there is an answer to read, its reader has the time that readers have."""
        limits, is_read = self._plane.limits, not self.transport.get_write_buffer_size()
        stall = LINGER_TIMEOUT if is_read else limits.body_stall_timeout
        if self._is_too_slow(now, stall=stall, rate=0 if is_read else limits.body_min_rate):
            self._give_up()

    def _give_up(self) -> None:
        if self.transport.get_write_buffer_size():
            self.abort()  # half an answer must not look complete (reference case 65)
        else:
            self.transport.abort()  # no reset: what the kernel has of the answer still goes out

    def cut(self) -> None:
        """The process ends; the answer was complete."""
        self.transport.close()


def linger(plane: "Plane", connection: "Connection", transport: asyncio.Transport) -> None:
    """Take `transport` over from `connection`: nothing more is written to it."""
    if transport.is_closing():
        return
    if not transport.can_write_eof():  # TLS: there is no half of a connection
        transport.close()
        return
    lingering = Lingering(plane, transport, connection.peer)
    plane.connections.replace(connection, lingering)
    transport.set_protocol(as_protocol(lingering))
    transport.write_eof()
    transport.resume_reading()
