"""Connections to one upstream: the last used is the first to be used again, and none lives longer than the app allows.

Getting an idle connection is synchronous; only opening one waits. Beyond `max_connections` requests queue for at most
`queue_timeout` seconds (reference cases 82 and 85). Tunnels, event streams and connections that are pinned to a client
do not count: a hundred of them must not keep everybody else waiting for ever. What bounds those is the number of
clients.
"""

import asyncio
import collections
import ipaddress
import select
import socket
import ssl
from dataclasses import dataclass

from sidecar import clock
from sidecar.proxy.errors import UpstreamError
from sidecar.proxy.sockets import as_protocol
from sidecar.proxy.upstream import PEEK_AFTER, Upstream

_MOST_ADDRESSES = 8  # of one name


@dataclass(frozen=True, slots=True)
class Address:
    """Where an upstream listens: a Unix path, or host and port; `tls` makes it https."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: ssl.SSLContext | None = None

    @property
    def authority(self) -> bytes:
        """What a Host field would say."""
        if self.path:
            return b"localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}".encode()


@dataclass(frozen=True, slots=True)
class PoolTerms:
    """How one pool of connections to the app behaves; times in seconds."""

    head_bytes: int
    connect_timeout: float = 5.0
    keepalive: float = 1.5
    max_connections: int = 512
    queue_timeout: float = 5.0


class Pool:
    """The connections to one upstream."""

    def __init__(self, address: Address, terms: PoolTerms) -> None:
        self.address = address
        self._is_literal = _is_literal(address.host)
        self.use(terms)
        self._idle: list[Upstream] = []
        self._all: set[Upstream] = set()
        self._apart: set[Upstream] = set()  # tunnels, event streams, pinned to a client
        self._opening = 0
        self._waiting: collections.deque[asyncio.Future[Upstream | None]] = collections.deque()

    def use(self, terms: PoolTerms) -> None:
        """For every connection that is asked for or given back from now on."""
        self._head_bytes = terms.head_bytes
        self._connect_timeout = terms.connect_timeout
        self._keepalive = terms.keepalive
        self._max = terms.max_connections
        self._queue_timeout = terms.queue_timeout

    @property
    def buffered(self) -> int:
        """Bytes that are held for the app or of its answers."""
        return sum(connection.buffered for connection in (*self._all, *self._apart))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Connections in use, idle, and requests that wait for one."""
        return len(self._all) - len(self._idle), len(self._idle), len(self._waiting)

    def get_idle(self, now: float, *, must_be_open: bool) -> Upstream | None:
        """A live idle connection, or None; `now` is boot time. `must_be_open` looks at the socket in any case.

        The app may close an idle connection at any moment; asyncio learns of it one loop iteration later. A request
        that cannot be repeated is not sent into that window.
        """
        while self._idle:
            connection = self._idle.pop()
            age = now - connection.idle_since
            if age > self._keepalive or ((must_be_open or age >= PEEK_AFTER) and is_spent(connection)):
                connection.close()
            else:
                return connection
        return None

    async def open(self) -> Upstream:
        """A new connection, or the next one that becomes free. Raises UpstreamError(502, 503 or 504)."""
        try:
            async with asyncio.timeout(self._queue_timeout):
                freed = await self._freed()
        except TimeoutError:
            raise UpstreamError(503, "upstream_busy") from None
        if freed is not None:
            return freed
        self._opening += 1
        try:
            connection = await self._connect()
        except BaseException:  # and when nobody wants it any more
            self._opening -= 1
            self._next()
            raise
        self._opening -= 1
        return connection

    def put_back(self, connection: Upstream) -> None:
        """Hand a connection to whoever waits, else keep it for the next request."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        self._idle.append(connection)

    def forget(self, connection: Upstream) -> None:
        """A connection is gone; whoever waits may open another."""
        if connection in self._apart:
            self._apart.discard(connection)
            return
        if connection not in self._all:
            return  # that was said before
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._next()

    def set_apart(self, connection: Upstream) -> None:
        """It will be in use for long: whoever waits may open another."""
        if connection in self._all:
            self._all.discard(connection)
            self._apart.add(connection)
            self._next()

    def _next(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def sweep(self, now: float) -> None:
        """Close what has been idle for longer than the app keeps it."""
        while self._idle and now - self._idle[0].idle_since > self._keepalive:
            self._idle.pop(0).close()  # the oldest is first: LIFO

    def close(self) -> None:
        """Close every connection."""
        for connection in (*self._all, *self._apart):
            connection.abort()

    async def _freed(self) -> Upstream | None:
        """A connection that another request leaves, or None once there is room for one more."""
        while len(self._all) + self._opening >= self._max:
            freed = await self._queue()
            if freed is None:
                continue
            if not is_spent(freed):
                return freed
            freed.close()  # the app has ended it behind its answer: see `get_idle`
        return None

    async def _queue(self) -> Upstream | None:
        waiter: asyncio.Future[Upstream | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        taken = False
        try:
            freed = await waiter
            taken = True
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif not taken and waiter.done() and not waiter.cancelled():
                self._return(waiter.result())  # handed over in the very moment that the client went away
        return freed

    def _return(self, connection: Upstream | None) -> None:
        if connection is None:
            self._next()
        elif connection.transport.is_closing():
            connection.close()
        else:
            self.put_back(connection)

    async def _connect(self) -> Upstream:
        try:
            async with asyncio.timeout(self._connect_timeout):
                if self.address.path:
                    connection = Upstream(self, self._head_bytes)
                    loop = asyncio.get_running_loop()
                    await loop.create_unix_connection(lambda: as_protocol(connection), self.address.path)
                else:
                    connection = await self._connect_tcp()
        except TimeoutError:
            raise UpstreamError(504, "upstream_connect_timeout") from None
        except ssl.SSLError:  # nothing of the request was sent to whoever that is
            raise UpstreamError(502, "upstream_tls_failed") from None
        except OSError:
            raise UpstreamError(502, "upstream_unreachable") from None
        self._all.add(connection)
        return connection

    async def _connect_tcp(self) -> Upstream:
        """Try the addresses of the host one after the other; each gets its share of what is left of the time.

        The name is resolved for every connection: an app that moves is found again.
        """
        deadline = clock.boot() + self._connect_timeout
        hosts = await self._resolve()
        for index, host in enumerate(hosts[:-1]):
            share = (deadline - clock.boot()) / (len(hosts) - index)
            try:
                async with asyncio.timeout(share):
                    return await self._connect_to(host)
            except ssl.SSLError:
                raise
            except OSError:  # a time-out is one
                continue
        return await self._connect_to(hosts[-1])

    async def _resolve(self) -> list[str]:
        host = self.address.host
        if self._is_literal:
            return [host]
        found = await asyncio.get_running_loop().getaddrinfo(host, self.address.port, type=socket.SOCK_STREAM)
        hosts = dict.fromkeys(str(address[0]) for _, _, _, _, address in found)
        return list(hosts)[:_MOST_ADDRESSES] or [host]

    async def _connect_to(self, host: str) -> Upstream:
        connection, tls = Upstream(self, self._head_bytes), self.address.tls
        name = self.address.host if tls else None
        await asyncio.get_running_loop().create_connection(
            lambda: as_protocol(connection), host, self.address.port, ssl=tls, server_hostname=name
        )
        return connection


def is_spent(connection: Upstream) -> bool:
    """Whether an idle connection has ended, or has something to say that nobody asked for. Asks the kernel."""
    if connection.transport.is_closing():
        return True
    sock: socket.socket = connection.transport.get_extra_info("socket")
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
