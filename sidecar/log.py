"""Structured logging: one event, one line.

A log call names an event (snake_case, stable) and passes fields; `event(logger, logging.INFO, "logout_token", ...)`.
Fields never hold a secret, a cookie, a token, a raw `sub` or a raw `sid`: hash them first. Values are written as JSON,
so that no input can forge a line (reference case 190).

Whoever logs never waits for whoever reads (reference case 197): lines go through a bounded queue to a thread that
writes. What does not fit is dropped, counted, and owned up to in the log as soon as there is room again.
"""

import contextlib
import datetime as dt
import json
import logging
import os
import queue
import select
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

ACCESS = "sidecar.access"  # the logger of the access log, which is a switch of its own (`proxy/access_log.py`)

_ROOM = 4 * 1024 * 1024  # bytes of lines that wait for the reader; while they are joined, twice as much
_COMMON_ROOM = 3 / 4  # of it; the rest is for warnings and errors: a flood of access lines must not push them out
_PIECE = 65_536  # of one write; a pipe holds as much
_PAUSE_S = 0.05  # between writes: lines come in heaps, and each wake-up of the writer takes the loop's time
_FLUSH_S = 2.0  # for the last lines at the end of the process
_REPEATED_S = 60.0  # between two lines of one event that strangers can bring about
_LONGEST_TEXT = 16_384  # of a message or a traceback; of the latter the end says most

_as_json = json.JSONEncoder(default=str).encode  # `json.dumps` would make an encoder for each line

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROLS_OF_A_LINE = {code: text for code, text in _CONTROLS.items() if code not in (0x09, 0x0A)}


def event(logger: logging.Logger, level: int, name: str, /, **fields: Any) -> None:
    """Log one event with its fields."""
    if logger.isEnabledFor(level):
        logger.log(level, name, extra={"fields": fields})


class Repeated:
    """An event that strangers can bring about: written once a minute at the most, with how often it happened."""

    def __init__(self, logger: logging.Logger, level: int, name: str, *, clock: Callable[[], float]) -> None:
        self._say = partial(event, logger, level, name)
        self._clock = clock
        self._said_at = -_REPEATED_S
        self._count = 0

    def note(self, **fields: Any) -> None:
        """It has happened again."""
        self._count += 1
        now = self._clock()
        if now - self._said_at >= _REPEATED_S:
            self._say(count=self._count, **fields)
            self._count, self._said_at = 0, now


def _start_deaf(thread: threading.Thread) -> None:
    """Start a thread to which the kernel gives no signal.

    The supervisor waits for signals that it blocks. Any other thread that does not block them takes them away from it,
    and a death of which it does not hear is never followed by a start, or by its own end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()  # inherits the mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage()[:_LONGEST_TEXT],
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)[-_LONGEST_TEXT:]
        return _as_json(line)


class TextFormatter(logging.Formatter):
    """The same for a person at a terminal, which no control character may reach. A traceback keeps its lines."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{key}={_as_json(value)}" for key, value in getattr(record, "fields", {}).items())
        message = record.getMessage()[:_LONGEST_TEXT].translate(_CONTROLS)
        line = f"{_timestamp(record.created)} {record.levelname.lower():7} {message} {fields}".rstrip()
        if not record.exc_info:
            return line
        return f"{line}\n{self.formatException(record.exc_info)[-_LONGEST_TEXT:].translate(_CONTROLS_OF_A_LINE)}"


class QueuedHandler(logging.Handler):
    """Writes lines to a file descriptor, in a thread of its own that is started by the first line.

    A process that was forked begins anew with an empty queue; the lines before the fork are its parent's to write.
    """

    def __init__(self, descriptor: int, *, on_drop: Callable[[], object], room: int = _ROOM) -> None:
        """`on_drop` is called for each line that is lost, by any thread."""
        super().__init__()
        self._descriptor = descriptor
        self._on_drop = on_drop
        self._room = room
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._writer: threading.Thread | None = None
        self._closing = threading.Event()
        # Bytes in and out. Each has one writer, so that neither needs a lock between the threads.
        self._taken = self._written = 0
        self._dropped = self._told = 0  # lines

    def emit(self, record: logging.LogRecord) -> None:
        """Never waits; logging itself lets one thread in at a time."""
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception:  # noqa: BLE001 - a handler that raises ends the one who logs; logging's own way out
            self.handleError(record)
            return
        room = self._room if record.levelno >= logging.WARNING else self._room * _COMMON_ROOM
        if self._taken - self._written + len(line) > room:
            self._dropped += 1
            self._on_drop()
            return
        self._taken += len(line)
        self._lines.put(line)
        if self._writer is None:
            self._writer = threading.Thread(target=self._run, args=(self._lines,), name="log", daemon=True)
            _start_deaf(self._writer)

    def close(self) -> None:
        """Write what waits, as far as the reader takes it in time. Called by logging at the end of the process."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._closing.set()
            self._lines.put(None)
            writer.join(_FLUSH_S)  # blocked for good: it is a daemon, and the process ends without it
        super().close()

    def _run(self, lines: "queue.SimpleQueue[bytes | None]") -> None:
        is_open = True
        while is_open:
            heap = [lines.get()]
            while not lines.empty():
                heap.append(lines.get())
            is_open = None not in heap
            self._write(b"".join(line for line in heap if line is not None))
            self._own_up()
            self._closing.wait(_PAUSE_S)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                size = os.write(self._descriptor, rest[:_PIECE])
            except BlockingIOError:  # somebody has made the pipe non-blocking
                _wait_for_room(self._descriptor)
                continue
            except OSError:  # no reader any more, or a full disk: only the metric can tell
                for _ in range(bytes(rest).count(b"\n")):
                    self._on_drop()
                size = len(rest)
            self._written += size
            rest = rest[size:]

    def _own_up(self) -> None:
        """Say how many lines are missing here. Past `emit`: at the end of the process its lock is held by `close`."""
        count = self._dropped - self._told
        if count:
            self._told += count
            fields = {"count": count}
            warning = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "fields": fields}
            line = self.format(logging.makeLogRecord({"msg": "log_lines_dropped", **warning})).encode() + b"\n"
            self._written -= len(line)  # it was not taken
            self._write(line)


def configure(
    level: str, style: Literal["json", "text"], *, on_drop: Callable[[], object] = int, descriptor: int = 2
) -> None:
    """Send every record of this process to standard error. `on_drop` counts the lines that are lost."""
    handler = QueuedHandler(descriptor, on_drop=on_drop)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger(ACCESS).setLevel(logging.INFO)  # whatever the level of the rest is


def set_level(level: str) -> None:
    """The least serious event that is written from now on."""
    logging.getLogger().setLevel(level.upper())


def _wait_for_room(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    with contextlib.suppress(InterruptedError):
        poll.poll()


def _timestamp(created: float) -> str:
    return dt.datetime.fromtimestamp(created, dt.UTC).isoformat(timespec="milliseconds")
