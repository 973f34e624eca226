"""One connection from a client: the asyncio side of requests, one after the other.

It cuts the byte stream into heads and bodies, hands each request to an exchange, and keeps the order: the next request
is read when the answer before it is complete. Every verdict is taken for a request, never for a connection. What a
client can make it hold is bounded by `Limits`; beyond that it stops reading, or refuses and closes.
"""

import asyncio
import enum
import re
import socket
import struct
from collections.abc import Callable
from email.utils import formatdate

from sidecar import clock
from sidecar.core.denial import Answer
from sidecar.http1.chunked import ChunkedDecoder
from sidecar.http1.errors import ProtocolError
from sidecar.http1.forwarded import Peer
from sidecar.http1.request import RequestHead, parse_request
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.limits import DRAIN_BYTES, FIN_GRACE, HIGH_WATER, LINGER_TIMEOUT
from sidecar.proxy.plane import Plane
from sidecar.proxy.refusal import refusal
from sidecar.proxy.upstream import Upstream

_NOT_A_METHOD = re.compile(rb"[^\r\n!#$%&'*+\-.^_`|~0-9A-Za-z]")
_LONGEST_METHOD = 64  # that is looked at before the head is complete
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close without delivering what is buffered


class Phase(enum.Enum):
    """What the connection is doing."""

    HEAD = enum.auto()  # between requests, or some of a head is here
    EXCHANGE = enum.auto()
    TUNNEL = enum.auto()
    LINGER = enum.auto()  # refused; reading what still comes so that the answer is not lost (reference case 71)
    CLOSED = enum.auto()


_HEAD, _EXCHANGE = Phase.HEAD, Phase.EXCHANGE  # an enum's attribute costs a look-up


