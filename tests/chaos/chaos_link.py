"""A TCP connection with a cutter: a proxy on loopback between one replica and Redis.

A cut holds bytes back and delivers them when it is mended, as a network that drops packets does: what a caller has
given up long ago may still arrive.
"""

import asyncio
import contextlib
import socket
import struct


class Link:
    """Passes bytes, until told otherwise. `port` is where the replica connects."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._gates = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._refuses = False
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.restore()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, *directions: str) -> None:
        """Nothing passes in these directions; connections are accepted and stay open."""
        for direction in directions:
            self._gates[direction].clear()

    def reset(self) -> None:
        """Every connection ends with a reset, new ones at once."""
        self._refuses = True
        for writer in list(self._open):
            _reset(writer)

    def restore(self) -> None:
        """Everything passes again, also what was held back."""
        self._refuses = False
        for gate in self._gates.values():
            gate.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            if self._refuses:
                _reset(writer)
            else:
                await self._serve(reader, writer)
        await _gone(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._open |= {writer, to_writer}
        ways = {
            asyncio.create_task(self._pump(reader, to_writer, self._gates["up"])),
            asyncio.create_task(self._pump(to_reader, writer, self._gates["down"])),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._open -= {writer, to_writer}
            await _gone(to_writer)

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        while data := await reader.read(65_536):
            await gate.wait()
            writer.write(data)
            await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _gone(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
