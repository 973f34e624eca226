"""Child processes of the test bench: started on free ports, watched until ready, stopped in every case.

A process's output goes to a file; when something goes wrong, the error shows the end of it.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_taken: set[int] = set()


def free_port() -> int:
    """A port that nothing listens on, below the range from which outgoing connections get theirs."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            if port not in _taken and probe.connect_ex(("127.0.0.1", port)) != 0:
                _taken.add(port)
                return port


def wait_for(condition: Callable[[], bool], what: str, *, within: float = 10) -> float:
    """Wait until the condition holds; returns the seconds that it took."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > within:
            raise TimeoutError(f"after {within} s still not: {what}")
        time.sleep(0.005)
    return time.monotonic() - started


class Process:
    """One program of the bench. Leaving the `with` block stops it, however the block ends."""

    def __init__(
        self, command: Sequence[str | Path], *, name: str, folder: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.command, self.name = [str(part) for part in command], name
        self.log = folder / f"{name}.log"
        self.env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Process {self.name}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._end_descendants()
        if kind is not None:
            print(f"--- the end of {self.name}'s output\n{self.tail()}")

    def start(self) -> None:
        """Start it, or start it again; the log goes on."""
        with self.log.open("ab") as log:
            # Standard input is a pipe that nobody writes to: the bench's own programs end when it closes.
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=self.env, start_new_session=True
            )

    def is_ready(self) -> bool:
        """Whether it does its work; each program has its own sign."""
        return self.is_running()

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """The plug is pulled: SIGKILL, no goodbye."""
        if self.is_running():
            self.signal(signal.SIGKILL)
        self.wait()

    def _end_descendants(self) -> None:
        """What it has started, and a test may have stopped, which hears neither SIGTERM nor the end of a pipe."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):  # its session is a process group of its own
                os.killpg(self._process.pid, signal.SIGKILL)

    def terminate(self, *, within: float = 10) -> int:
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(within=within)

    def signal(self, number: signal.Signals) -> None:
        self._running().send_signal(number)

    def wait(self, *, within: float = 10) -> int:
        """The exit code, once it has ended."""
        if self._process is None:
            return 0
        try:
            return self._process.wait(within)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} does not end:\n{self.tail()}") from None
        finally:
            if self._process.stdin is not None and self._process.poll() is not None:
                self._process.stdin.close()

    def threads(self) -> int:
        """How many threads its first process has."""
        return len(list(Path(f"/proc/{self._running().pid}/task").iterdir()))

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.output().splitlines()[-lines:])

    def wait_until(self, condition: Callable[[], bool], what: str, *, within: float = 20) -> float:
        """Wait for a condition, unless the process ends first."""

        def holds() -> bool:
            if not self.is_running():
                raise ChildProcessError(f"{self.name} ended with {self.wait()} before {what}:\n{self.tail()}")
            return condition()

        try:
            return wait_for(holds, what, within=within)
        except TimeoutError as error:
            raise TimeoutError(f"{self.name}: {error}\n{self.tail()}") from None

    def wait_until_says(self, text: str, *, within: float = 20) -> float:
        return self.wait_until(lambda: text in self.output(), f"saying {text!r}", within=within)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, f"{self.name} was not started"
        return self._process
