"""The two ends of the wire, on raw sockets: they do what the plan says and write down what they see.

They judge nothing; see `fuzz_rules`. Both end in any case: a client leaves when nothing has come for a while and it is
not sure of more, the app ends with the round.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from fuzz_plan import Answer, Connection, segments
from fuzz_reading import AnswerReader, Request, RequestReader, requests_in

QUIET = 0.08  # after which a client that is sure of nothing more leaves
PATIENCE = 6.0  # of a client that is sure of an answer, and of everybody who writes
_RESET = struct.pack("ii", 1, 0)


def break_off(sock: socket.socket) -> None:
    """Close with a reset."""
    if sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.close()


async def receive(sock: socket.socket) -> bytes | None:
    """What comes next: nothing at the end, None when the other side has broken off."""
    try:
        return await asyncio.get_running_loop().sock_recv(sock, 100_000)
    except OSError:
        return None


async def send(sock: socket.socket, data: bytes, chance: random.Random) -> bool:
    """Send in pieces; whether the other side took it all."""
    for piece, pause in segments(data, chance):
        try:
            await asyncio.get_running_loop().sock_sendall(sock, piece)
        except OSError:
            return False
        if pause:
            await asyncio.sleep(pause)
    return True


@dataclass
class Served:
    """One connection that the app has had."""

    reader: RequestReader = field(default_factory=RequestReader)
    answered: list[Answer] = field(default_factory=list)
    tunnel: bytes = b""
    sent: bytearray = field(default_factory=bytearray)


class App:
    """Answers as the plan says, whoever asks."""

    def __init__(self, sock: socket.socket, answers: Mapping[bytes, Answer], tunnels: Mapping[bytes, int]) -> None:
        self._sock = sock
        self._answers = answers
        self._tunnels = tunnels  # how much each client sends into its tunnel
        self.served: list[Served] = []
        self.arrived: list[tuple[Request, Served]] = []  # in the order in which their heads came
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_left = False

    async def accept(self) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self._sock)
            if self._has_left:
                sock.close()
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            served = Served()
            self.served.append(served)
            task = loop.create_task(self._serve(sock, served))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def leave(self) -> None:
        """End what is left; whoever comes now finds nobody."""
        self._has_left = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, sock: socket.socket, served: Served) -> None:
        try:
            while await self._serve_one(sock, served):
                served.reader.next()
        finally:
            sock.close()

    async def _serve_one(self, sock: socket.socket, served: Served) -> bool:
        """One request and its answer; whether the connection can go on."""
        reader, number = served.reader, len(served.answered)
        while len(reader.requests) <= number:
            if not await self._more(sock, reader):
                return False
        request = reader.requests[number]
        self.arrived.append((request, served))
        answer = self._answers.get(request.tag) or Answer(request.tag or b"?")
        served.answered.append(answer)
        if answer.is_early and not await self._answer(sock, served, request, answer):
            return False
        while not request.is_complete:
            if not await self._more(sock, reader):
                return False
        if answer.is_early or await self._answer(sock, served, request, answer):
            return not answer.closes and (answer.framing != "close" or request.method == b"HEAD")
        return False

    async def _more(self, sock: socket.socket, reader: RequestReader) -> bool:
        data = await receive(sock)
        if data:
            reader.feed(data)
        return bool(data) and not reader.error

    async def _answer(self, sock: socket.socket, served: Served, request: Request, answer: Answer) -> bool:
        """Whether the answer went out whole."""
        if answer.is_absent:
            await asyncio.sleep(60)
        data, chance = answer.wire(request.method), random.Random(answer.tag)
        if answer.is_broken:
            data = data[: int(len(data) * answer.breaks_at)]
        served.sent += data + answer.junk
        if answer.junk:  # in one segment with the end of the answer, or it would be anybody's
            is_sent = await send(sock, data[:-20], chance)
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().sock_sendall(sock, data[-20:] + answer.junk)
        else:
            is_sent = await send(sock, data, chance)
        if answer.is_broken and answer.breaks_by == "rst":
            await asyncio.sleep(0.001)
            break_off(sock)
        if answer.status == 101 and request.switches:
            await self._tunnel(sock, served, self._tunnels.get(answer.tag, 0))
            return False
        return is_sent and not answer.is_broken

    async def _tunnel(self, sock: socket.socket, served: Served, size: int) -> None:
        served.tunnel = served.reader.rest
        while len(served.tunnel) < size and (data := await receive(sock)):
            served.tunnel += data


@dataclass
class Seen:
    """What one client has sent and received."""

    connection: Connection
    sent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)
    ended: str = ""  # "fin" or "rst" by the other side; "" by the client itself
    offered: bytes = b""  # what it would have sent, all in all
    times_out: bool = False
    reader: AnswerReader | None = None


class Client:
    """One client connection of the plan. `sure` is the number of answers that it has a right to."""

    def __init__(
        self, connection: Connection, *, sure: int, whole: bool, log_out: Callable[[Connection], Awaitable[None]]
    ) -> None:
        self._connection = connection
        self._sure, self._is_whole = sure, whole
        self._log_out = log_out
        self.seen = Seen(connection)
        self.seen.offered = b"".join(message.wire for message in connection.messages)
        self._reader = AnswerReader(requests_in(self.seen.offered).requests)
        self._has_sent = asyncio.Event()
        self._is_refused = False  # sending failed, which takes the news of a reset away from the reader

    async def run(self, address: tuple[str, int]) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        if self._connection.is_slow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64_000)
        await asyncio.get_running_loop().sock_connect(sock, address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writing = asyncio.ensure_future(self._write(sock))
        try:
            await self._read(sock)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            if self._connection.leaves_by == "rst":
                break_off(sock)
            sock.close()

    async def _write(self, sock: socket.socket) -> None:
        chance = random.Random(self._connection.seed)
        allowed, is_out = int(len(self.seen.offered) * self._connection.leaves_at), False
        for message in self._connection.messages:
            if message.is_late and not is_out:
                await self._log_out(self._connection)
                is_out = True
            data = message.wire[:allowed]
            allowed -= len(data)
            self.seen.sent += data
            if not await send(sock, data, chance):
                self._is_refused = True
                break
        if self._connection.leaves_by == "fin" and self._connection.leaves_at < 1:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
        self._has_sent.set()

    async def _read(self, sock: socket.socket) -> None:
        if self._connection.is_slow:
            await asyncio.sleep(0.05)
        loop = asyncio.get_running_loop()
        began, coming = loop.time(), asyncio.ensure_future(receive(sock))
        while not self._is_done():
            await asyncio.wait({coming}, timeout=QUIET)  # not cancelled: that could lose what is just here
            if not coming.done():
                if self._may_leave(loop.time() - began):
                    break
                continue
            data = coming.result()
            if not data:
                self.seen.ended = "rst" if data is None or self._is_refused else "fin"
                break
            began, coming = loop.time(), asyncio.ensure_future(receive(sock))
            self.seen.received += data
            self._reader.feed(data)
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)

    def _is_done(self) -> bool:
        """Everything that can come has come; a switched connection is ended by the app."""
        return self._is_whole and self._has_sent.is_set() and self._reader.completed >= self._sure and not self._tunnels

    @property
    def _tunnels(self) -> bool:
        """The app ends a tunnel when it has heard everything."""
        return self._reader.tunnel is not None and self._connection.is_honest

    def _may_leave(self, waited: float) -> bool:
        if waited > PATIENCE:
            self.seen.times_out = True
            return True
        if self._reader.completed < self._sure or self._tunnels:
            return False
        return self._has_sent.is_set() or waited > 4 * QUIET  # an app that does not read may keep it from sending
