"""The content of a request, from the client to the exchange, as fast as the app takes it.

What is read before the app is connected waits, and a long upload lets the other connections have their turns. How the
body is framed and how slow it may be, `upload` knows. `downstream` adds the requests themselves.
"""

import asyncio
from typing import TYPE_CHECKING

from sidecar.http1.errors import ProtocolError
from sidecar.proxy.client import Client
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.limits import HIGH_WATER, TURN_BYTES, TURN_PAUSE

if TYPE_CHECKING:
    from sidecar.proxy.plane import Plane


class BodySource(Client):
    """A client connection of which one exchange at a time takes a body."""

    __slots__ = ("_exchange", "_has_ended", "_has_had_turn")

    def __init__(self, plane: "Plane") -> None:
        super().__init__(plane)
        self._exchange: Exchange | None = None
        self._has_ended = False  # the end of the client's side was read
        self._has_had_turn = False  # the upload; what was read of it and not looked at waits

    def close(self) -> None:
        """Close after what is buffered was sent."""
        self.transport.close()

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
        self._restart_upload()  # the time until here was not the client's
        self.resume_reading()  # first: what is fed now may pause it again
        if exchange is not None and data:
            self._feed(exchange, data)
        if exchange is not None and self._has_ended and not exchange.request_done and not self._buffer:
            exchange.client_gone()  # the rest of the body cannot come any more
            self.close()

    def _feed(self, exchange: Exchange, data: bytes) -> None:
        upload = self._upload
        if upload is None:
            raise TypeError("no body was announced")
        try:
            pieces = upload.feed(data)
        except ProtocolError as error:
            exchange.client_broke(error.status, error.reason)
            return
        self._buffer = upload.rest
        if len(self._buffer) > HIGH_WATER:
            self.pause_reading()  # the next requests: they wait in the kernel
        exchange.request_data(pieces)
        if upload.is_complete:
            exchange.request_end(upload.trailers)
        elif self._buffer or len(data) > TURN_BYTES:
            self._end_turn()

    def _end_turn(self) -> None:
        """The loop would read this body on and on while there is more of it: the others first."""
        if not self._has_had_turn:
            self._has_had_turn = True
            self.pause_reading()
            asyncio.get_running_loop().call_later(TURN_PAUSE if self._buffer else 0.0, self._next_turn)

    def _next_turn(self) -> None:
        self._has_had_turn = False
        if self._exchange is not None and not self._exchange.is_app_behind:
            self.resume_body()

    def resume_body(self) -> None:
        """The app reads again."""
        exchange = self._exchange
        if self._has_had_turn:
            return
        if self._buffer and exchange is not None and exchange.takes_body and not exchange.request_done:
            self.release_body()
        else:
            self.resume_reading()
