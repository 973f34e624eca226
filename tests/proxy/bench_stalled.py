"""100 stalled transfers of 1 GiB: how much this process grows (less than 64 MiB in all).

`python tests/proxy/bench_stalled.py [TRANSFERS] [MIB_EACH]`. Half are downloads whose clients do not read, half uploads
whose app does not. The two ends are children of this process, so that what grows here is the sidecar alone. Exit code 1
when it grows too much. What the kernel holds for sockets is not in the figure, and not the sidecar's to bound.
"""

import asyncio
import multiprocessing
import resource
import socket
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop
from bench_plane import Stage, stage
from wire import message

from sidecar.app.memory import keep_freed_memory

MIB = 1 << 20
ALLOWED = 64 * MIB


def main() -> int:
    """The command."""
    transfers, size = (int(value) for value in (sys.argv[1:] + ["100", "1024"][len(sys.argv) - 1 :])[:2])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, transfers * 4 + 256)), hard))
    keep_freed_memory()  # as the product does
    grown, held = uvloop.run(measure(transfers, size * MIB))
    print(f"{transfers} stalled transfers of {size} MiB: grew by {grown / MIB:.1f} MiB, holds {held / MIB:.1f} MiB")
    return 0 if grown < ALLOWED else 1


async def measure(transfers: int, size: int) -> tuple[int, int]:
    """Bytes by which the resident set grew, and bytes in the sidecar's own buffers."""
    spawn = multiprocessing.get_context("spawn")
    async with stage(limits={"body_stall_timeout": 600.0}, response_timeout=600.0) as opened:
        listener = opened._app.sock
        app = spawn.Process(target=serve, args=(listener, size), daemon=True)
        ready, other = spawn.Pipe()
        clients = spawn.Process(target=ask_and_stall, args=(opened.address, transfers, size, other), daemon=True)
        app.start()
        await asyncio.sleep(1.0)  # both children have imported what they need
        before = resident()
        clients.start()
        try:
            await asyncio.to_thread(ready.recv)
            await settled(opened)
            return resident() - before, opened.buffered()
        finally:
            clients.terminate()
            app.terminate()


async def settled(opened: Stage) -> None:
    """Wait until the buffers stop growing."""
    held = -1
    for _ in range(300):
        await asyncio.sleep(0.3)
        before, held = held, opened.buffered()
        if held == before:
            return


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def serve(listener: socket.socket, size: int) -> None:
    """The app: sends to who asks with GET as much as it can, and reads nothing of an upload."""
    asyncio.run(_serve(listener, size))


async def _serve(listener: socket.socket, size: int) -> None:
    loop = asyncio.get_running_loop()
    kept = []

    async def answer(sock: socket.socket) -> None:
        if (await loop.sock_recv(sock, 4)) != b"POST":
            with suppress(OSError):
                await loop.sock_sendall(sock, message("HTTP/1.1 200 OK", f"Content-Length: {size}"))
                await _flood(sock, size)
        kept.append(sock)

    while True:
        sock, _ = await loop.sock_accept(listener)
        sock.setblocking(False)
        kept.append(asyncio.ensure_future(answer(sock)))


def ask_and_stall(address: tuple[str, int], transfers: int, size: int, ready: Connection) -> None:
    """The clients: half ask and do not read, half send as much as they can."""
    asyncio.run(_ask(address, transfers, size, ready))


async def _ask(address: tuple[str, int], transfers: int, size: int, ready: Connection) -> None:
    loop = asyncio.get_running_loop()
    kept = []
    for number in range(transfers):
        sock = socket.create_connection(address)
        sock.setblocking(False)
        if number % 2:
            await loop.sock_sendall(sock, message("GET / HTTP/1.1", "Host: a"))
        else:
            await loop.sock_sendall(sock, message("POST / HTTP/1.1", "Host: a", f"Content-Length: {size}"))
            kept.append(asyncio.ensure_future(_flood(sock, size)))
        kept.append(sock)
    ready.send(True)
    await asyncio.Event().wait()


async def _flood(sock: socket.socket, size: int) -> None:
    piece = b"x" * MIB
    for _ in range(size // MIB):
        await asyncio.get_running_loop().sock_sendall(sock, piece)


if __name__ == "__main__":
    sys.exit(main())
