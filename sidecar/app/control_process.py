"""The control process of a pod with several: store, keys, logout endpoint, relay, ops; everything but the public port.

It outlives the workers: told to end it only says that it is not ready any more, and it ends when the supervisor ends
its lifeline. Until then workers that finish their requests have a store, and logouts are taken.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Mapping
from functools import partial

from aiohttp import web
from prometheus_client.metrics_core import Metric

from sidecar import clock, log, metrics
from sidecar.app.accepted import Accepted
from sidecar.app.control_plane import ControlPlane
from sidecar.app.exposure import exposure
from sidecar.app.gate import build_gate
from sidecar.app.observing import report, say_whether_enforcing
from sidecar.app.outbound import NOTHING, open_outbound
from sidecar.app.process import Background, announce, first_of, lifeline_ends, settle, site, stop_signal
from sidecar.app.providers import Provider, open_providers, renewed
from sidecar.app.receivers import open_receivers
from sidecar.app.reload import Reloader
from sidecar.app.state import State, open_state
from sidecar.config.load import Loaded
from sidecar.config.model import Config
from sidecar.control.ops import Check
from sidecar.gate.counts import Counts
from sidecar.gate.live import LiveStreams
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
    accepted: Accepted,
    ops: socket.socket,
    relay: socket.socket,
    control: socket.socket,
    hub: socket.socket,
    living: Mapping[int, int],
    lifeline: int,
) -> int:
    """Serve until the lifeline ends; the exit code. `living`: workers that run already. Raises SidecarError."""
    draining, over, background = stop_signal(), lifeline_ends(lifeline), Background()
    say_whether_enforcing(config)
    async with contextlib.AsyncExitStack() as stack:
        state = await stack.enter_async_context(open_state(config))
        providers = await stack.enter_async_context(open_providers(config))
        outbound = await stack.enter_async_context(open_outbound(config, state, providers))
        state.on_news = outbound.revoked or state.on_news  # before workers can bring any
        roster = Roster(living=living)
        stack.callback(roster.close)
        journal, logins = Journal(state.replica), PodLogins(state.logins)
        center = _hub(state, journal, roster, logins)
        await site(stack, web.AppRunner(center.app(), access_log=None, shutdown_timeout=SHUTDOWN_S), hub)
        _measure(config, center)
        accepted.restore()
        receivers = await stack.enter_async_context(open_receivers(config, state, providers))
        plane = ControlPlane(config, state, providers, receivers=receivers)
        reloader = Reloader(accepted.current(), apply=partial(_use, plane, state, providers, accepted))
        looks = exposure(config)
        tally = Tally(lines=lambda: center.lines, is_alive=roster.__contains__)
        await plane.serve(
            stack,
            control=control,
            ops=ops,
            relay=relay,
            joins=logins,
            outbound=outbound,
            gates=_gates(config, center, draining),
            shown={"configuration": reloader.problem, **looks.shown},
            pod=tally.pod,
        )
        background.run(stack, "report", report(partial(_pod_numbers, tally), observes=reloader.observes))
        background.run(stack, "settle", settle(state.feed.loaded))
        background.run(stack, "roster", roster.watch())
        _start(state, journal, center)
        background.run(stack, "reload", reloader.run())
        background.run(stack, "exposure", looks.watch())
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


def _use(
    plane: ControlPlane, state: State, providers: Mapping[str, Provider], accepted: Accepted, loaded: Loaded
) -> None:
    """Go by another configuration, and all processes of the pod with it."""
    fresh = renewed(providers, loaded.config)
    build_gate(loaded.config, state, fresh, Counts(), LiveStreams(), NOTHING)  # a rehearsal: no worker is to fail
    accepted.publish(loaded)  # the last that can fail
    plane.use(loaded.config, fresh)
    say_whether_enforcing(loaded.config)
    log.set_level(loaded.config.log.level)


async def _pod_numbers(tally: Tally) -> list[Metric]:
    return await tally.pod(metrics.registry.collect())


def _gates(config: Config, center: Hub, draining: asyncio.Event) -> dict[str, Check]:
    """The pod is ready when all of it is: the kernel gives connections to each worker."""

    def worker(slot: int) -> Check:
        return lambda: center.problem(slot)

    serving: dict[str, Check] = {"serving": lambda: "draining" if draining.is_set() else None}
    return serving | {f"worker {slot}": worker(slot) for slot in range(config.workers)}


def _measure(config: Config, center: Hub) -> None:
    metrics.workers.set(config.workers)
    metrics.workers_ready.set_function(lambda: center.ready)
