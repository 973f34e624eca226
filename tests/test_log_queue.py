"""Whoever logs never waits for whoever reads (reference case 197): real pipes, and processes whose stderr is one."""

import asyncio
import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.log import JsonFormatter, QueuedHandler

ROOT = Path(__file__).parents[1]
PIPE = 65_536  # bytes that a pipe takes before it blocks


class Pipe:
    """A pipe that nobody reads until the test does."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def lines(self, is_all: Callable[[list[dict[str, Any]]], bool], within: float = 5) -> list[dict[str, Any]]:
        """Read until that is all."""
        text, found, deadline = b"", list[dict[str, Any]](), time.monotonic() + within
        while not is_all(found):
            ready, _, _ = select.select([self.reader], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"the rest did not come, {len(found)} lines did"
            text += os.read(self.reader, PIPE)
            *whole, text = text.split(b"\n")
            found += map(json.loads, whole)
        return found

    def lines_until(self, event: str) -> list[dict[str, Any]]:
        """Read until this event, which has to come."""
        return self.lines(lambda lines: event in events(lines))

    def close(self) -> None:
        for end in (self.reader, self.writer):
            with contextlib.suppress(OSError):
                os.close(end)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    opened = Pipe()
    yield opened
    opened.close()


@pytest.fixture
def drops() -> list[int]:
    return []


@pytest.fixture
def logger(pipe: Pipe, drops: list[int]) -> Iterator[logging.Logger]:
    """A logger of its own; its handler holds 256 KiB."""
    handler = QueuedHandler(pipe.writer, on_drop=lambda: drops.append(1), room=4 * PIPE)
    handler.setFormatter(JsonFormatter())
    made = logging.Logger("sidecar.x")  # noqa: LOG001 - no other test shall hear of it
    made.addHandler(handler)
    yield made
    with contextlib.suppress(OSError):
        os.close(pipe.reader)  # a writer that is blocked ends
    handler.close()


def flood(logger: logging.Logger, size: int, level: int = logging.INFO) -> int:
    """Log that many bytes, roughly; the number of lines."""
    count = size // 1000
    for number in range(count):
        logger.log(level, "flood", extra={"fields": {"number": number, "padding": "x" * 900}})
    return count


def events(lines: list[dict[str, Any]]) -> list[str]:
    return [line["event"] for line in lines]


def lost(lines: list[dict[str, Any]]) -> int:
    return sum(line["count"] for line in lines if line["event"] == "log_lines_dropped")


def wait_for(condition: Callable[[], bool], within: float = 5) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_lines_come_out_in_order(logger: logging.Logger, pipe: Pipe) -> None:
    for number in range(100):
        logger.info("flood", extra={"fields": {"number": number}})
    logger.info("last")
    assert [line["number"] for line in pipe.lines_until("last")[:-1]] == list(range(100))


def test_a_blocked_pipe_costs_lines_and_never_time(logger: logging.Logger, pipe: Pipe, drops: list[int]) -> None:
    began = time.monotonic()
    count = flood(logger, 40 * PIPE)
    assert time.monotonic() - began < 3  # without a queue: for ever
    assert drops
    kept = pipe.lines(lambda lines: lost(lines) == len(drops))
    assert events(kept).count("flood") + lost(kept) == count
    numbers = [line["number"] for line in kept if line["event"] == "flood"]
    assert numbers == sorted(set(numbers))
    assert {line["level"] for line in kept if line["event"] == "log_lines_dropped"} == {"warning"}


def test_memory_is_bounded(logger: logging.Logger, drops: list[int]) -> None:
    flood(logger, 40 * PIPE)
    (handler,) = logger.handlers
    assert isinstance(handler, QueuedHandler)
    assert 2 * PIPE < handler._taken - handler._written <= 3 * PIPE  # of four: the last is for warnings


def test_a_flood_does_not_push_out_warnings(logger: logging.Logger, pipe: Pipe, drops: list[int]) -> None:
    flood(logger, 40 * PIPE)
    before = len(drops)
    logger.error("matters")
    assert len(drops) == before
    assert "matters" in events(pipe.lines_until("matters"))
    flood(logger, 40 * PIPE, logging.ERROR)
    assert len(drops) > before  # errors are bounded as well


def test_after_the_reader_is_back_nothing_is_lost_any_more(
    logger: logging.Logger, pipe: Pipe, drops: list[int]
) -> None:
    flood(logger, 40 * PIPE)
    pipe.lines(lambda lines: lost(lines) == len(drops))
    before = len(drops)
    flood(logger, PIPE // 2)
    logger.info("last")
    after = pipe.lines_until("last")
    assert len(drops) == before
    (handler,) = logger.handlers
    assert isinstance(handler, QueuedHandler)
    wait_for(lambda: handler._taken == handler._written)  # all the room is there again
    assert events(after) == ["flood"] * (PIPE // 2 // 1000) + ["last"]


def test_a_reader_that_is_gone_costs_lines_only(logger: logging.Logger, pipe: Pipe, drops: list[int]) -> None:
    os.close(pipe.reader)
    for _ in range(3):
        logger.info("nobody")
    wait_for(lambda: len(drops) == 3)


def test_a_pipe_that_somebody_made_non_blocking_loses_nothing(
    logger: logging.Logger, pipe: Pipe, drops: list[int]
) -> None:
    os.set_blocking(pipe.writer, False)
    count = flood(logger, 2 * PIPE)
    logger.info("last")
    assert events(pipe.lines_until("last")).count("flood") == count
    assert not drops


def test_a_line_that_cannot_be_made_does_not_hurt_who_logs(
    logger: logging.Logger, pipe: Pipe, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.info("%d", "not a number")
    logger.info("last")
    assert events(pipe.lines_until("last")) == ["last"]
    assert "TypeError" in capsys.readouterr().err  # logging's own way of telling


# Processes


def run(script: str, **streams: Any) -> "subprocess.Popen[bytes]":
    """A child that logs to its standard error as the sidecar does."""
    prologue = """
