"""What costs memory while nothing happens: open WebSockets, and transfers that one side lets stand still."""

import asyncio
import contextlib
import resource
import socket
import sys
import time
from pathlib import Path

import uvloop

from benchmarks import deployment, proxies
from benchmarks.idle_app import GREETING, LENGTH
from benchmarks.processes import (
    LOAD_CORE,
    Program,
    forget_peak,
    free_port,
    peak_rss_kib,
    rss_kib,
    running,
)
from benchmarks.report import Section, table
from benchmarks.wire import request

SOCKETS, WARM = 5000, 100
TRANSFERS = 50  # each way
_OPENING = 100  # handshakes at a time
_LIMIT_S = 60
_SETTLED_S, _STALL_LIMIT_S = 1.0, 15.0
_UPGRADE = (
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
_FRAME = b"\x81\x82\x00\x00\x00\x00hi"  # one text frame, masked with zeros


def measure_sockets(folder: Path, *, rounds: int, seconds: float) -> Section:  # noqa: ARG001 - nothing to repeat
    """Resident memory for each idle WebSocket, the client's connection and the app's together."""
    count = min(SOCKETS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 500)
    rows = []
    app = _idle_app()
    with running(app, folder=folder, core=LOAD_CORE):
        for program in (proxies.nginx(folder, app.port), deployment.sidecar(folder, app.port, connections=2 * SOCKETS)):
            with running(program, folder=folder) as group:
                grown = uvloop.run(_open_sockets(group, program.port, count))
            rows.append([program.name, str(count), f"{grown / 1024:.0f}", f"{grown / count:.1f}"])
    return Section(table(("", "open", "RSS grows by MiB", "KiB each"), rows))


async def _open_sockets(group: int, port: int, count: int) -> int:
    """Open them, hear from each of them, and see how much the memory has grown since the first few."""
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(_settle)
        clients = [await _opened(port) for _ in range(WARM)]
        before = rss_kib(group)
        for start in range(0, count, _OPENING):
            some = (_opened(port) for _ in range(min(_OPENING, count - start)))
            clients += await asyncio.gather(*some)
        for client in clients:
            stack.callback(client.transport.abort)
            client.transport.write(_FRAME)
        async with asyncio.timeout(_LIMIT_S):
            await asyncio.gather(*(client.until(GREETING) for client in clients))
        await asyncio.sleep(_SETTLED_S)
        return rss_kib(group) - before


async def _settle() -> None:
    await asyncio.sleep(0)  # aborted transports close in the next turn of the loop


class _Client(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self) -> None:
        self._seen = b""
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream transport
        self.transport.write(request(b"GET /socket", extra=_UPGRADE))

    def data_received(self, data: bytes) -> None:
        self._seen += data
        self._news.set()

    def connection_lost(self, _error: Exception | None) -> None:
        self._news.set()

    async def until(self, end: bytes) -> None:
        """Wait until what was received ends like this."""
        while not self._seen.endswith(end):
            if self.transport.is_closing():
                raise SystemExit(f"a WebSocket was closed: {self._seen[:80]!r}")
            self._news.clear()
            await self._news.wait()
        self._seen = b""


async def _opened(port: int) -> _Client:
    async with asyncio.timeout(_LIMIT_S):
        _, client = await asyncio.get_running_loop().create_connection(_Client, "127.0.0.1", port)
        await client.until(b"\r\n\r\n")
    return client


def measure_stalled(folder: Path, *, rounds: int, seconds: float) -> Section:  # noqa: ARG001 - nothing to repeat
    """Half of the clients do not read what they asked for, the app does not read what the other half sends."""
    rows = []
    app = _idle_app()
    with running(app, folder=folder, core=LOAD_CORE):
        for program in (proxies.nginx(folder, app.port, buffering=False), deployment.sidecar(folder, app.port)):
            with running(program, folder=folder) as group, contextlib.ExitStack() as stack:
                before = rss_kib(group)
                forget_peak(group)
                _stall(stack, program.port)
                grown = (peak_rss_kib(group) - before) / 1024
            rows.append([program.name, str(2 * TRANSFERS), f"{grown:.1f}"])
    return Section(table(("", "transfers of 1 GiB", "RSS grows by MiB"), rows))


def _stall(stack: contextlib.ExitStack, port: int) -> None:
    """Begin them all, and push until nothing has moved for a while."""
    heads = [request(b"GET /endless")] * TRANSFERS + [request(b"POST /upload", LENGTH)] * TRANSFERS
    sockets = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in heads]
    for sock, head in zip(sockets, heads, strict=True):
        sock.sendall(head)
        sock.settimeout(0)
    began = moved = time.monotonic()
    piece = bytes(256 * 1024)
    while time.monotonic() - moved < _SETTLED_S and time.monotonic() - began < _STALL_LIMIT_S:
        for sock in sockets[TRANSFERS:]:
            with contextlib.suppress(BlockingIOError):
                sock.send(piece)
                moved = time.monotonic()
        time.sleep(0.005)
    if not all(_has_data(sock) for sock in sockets[:TRANSFERS]):
        raise SystemExit("a download did not begin")


def _has_data(sock: socket.socket) -> bool:
    return sock.recv(64, socket.MSG_PEEK).startswith(b"HTTP/1.1 200")


def _idle_app() -> Program:
    port = free_port()
    return Program(name="app", command=[sys.executable, "-m", "benchmarks.idle_app", str(port)], port=port)
