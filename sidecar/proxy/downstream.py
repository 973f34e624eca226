"""One connection from a client: the asyncio side of requests, one after the other.

It cuts the byte stream into heads and bodies, hands each request to an exchange, and keeps the order: the next request
is read when the answer before it is complete. Every verdict is taken for a request, never for a connection. What a
client can make it hold is bounded by `Limits`; beyond that it stops reading, or refuses and closes.
"""

import asyncio
import enum
from collections.abc import Callable

from sidecar.core.denial import Answer
from sidecar.gate.refusal import refusal
from sidecar.http1.errors import ProtocolError
from sidecar.http1.forwarded import Peer
from sidecar.http1.request import RequestHead, recall_request
from sidecar.proxy.answers import encode
from sidecar.proxy.client_body import BodySource
from sidecar.proxy.ending import Ending
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.heads import next_head
from sidecar.proxy.limits import FIN_GRACE, HIGH_WATER, IDLE_GRACE
from sidecar.proxy.linger import linger
from sidecar.proxy.pinning import Pin
from sidecar.proxy.plane import Plane
from sidecar.proxy.sockets import End, as_protocol, end_of, prepare
from sidecar.proxy.tunnel import Tunnel
from sidecar.proxy.upload import Upload
from sidecar.proxy.upstream import Upstream


class Phase(enum.Enum):
    """What the connection is doing."""

    HEAD = enum.auto()  # between requests, or some of a head is here
    EXCHANGE = enum.auto()
    CLOSED = enum.auto()  # or in other hands: `tunnel`, `linger`


_HEAD, _EXCHANGE, _CLOSED = Phase.HEAD, Phase.EXCHANGE, Phase.CLOSED  # an enum's attribute costs a look-up


