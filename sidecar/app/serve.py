"""One process, from start to end.

The order is the order of promises: sockets first, so that a port in use is one clear line; then state and providers;
then the planes; and the public listener last, when there is somebody to judge.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import socket

import uvloop

from sidecar import __version__, log, metrics
from sidecar.app.control_plane import start_control_plane
from sidecar.app.data_plane import build_data_plane
from sidecar.app.providers import open_providers
from sidecar.app.sockets import listening, private_socket
from sidecar.app.state import open_state
from sidecar.config.model import Config
from sidecar.http1.forwarded import peer_of
from sidecar.proxy.downstream import listener
from sidecar.proxy.plane import Plane

_logger = logging.getLogger(__name__)


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises SidecarError when it cannot start."""
    log.configure(config.log.level, config.log.format)
    metrics.build_info.labels(__version__).set(1)
    return uvloop.run(_serve(config))


async def _serve(config: Config) -> int:
    stopping = _stop_signal()
    async with contextlib.AsyncExitStack() as stack:
        public = stack.enter_context(listening(config.listen, "listen"))
        ops = stack.enter_context(listening(config.ops.listen, "ops.listen"))
        relay = stack.enter_context(listening(config.control.relay_listen, "control.relay_listen"))
        state = await stack.enter_async_context(open_state(config))
        providers = await stack.enter_async_context(open_providers(config))
        data = build_data_plane(config, state, providers, stack.enter_context(private_socket()))
        stack.push_async_callback(data.aclose)
        await start_control_plane(stack, config, state, providers, data, ops=ops, relay=relay)
        stack.push_async_callback(_cancelled, asyncio.create_task(_settle(state.feed.loaded)))
        state.start(data.gate.revoked, data.gate.key_changed)
        server = await _open(data.plane, config, public)
        log.event(
            _logger,
            logging.INFO,
            "started",
            version=__version__,
            listen=str(config.listen),
            # What has to be registered at the provider.
            logout_url=f"{config.public_url or ''}{config.control.prefix}/backchannel-logout",
        )
        await stopping.wait()
        await _drain(config, data.plane, server)
    log.event(_logger, logging.INFO, "stopped")
    return 0


async def _open(plane: Plane, config: Config, public: socket.socket) -> asyncio.Server:
    networks = config.trusted_proxies
    # Behind an ingress that is not trusted, the public address says more about the client's protocol than our socket.
    scheme = b"https" if (config.public_url or "").startswith("https:") else b"http"
    factory = listener(plane, lambda address: peer_of(address, networks, scheme=scheme))
    loop = asyncio.get_running_loop()
    unix = public.family is socket.AF_UNIX
    server = await (loop.create_unix_server(factory, sock=public) if unix else loop.create_server(factory, sock=public))
    plane.start()
    return server


async def _settle(loaded: asyncio.Event) -> None:
    """After the load, keep the collector away from what will live as long as the process.

    Measured: with 100 000 revocations a full collection took 5 ms, and came every few thousand requests.
    """
    await loaded.wait()
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait({task})


def _stop_signal() -> asyncio.Event:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


async def _drain(config: Config, plane: Plane, server: asyncio.Server) -> None:
    """Readiness off, go on accepting until load balancers have noticed, finish what runs; the rest is cut."""
    log.event(_logger, logging.INFO, "draining", delay_s=config.drain.delay, timeout_s=config.drain.timeout)
    plane.is_draining = True
    await asyncio.sleep(config.drain.delay)
    server.close()
    await plane.finish(config.drain.timeout)
