"""The two ends: a raw client with one connection, and the app, which says whose session it served."""

import asyncio
import base64
import contextlib
import json
from typing import Self

PATIENCE_S = 2.5  # of a client; after it nobody knows what became of the request


class Client:
    """One keep-alive connection, opened when it is needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def ask(self, request: bytes) -> tuple[int, bytes] | None:
        """Status and body of the answer; None when there was none in time."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._ask(request)
        except (OSError, asyncio.IncompleteReadError):  # TimeoutError is an OSError
            self.close()
            return None

    def close(self) -> None:
        if self._ends is not None:
            self._ends[1].transport.abort()
            self._ends = None

    async def _ask(self, request: bytes) -> tuple[int, bytes]:
        if self._ends is None:
            self._ends = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._ends
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(_length(head))
        if b"\r\nconnection: close" in head:
            self.close()
        return int(head[9:12]), body


async def serve_app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The app: believes every token, and answers with the name of the session."""
    with contextlib.suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
        while True:
            name = _session_of(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name))
    writer.transport.abort()


def _session_of(head: bytes) -> bytes:
    payload = head.partition(b"id_token=")[2].partition(b"\r\n")[0].split(b".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + b"=="))["jti"]).encode()


def _length(head: bytes) -> int:
    return int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0] or 0)