class Downstream(asyncio.Protocol):
    """The protocol of one client connection."""

    __slots__ = (
        "_body",
        "_buffer",
        "_drained",
        "_exchange",
        "_fin_at",
        "_is_looping",
        "_is_reading",
        "_is_write_paused",
        "_peer_of",
        "_phase",
        "_plane",
        "_read_at",
        "_since",
        "_tunnel",
        "_unsent",
        "_written_at",
        "keep_alive",
        "peer",
        "transport",
    )

    transport: asyncio.Transport
    peer: Peer

    def __init__(self, plane: Plane, peer_of: Callable[[object], Peer]) -> None:
        self._plane = plane
        self._peer_of = peer_of
        self._phase = Phase.HEAD
        self._since = plane.now  # when the phase began
        self._buffer = b""
        self._exchange: Exchange | None = None
        self._body: ChunkedDecoder | int = 0  # of the current request: a decoder, or how many bytes are to come
        self._tunnel: Upstream | None = None
        self._drained = 0
        self._fin_at = 0.0
        self._is_looping = False
        self._is_reading = True
        self._is_write_paused = False
        self._unsent = 0  # bytes in the write buffer at the last tick
        self._written_at = plane.now
        self._read_at = plane.now
        self.keep_alive = True

    # -- from asyncio --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream transport, by the way it was made
        self.transport.set_write_buffer_limits(high=HIGH_WATER)
        address = transport.get_extra_info("peername")
        self.peer = self._peer_of(address)
        plane = self._plane
        plane.connections.add(self)
        if address is None:  # reset before it was accepted: what it sent is here, but nobody can say whose word it is
            self._phase = Phase.CLOSED
            self.transport.abort()
        elif len(plane.connections) > plane.limits.connections:
            self.keep_alive = False
            self._refuse(503, "too_many_connections")

    def data_received(self, data: bytes) -> None:
        self._read_at = self._plane.now
        phase = self._phase
        if phase is _HEAD:
            end = data.find(b"\r\n\r\n") + 4
            if end == len(data) and 4 < end <= self._plane.limits.head_bytes and data[0] > 0x20 and not self._buffer:
                # What comes most often: one complete head, and nothing else.
                try:
                    self._begin(parse_request(data, max_headers=self._plane.limits.header_count))
                except ProtocolError as error:
                    self._refuse(error.status, error.reason)
                return
            if not self._buffer:
                self._since = self._plane.now  # the head time-out runs from its first byte
                self._buffer = data
            else:
                self._buffer += data
            self._loop()
        elif phase is Phase.EXCHANGE:
            self._during_exchange(data)
        elif phase is Phase.TUNNEL:
            if self._tunnel is not None and not self._tunnel.transport.is_closing():
                self._tunnel.transport.write(data)
        elif phase is Phase.LINGER:
            self._discard(data)

    def eof_received(self) -> bool:
        if self._phase is Phase.TUNNEL and self._tunnel is not None:
            if self._fin_at:
                return False  # the app has ended already: now both have
            if self._tunnel.transport.can_write_eof():
                self._tunnel.transport.write_eof()
            self._fin_at = self._plane.now
            return True
        if self._phase is Phase.EXCHANGE and self._exchange is not None and self._exchange.request_done:
            # Half closed, or gone? Only time tells: see `tick` (reference cases 66 and 67).
            self._fin_at = self._plane.now or 1.0
            self.keep_alive = False
            return True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._plane.connections.discard(self)
        self._phase = Phase.CLOSED
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone()
        self._end_of_tunnel(abort=error is not None)

    def pause_writing(self) -> None:
        self._is_write_paused = True
        self._written_at = self._plane.now
        source = self._tunnel or (self._exchange.upstream if self._exchange else None)
        if source is not None:
            source.pause_reading()

    def resume_writing(self) -> None:
        self._is_write_paused = False
        source = self._tunnel or (self._exchange.upstream if self._exchange else None)
        if source is not None:
            source.resume_reading()
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
                request = self._next_head()
                if request is None:
                    return
                self._begin(request)
        except ProtocolError as error:
            self._refuse(error.status, error.reason)
        finally:
            self._is_looping = False

    def _next_head(self) -> RequestHead | None:
        buffer = self._buffer
        if buffer[0] in b"\r\n":  # an empty line before the request is forgiven (RFC 9112 section 2.2)
            buffer = buffer.lstrip(b"\r\n")
        limits = self._plane.limits
        end = buffer.find(b"\r\n\r\n", 0, limits.head_bytes + 4) + 4
        if end < 4:
            self._check_beginning(buffer)
            self._buffer = buffer
            return None
        request = parse_request(buffer[:end], max_headers=limits.header_count)
        self._buffer = buffer[end:]
        return request

    def _check_beginning(self, buffer: bytes) -> None:
        """Refuse early what can never become a head, instead of waiting for its end."""
        if len(buffer) > self._plane.limits.head_bytes:
            raise ProtocolError(414 if b"\r\n" not in buffer else 431, "head_too_large")
        if buffer.count(b"\n") != buffer.count(b"\r\n"):  # counted, because a slow head is looked at for every byte
            raise ProtocolError(400, "bare_line_feed")
        if _NOT_A_METHOD.search(buffer[:_LONGEST_METHOD].partition(b" ")[0]):
            raise ProtocolError(400, "not_http")  # a TLS handshake on the plain port, most often

    def _begin(self, request: RequestHead) -> None:
        self._phase = _EXCHANGE
        if request.has_body:
            self._body = ChunkedDecoder(400) if request.chunked else request.content_length or 0
        self._plane.stats.in_flight += 1
        self._exchange = exchange = Exchange(self, self._plane, request)
        exchange.start()

    def _during_exchange(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is not None and not exchange.request_done and exchange.takes_body and not self._buffer:
            self._feed(exchange, data)
            return
        self._buffer += data
        if len(self._buffer) > HIGH_WATER:  # the next requests, or a body that nobody takes yet
            self.pause_reading()

    def release_body(self) -> None:
        """The app is connected: pass on what was read of the body."""
        exchange, data = self._exchange, self._buffer
        self._buffer = b""
        self.resume_reading()  # first: what is fed now may pause it again
        if exchange is not None and data:
            self._feed(exchange, data)

    def _feed(self, exchange: Exchange, data: bytes) -> None:
        try:
            pieces, done, self._buffer = self._cut_body(data)
        except ProtocolError as error:
            self._plane.refused(error.reason, self.peer.address)
            self.keep_alive = False
            exchange.client_broke(error.status, error.reason)
            return
        exchange.request_data(pieces)
        if done:
            exchange.request_end(self._body.trailers if isinstance(self._body, ChunkedDecoder) else [])

    def _cut_body(self, data: bytes) -> tuple[list[bytes], bool, bytes]:
        """The content in `data`, whether it is complete, and what follows it."""
        body = self._body
        if isinstance(body, ChunkedDecoder):
            return body.feed(data), body.done, body.rest
        self._body = missing = max(0, body - len(data))
        content = data[:body] if len(data) > body else data
        return ([content] if content else []), not missing, data[body:]

    # -- from the exchange ---------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send to the client; `pause_writing` follows when it reads slowly."""
        if not self.transport.is_closing():
            self.transport.write(data)
            if self._fin_at:
                self._fin_at = self._plane.now  # a client that is gone will answer this with a reset

    def may_keep_alive(self) -> bool:
        """Whether the connection may serve another request after this one."""
        return not self._plane.is_draining and not self._fin_at

    def pause_reading(self) -> None:
        """Stop reading from the client."""
        if self._is_reading and not self.transport.is_closing():
            self._is_reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the client again."""
        if not self._is_reading and not self.transport.is_closing():
            self._is_reading = True
            self._read_at = self._plane.now  # the time until here was not the client's
            self.transport.resume_reading()

    def resume_upstream(self, upstream: Upstream) -> None:
        """Let the app send on, unless the client is behind."""
        if not self._is_write_paused:
            upstream.resume_reading()

    def exchange_done(self) -> None:
        """The answer is complete: the next request, or the end."""
        exchange, self._exchange = self._exchange, None
        if not self.keep_alive:
            if exchange is None or exchange.request_done:
                self._close()
            else:
                self._linger()  # closing on a client that still sends would reset the answer away (reference case 70)
            return
        self._phase = _HEAD
        self._since = self._plane.now
        if self._is_write_paused:
            self.pause_reading()  # a client that does not read its answers gets no others
        elif self._buffer or not self._is_reading:
            self._read_on()

    def _read_on(self) -> None:
        """Between two requests: the time-outs begin anew."""
        self._since = self._plane.now
        self.resume_reading()
        if self._buffer:
            self._loop()

    def answer(self, exchange: Exchange, answer: Answer) -> None:
        """Send an answer of our own. A body that is not here completely costs the connection."""
        self._exchange = None
        if self._phase is Phase.CLOSED:
            return  # nobody is there to have it, or to be asked for the next request
        if not exchange.request_done:
            self._skip_body(exchange)
        request = exchange.request
        self.keep_alive = self.keep_alive and exchange.request_done and request.keep_alive and self.may_keep_alive()
        self._write_answer(answer, with_body=request.method != b"HEAD", minor=request.version)
        if self.keep_alive:
            self.exchange_done()
        else:
            self._linger()

    def begin_tunnel(self, upstream: Upstream, head: bytes) -> None:
        """Splice with the app: raw bytes both ways from here, the early ones included (reference case 102)."""
        self._phase = Phase.TUNNEL
        self._tunnel = upstream
        self._plane.stats.tunnels += 1
        early, self._buffer = self._buffer, b""
        self.resume_reading()  # first: the early bytes may pause it again
        self.write(head + upstream.begin_tunnel(self))
        if early:
            upstream.transport.write(early)
        self.resume_upstream(upstream)

    def abort(self) -> None:
        """Close with a reset: a plain end would make a half-sent answer look complete (reference case 65)."""
        self._end_of_tunnel(abort=True)
        sock = self.transport.get_extra_info("socket")
        if sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    # -- from the other end of a tunnel --------------------------------------------------------------------------

    def write_tunnel(self, data: bytes) -> None:
        """Bytes from the app."""
        self._read_at = self._plane.now
        self.write(data)

    def end_tunnel(self) -> bool:
        """The app closed its side: pass that on, and wait for the client's."""
        if self._fin_at:
            return False  # the client has ended already: now both have
        self._fin_at = self._plane.now
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
            return True
        return False

    def close(self) -> None:
        """Close after what is buffered was sent."""
        self._close()

    # -- refusing and closing ------------------------------------------------------------------------------------

    def _refuse(self, status: int, reason: str) -> None:
        """Malformed beyond an exchange: answer, then close; the bytes that follow mean nothing."""
        self._plane.refused(reason, self.peer.address)
        self.keep_alive = False
        self._buffer = b""
        self._write_answer(refusal(status, reason), with_body=True, minor=1)
        self._linger()

    def _write_answer(self, answer: Answer, *, with_body: bool, minor: int) -> None:
        lines = [b"HTTP/1.1 %d %b" % (answer.status, answer.phrase), *map(b": ".join, answer.headers)]
        lines.append(b"Date: " + formatdate(clock.wall(), usegmt=True).encode())  # RFC 9110 section 6.6.1
        lines.append(b"Content-Length: %d" % len(answer.body))
        if not self.keep_alive:
            lines.append(b"Connection: close")
        elif minor == 0:
            lines.append(b"Connection: keep-alive")
        head = b"\r\n".join((*lines, b"", b""))
        self.write(head + answer.body if with_body else head)

    def _skip_body(self, exchange: Exchange) -> None:
        """Throw away what is here of a refused body; a short one may turn out to be complete."""
        data, self._buffer = self._buffer, b""
        if exchange.request.expects_continue and not data:
            return  # the client waits for a 100 that will not come
        try:
            _, exchange.request_done, self._buffer = self._cut_body(data)
        except ProtocolError:
            exchange.request_done = False

    def _linger(self) -> None:
        if self.transport.is_closing():
            return
        self._phase = Phase.LINGER
        self._since = self._plane.now
        self._buffer = b""
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.resume_reading()
        else:
            self._close()

    def _discard(self, data: bytes) -> None:
        self._drained += len(data)
        if self._drained > DRAIN_BYTES:
            self.transport.abort()

    def _close(self) -> None:
        self._phase = Phase.CLOSED
        self._written_at = self._plane.now
        self.transport.close()

    def _end_of_tunnel(self, *, abort: bool) -> None:
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            self._plane.stats.tunnels -= 1
            tunnel.abort() if abort else tunnel.close()

    # -- time-outs -----------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Called a few times a second: end what waits too long."""
        if self._is_write_paused or self._phase is Phase.CLOSED:
            if self._is_stuck(now):
                self.abort()  # a reader that does not read
        elif self._phase is Phase.HEAD:
            self._tick_head(now)
        elif self._phase is Phase.EXCHANGE and self._exchange is not None:
            self._tick_exchange(self._exchange, now)
        elif self._phase is Phase.LINGER:
            self._tick_linger(now)
        elif self._phase is Phase.TUNNEL:
            self._tick_tunnel(now)

    def _tick_head(self, now: float) -> None:
        limits = self._plane.limits
        if self._buffer:
            if now - self._since > limits.head_timeout:  # absolute: a byte now and then does not help (case 86)
                self._refuse(408, "head_timeout")
        elif now - self._since > limits.idle_timeout or self._plane.is_closing:
            self._close()

    def _tick_exchange(self, exchange: Exchange, now: float) -> None:
        if self._fin_at and now - self._fin_at > FIN_GRACE and not self._has_progress():
            exchange.client_gone()
            self.abort()
        elif exchange.wait_since and now - exchange.wait_since > self._plane.response_timeout:
            exchange.response_timed_out()
        elif (
            not exchange.request_done
            and exchange.takes_body
            and now - self._read_at > self._plane.limits.body_stall_timeout
        ):
            self._end_stalled(exchange)

    def _end_stalled(self, exchange: Exchange) -> None:
        """No byte of the upload has moved for too long: whoever keeps it waiting is to blame."""
        if self._is_reading:
            self.keep_alive = False
            exchange.client_broke(408, "body_timeout")
        elif not exchange.is_streaming:  # an app that answers need not read
            exchange.response_timed_out()

    def _tick_linger(self, now: float) -> None:
        if self._has_progress():
            self._since = now  # the answer is still on its way to a slow reader
        elif now - self._since > LINGER_TIMEOUT:
            self.transport.abort()

    def _tick_tunnel(self, now: float) -> None:
        idle = self._plane.tunnel_idle_timeout
        one_sided = self._fin_at and now - self._fin_at > LINGER_TIMEOUT * 5
        if one_sided or (idle is not None and now - self._read_at > idle):
            self._close()

    def _has_progress(self) -> bool:
        """Whether the client took bytes since the last tick."""
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        return self._unsent < before

    def _is_stuck(self, now: float) -> bool:
        if self._has_progress():
            self._written_at = now
        return now - self._written_at > self._plane.limits.body_stall_timeout


def listener(plane: Plane, peer_of: Callable[[object], Peer]) -> Callable[[], Downstream]:
    """The protocol factory of a listening socket."""
    return lambda: Downstream(plane, peer_of)
