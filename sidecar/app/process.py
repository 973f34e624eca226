"""What every process of ours does, whatever runs in it: signals, background tasks, sites, settling, draining."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Coroutine

from aiohttp import web

from sidecar import __version__, log
from sidecar.app.listener import Public
from sidecar.app.sockets import BACKLOG
from sidecar.build import IS_COMPILED
from sidecar.config.model import Config
from sidecar.config.process_settings import DrainSettings
from sidecar.proxy.plane import Plane
from sidecar.workers.supervisor import FAULT

_logger = logging.getLogger(__name__)

SWITCH_S = 0.0002


def stop_signal() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


def hung_up() -> asyncio.Event:
    """Set by SIGHUP, and to be cleared by whoever has heard it. One that came before this call is heard as well."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, told.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP,))  # a child of the supervisor has it blocked until now
    return told


def lifeline_ends(descriptor: int) -> asyncio.Event:
    """Set when the supervisor is gone, or has closed this lifeline."""
    over = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ended() -> None:  # nobody ever writes to it: readable means closed
        loop.remove_reader(descriptor)
        over.set()

    loop.add_reader(descriptor, ended)
    return over


async def first_of(*events: asyncio.Event, timeout_s: float | None = None) -> None:
    """Return when one of them is set, or when the time is over."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


class Background:
    """Tasks that run as long as the process does, and without which it must not run (decision 024).

    One that meets a defect is logged and sets `failed`, upon which the process ends with FAULT: whoever runs it starts
    it again. Loops that can go on after a defect do so by themselves and are no matter of this class.
    """

    def __init__(self) -> None:
        self.failed = asyncio.Event()

    def run(self, stack: contextlib.AsyncExitStack, name: str, work: Coroutine[None, None, None]) -> None:
        """Run until the stack ends."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        stack.push_async_callback(cancelled, task)

    @property
    def code(self) -> int:
        """The exit code."""
        return FAULT if self.failed.is_set() else 0

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.critical("task_died", exc_info=error, extra={"fields": {"name": task.get_name()}})
            self.failed.set()


async def cancelled(task: "asyncio.Task[None]") -> None:
    """Cancel a task, and return when it has ended."""
    task.cancel()
    await asyncio.wait({task})


def announce(config: Config, **fields: int) -> None:
    """The public port is open."""
    log.event(
        _logger,
        logging.INFO,
        "started",
        version=__version__,
        listen=str(config.listen),
        compiled=IS_COMPILED,
        **fields,
        # What has to be registered at the provider.
        logout_url=f"{config.public_url or ''}{config.control.prefix}/backchannel-logout",
    )


async def site(stack: contextlib.AsyncExitStack, runner: "web.BaseRunner", where: socket.socket | str) -> None:
    """Serve on a socket, or on a path, until the stack ends."""
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    if isinstance(where, str):
        await web.UnixSite(runner, where, backlog=BACKLOG).start()
    else:
        await web.SockSite(runner, where, backlog=BACKLOG).start()


async def settle(loaded: asyncio.Event) -> None:
    """Keep the collector away from what will live as long as the process, and after the load other threads brief.

    Measured: a full collection takes 20 to 30 ms in a process that has started, and came every few thousand requests.
    So one is made while nobody is served yet, and what the load brings is not gone through. Where the store's thread
    and the event loop want the interpreter at once, the one waits for as long as the switch interval; at the usual 5 ms
    the 99.9th percentile of proxied requests was 3.5 ms, at 0.2 ms it was 2.1.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
    await loaded.wait()
    gc.freeze()
    sys.setswitchinterval(SWITCH_S)


async def drain(settings: DrainSettings, plane: Plane, public: Public) -> None:
    """Readiness off, go on accepting until load balancers have noticed, finish what runs; the rest is cut."""
    log.event(_logger, logging.INFO, "draining", delay_s=settings.delay, timeout_s=settings.timeout)
    plane.is_draining = True
    await asyncio.sleep(settings.delay)
    public.close()
    await plane.finish(settings.timeout)
