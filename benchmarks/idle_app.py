"""The app that waits: WebSockets that say one thing, downloads without end, uploads that it never reads.

`python -m benchmarks.idle_app PORT`
"""

import asyncio
import base64
import hashlib
import re
import sys

import uvloop

LENGTH = 1024 * 1024 * 1024
GREETING = b"\x81\x02hi"  # one unmasked text frame (RFC 6455 section 5.2)
_KEY = re.compile(rb"\r\nsec-websocket-key: *([^\r\n]*)", re.IGNORECASE)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_PIECE = bytes(256 * 1024)


class IdleApp(asyncio.Protocol):
    """One connection: the first line decides what becomes of it."""

    def __init__(self) -> None:
        self._head = b""
        self._is_socket = False
        self._missing = 0
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # a stream transport

    def data_received(self, data: bytes) -> None:
        if self._is_socket:
            self._transport.write(GREETING)
            return
        self._head += data
        if b"\r\n\r\n" not in self._head:
            return
        if key := _KEY.search(self._head):
            self._upgrade(key[1])
        elif self._head.startswith(b"GET"):
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LENGTH)
            self._missing = LENGTH
            self._send()
        else:
            self._transport.pause_reading()

    def _upgrade(self, key: bytes) -> None:
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        self._transport.write(head + b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept)
        self._is_socket, self._head = True, b""

    def _send(self) -> None:
        while self._missing and not self._is_paused:
            self._missing -= len(_PIECE)
            self._transport.write(_PIECE)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self._send()


async def _main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(IdleApp, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
