"""What all connections of one listener share, and the one sweep that looks at their time-outs."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from sidecar import clock, log
from sidecar.proxy.gate import Gate
from sidecar.proxy.limits import TICK, Limits
from sidecar.proxy.live import LiveStreams
from sidecar.proxy.pool import Pool
from sidecar.proxy.stats import Stats

if TYPE_CHECKING:
    from sidecar.proxy.downstream import Downstream
    from sidecar.proxy.exchange import Exchange

_logger = logging.getLogger(__name__)


class Plane:
    """The data plane of one process: the gate, the two upstreams, and every open connection."""

    def __init__(
        self,
        *,
        gate: Gate,
        app: Pool,
        control: Pool,
        live: LiveStreams,
        stats: Stats,
        limits: Limits,
        response_timeout: float,
        tunnel_idle_timeout: float | None = None,
        logs_access: bool = False,
    ) -> None:
        self.gate = gate
        self.app = app
        self.control = control
        self.live = live
        self.stats = stats
        self.limits = limits
        self.response_timeout = response_timeout
        self.tunnel_idle_timeout = tunnel_idle_timeout
        self.logs_access = logs_access
        self.connections: set[Downstream] = set()
        self.is_draining = False  # answers say `Connection: close`
        self.is_closing = False  # idle connections are closed
        self.now = clock.boot()  # as of the last tick: good enough for time-outs, and free
        self._tasks: set[asyncio.Task[None]] = set()
        stats.connections = self.connections.__len__
        stats.pool = lambda: app.counts

    def start(self) -> None:
        """Begin to look at time-outs."""
        task = asyncio.ensure_future(self._sweep())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self, timeout: float) -> None:  # noqa: ASYNC109 - a deadline for others, not for this call
        """No new connections come: close idle ones, wait until the others are done, at most `timeout` seconds."""
        self.is_closing = True
        deadline = clock.boot() + timeout
        while self.connections and clock.boot() < deadline:  # noqa: ASYNC110 - bounded, and only at the end
            await asyncio.sleep(TICK / 5)  # connections end in many ways; looking beats telling

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.now = now = clock.boot()
            for connection in list(self.connections):
                self._tick(connection, now)
            self.gate.tick()
            self.app.sweep(now)
            self.control.sweep(now)

    def _tick(self, connection: "Downstream", now: float) -> None:
        try:
            connection.tick(now)
        except Exception:  # a fault of ours: it must not end the time-outs of all other connections
            _logger.exception("tick_failed")
            connection.abort()

    def spawn(self, work: Awaitable[None], exchange: "Exchange") -> asyncio.Task[None]:
        """Run the slow half of an exchange. A fault in it is logged and ends the exchange, never the process."""
        task = asyncio.ensure_future(self._guard(work, exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guard(self, work: Awaitable[None], exchange: "Exchange") -> None:
        try:
            await work
        except Exception:  # the last line of defence; logged with its traceback, and the client is told
            _logger.exception("exchange_failed")
            exchange.failed()

    def refused(self, reason: str, peer: bytes) -> None:
        """A client broke HTTP. Counted; logged at debug level only: scanners must not fill the log (case 195)."""
        self.stats.refusals[reason] += 1
        log.event(_logger, logging.DEBUG, "request_refused", reason=reason, peer=peer.decode("latin-1"))
