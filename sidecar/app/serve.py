"""One process, from start to end; `pod.py` has the rest where the pod has several.

The order is the order of promises: sockets first, so that a port in use is one clear line; then state and providers;
then the planes; and the public listener last, when there is somebody to judge.
"""

import contextlib
import logging
from collections.abc import Mapping
from functools import partial

import uvloop

from sidecar import __version__, log, metrics
from sidecar.app.control_plane import ControlPlane
from sidecar.app.data_plane import DataPlane
from sidecar.app.exposure import exposure
from sidecar.app.listener import open_public
from sidecar.app.memory import keep_freed_memory
from sidecar.app.observing import collected, report, say_whether_enforcing
from sidecar.app.outbound import open_outbound
from sidecar.app.pod import run_pod
from sidecar.app.process import Background, announce, drain, first_of, settle, stop_signal
from sidecar.app.provider_check import start_provider_check
from sidecar.app.providers import Provider, open_providers, renewed
from sidecar.app.receivers import open_receivers
from sidecar.app.reload import Reloader
from sidecar.app.sockets import listening, private_socket
from sidecar.app.state import open_state
from sidecar.config.load import Loaded

_logger = logging.getLogger(__name__)


def run(loaded: Loaded) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises SidecarError when it cannot start."""
    config = loaded.config
    log.configure(config.log.level, config.log.format, on_drop=metrics.log_lines_dropped.inc)
    metrics.build_info.labels(__version__).set(1)
    keep_freed_memory()  # before any worker is forked
    return uvloop.run(_serve(loaded)) if config.workers == 1 else run_pod(loaded)


async def _serve(loaded: Loaded) -> int:
    config, stopping, background = loaded.config, stop_signal(), Background()
    say_whether_enforcing(config)
    async with contextlib.AsyncExitStack() as stack:
        public = stack.enter_context(listening(config.listen, "listen", mode=config.listen_mode))
        ops = stack.enter_context(listening(config.ops.listen, "ops.listen"))
        relay = stack.enter_context(listening(config.control.relay_listen, "control.relay_listen"))
        state = await stack.enter_async_context(open_state(config))
        providers = await stack.enter_async_context(open_providers(config))
        outbound = await stack.enter_async_context(open_outbound(config, state, providers))
        control_socket = stack.enter_context(private_socket())
        data = DataPlane(config, state, providers, outbound, control_socket=control_socket)
        stack.push_async_callback(data.aclose)
        receivers = await stack.enter_async_context(open_receivers(config, state, providers))
        control = ControlPlane(config, state, providers, receivers=receivers)
        reloader = Reloader(loaded, apply=partial(_use, data, control, providers))
        looks = exposure(config)
        await control.serve(
            stack,
            control=control_socket,
            ops=ops,
            relay=relay,
            joins=state.logins,
            outbound=outbound,
            gates={"serving": lambda: "draining" if data.plane.is_draining else None},
            shown={"configuration": reloader.problem, **looks.shown},
            collectors=data.collectors,
        )
        background.run(stack, "settle", settle(state.feed.loaded))
        collect = partial(collected, metrics.registry, *data.collectors)
        background.run(stack, "report", report(collect, observes=reloader.observes))
        state.on_news = outbound.revoked or state.on_news
        state.start(data.revoked, data.key_changed)
        await start_provider_check(stack, background, config, state, providers)
        accepting = await open_public(data.plane, config, public)
        background.run(stack, "reload", reloader.run())
        background.run(stack, "exposure", looks.watch())
        announce(config)
        await first_of(stopping, background.failed)
        await drain(config.drain, data.plane, accepting)
    log.event(_logger, logging.INFO, "stopped")
    return background.code


def _use(data: DataPlane, control: ControlPlane, providers: Mapping[str, Provider], loaded: Loaded) -> None:
    """Go by another configuration: first everything that can fail, then everything that changes."""
    fresh = renewed(providers, loaded.config)
    conduct = data.conduct(loaded.config, fresh)
    control.use(loaded.config, fresh)
    data.use(loaded.config, conduct)
    say_whether_enforcing(loaded.config)
    log.set_level(loaded.config.log.level)
