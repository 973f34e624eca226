"""The control process of a pod with several: store, keys, logout endpoint, relay, ops; everything but the public port.

It outlives the workers: told to end it only says that it is not ready any more, and it ends when the supervisor ends
its lifeline. Until then workers that finish their requests have a store, and logouts are taken.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Mapping

from aiohttp import web

from sidecar import clock, log, metrics
from sidecar.app.control_plane import start_control_plane
from sidecar.app.observing import report
from sidecar.app.outbound import open_outbound
from sidecar.app.process import Background, announce, first_of, lifeline_ends, settle, site, stop_signal
from sidecar.app.providers import open_providers
from sidecar.app.state import State, open_state
from sidecar.config.model import Config
from sidecar.control.ops import Check
from sidecar.workers.hub import Hub
from sidecar.workers.journal import Journal
from sidecar.workers.logins import PodLogins
from sidecar.workers.roster import Roster
from sidecar.workers.tally import Tally

_logger = logging.getLogger(__name__)

SHUTDOWN_S = 0.5  # for lines that are still open


async def serve_control(
    config: Config,
    *,
    ops: socket.socket,
    relay: socket.socket,
    control: socket.socket,
    hub: socket.socket,
    living: Mapping[int, int],
    lifeline: int,
) -> int:
    """Serve until the lifeline ends; the exit code. `living`: workers that run already. Raises SidecarError."""
    draining, over, background = stop_signal(), lifeline_ends(lifeline), Background()
    async with contextlib.AsyncExitStack() as stack:
        state = await stack.enter_async_context(open_state(config))
        providers = await stack.enter_async_context(open_providers(config))
        roster = Roster(living=living)
        stack.callback(roster.close)
        journal, logins = Journal(state.replica), PodLogins(state.logins)
        center = _hub(state, journal, roster, logins)
        await site(stack, web.AppRunner(center.app(), access_log=None, shutdown_timeout=SHUTDOWN_S), hub)
        _measure(config, center)
        tally = Tally(lines=lambda: center.lines, is_alive=roster.__contains__)
        outbound = await stack.enter_async_context(open_outbound(config, state, providers))
        state.on_news = outbound.revoked or state.on_news
        await start_control_plane(
            stack,
            config,
            state,
            providers,
            control=control,
            ops=ops,
            relay=relay,
            joins=logins,
            outbound=outbound,
            gates=_gates(config, center, draining),
            pod=tally.pod,
        )
        if config.enforcement.mode == "observe":
            background.run(stack, "report", report(lambda: tally.pod(metrics.registry.collect())))
        background.run(stack, "settle", settle(state.feed.loaded))
        background.run(stack, "roster", roster.watch())
        _start(state, journal, center)
        announce(config, workers=config.workers)
        await first_of(over, background.failed)
    log.event(_logger, logging.INFO, "stopped")
    return background.code


def _start(state: State, journal: Journal, center: Hub) -> None:
    # The first load need not be told change by change: workers get the whole replica after it.
    state.start(
        journal.append,
        lambda: None,
        on_load=lambda _revocation: None,
        confirmed=center.everywhere,
        settled=center.settled,
    )


def _hub(state: State, journal: Journal, roster: Roster, logins: PodLogins) -> Hub:
    return Hub(
        journal=journal,
        freshness=state.freshness,
        digester=state.digester,
        keyed=state.keyed,
        is_loaded=state.feed.loaded.is_set,
        secret=state.secret_of_store,
        kept_secret=state.kept_secret,
        bindings=state.bindings,
        keeping=state.keeping,
        publish=state.publisher.publish,
        roster=roster,
        logins=logins,
        boot=clock.boot,
        wall=clock.early,
    )


def _gates(config: Config, center: Hub, draining: asyncio.Event) -> dict[str, Check]:
    """The pod is ready when all of it is: the kernel gives connections to each worker."""

    def worker(slot: int) -> Check:
        return lambda: center.problem(slot)

    serving: dict[str, Check] = {"serving": lambda: "draining" if draining.is_set() else None}
    return serving | {f"worker {slot}": worker(slot) for slot in range(config.workers)}


def _measure(config: Config, center: Hub) -> None:
    metrics.workers.set(config.workers)
    metrics.workers_ready.set_function(lambda: center.ready)
