"""What all connections of one listener share, and the one sweep that looks at their time-outs."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from sidecar import clock, log
from sidecar.field_names import fold
from sidecar.gate.live import LiveStreams
from sidecar.http1.fields import parse_line
from sidecar.proxy.collect import Collector
from sidecar.proxy.conduct import Conduct
from sidecar.proxy.connections import Connection, Connections
from sidecar.proxy.ending import Ending
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.limits import CUT_GRACE, TICK
from sidecar.proxy.logged import LoggedExchange
from sidecar.proxy.pool import Pool
from sidecar.proxy.stats import Stats

if TYPE_CHECKING:
    from sidecar.http1.request import RequestHead
    from sidecar.proxy.downstream import Downstream

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")


class Plane:
    """The data plane of one process: the gate, the two upstreams, and every open connection."""

    def __init__(
        self,
        *,
        conduct: Conduct,
        app: Pool,
        control: Pool,
        live: LiveStreams,
        stats: Stats,
        collector: Collector | None = None,
        callbacks: Collector | None = None,
    ) -> None:
        self._take(conduct)
        self.app = app
        self.control = control
        self.live = live
        self.stats = stats
        self.collector = collector or Collector()
        self.callbacks = callbacks or Collector(busy="too_many_logins")
        self.abandoned: set[Ending] = set()  # logins that go on without their clients
        limits = conduct.limits
        self.connections = Connections(most=limits.connections, most_a_peer=limits.connections_per_peer)
        self.is_draining = False  # answers say `Connection: close`
        self.is_closing = False  # idle connections are closed
        self.now = clock.boot()  # as of the last tick: good enough for time-outs, and free
        self._tasks: set[asyncio.Task[None]] = set()
        stats.connections = self.connections.__len__
        stats.pool = lambda: app.counts  # never another one: `upstream.url` needs a restart
        stats.buffered = self._buffered

    def _take(self, conduct: Conduct) -> None:
        # Attributes of the plane, not of the conduct: a request that looks at five of them must not pay for it.
        self.gate = conduct.gate
        self.limits = conduct.limits
        self.response_timeout = conduct.response_timeout
        self.tunnel_idle_timeout = conduct.tunnel_idle_timeout
        self.stall_timeout = conduct.stall_timeout
        self.creates_trace = conduct.creates_trace
        self.dropped_trailers = conduct.dropped_trailers
        # Chosen once: an exchange that counts costs, and one that does not must not ask.
        self.new_exchange: Callable[[Downstream, Plane, RequestHead], Exchange] = (
            Exchange if conduct.access_log is None else partial(LoggedExchange, access_log=conduct.access_log)
        )
        if conduct.proxy_headers:
            self.new_exchange = _marking_trust(self.new_exchange, conduct.proxy_headers)

    def use(self, conduct: Conduct) -> None:
        """Go by this from now on: whatever is judged, looked at again or waited for after this call.

        A request that was allowed before keeps its verdict, and its answer is looked at by the new gate. What flows on
        is looked at as well: nothing may have been enforced when it began.
        """
        conduct.gate.take_over(self.gate)
        self._take(conduct)
        self._keep(asyncio.ensure_future(self.live.recheck_all()))

    def start(self) -> None:
        """Begin to look at time-outs."""
        self._keep(asyncio.ensure_future(self._sweep()))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)  # the loop alone would let it be collected
        task.add_done_callback(self._tasks.discard)

    async def finish(self, timeout: float) -> None:  # noqa: ASYNC109 - a deadline for others, not for this call
        """No new connections come: close idle ones, wait for the others at most `timeout` seconds, cut the rest."""
        self.is_closing = True
        await self._until_all_are_gone(timeout)
        for connection in self.connections:
            connection.cut()
        await self._until_all_are_gone(CUT_GRACE)
        for connection in self.connections:
            connection.abort()  # the kernel would give what was not delivered a good end (reference case 186)
        await asyncio.sleep(0)  # now, not when the process is gone

    async def _until_all_are_gone(self, timeout: float) -> None:  # noqa: ASYNC109 - see `finish`
        deadline = clock.boot() + timeout
        while self.connections and clock.boot() < deadline:  # noqa: ASYNC110 - bounded, and only at the end
            await asyncio.sleep(TICK / 5)  # connections end in many ways; looking beats telling

    async def _sweep(self) -> None:
        while True:
            before = clock.boot()
            await asyncio.sleep(TICK)
            self.now = now = clock.boot()
            self.stats.loop_was_late(now - before - TICK)
            for connection in self.connections:
                self._tick(connection, now)
            bodies = (self.collector.sweep, self.callbacks.sweep)
            for sweep in (self.gate.tick, self.app.sweep, self.control.sweep, *bodies):
                self._swept(sweep, now)
            if self.gate.is_blind:
                await self.live.recheck_all()

    def _swept(self, sweep: Callable[[float], None], now: float) -> None:
        try:
            sweep(now)
        except Exception:  # a fault of ours: as in `_tick`
            _logger.exception("sweep_failed")

    def _buffered(self) -> int:
        held = self.collector.held + self.callbacks.held
        return sum(connection.buffered for connection in self.connections) + self.app.buffered + held

    def _tick(self, connection: Connection, now: float) -> None:
        try:
            connection.tick(now)
        except Exception:  # a fault of ours: it must not end the time-outs of all other connections
            _logger.exception("tick_failed")
            connection.abort()

    def spawn(self, work: Coroutine[Any, Any, _T], then: Callable[[_T], None], exchange: Ending) -> asyncio.Task[None]:
        """Run the slow half of an exchange, then go on with what came of it.

        A fault in either is logged and ends the exchange, never the process.
        """
        task = asyncio.ensure_future(self._guard(work, then, exchange))
        self._keep(task)
        task.add_done_callback(lambda _task: work.close())  # a task that is cancelled before its first step leaves it
        return task

    async def _guard(self, work: Coroutine[Any, Any, _T], then: Callable[[_T], None], exchange: Ending) -> None:
        try:
            then(await work)
        except Exception:  # the last line of defence; logged with its traceback, and the client is told
            _logger.exception("exchange_failed")
            exchange.failed()

    def refused(self, reason: str, peer: bytes) -> None:
        """A client broke HTTP. Counted; logged at debug level only: scanners must not fill the log (case 195)."""
        self.stats.refusals[reason] += 1
        log.event(_logger, logging.DEBUG, "request_refused", reason=reason, peer=peer.decode("latin-1"))


def _marking_trust(
    begin: "Callable[[Downstream, Plane, RequestHead], Exchange]", names: frozenset[bytes]
) -> "Callable[[Downstream, Plane, RequestHead], Exchange]":
    """The same, for planes where it matters whose word a request is. What is nobody's word never reaches the app."""

    def marking(downstream: "Downstream", plane: Plane, request: "RequestHead") -> Exchange:
        request.is_trusted = downstream.peer.is_trusted
        if not request.is_trusted:
            kept = [line for line in request.lines if fold(parse_line(line)[0]) not in names]
            if len(kept) < len(request.lines):  # noted, because the gate denies it where it judges
                request.lines, request.block, request.is_spoofed = kept, None, True
        return begin(downstream, plane, request)

    return marking
