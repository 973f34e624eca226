"""A worker of a pod with several processes: the data plane, with a replica of its own.

It is put together as one process alone is, but for its store, its logins and its freshness, which it has from the
control process. It fetches the providers' keys itself, and only where a binder reads what browsers bring with them.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial

from sidecar import clock, log, metrics
from sidecar.app.accepted import Accepted
from sidecar.app.data_plane import DataPlane
from sidecar.app.listener import open_public
from sidecar.app.observing import measure_enforcing
from sidecar.app.outbound import open_outbound
from sidecar.app.process import Background, drain, first_of, hung_up, lifeline_ends, settle, stop_signal
from sidecar.app.provider_check import start_provider_check
from sidecar.app.providers import Provider, open_providers, renewed
from sidecar.app.state import State
from sidecar.config.model import Config
from sidecar.config.needs import needs_metadata, needs_provider
from sidecar.core.freshness import BorrowedFreshness
from sidecar.workers.line import Call
from sidecar.workers.logins import WorkerLogins
from sidecar.workers.remote import RemoteStore
from sidecar.workers.tally import pack
from sidecar.workers.uplink import Uplink

_logger = logging.getLogger(__name__)

OPEN_S = 2.0  # a restarted worker takes what has queued up when it has loaded; without a store it refuses in time


async def serve_worker(
    config: Config,
    *,
    accepted: Accepted,
    slot: int,
    pid: int,
    public: socket.socket,
    control_path: str,
    hub_path: str,
    lifeline: int,
) -> int:
    """Serve until SIGTERM, SIGINT or the end of the lifeline; the exit code. Raises SidecarError."""
    stopping, over, background = stop_signal(), lifeline_ends(lifeline), Background()
    measure_enforcing(config)
    uplink = Uplink(path=hub_path, slot=slot, pid=pid)
    async with contextlib.AsyncExitStack() as stack:
        serving = asyncio.Event()
        state = _state(config, uplink, serving)
        background.run(stack, "uplink", uplink.run())  # ends after what asks through it
        stack.push_async_callback(state.aclose)
        providers = await stack.enter_async_context(_providers(config))
        outbound = await stack.enter_async_context(open_outbound(config, state, providers))
        data = DataPlane(config, state, providers, outbound, control_socket=control_path)
        stack.push_async_callback(data.aclose)
        uplink.handlers[Call.METRICS] = partial(_numbers, data)
        background.run(stack, "settle", settle(state.feed.loaded))
        background.run(stack, "follow", _follow(hung_up(), accepted, partial(_use, data, providers), stopping))
        state.start(data.revoked, data.key_changed)
        await first_of(state.feed.loaded, stopping, over, background.failed, timeout_s=OPEN_S)
        await start_provider_check(stack, background, config, state, providers)
        accepting = await open_public(data.plane, config, public)
        serving.set()
        await first_of(stopping, over, background.failed)
        serving.clear()
        if stopping.is_set():
            await drain(config.drain, data.plane, accepting)
    return background.code


def _state(config: Config, uplink: Uplink, serving: asyncio.Event) -> State:
    freshness = BorrowedFreshness(config.store.fresh, config.store.grace)
    logins = WorkerLogins(uplink, clock=clock.boot)
    uplink.on_up, uplink.on_down = logins.came, logins.went
    uplink.handlers.update({Call.JOIN: logins.joined, Call.FAIL: logins.failed, Call.STRAY: logins.strayed})
    store = RemoteStore(uplink, borrowed=freshness.borrowed, is_serving=serving.is_set)
    return State(config, store, freshness=freshness, logins=logins)


@contextlib.asynccontextmanager
async def _providers(config: Config) -> AsyncIterator[Mapping[str, Provider]]:
    """Only what browsers bring is read here, and browsers are sent to providers: the rest is in the control process."""
    if not needs_provider(config) and not needs_metadata(config):
        yield {}
        return
    async with open_providers(config) as providers:
        yield providers


async def _follow(
    told: asyncio.Event, accepted: Accepted, use: Callable[[Config], None], stopping: asyncio.Event
) -> None:
    """Take over each configuration that the pod runs by. Who cannot is replaced by one that has it from the start."""
    while True:
        await told.wait()
        told.clear()
        try:
            use((await asyncio.to_thread(accepted.take)).config)
        except Exception:  # what the control process has found good a moment ago
            _logger.exception("config_not_followed")
            stopping.set()


def _use(data: DataPlane, providers: Mapping[str, Provider], config: Config) -> None:
    data.use(config, data.conduct(config, renewed(providers, config)))
    measure_enforcing(config)  # the control process says it in the log
    log.set_level(config.log.level)


async def _numbers(data: DataPlane, _payload: bytes) -> bytes:
    counted = (metric for collector in (metrics.registry, *data.collectors) for metric in collector.collect())
    return pack(list(counted))
