"""The processes that are measured: started on loopback, pinned to one core, and always stopped.

A program may be several processes (Apache is): CPU time and memory are those of its whole process group.
"""

import contextlib
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SERVER_CORE, LOAD_CORE = 0, 1
_WITH_PARENT = ("setpriv", "--pdeathsig", "TERM")  # a benchmark that is killed leaves nothing behind
_TICKS = os.sysconf("SC_CLK_TCK")
_START_LIMIT_S, _STOP_LIMIT_S = 20, 10


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to start, where it listens, and what says that it is ready: its port, or a URL."""

    name: str
    command: Sequence[str]
    port: int
    ready_url: str | None = None


def free_port() -> int:
    """A port that nothing listens on, below the range from which outgoing connections get theirs."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def use_load_core() -> None:
    """Keep this process, which makes the load, off the core of what is measured; many descriptors."""
    os.sched_setaffinity(0, {LOAD_CORE})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def running(program: Program, *, folder: Path, core: int = SERVER_CORE) -> Iterator[int]:
    """Run a program on one core until the block ends; the value is its process group."""
    with (folder / f"{program.port}.log").open("wb") as output:
        child = subprocess.Popen(
            [*_WITH_PARENT, "taskset", "-c", str(core), *program.command],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_ready(program, child)
        yield child.pid
    finally:
        _stop(child)


def _stop(child: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_STOP_LIMIT_S)
    with contextlib.suppress(ProcessLookupError):  # what is left of the group, if anything
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _wait_ready(program: Program, child: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise SystemExit(f"{program.name} ended with {child.returncode}: {child.args!r}")
        with contextlib.suppress(OSError):
            if program.ready_url is None:
                socket.create_connection(("127.0.0.1", program.port), 1).close()
            else:
                urllib.request.urlopen(program.ready_url, timeout=1).close()
            return
        time.sleep(0.005)
    raise SystemExit(f"{program.name} is not ready after {_START_LIMIT_S} s")


def cpu_seconds(group: int) -> float:
    """User and system time of a process group so far."""
    return sum(int(fields[11]) + int(fields[12]) for _, fields in _members(group)) / _TICKS


def rss_kib(group: int) -> int:
    """Resident memory now."""
    return _status(group, "VmRSS:")


def peak_rss_kib(group: int) -> int:
    """The most resident memory since `forget_peak`."""
    return _status(group, "VmHWM:")


def forget_peak(group: int) -> None:
    for pid, _ in _members(group):
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5): resets VmHWM


def _status(group: int, name: str) -> int:
    lines = [line for pid, _ in _members(group) for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith(name))


def _members(group: int) -> Iterator[tuple[int, list[str]]]:
    """Process and the fields of its `stat` from the third on."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                yield int(path.parent.name), fields


def missing(*programs: str) -> list[str]:
    """Which of these programs are not installed."""
    return [name for name in programs if shutil.which(name) is None]
