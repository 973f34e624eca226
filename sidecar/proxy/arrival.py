"""A client connection from accept until it can speak HTTP: the balancer's header, then the TLS handshake.

It counts among the plane's connections from its first moment. So handshakes are bounded by the same limits as
everything else, are waited for at the end of the process, and can be aborted. A stranger gets `head_timeout` for header
and handshake together. What goes wrong here closes the connection without a word, because there is no HTTP yet to say
it in, and leaves no more than a count and a line at debug level (reference cases 31 and 195).

The header is read from the bare socket exactly up to its end, because TLS begins right behind it. Where it is
configured it is required, and only a trusted peer may send it: were it optional, anybody could lie with it.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sidecar.http1.errors import ProtocolError
from sidecar.http1.forwarded import Peer
from sidecar.http1.proxy_protocol import Address, HeaderReader, Nobody
from sidecar.proxy.downstream import listener
from sidecar.proxy.plane import Plane

_logger = logging.getLogger(__name__)

_PEEKED: Final = 4096  # bytes at a time


@dataclass(frozen=True, slots=True)
class Terms:
    """What a listener asks of whoever connects."""

    peer_of: Callable[[object], Peer]
    tls: Callable[[], ssl.SSLContext] | None = None  # asked for each connection: the certificate may be another by now
    proxy_protocol: bool = False

    @property
    def is_plain(self) -> bool:
        """HTTP from the first byte."""
        return self.tls is None and not self.proxy_protocol


class Arrival:
    """One connection on its way in; `Downstream` takes it over."""

    __slots__ = ("_is_ours", "_plane", "_since", "_sock", "_task", "_terms", "peer")

    buffered = 0  # bytes that are held for it; as with every connection of the plane

    def __init__(self, *, plane: Plane, terms: Terms, sock: socket.socket, address: object) -> None:
        self._plane = plane
        self._terms = terms
        self._sock = sock
        self._is_ours = True  # the socket, until a transport has it
        self._since = plane.now
        self._task: asyncio.Task[None] | None = None
        self.peer = terms.peer_of(address)

    def start(self) -> None:
        """Begin, unless this is one connection too many. Over plain HTTP, `Downstream` says so with a 503."""
        refused = self._plane.connections.add(self)
        if refused is not None and not self._terms.is_plain:
            self._refuse(refused)  # a handshake would cost more than the answer is worth
            self._leave()
            return
        self._task = asyncio.get_running_loop().create_task(self._arrive())
        self._task.add_done_callback(self._ended)

    async def _arrive(self) -> None:
        try:
            if self._terms.proxy_protocol:
                await self._read_header()
            await self._connect()
        except ProtocolError as error:
            self._refuse(error.reason)
        except ssl.SSLError as failure:
            self._refuse("http_on_tls_port" if failure.reason == "HTTP_REQUEST" else "tls_handshake_failed")
        except OSError:
            pass  # it went away, as the checks of balancers do: nobody is left to be refused

    # -- the balancer's header -----------------------------------------------------------------------------------

    async def _read_header(self) -> None:
        if not self.peer.is_trusted:
            raise ProtocolError(400, "untrusted_balancer")
        reader = HeaderReader()
        while reader.source is None:
            seen = self._peek()
            if seen is None:
                await _readable(self._sock)
            elif not seen:
                raise ConnectionResetError
            else:
                self._sock.recv(reader.feed(seen))
        if reader.source is not Nobody.LOCAL:
            self._count_as(self._client(reader.source))

    def _peek(self) -> bytes | None:
        """What is here of the header; None when nothing is yet."""
        try:
            return self._sock.recv(_PEEKED, socket.MSG_PEEK)
        except BlockingIOError:
            return None

    def _client(self, source: Address | Nobody) -> Peer:
        if isinstance(source, Nobody):
            return self.peer.doubted()  # see `http1/forwarded.py`
        return self._terms.peer_of((str(source), 0))

    def _count_as(self, peer: Peer) -> None:
        """One of this client's connections from here, not one of the balancer's."""
        connections = self._plane.connections
        connections.discard(self)
        self.peer = peer
        refused = connections.add(self)
        if refused is not None:
            raise ProtocolError(503, refused)

    # -- TLS, and the end of the way -----------------------------------------------------------------------------

    async def _connect(self) -> None:
        loop, tls, limits = asyncio.get_running_loop(), self._terms.tls, self._plane.limits
        factory = listener(self._plane, self._arrived)
        self._is_ours = False
        if tls is None:
            await loop.connect_accepted_socket(factory, self._sock)
            return
        await loop.connect_accepted_socket(
            factory,
            self._sock,
            ssl=tls(),
            ssl_handshake_timeout=2 * limits.head_timeout,  # `tick` is earlier; the libraries' 60 s could be
            # Closing waits until the client has taken what is buffered. A slow reader gets the time it always gets.
            ssl_shutdown_timeout=limits.body_stall_timeout,
        )

    def _arrived(self, _address: object) -> Peer:
        """Asked by `Downstream` right before it counts the connection as its own."""
        self._plane.connections.discard(self)
        return self.peer

    def _refuse(self, reason: str) -> None:
        self._plane.refused(reason, self.peer.address)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._leave()
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("arrival_failed", exc_info=error)  # a fault of ours; it costs this connection

    def _leave(self) -> None:
        self._plane.connections.discard(self)
        if self._is_ours:
            self._sock.close()

    # -- as every connection of the plane ------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Called a few times a second: end what takes too long, however busy it looks (reference case 86)."""
        if now - self._since > self._plane.limits.head_timeout:
            self._refuse("handshake_timeout")
            self.abort()

    def cut(self) -> None:
        """The process ends."""
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        self._plane.connections.discard(self)
        if self._task is not None:
            self._task.cancel()


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_reader(sock, _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_reader(sock)


def _resolve(ready: asyncio.Future[None]) -> None:
    if not ready.done():  # called again as long as there is something to read
        ready.set_result(None)
