"""A WebSocket: after a validated 101 raw bytes both ways, until both sides have ended (reference cases 102, 109-114).

It takes both transports over from the connection and the upstream, so that neither has to know about it. Nothing is
judged or re-framed here, and nothing queues: who writes faster than the other reads is paused. When the session is
revoked or the process ends, the client gets a proper close frame where one fits; else the connection breaks off.
"""

import asyncio
from typing import TYPE_CHECKING

from sidecar.http1.forwarded import Peer
from sidecar.proxy.frames import GOING_AWAY, Frames, close_frame
from sidecar.proxy.limits import HALF_CLOSED_TIMEOUT
from sidecar.proxy.linger import linger
from sidecar.proxy.pace import Pace
from sidecar.proxy.sockets import End, as_protocol, end_of, reset
from sidecar.proxy.upstream import Upstream

if TYPE_CHECKING:
    from sidecar.proxy.connections import Connection
    from sidecar.proxy.ending import Ending
    from sidecar.proxy.plane import Plane


class _Side:
    """One side: what comes in here goes out at the other."""

    __slots__ = ("_to", "_tunnel", "count", "has_ended", "is_behind", "transport")

    def __init__(self, tunnel: "Tunnel", transport: asyncio.Transport, to: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self._to = to
        self.transport = transport
        self.count = 0
        self.has_ended = False
        self.is_behind = False  # does not read as fast as the other writes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It was open before."""

    def data_received(self, data: bytes) -> None:
        self.count += len(data)
        if not self._to.is_closing():
            self._to.write(data)

    def eof_received(self) -> bool:
        self.has_ended = True
        return self._tunnel.half_closed(self.transport, self._to)

    def pause_writing(self) -> None:
        self.is_behind = True
        self._to.pause_reading()

    def resume_writing(self) -> None:
        self.is_behind = False
        self._to.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._tunnel.lost(self, error)


class _AppSide(_Side):
    """The app's side, which knows where a frame of ours would fit."""

    __slots__ = ("frames",)

    def __init__(self, tunnel: "Tunnel", transport: asyncio.Transport, to: asyncio.Transport) -> None:
        super().__init__(tunnel, transport, to)
        self.frames = Frames()

    def data_received(self, data: bytes) -> None:
        self.frames.feed(data)
        super().data_received(data)


class Tunnel:
    """Both sides. It stands among the connections in the place of the one it took over."""

    __slots__ = (
        "_app",
        "_client",
        "_exchange",
        "_moved_at",
        "_one_sided_at",
        "_pace",
        "_plane",
        "_seen",
        "_upstream",
        "peer",
    )

    def __init__(
        self, plane: "Plane", peer: Peer, exchange: "Ending", client: asyncio.Transport, upstream: Upstream
    ) -> None:
        self._plane = plane
        self._exchange: Ending | None = exchange  # until the tunnel is over
        self._upstream = upstream
        self._client = _Side(self, client, upstream.transport)
        self._app = _AppSide(self, upstream.transport, client)
        self._moved_at = plane.now
        self._seen = 0  # bytes at the last tick
        self._one_sided_at = 0.0
        self._pace: Pace | None = None  # of a client that is behind, or that has to take the rest
        self.peer = peer

    def begin(self, connection: "Connection", head: bytes, early: bytes, *, is_behind: bool) -> None:
        """Take over. `head` is for the client; `early` came from it and is for the app (reference case 102)."""
        client, app = self._client, self._app
        self._plane.stats.tunnels += 1
        self._plane.connections.replace(connection, self)
        client.is_behind = is_behind
        client.transport.set_protocol(as_protocol(client))
        app.transport.set_protocol(as_protocol(app))
        client.transport.resume_reading()  # first: what is written now may pause them again
        if not is_behind:
            app.transport.resume_reading()
        client.transport.write(head)
        behind_head = self._upstream.hand_over()
        if behind_head:
            app.data_received(behind_head)
        if early:
            client.data_received(early)

    # -- from the sides ------------------------------------------------------------------------------------------

    def half_closed(self, ended: asyncio.Transport, other: asyncio.Transport) -> bool:
        """One side will say no more: pass that on and wait for the other; whether the first stays open for it."""
        if (self._client.has_ended and self._app.has_ended) or other.is_closing() or not other.can_write_eof():
            return False
        other.write_eof()
        self._one_sided_at = self._plane.now
        return ended.can_write_eof()  # TLS knows no half of a connection

    def lost(self, side: _Side, error: Exception | None) -> None:
        """One side is gone, so the other has to go: in good order, unless the first broke off."""
        if side is self._client:
            self._plane.connections.discard(self)
            # An app that does not read would keep what is left for ever.
            self._end(is_abort=error is not None or self._app.is_behind)
        elif self._exchange is not None:
            self._upstream.close()
            self.abort() if error is not None else self.close()

    # -- ends ----------------------------------------------------------------------------------------------------

    @property
    def buffered(self) -> int:
        """Bytes that the client has not taken; the other direction is the pool's."""
        return self._client.transport.get_write_buffer_size()

    def tick(self, now: float) -> None:
        """Called a few times a second."""
        client = self._client
        if client.is_behind or client.transport.is_closing():
            self._tick_reader(client.transport, now)
            return
        self._pace = None
        moved = client.count + self._app.count
        if moved != self._seen:
            self._seen, self._moved_at = moved, now
        if self._app.is_behind and self._has_left(now):
            self.abort()
            return
        idle = self._plane.tunnel_idle_timeout
        is_one_sided = self._one_sided_at and now - self._one_sided_at > HALF_CLOSED_TIMEOUT
        if is_one_sided or (idle is not None and now - self._moved_at > idle):
            self.close()

    def _has_left(self, now: float) -> bool:
        """Whether a client that is not read, because the app does not read, is gone, or has long had no more to say."""
        end = end_of(self._client.transport)
        return end is End.BOTH or (end is End.ONE and now - self._moved_at > HALF_CLOSED_TIMEOUT)

    def _tick_reader(self, transport: asyncio.Transport, now: float) -> None:
        unsent, limits = transport.get_write_buffer_size(), self._plane.limits
        if self._pace is None:
            self._pace = Pace(now, unsent)
        self._pace.look(unsent)
        if self._pace.is_too_slow(now, stall=limits.body_stall_timeout, rate=limits.body_min_rate):
            self.abort()

    def close(self) -> None:
        """End both sides after what is buffered was sent."""
        self._client.transport.close()

    def abort(self) -> None:
        """Break off both sides."""
        self._end(is_abort=True)
        reset(self._client.transport)

    def cut(self, code: int = GOING_AWAY) -> None:
        """End it with a close frame for the client, where one fits between the app's frames."""
        client = self._client
        can_write = not (client.transport.is_closing() or client.is_behind or self._app.has_ended)
        if not can_write or not self._app.frames.is_between:
            self.abort()
            return
        self._end(is_abort=True)  # first: nothing of the app's may follow the frame
        client.transport.write(close_frame(code))
        linger(self._plane, self, client.transport)

    def _end(self, *, is_abort: bool) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        self._plane.stats.tunnels -= 1
        if is_abort:
            self._upstream.abort()
        else:
            self._upstream.close()
        exchange.tunnel_ended(received=self._client.count, sent=self._app.count)
