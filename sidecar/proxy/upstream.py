"""One connection to the app (or to the control application): the asyncio side of a response.

It carries one exchange at a time and knows how the response is framed. Whatever the app says outside of an exchange,
or after the end of a response, ends the connection: it must never be taken for the answer to the next request
(reference cases 25 and 26). It decides nothing; the exchange does.
"""

import asyncio
from typing import TYPE_CHECKING

from sidecar.field_names import fold
from sidecar.http1.chunked import ChunkedDecoder
from sidecar.http1.errors import ProtocolError
from sidecar.http1.response import ResponseHead, has_no_body, parse_response
from sidecar.proxy.limits import CHUNKS_A_TURN, HIGH_WATER, MAX_INFORMATIONAL
from sidecar.proxy.sockets import acknowledge, last_words, prepare
from sidecar.proxy.upstream_mode import Mode

if TYPE_CHECKING:
    from sidecar.proxy.exchange import Exchange
    from sidecar.proxy.pool import Pool


PEEK_AFTER = 0.05  # an idle time after which a look at the socket is worth a system call
_HEAD, _HELD, _LENGTH, _IDLE = Mode.HEAD, Mode.HELD, Mode.LENGTH, Mode.IDLE  # an enum's attribute costs a look-up


class Upstream:
    """The protocol of one pooled connection."""

    __slots__ = (
        "_buffer",
        "_decoder",
        "_exchange",
        "_head_bytes",
        "_informational",
        "_is_behind",
        "_is_reading",
        "_keep_alive",
        "_missing",
        "_pool",
        "idle_since",
        "is_pinned",
        "is_private",
        "mode",
        "requests",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, pool: "Pool", head_bytes: int) -> None:
        self._pool = pool
        self._head_bytes = head_bytes
        self._exchange: Exchange | None = None
        self._buffer = b""
        self._decoder: ChunkedDecoder | None = None
        self._missing = 0
        self._informational = 0
        self._is_behind = False  # the app does not read as fast as we write
        self._is_reading = True
        self._keep_alive = True
        self.mode = Mode.IDLE
        self.idle_since = 0.0
        self.requests = 0
        self.is_private = False  # somebody has authenticated on it: never to be handed to another
        self.is_pinned = False  # and its client asks on

    # -- from the exchange ---------------------------------------------------------------------------------------

    def send(self, exchange: "Exchange", head: bytes) -> None:
        """Begin an exchange with a complete request head (and perhaps the beginning of its body)."""
        self._exchange = exchange
        self._informational = 0
        self._keep_alive = True
        self.mode = _HEAD
        self.requests += 1
        self.transport.write(head)

    def begin_body(self, response: ResponseHead, method: bytes) -> tuple[list[bytes], bool]:
        """Set the framing of the response and read what came behind its head: pieces, and whether it is complete."""
        end = self.mode
        self._keep_alive = response.keep_alive and end is _HELD
        rest, self._buffer = self._buffer, b""
        if response.has_sized_body and len(rest) == response.content_length and method != b"HEAD":
            self.mode = _IDLE  # it is all here
            return [rest], True
        if has_no_body(response.status, method):
            complete = self._complete(rest, [])
            if response.chunked or response.content_length:
                self.mode = Mode.DOUBTFUL
            return complete
        if response.chunked:
            self.mode, self._decoder = Mode.CHUNKED, ChunkedDecoder(502, set(map(fold, response.nominated)))
        elif response.content_length is not None:
            self.mode, self._missing = _LENGTH, response.content_length
        else:
            self.mode, self._keep_alive = Mode.UNTIL_CLOSE, False
        pieces, done = self._read_body(rest)
        if not done and end is not _HELD:
            return self._end_here(end, pieces)
        if not done:
            acknowledge(self.transport)  # once: an app that goes on sending has its acknowledgements by what we read
        return pieces, done

    def _end_here(self, end: Mode, pieces: list[bytes]) -> tuple[list[bytes], bool]:
        """Nothing can follow `pieces`: the body is complete only if the end of the connection is its end as well."""
        if self.mode is not Mode.UNTIL_CLOSE or end is not Mode.ENDED:
            raise ProtocolError(502, "upstream_closed")
        return self._complete(b"", pieces)

    @property
    def has_answer(self) -> bool:
        """Whether a byte of the current answer was seen."""
        return bool(self._buffer) or self._informational > 0 or self.mode is not Mode.HEAD

    @property
    def trailers(self) -> list[tuple[bytes, bytes]]:
        """The trailers of the chunked response that just ended."""
        return self._decoder.trailers if self._decoder else []

    def finish(self, now: float, *, reusable: bool) -> None:
        """The exchange is over: back to the pool, or closed. `now` is boot time; `reusable`: the request is whole."""
        self._exchange = None
        # Behind: nobody would tell the next upload to wait, and what is buffered would grow with it.
        if reusable and self._keep_alive and self.mode is _IDLE and not self._is_behind:
            self._decoder = None
            self.idle_since = now
            if not self._is_reading:  # the client was behind, or the review waited: the next exchange must be heard
                self.resume_reading()
            if not self.is_private:
                self._pool.put_back(self)
            elif not self.is_pinned:
                self.close()
        elif reusable and self._keep_alive and self.mode is Mode.DOUBTFUL:
            # Some apps send the body of a HEAD or 304, a moment later. Whoever is next looks at the socket first.
            self.mode = _IDLE
            self.finish(now - PEEK_AFTER, reusable=True)
        elif reusable and not self._is_behind:
            self.close()
        else:
            self.abort()  # an app that has answered early may never read the rest; flushing would wait for it

    def pause_reading(self) -> None:
        """Stop reading from the app: the client is behind, or the review of the head takes time."""
        self._is_reading = False
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the app again."""
        if not self._is_reading:
            self._is_reading = True
            self.transport.resume_reading()

    def hand_over(self) -> bytes:
        """A tunnel reads from the app now; what came behind the 101. The upstream only ends with it."""
        self._exchange = None
        self._pool.set_apart(self)
        self.mode = Mode.TUNNEL
        rest, self._buffer = self._buffer, b""
        return rest

    def pin(self) -> None:
        """One client's from now on, and idle as long as that client is: it takes no turn from others."""
        self.is_private = self.is_pinned = True
        self._pool.set_apart(self)

    def set_apart(self) -> None:
        """An event stream, which may flow for days: it takes no turn from others, and serves nobody after it."""
        self._keep_alive = False
        self._pool.set_apart(self)

    @property
    def missing(self) -> int | None:
        """Bytes that the app still owes of a body of known length; None for any other."""
        return self._missing if self.mode is Mode.LENGTH else None

    @property
    def is_paused(self) -> bool:
        """Whether it is not the app that is waited for."""
        return not self._is_reading

    @property
    def is_behind(self) -> bool:
        """Whether the app does not read as fast as it is written to."""
        return self._is_behind

    @property
    def buffered(self) -> int:
        """Bytes that the app has not taken, or that wait for a verdict."""
        return len(self._buffer) + self.transport.get_write_buffer_size()

    def close(self) -> None:
        """Close after what is buffered was sent."""
        self._exchange = None
        if self.mode is not Mode.CLOSED:
            self.mode = Mode.CLOSED
            self._pool.forget(self)
            self.transport.close()

    def abort(self) -> None:
        """Close at once: the app learns that nobody waits any more."""
        self._exchange = None
        if self.mode is not Mode.CLOSED:
            self.mode = Mode.CLOSED
            self._pool.forget(self)
        self.transport.abort()

    # -- from asyncio --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream transport, by the way it was made
        self.transport.set_write_buffer_limits(high=HIGH_WATER)
        prepare(self.transport)

    def data_received(self, data: bytes) -> None:
        mode = self.mode
        if mode is _HEAD:
            self._buffer = self._buffer + data if self._buffer else data
            self._read_heads()
        elif mode is _LENGTH or mode is Mode.CHUNKED or mode is Mode.UNTIL_CLOSE:
            self._relay(data)
        elif mode is Mode.HELD:
            self._buffer += data
            self.pause_reading()
        else:
            self.abort()  # nothing was asked (reference case 26)

    def eof_received(self) -> bool:
        # Over TLS this is the end that the app has signed; uvloop calls it for no other. The loop of the standard
        # library does not always tell the two apart, which is one reason more to run on uvloop.
        if self.mode is Mode.UNTIL_CLOSE and self._exchange is not None:
            self.mode = Mode.CLOSED
            self._pool.forget(self)
            self._exchange.response_data([], done=True)
        elif self.mode is _HELD:
            self.mode = Mode.ENDED  # see `connection_lost`
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self.mode is Mode.ENDED or (self.mode is _HELD and error is None):
            # An app that closes behind its answer has answered all the same, and the answer is here: TLS hands over the
            # end with the head, however reading was paused. What it is worth `begin_body` finds out.
            self.mode = Mode.LOST if self.mode is _HELD else Mode.ENDED
            self._pool.forget(self)
            return
        if error is not None and self._exchange is not None and self.mode is not Mode.CLOSED:
            self._hear_last_words()
        if self.mode is not Mode.CLOSED:
            self._pool.forget(self)
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.upstream_lost()
        self.mode = Mode.CLOSED

    def _hear_last_words(self) -> None:
        """An answer that the app has given before it broke off says more than a 502 would (reference case 70)."""
        for data in last_words(self.transport):
            if self._exchange is None:
                return
            self.data_received(data)

    def pause_writing(self) -> None:
        self._is_behind = True
        if self._exchange is not None:
            self._exchange.pause_request()

    def resume_writing(self) -> None:
        self._is_behind = False
        if self._exchange is not None:
            self._exchange.resume_request()

    # -- reading -------------------------------------------------------------------------------------------------

    def _read_heads(self) -> None:
        while self.mode is _HEAD and self._exchange is not None:
            buffer = self._buffer
            end = buffer.find(b"\r\n\r\n") + 4
            try:
                if end < 4:
                    self._check_beginning()
                    return
                if end > self._head_bytes:
                    raise ProtocolError(502, "upstream_head_too_large")
                response = parse_response(buffer[:end])
                self._buffer = buffer[end:]
                if response.status < 200 and self._is_informational(response):
                    self._exchange.informational(response)
                    continue
            except ProtocolError as error:
                self._broken(error)
                return
            self.mode = _HELD
            self._exchange.response_head(response)

    def _is_informational(self, response: ResponseHead) -> bool:
        self._informational += 1
        if self._informational > MAX_INFORMATIONAL:
            raise ProtocolError(502, "too_many_informational")
        return response.status != 101  # a final answer to an upgrade

    def _check_beginning(self) -> None:
        """Refuse early what can never become a head."""
        if len(self._buffer) > self._head_bytes:
            raise ProtocolError(502, "upstream_head_too_large")
        if not b"HTTP/1.".startswith(self._buffer[:7]) or b"\n\n" in self._buffer:
            raise ProtocolError(502, "bad_status_line")

    def _relay(self, data: bytes) -> None:
        try:
            pieces, done = self._read_body(data)
        except ProtocolError as error:
            self._broken(error)
            return
        if self._exchange is not None:
            self._exchange.response_data(pieces, done=done)
        if self._exchange is not None and self._decoder is not None and self._decoder.chunks > CHUNKS_A_TURN:
            self.pause_reading()  # the loop would read on and on while there is more: others have to have their turn
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        if self._exchange is not None:
            self._exchange.resume_response(self)

    def _read_body(self, data: bytes) -> tuple[list[bytes], bool]:
        if self.mode is Mode.LENGTH:
            missing = self._missing
            if len(data) < missing:
                self._missing = missing - len(data)
                return [data] if data else [], False
            return self._complete(data[missing:], [data[:missing] if len(data) > missing else data])
        if self.mode is Mode.CHUNKED and self._decoder is not None:
            pieces = self._decoder.feed(data) if data else []
            return self._complete(self._decoder.rest, pieces) if self._decoder.done else (pieces, False)
        return [data] if data else [], False

    def _complete(self, rest: bytes, pieces: list[bytes]) -> tuple[list[bytes], bool]:
        self.mode = Mode.IDLE
        if rest:  # more than was asked for: never to be matched with the next request
            self._keep_alive = False
        return pieces, True

    def _broken(self, error: ProtocolError) -> None:
        exchange, self._exchange = self._exchange, None
        self.abort()
        if exchange is not None:
            exchange.upstream_broken(error.reason)
