"""A worker's end of the line: connects, and connects again when the control process has been restarted.

The supervisor keeps the listening socket open, so that a connection is taken up as soon as the next control process
runs. A call waits for the line within its own time.
"""

import asyncio
import contextlib
from collections.abc import Callable

import aiohttp

from sidecar.workers.line import CALL_S, Call, Handler, Line, LineLost

RETRY_S = 0.05  # nobody listens only at the end of the pod, or while the control process is being replaced
CONNECT_S = 10.0
CLOSE_S = 0.5  # for the other side to say goodbye; by itself the library waits ten seconds, and so would SIGTERM


class Uplink:
    """The line of one worker. `handlers` answers the control process; fill it before `run`."""

    def __init__(self, *, path: str, slot: int, pid: int) -> None:
        self._path = path
        self._url = f"http://control/?slot={slot}&pid={pid}"
        self._line: Line | None = None
        self._up = asyncio.Event()
        self.handlers: dict[Call, Handler] = {}
        self.on_up: Callable[[], None] = lambda: None
        self.on_down: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Keep the line up until cancelled."""
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(self._path), trust_env=False) as client:
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                    await self._hold(client)
                await asyncio.sleep(RETRY_S)

    async def call(self, call: Call, payload: bytes = b"", *, timeout_s: float = CALL_S) -> bytes:
        """Ask the control process. Raises LineLost or Refused."""
        line = self._line if self._line is not None else await self._wait(timeout_s)
        return await line.call(call, payload, timeout_s=timeout_s)

    async def wait(self, timeout_s: float) -> None:
        """Return when the line is up. Raises LineLost."""
        await self._wait(timeout_s)

    async def _wait(self, timeout_s: float) -> Line:
        try:
            async with asyncio.timeout(timeout_s):
                while self._line is None:
                    await self._up.wait()
        except TimeoutError:
            raise LineLost("line_down") from None
        return self._line

    async def _hold(self, client: aiohttp.ClientSession) -> None:
        async with asyncio.timeout(CONNECT_S):
            socket = await client.ws_connect(self._url, timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S))
        self._line = line = Line(socket, self.handlers)
        self._up.set()
        self.on_up()
        try:
            await line.run()
        finally:
            self._line = None
            self._up.clear()
            self.on_down()
            await socket.close()
