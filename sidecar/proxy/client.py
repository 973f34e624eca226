"""The flow of a client connection in both directions: pausing, and how long a slow client is waited for."""

import asyncio
from typing import TYPE_CHECKING

from sidecar.http1.forwarded import Peer
from sidecar.proxy.limits import HIGH_WATER
from sidecar.proxy.pace import Pace
from sidecar.proxy.sockets import reset
from sidecar.proxy.upload import Upload

if TYPE_CHECKING:
    from sidecar.proxy.plane import Plane


class Client:
    """What everybody does who holds a client connection and answers on it."""

    __slots__ = ("_buffer", "_is_reading", "_is_write_paused", "_plane", "_upload", "_writing", "peer", "transport")

    transport: asyncio.Transport
    peer: Peer

    def __init__(self, plane: "Plane") -> None:
        self._plane = plane
        self._buffer = b""  # read and not passed on
        self._is_reading = True
        self._is_write_paused = False  # the client reads slowly
        self._upload: Upload | None = None  # of the last request that has a body
        self._writing: Pace | None = None  # of a client that is behind, or that has to take the rest

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Only whoever comes first is told."""

    def eof_received(self) -> bool:
        """The client's side has ended; whether ours stays open."""
        return False

    def pause_writing(self) -> None:
        """The client reads slowly."""

    def resume_writing(self) -> None:
        """It has caught up."""

    @property
    def buffered(self) -> int:
        """Bytes that were read and not passed on, or written and not taken."""
        return len(self._buffer) + self.transport.get_write_buffer_size()

    def abort(self) -> None:
        """Close with a reset: a plain end would make a half-sent answer look complete (reference case 65)."""
        reset(self.transport)

    def pause_reading(self) -> None:
        """Stop reading from the client."""
        if self._is_reading and not self.transport.is_closing():
            self._is_reading = False
            self._restart_upload()  # from here on it is the app that takes its time
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the client again, unless it has sent more already than is held for anybody."""
        if self._is_reading or self.transport.is_closing():
            return
        if len(self._buffer) <= max(HIGH_WATER, self._plane.limits.head_bytes):  # a head that is not whole must go on
            self._is_reading = True
            self._restart_upload()
            self.transport.resume_reading()

    def _restart_upload(self) -> None:
        if self._upload is not None:
            self._upload.restart(self._plane.now)

    def _has_progress(self, now: float) -> bool:
        """Whether the client took bytes since the last look."""
        unsent = self.transport.get_write_buffer_size()
        if self._writing is None:
            self._writing = Pace(now, unsent)
        return self._writing.look(unsent)

    def _is_too_slow(self, now: float, *, stall: float, rate: float) -> bool:
        """Whether the client has stopped reading, or only trickles."""
        self._has_progress(now)
        return self._writing is not None and self._writing.is_too_slow(now, stall=stall, rate=rate)