class Downstream(BodySource):
    """The protocol of one client connection, until a tunnel takes it over or it has had its last answer."""

    __slots__ = (
        "_fin_at",
        "_is_looping",
        "_peer_of",
        "_phase",
        "_since",
        "keep_alive",
        "pinned",
    )

    def __init__(self, plane: Plane, peer_of: Callable[[object], Peer]) -> None:
        super().__init__(plane)
        self._peer_of = peer_of
        self._phase = Phase.HEAD
        self._since = plane.now  # when the phase began
        self._fin_at = 0.0  # when it was read, or seen in the kernel, behind what is not read yet
        self._is_looping = False
        self.keep_alive = True
        self.pinned: Pin | None = None

    # -- from asyncio --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream transport, by the way it was made
        self.transport.set_write_buffer_limits(high=HIGH_WATER)
        address = transport.get_extra_info("peername")
        self.peer = self._peer_of(address)
        plane = self._plane
        refused = plane.connections.add(self)
        if address is None or plane.connections.are_far_too_many:
            # Without an address it was reset before it was accepted: what it sent is here, but whose word is it?
            self._phase = Phase.CLOSED
            self.transport.abort()
        elif refused is not None:
            self._refuse(503, refused)
        else:
            prepare(self.transport)

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase is _HEAD:
            if self._buffer:
                self._buffer += data
                self._loop()
                return
            limits = self._plane.limits
            request = recall_request(data, limits.header_count) if len(data) <= limits.head_bytes else None
            if request is not None:
                self._begin(request)
                return
            if data.strip(b"\r\n"):  # of empty lines no head begins, and an idle client stays one
                self._since = self._plane.now  # the head time-out runs from its first byte
            self._buffer = data
            self._loop()
        elif phase is _EXCHANGE:
            self._during_exchange(data)

    def eof_received(self) -> bool:
        exchange = self._exchange
        if exchange is None:
            return False
        is_waiting = not exchange.takes_body or bool(self._buffer)  # for the app, or for the next turn
        if (exchange.request_done or is_waiting) and self.transport.can_write_eof():  # TLS has no halves
            # Half closed, or gone? Only time tells: see `tick` (reference cases 66 and 67). Of a body that waits
            # `release_body` finds out whether it is all here.
            self._has_ended = True
            self._fin_at = self._plane.now or 1.0
            return True
        if exchange.is_streaming:
            self.abort()  # a plain end would make half an answer look complete (reference case 65)
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        self._plane.connections.discard(self)
        self._phase = Phase.CLOSED
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone()
        if self.pinned is not None:  # a login may still be awaited on it: see `Ending.client_gone`
            self.pinned.release(but=exchange.upstream if exchange is not None else None)

    def pause_writing(self) -> None:
        self._is_write_paused = True
        if self._exchange is not None and self._exchange.upstream is not None:
            self._exchange.upstream.pause_reading()

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._writing = None
        if self._exchange is not None and self._exchange.upstream is not None:
            self._exchange.upstream.resume_reading()
        elif self._phase is Phase.HEAD:
            self._read_on()

    # -- requests ------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        """Start exchanges as long as complete heads are buffered. Not recursive: answers may come at once."""
        if self._is_looping:
            return
        self._is_looping = True
        try:
            while self._phase is Phase.HEAD and self._buffer and not self._is_write_paused:
                request, self._buffer = next_head(self._buffer, self._plane.limits)
                if request is None:
                    return
                self._begin(request)
        except ProtocolError as error:
            self._refuse(error.status, error.reason)
        finally:
            self._is_looping = False

    def _begin(self, request: RequestHead) -> None:
        self._phase = _EXCHANGE
        self._plane.stats.in_flight += 1
        self._exchange = exchange = self._plane.new_exchange(self, self._plane, request)
        try:
            if request.has_body:
                plane = self._plane
                self._upload = Upload(request, plane.limits, plane.now, dropped_trailers=plane.dropped_trailers)
                self._upload.check_length(request)
        except ProtocolError as error:
            exchange.client_broke(error.status, error.reason)
        else:
            exchange.start()

    # -- from the exchange ---------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send to the client; `pause_writing` follows when it reads slowly."""
        if not self.transport.is_closing():
            self.transport.write(data)
            if self._fin_at:
                self._fin_at = self._plane.now  # a client that is gone will answer this with a reset

    def may_keep_alive(self) -> bool:
        """Whether the connection may serve another request after this one; those that are here already it will."""
        return not (self._plane.is_draining or self._has_ended) or bool(self._buffer)

    def resume_upstream(self, upstream: Upstream) -> None:
        """Let the app send on, unless the client is behind."""
        if not self._is_write_paused:
            upstream.resume_reading()

    def exchange_done(self) -> None:
        """The answer is complete: the next request, or the end."""
        self._exchange = None
        if not self.keep_alive:
            self._linger()  # closing on a client that sends on would reset the answer away (reference case 70)
            return
        self._phase = _HEAD
        self._since = self._plane.now
        if self._is_write_paused:
            self.pause_reading()  # a client that does not read its answers gets no others
        elif self._buffer or self._has_ended or not self._is_reading:
            self._read_on()

    def _read_on(self) -> None:
        """Between two requests: the time-outs begin anew. What is here already comes first, then more is read."""
        self._since = self._plane.now
        if self._buffer:
            self._loop()
        if self._is_write_paused:
            return
        self.resume_reading()
        if self._has_ended and self._phase is Phase.HEAD and not self._is_looping:
            self.close()  # nothing more can come of a client that has closed its side

    def answer(self, exchange: Ending, answer: Answer) -> None:
        """Send an answer of our own. A body that is not here completely costs the connection."""
        self._exchange = None
        if self._phase is Phase.CLOSED:
            return  # nobody is there to have it, or to be asked for the next request
        request = exchange.request
        if not exchange.request_done and self._upload is not None:
            self._buffer = self._upload.skip(self._buffer)
            exchange.request_done = self._upload.is_complete
        self.keep_alive = self.keep_alive and exchange.request_done and request.keep_alive and self.may_keep_alive()
        self._write_answer(answer, with_body=request.method != b"HEAD", minor=request.version)
        if self.keep_alive:
            self.exchange_done()
        else:
            self._linger()

    def begin_tunnel(self, exchange: Ending, upstream: Upstream, head: bytes) -> Tunnel:
        """Splice with the app; `head` is the 101. This connection is in other hands from here."""
        self._exchange = None
        self._phase = Phase.CLOSED
        if self.pinned is not None:
            self.pinned.release(but=upstream)
        tunnel = Tunnel(self._plane, self.peer, exchange, self.transport, upstream)
        early, self._buffer = self._buffer, b""
        tunnel.begin(self, head, early, is_behind=self._is_write_paused)
        return tunnel

    # -- refusing and closing ------------------------------------------------------------------------------------

    def _refuse(self, status: int, reason: str) -> None:
        """Malformed beyond an exchange: answer, then close; the bytes that follow mean nothing."""
        self._plane.refused(reason, self.peer.address)
        self.keep_alive = False
        is_head = self._buffer.lstrip(b"\r\n").startswith(b"HEAD ")  # its answer has no body (RFC 9110 section 9.3.2)
        self._buffer = b""
        self._write_answer(refusal(status, reason), with_body=not is_head, minor=1)
        self._linger()

    def _write_answer(self, answer: Answer, *, with_body: bool, minor: int) -> None:
        self.write(encode(answer, with_body=with_body, keep_alive=self.keep_alive, minor=minor))

    def _linger(self) -> None:
        self._leave()
        linger(self._plane, self, self.transport)

    def close(self) -> None:
        """Close after what is buffered was sent."""
        self._leave()
        super().close()

    def _leave(self) -> None:
        """No other request is read from this client."""
        self._phase = Phase.CLOSED
        self._buffer = b""
        if self.pinned is not None:
            self.pinned.release()

    def pin(self, upstream: Upstream) -> None:
        """This connection to the app is this client's alone from now on (reference case 83)."""
        if self.pinned is None:
            self.pinned = Pin()
        self.pinned.hold(upstream)

    def cut(self) -> None:
        """The process ends."""
        if self._exchange is not None:
            self._exchange.cut_off()
        else:
            self.close()

    # -- time-outs -----------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Called a few times a second: end what waits too long."""
        if self._is_write_paused and self._exchange is not None:
            self._exchange.tick(now)  # it must know that the app was not the one to wait for
        if self._is_write_paused or self._phase is _CLOSED:
            limits = self._plane.limits
            if self._is_too_slow(now, stall=limits.body_stall_timeout, rate=limits.body_min_rate):
                self.abort()  # a reader that does not read
        elif self._phase is _HEAD:
            self._tick_head(now)
        elif self._exchange is not None:
            self._tick_exchange(self._exchange, now)

    def _tick_head(self, now: float) -> None:
        limits = self._plane.limits
        if self._buffer:
            if now - self._since > limits.head_timeout:  # absolute: a byte now and then does not help (case 86)
                self._refuse(408, "head_timeout")
        elif now - self._since > (IDLE_GRACE if self._plane.is_closing else limits.idle_timeout):
            self.close()

    def _tick_exchange(self, exchange: Exchange, now: float) -> None:
        if self._has_left(exchange, now):
            exchange.client_gone()
            self.abort()
        elif exchange.wait_since and now - exchange.wait_since > self._plane.response_timeout:
            exchange.response_timed_out()
        elif exchange.request_done:
            exchange.tick(now)
        elif exchange.takes_body and self._upload is not None and self._upload.is_too_slow(now):
            exchange.upload_stalled(is_client=self._is_reading)

    def _has_left(self, exchange: Exchange, now: float) -> bool:
        """Whether the client is gone, or has closed its side and shows no sign that it still reads."""
        if not self._is_reading:  # it leaves unheard, behind what it has sent: ask the kernel (reference case 66)
            end = end_of(self.transport)
            if end is End.BOTH:
                return True
            if end is End.ONE and not self._fin_at and exchange.request_done:
                self._fin_at = now  # in the middle of a body it proves nothing: the rest may be in the kernel
        return bool(self._fin_at) and now - self._fin_at > FIN_GRACE and not self._has_progress(now)


def listener(plane: Plane, peer_of: Callable[[object], Peer]) -> Callable[[], asyncio.Protocol]:
    """The protocol factory of a listening socket."""
    return lambda: as_protocol(Downstream(plane, peer_of))
