"""The load of the soak: kinds of clients, each a loop on raw streams. What must happen and did not is a fault."""

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

from benchmarks.trial import Trial

SESSIONS, _FILLERS = 15_000, 4  # more than any cache of sessions, tokens, cookies or heads keeps
_PATIENCE_S = 30.0
_CUT_WITHIN_S = 1.0
_UPGRADE = (
    "GET /socket HTTP/1.1\r\nHost: x\r\nCookie: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 300 + b"\r\n",
    b"GET /" + b"a" * 100_000,
    b"GET /_sidecar/../admin HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /.git/config HTTP/1.1\r\nHost: x\r\nCookie: JSESSIONID=guess\r\n\r\n",
    b"POST /_sidecar/backchannel-logout HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\nlogout_token=x",
)
_RESET = struct.pack("ii", 1, 0)


class Fault(Exception):
    """The sidecar did not do what this client has a right to."""


class Wire:
    """One connection, and HTTP on it as far as the load needs it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes, *pieces: bytes) -> int:
        """Send, read the whole answer, say its status."""
        for piece in (request, *pieces):
            self.writer.write(piece)
            await self.writer.drain()
        return await self.answer()

    async def answer(self) -> int:
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        if b"\r\ncontent-length: " in head:
            await self._skip(int(head.split(b"\r\ncontent-length: ")[1].split(b"\r\n")[0]))
        elif b"\r\ntransfer-encoding: chunked" in head:
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                await self._skip(size + 2)
            await self.reader.readexactly(2)
        return int(head[9:12])

    async def _skip(self, size: int) -> None:
        while size:
            size -= len(await self.some(min(size, 65_536)))

    async def some(self, size: int) -> bytes:
        data = await self.reader.read(size)
        if not data:
            raise Fault("an answer broke off")
        return data

    def break_off(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.writer.transport.abort()


def get(path: str, cookies: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: soak\r\nCookie: {cookies}\r\n\r\n".encode()


def post(size: int, cookies: str, *, chunked: bool) -> list[bytes]:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    head = f"POST /upload HTTP/1.1\r\nHost: x\r\nCookie: {cookies}\r\n{framing}\r\n\r\n".encode()
    sizes = [min(16_384, size - start) for start in range(0, size, 16_384)]
    if not chunked:
        return [head, *(bytes(piece) for piece in sizes)]
    return [head, *(b"%x\r\n%b\r\n" % (piece, bytes(piece)) for piece in sizes), b"0\r\n\r\n"]


class Load:
    """All clients together."""

    def __init__(self, place: Trial) -> None:
        self._place = place
        self._number = 0
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self._is_over = False

    def start(self) -> list[asyncio.Future[None]]:
        kinds = ((self._person, 12), (self._aborter, 3), (self._slow_reader, 3), (self._socket, 6), (self._listener, 4))
        loops = [self._repeat(kind) for kind, number in (*kinds, (self._scanner, 3)) for _ in range(number)]
        return [asyncio.ensure_future(loop) for loop in loops]

    async def stop(self, running: list[asyncio.Future[None]]) -> None:
        """Everybody ends what they are at."""
        self._is_over = True
        await asyncio.wait(running, timeout=_PATIENCE_S)
        for loop in running:
            loop.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def fill(self) -> None:
        """Have the bounded caches full, as after some days of work. Different sizes make different response heads."""
        await asyncio.gather(*(self._filler() for _ in range(_FILLERS)))
        self.counts.clear()

    async def _filler(self) -> None:
        async with self._wire() as wire:
            for number in range(SESSIONS // _FILLERS):
                _sid, cookies = await self._session()
                self._expect(await wire.ask(get(f"/bytes/{number}", cookies)), 200, "get")

    async def _repeat(self, kind: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(random.random())
        while not self._is_over:
            try:
                async with asyncio.timeout(_PATIENCE_S * 2):
                    await kind()
            except (Fault, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self.faults.append(f"{kind.__name__.strip('_')}: {error!r}")
                await asyncio.sleep(1)

    @contextlib.asynccontextmanager
    async def _wire(self) -> AsyncIterator[Wire]:
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self._place.port))
        try:
            yield wire
        finally:
            wire.writer.transport.abort()

    async def _session(self) -> tuple[str, str]:
        self._number += 1
        sid = f"{self._number}"
        return sid, await asyncio.to_thread(self._place.cookies, sid)

    async def _log_out(self, sid: str) -> None:
        request = await asyncio.to_thread(self._place.logout_request, sid)
        async with self._wire() as wire:
            self._expect(await wire.ask(request), 200, "logout")

    def _expect(self, status: int, wanted: int, name: str) -> None:
        self.counts[name] += 1
        if status != wanted:
            raise Fault(f"{name}: {status} instead of {wanted}")

    async def _person(self) -> None:
        """Log in, browse, upload; then leave, or be logged out and refused."""
        sid, cookies = await self._session()
        async with self._wire() as wire:
            for _ in range(random.randint(30, 120)):
                path = random.choice(("/bytes/1024",) * 6 + ("/chunks/50000", "/bytes/300000", "/assets/1.js"))
                self._expect(await wire.ask(get(path, cookies)), 200, "get")
                if random.random() < 0.2:
                    size = random.choice((1, 100, 5000, 100_000, 1024 * 1024))
                    pieces = post(size, cookies, chunked=random.random() < 0.5)
                    self._expect(await wire.ask(*pieces), 200, "post")
                await asyncio.sleep(random.random() * 0.1)
            if random.random() < 0.3:
                await self._log_out(sid)
                self._expect(await wire.ask(get("/bytes/1", cookies)), 401, "refused")

    async def _aborter(self) -> None:
        """Break off, in one of several places."""
        cookies = "JSESSIONID=nobody"
        async with self._wire() as wire:
            upload = b"".join(post(200_000, cookies, chunked=random.random() < 0.5))
            data = random.choice((upload[: random.randrange(len(upload))], get("/chunks/5000000", cookies)))
            wire.writer.write(data)
            await asyncio.sleep(random.random() * 0.3)
            self.counts["broken off"] += 1
            if random.random() < 0.5:
                wire.break_off()
        await asyncio.sleep(random.random() * 0.2)

    async def _slow_reader(self) -> None:
        async with self._wire() as wire:
            wire.writer.write(get("/bytes/2000000", "JSESSIONID=slow"))
            left = 2_000_000
            while left > 0 and not self._is_over:
                left -= len(await wire.some(32_768))
                await asyncio.sleep(0.05)
            self.counts["slow download"] += 1

    async def _socket(self) -> None:
        """Talk for a while; then leave, or be logged out."""
        sid, cookies = await self._session()
        async with self._wire() as wire:
            wire.writer.write(_UPGRADE.format(cookies).encode())
            await wire.reader.readuntil(b"\r\n\r\n")
            for _ in range(random.randint(20, 80)):
                text = b"x" * random.randrange(126)
                wire.writer.write(bytes((0x81, 0x80 | len(text))) + bytes(4) + text)
                echo = await wire.reader.readexactly(2 + len(text))
                if echo[2:] != text:
                    raise Fault("a WebSocket said something else")
                await asyncio.sleep(random.random() * 0.1)
            self.counts["socket"] += 1
            if random.random() < 0.3:
                await self._log_out(sid)
                await self._is_cut(wire)

    async def _listener(self) -> None:
        """An event stream that the client leaves, or that a logout cuts."""
        sid, cookies = await self._session()
        async with self._wire() as wire:
            wire.writer.write(get("/events", cookies))
            until = time.monotonic() + random.random() * 8
            while time.monotonic() < until:
                await wire.some(4096)
            self.counts["stream"] += 1
            if random.random() < 0.3:
                await self._log_out(sid)
                await self._is_cut(wire)

    async def _is_cut(self, wire: Wire) -> None:
        try:
            async with asyncio.timeout(_CUT_WITHIN_S):
                with contextlib.suppress(OSError):
                    while await wire.reader.read(65_536):
                        pass
        except TimeoutError:
            raise Fault("not cut after a logout") from None
        self.counts["cut"] += 1

    async def _scanner(self) -> None:
        async with self._wire() as wire:
            wire.writer.write(random.choice((*_GARBAGE, random.randbytes(random.randrange(1, 500)))))
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(random.random() * 2):
                    await wire.reader.read(4096)
            self.counts["garbage"] += 1
        await asyncio.sleep(random.random() * 0.2)
