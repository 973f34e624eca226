"""Both ends of the wire as raw sockets, so that a test reads as the conversation.

Nothing here knows HTTP beyond finding the end of a message; what is sent and expected is bytes. Nothing is read before
the test asks for it: a test that does not read is a peer that does not read. Every wait has a deadline.
"""

import asyncio
import contextlib
import select
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from sidecar import clock

TIMEOUT = 5.0
HOST = "app.example"

# What the sidecar tells the app about a client on loopback that asked for HOST.
FORWARDED = (
    "X-Forwarded-For: 127.0.0.1",
    "X-Forwarded-Proto: http",
    f"X-Forwarded-Host: {HOST}",
    "X-Forwarded-Port: 80",
)


def message(*lines: str, body: bytes = b"") -> bytes:
    """A head of these lines, and a body. Characters are bytes (Latin-1)."""
    return "\r\n".join((*lines, "", "")).encode("latin-1") + body


def ask(first: str = "GET / HTTP/1.1", *fields: str, body: bytes = b"") -> bytes:
    """A request to HOST."""
    return message(first, f"Host: {HOST}", *fields, body=body)


def seen(first: str = "GET / HTTP/1.1", *fields: str, framing: tuple[str, ...] = (), body: bytes = b"") -> bytes:
    """The same request as the app sees it: the client's fields, what the sidecar adds, the framing."""
    return message(first, f"Host: {HOST}", *fields, *FORWARDED, *framing, body=body)


def ok(body: bytes = b"", *fields: str) -> bytes:
    """An answer 200 with a length, as the app sends it and the client gets it."""
    return message("HTTP/1.1 200 OK", *fields, f"Content-Length: {len(body)}", body=body)


async def until(condition: Callable[[], Any], within: float = TIMEOUT) -> float:
    """Wait for a condition; the seconds that it took."""
    began = clock.boot()
    while not condition():
        assert clock.boot() - began < within, "waited too long"
        await asyncio.sleep(0.005)
    return clock.boot() - began


@dataclass
class Answer:
    """A complete answer as the client got it."""

    status: int
    head: bytes
    body: bytes

    def values(self, name: str) -> list[bytes]:
        lines = self.head.split(b"\r\n")[1:]
        return [line.partition(b": ")[2] for line in lines if line.lower().startswith(name.lower().encode() + b":")]

    def value(self, name: str) -> bytes:
        (value,) = self.values(name)
        return value


class Wire:
    """One end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family is socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._seen = b""

    async def send(self, *parts: bytes) -> None:
        """Send each part by itself; returns when the kernel has taken all."""
        async with asyncio.timeout(TIMEOUT * 4):
            for part in parts:
                await asyncio.get_running_loop().sock_sendall(self.sock, part)

    async def expect(self, data: bytes) -> None:
        """Exactly these bytes come next."""
        while len(self._seen) < len(data) and data.startswith(self._seen):
            if not await self._more():
                break
        got, self._seen = self._seen[: len(data)], self._seen[len(data) :]
        assert got == data

    async def until(self, mark: bytes) -> bytes:
        """Everything up to the mark, with it."""
        while mark not in self._seen:
            assert await self._more(), f"ended before {mark!r}: {self._seen!r}"
        end = self._seen.index(mark) + len(mark)
        got, self._seen = self._seen[:end], self._seen[end:]
        return got

    async def head(self) -> bytes:
        return await self.until(b"\r\n\r\n")

    async def read(self, size: int) -> bytes:
        """That many bytes."""
        while len(self._seen) < size:
            assert await self._more(), f"ended before {size} bytes: {self._seen!r}"
        got, self._seen = self._seen[:size], self._seen[size:]
        return got

    async def pieces(self, size: int) -> AsyncIterator[bytes]:
        """That many bytes, as they come; for bodies that a test does not want to hold."""
        while size:
            piece, self._seen = self._seen[:size], self._seen[size:]
            size -= len(piece)
            if piece:
                yield piece
            elif not await self._more():
                raise AssertionError(f"ended {size} bytes early")

    async def answer(self, *, to_head: bool = False) -> Answer:
        """One complete answer."""
        head = await self.head()
        answer = Answer(int(head[9:12]), head, b"")
        if to_head or answer.status in (204, 304) or answer.status < 200:
            return answer
        if answer.values("content-length"):
            answer.body = await self.read(int(answer.value("content-length")))
        elif answer.values("transfer-encoding"):
            while size := int(await self.until(b"\r\n"), 16):
                answer.body += (await self.read(size + 2))[:-2]
            await self.expect(b"\r\n")
        else:
            answer.body = await self.rest()
        return answer

    async def some(self) -> bytes:
        """Whatever comes next; nothing when the other side has ended or broken off."""
        with contextlib.suppress(ConnectionResetError):
            await self._more()
        got, self._seen = self._seen, b""
        return got

    async def rest(self) -> bytes:
        """All that comes until the other side ends in good order."""
        while await self._more():
            pass
        got, self._seen = self._seen, b""
        return got

    async def ended(self, within: float = TIMEOUT) -> None:
        """The other side has ended in good order, and said nothing before."""
        async with asyncio.timeout(within):
            assert await self.rest() == b""

    async def reset(self, within: float = TIMEOUT) -> bytes:
        """The other side has broken off; what it said before."""
        async with asyncio.timeout(within):
            try:
                said = await self.rest()
            except ConnectionResetError:
                return self._seen
        raise AssertionError(f"ended in good order after {said!r}")

    async def gone(self, within: float = TIMEOUT) -> bytes:
        """The other side is gone, in whichever way; what it said before."""
        async with asyncio.timeout(within):
            with contextlib.suppress(ConnectionResetError):
                while await self._more():
                    pass
        return self._seen

    def is_silent(self) -> bool:
        """Nothing is here to be read."""
        return not self._seen and not _is_readable(self.sock)

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def abort(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    async def _more(self) -> bool:
        async with asyncio.timeout(TIMEOUT):
            data = await asyncio.get_running_loop().sock_recv(self.sock, 262_144)
        self._seen += data
        return bool(data)


class Listener:
    """A listening socket whose connections the test takes one by one."""

    def __init__(self, sock: socket.socket) -> None:
        sock.listen(64)
        sock.setblocking(False)
        self.sock = sock
        self.wires: list[Wire] = []

    async def accept(self) -> Wire:
        async with asyncio.timeout(TIMEOUT):
            sock, _ = await asyncio.get_running_loop().sock_accept(self.sock)
        wire = Wire(sock)
        self.wires.append(wire)
        return wire

    def is_untouched(self) -> bool:
        """Nobody has connected whom the test has not accepted."""
        return not _is_readable(self.sock)

    def close(self) -> None:
        for wire in self.wires:
            wire.close()
        self.sock.close()


def _is_readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