import logging, os, sys
from sidecar import log
drops = []
log._FLUSH_S = 0.3
sys.excepthook = lambda *error: None  # the interpreter's own words would stand between the lines
log.configure("info", "json", on_drop=lambda: drops.append(1))
def say(event, level=logging.INFO, **fields):
    log.event(logging.getLogger("sidecar.x"), level, event, **fields)
"""
    return subprocess.Popen([sys.executable, "-c", prologue + script], cwd=ROOT, **streams)


def said(script: str) -> tuple[list[str], int]:
    """The events that a child logs, and its exit code."""
    with run(script, stderr=subprocess.PIPE) as child:
        _, stderr = child.communicate(timeout=20)
    return [json.loads(line)["event"] for line in stderr.splitlines() if line.startswith(b"{")], child.returncode


@pytest.mark.parametrize(
    ("end", "code"), [("", 0), ("sys.exit(3)", 3), ("raise ValueError", 1), ("raise KeyboardInterrupt", -2)]
)
def test_what_was_said_last_gets_out_however_the_process_ends(end: str, code: int) -> None:
    assert said(f"for n in range(2000): say('many', n=n)\nsay('the_end', logging.ERROR)\n{end}") == (
        ["many"] * 2000 + ["the_end"],
        code,
    )


def test_a_process_with_a_blocked_pipe_ends_in_time() -> None:
    script = "for n in range(20000): say('many', padding='x' * 400)\nprint(len(drops), flush=True)"
    with run(script, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.wait(20) == 0  # nobody has read a byte
        assert int(child.stdout.readline()) > 5000


def test_parent_and_child_of_a_fork_say_each_thing_once() -> None:
    script = """
say("before")
pid = os.fork()
if not pid:
    say("child")
    sys.exit()
os.waitpid(pid, 0)
say("parent")
"""
    assert said(script) == (["before", "child", "parent"], 0)


CONFIGURATION = """
listen: 127.0.0.1:{port}
ops: {{listen: 127.0.0.1:{ops}}}
control: {{relay_listen: 127.0.0.1:{relay}}}
upstream: {{url: "http://127.0.0.1:{app}"}}
providers: [{{issuer: "https://idp.example.com", client_id: app, jwks_file: {folder}/jwks.json}}]
session: {{bind: [{{from: token, cookie: id_token}}]}}
store: {{url: "sqlite://"}}
drain: {{delay: 0s, timeout: 1s}}
log: {{level: warning, access: true}}
"""


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An app that says yes."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    writer.close()


async def connect(port: int, child: "subprocess.Popen[bytes]") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As soon as the sidecar listens."""
    for _ in range(2000):
        assert child.poll() is None, child.communicate()
        with contextlib.suppress(ConnectionRefusedError):
            return await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.005)
    raise AssertionError("the sidecar does not listen")


async def test_the_sidecar_serves_on_while_nobody_reads_its_log(tmp_path: Path, free_port: Callable[[], int]) -> None:
    app = await asyncio.start_server(answers, "127.0.0.1", 0)
    port = free_port()
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    (tmp_path / "config.yaml").write_text(
        CONFIGURATION.format(
            port=port, ops=free_port(), relay=free_port(), app=app.sockets[0].getsockname()[1], folder=tmp_path
        )
    )
    command = [sys.executable, "-P", "-m", "sidecar", "run", "-c", str(tmp_path / "config.yaml")]
    request = b"GET /%b HTTP/1.1\r\nHost: app.example\r\n\r\n" % (b"x" * 900)
    child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    try:
        reader, writer = await connect(port, child)
        for _ in range(200):  # three pipes full of lines
            writer.write(request)
            async with asyncio.timeout(5):
                assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        child.terminate()
        _, stderr = await asyncio.to_thread(child.communicate, timeout=10)
    finally:
        child.kill()
        child.wait()
        app.close()
    lines = [json.loads(line) for line in stderr.splitlines()]
    assert events(lines).count("request") == 200  # the reader came back, and all of them were kept
    assert child.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP])
def test_the_writer_takes_no_signal_from_whoever_waits_for_it(pipe: Pipe, number: signal.Signals) -> None:
    """Seen: the supervisor waits for signals that it blocks; a death that the kernel told this thread was lost."""
    handler = QueuedHandler(pipe.writer, on_drop=lambda: None)
    try:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        handler.emit(logging.LogRecord("any", logging.INFO, __file__, 1, "line", (), None))
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before  # whoever logs still hears
        writer = next(thread for thread in threading.enumerate() if thread.name == "log")
        status = Path(f"/proc/self/task/{writer.native_id}/status").read_text()
        blocked = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")), 16)
        assert blocked >> (number - 1) & 1
    finally:
        handler.close()
