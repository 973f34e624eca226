"""The line between a worker and the control process: one WebSocket over a private Unix socket, both sides ask.

A frame is a call, or the answer to one: its number, what it is, and bytes. Several calls are under way at once, each
bounded in time. When the line ends, every call on it fails: nobody is left waiting for a process that is gone.

It is trusted. Both ends are our own processes, and nobody else can enter the folder of the socket. What the calls mean
is for `hub.py` and `remote.py` to say.
"""

import asyncio
import enum
import logging
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import aiohttp
from aiohttp import web

from sidecar.errors import SidecarError

_FRAME: Final = struct.Struct(">IB")  # the number of the call; a `Call`, or one of the two answers
_ANSWER: Final = 0
_ERROR: Final = 255
CALL_S: Final = 2.0

_logger = logging.getLogger(__name__)


class Call(enum.IntEnum):
    """What one side asks the other. The numbers are private to one release: both ends are always the same one."""

    # A worker asks the control process
    SECRET = 1  # -> the digest secret
    LOAD = 2  # key id -> the first page
    FOLLOW = 3  # is serving -> the next page; says that the page before has been applied
    APPEND = 4  # revocations
    GET_BINDING = 5  # credential -> binding, or nothing
    PUT_BINDING = 6  # credential, ttl, binding
    BEGIN = 7  # code: answered when it is this callback's turn
    END = 8  # code
    KEPT_SECRET = 9  # -> the secret that the store made once, or nothing
    GET_SEALED = 10  # name -> value, or nothing
    PUT_SEALED = 11  # name, ttl, value
    DELETE_SEALED = 12  # name
    CLAIM = 13  # name, ttl -> whether this was the first
    # The control process asks a worker
    JOIN = 20  # code and session -> whether a callback was waiting
    FAIL = 21  # code -> the same
    STRAY = 22  # somebody redeemed a code that no callback is known for
    METRICS = 23  # -> families as JSON


class LineLost(SidecarError):
    """The other process is gone, or does not answer in time."""


class Refused(SidecarError):
    """The other process answered with an error; `reason` is its own."""


Handler = Callable[[bytes], Awaitable[bytes]]
Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


class Line:
    """One open line. `run` reads until it ends; `call` may be used while it runs."""

    def __init__(self, socket: Socket, handlers: Mapping[Call, Handler]) -> None:
        self._socket = socket
        self._handlers = handlers
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._last = 0
        self._is_lost = False

    async def run(self) -> None:
        """Answer calls until the other side is gone, or this is cancelled."""
        try:
            async for message in self._socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    self._received(message.data)
        finally:
            self._is_lost = True
            for answer in self._calls.values():
                if not answer.done():
                    answer.set_exception(LineLost("line_lost"))
            for task in self._answering:
                task.cancel()

    async def call(self, call: Call, payload: bytes = b"", *, timeout_s: float = CALL_S) -> bytes:
        """Ask the other side. Raises LineLost or Refused."""
        if self._is_lost:
            raise LineLost("line_lost")
        self._last = number = (self._last + 1) & 0xFFFF_FFFF
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._calls[number] = answer
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(number, call, payload)
                return await answer
        except TimeoutError:
            raise LineLost("line_silent") from None
        except ConnectionError:  # the end was noticed while writing
            raise LineLost("line_lost") from None
        finally:
            del self._calls[number]

    async def _send(self, number: int, what: int, payload: bytes) -> None:
        await self._socket.send_bytes(_FRAME.pack(number, what) + payload)

    def _received(self, frame: bytes) -> None:
        number, what = _FRAME.unpack_from(frame)
        payload = frame[_FRAME.size :]
        if what in {_ANSWER, _ERROR}:
            self._answered(number, what, payload)
            return
        task = asyncio.ensure_future(self._answer(number, Call(what), payload))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    def _answered(self, number: int, what: int, payload: bytes) -> None:
        answer = self._calls.get(number)
        if answer is None or answer.done():
            return  # whoever asked has given up
        if what == _ANSWER:
            answer.set_result(payload)
        else:
            reason, _, text = payload.decode().partition("\n")
            answer.set_exception(Refused(reason, text))

    async def _answer(self, number: int, call: Call, payload: bytes) -> None:
        try:
            what, answer = _ANSWER, await self._handlers[call](payload)
        except SidecarError as error:
            what, answer = _ERROR, f"{error.reason}\n{error}".encode()
        except Exception:  # a defect of ours: the other side must not wait for ever, and the operator must see it
            _logger.exception("line_fault")
            what, answer = _ERROR, b"internal_error"
        try:
            await self._send(number, what, answer)
        except ConnectionError:
            return  # `run` ends as well, and says so to everybody
