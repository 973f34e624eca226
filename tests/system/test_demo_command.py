"""`logout-sidecar demo` as a person runs it."""

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import requests
from bench_process import Process, wait_for
from bench_stack import status_of


def demo(folder: Path, *arguments: str) -> Process:
    """The command, with a temporary folder of its own, so that one sees what it leaves behind."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    command = [sys.executable, "-P", "-m", "sidecar", "demo", *arguments]
    return Process(command, name="demo", folder=folder, env={"TMPDIR": str(temporary)})


def nothing_is_left(folder: Path) -> bool:
    """No temporary file, and no process that was told of one."""
    leftovers = list((folder / "tmp").iterdir())
    return not leftovers and not list(processes_that_name(str(folder / "tmp")))


def processes_that_name(text: str) -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes()
        except (OSError, NotADirectoryError):
            continue
        if text.encode() in command:
            yield entry.name


@pytest.mark.timeout(90)
def test_the_check_plays_the_story_and_prints_a_timeline(tmp_path: Path) -> None:
    with demo(tmp_path, "--check") as command:
        code = command.wait(within=80)
    output = command.output()
    assert code == 0, output
    steps = [line for line in output.splitlines() if re.search(r" ms +[\d.]+ ms$", line)]
    assert len(steps) == 12
    assert len({len(line) for line in steps}) == 1, "the columns are aligned"
    assert "the laptop's next request is refused" in output
    assert nothing_is_left(tmp_path)


@pytest.mark.timeout(90)
def test_taken_ports_do_not_stop_it(tmp_path: Path) -> None:
    with ExitStack() as stack:
        for port in (4180, 4181, 4183, 4190, 8080):
            if status_of(f"http://127.0.0.1:{port}") == 0:
                listener = stack.enter_context(closing(socket.socket()))
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("127.0.0.1", port))
                listener.listen()
        with demo(tmp_path, "--check") as command:
            assert command.wait(within=80) == 0, command.output()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_everything(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path) as command:
        command.wait_until_says("Ctrl-C ends it", within=30)
        match = re.search(r"through the sidecar +(http\S+)", command.output())
        assert match
        assert "Welcome" in requests.get(match[1], timeout=5).text
        command.signal(number)
        assert command.wait(within=15) == 0
    assert "Traceback" not in command.output()
    assert status_of(match[1]) == 0
    assert nothing_is_left(tmp_path)


def test_two_signals_in_a_row_leave_nothing_behind_either(tmp_path: Path) -> None:
    with demo(tmp_path) as command:
        command.wait_until_says("Ctrl-C ends it", within=30)
        command.signal(signal.SIGINT)
        command.signal(signal.SIGTERM)
        command.wait(within=15)
    wait_for(lambda: nothing_is_left(tmp_path), "nothing to be left")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_even_kill_9_leaves_no_process_behind(tmp_path: Path) -> None:
    with demo(tmp_path) as command:
        command.wait_until_says("Ctrl-C ends it", within=30)
        assert len(list(processes_that_name(str(tmp_path / "tmp")))) == 1
        command.kill()
    wait_for(lambda: not list(processes_that_name(str(tmp_path / "tmp"))), "the sidecar to end")


def test_the_end_of_the_sidecar_ends_the_demo_with_an_error(tmp_path: Path) -> None:
    with demo(tmp_path) as command:
        command.wait_until_says("Ctrl-C ends it", within=30)
        (sidecar,) = processes_that_name(str(tmp_path / "tmp"))
        os.kill(int(sidecar), signal.SIGKILL)
        assert command.wait(within=15) == 1
    assert "the sidecar ended with exit code -9" in command.output()
