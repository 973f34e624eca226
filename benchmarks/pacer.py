"""An open-loop client: requests leave at a fixed rate, whatever the answers do, and each has its latency recorded.

The latency runs from when the request was due, not from when it was sent: an answer that is late does not hide the
requests that had to wait for it (no coordinated omission). The pace comes from a timerfd, because the timers of event
loops are as coarse as a millisecond.
"""

import contextlib
import ctypes
import gc
import os
import select
import socket
import struct
import time
from collections import deque

from benchmarks.wire import request

_libc = ctypes.CDLL(None, use_errno=True)
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME, timerfd_settime(2)
_BODY = 1024
_HEAD_END = b"\r\n\r\n"
_DRAIN_S = 2.0


def latencies(port: int, *, rate: float, seconds: float, connections: int) -> list[float]:
    """The latency of every request in milliseconds, sorted."""
    gc.disable()  # a collection here would be taken for a slow answer
    try:
        with contextlib.ExitStack() as stack:
            return sorted(_OpenLoop(stack, port, 1 / rate, connections).run(int(rate * seconds)))
    finally:
        gc.enable()


class _OpenLoop:
    def __init__(self, stack: contextlib.ExitStack, port: int, period: float, connections: int) -> None:
        self._period = period
        self._head = request(b"GET /app/page")
        self._epoll = stack.enter_context(select.epoll())
        self._sockets = {sock.fileno(): sock for sock in (_connected(stack, port) for _ in range(connections))}
        for number in self._sockets:
            self._epoll.register(number, select.EPOLLIN)
        self._idle = list(self._sockets)
        self._due = deque[float]()  # of requests that wait for a connection
        self._sent: dict[int, float] = {}  # when the request on this connection was due
        self._parts: dict[int, bytes] = {}
        self._found: list[float] = []
        self._began = time.perf_counter()
        self._timer = _timer(self._began, period)
        stack.callback(os.close, self._timer)
        self._epoll.register(self._timer, select.EPOLLIN)

    def run(self, total: int) -> list[float]:
        fired = 0
        while len(self._found) < total:
            if time.perf_counter() - self._began > total * self._period + _DRAIN_S:
                raise SystemExit(f"{total - len(self._found)} of {total} requests were not answered in time")
            for number, _ in self._epoll.poll(1):
                if number != self._timer:
                    self._receive(number)
                    continue
                (expired,) = struct.unpack("Q", os.read(self._timer, 8))
                for _ in range(expired):
                    fired += 1
                    self._due.append(self._began + fired * self._period)
            while self._due and self._idle:
                self._send()
        return self._found[:total]

    def _send(self) -> None:
        number = self._idle.pop()
        self._sent[number] = self._due.popleft()
        self._sockets[number].send(self._head)

    def _receive(self, number: int) -> None:
        """Every answer has a body of the same length."""
        received = self._sockets[number].recv(65536)
        if not received:
            raise SystemExit("a connection was closed under load")
        data = self._parts.pop(number, b"") + received
        if len(data) != data.find(_HEAD_END) + len(_HEAD_END) + _BODY:
            self._parts[number] = data
            return
        self._found.append((time.perf_counter() - self._sent.pop(number)) * 1000)
        self._idle.append(number)
        if not data.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"not a 200: {data[:80]!r}")


def _connected(stack: contextlib.ExitStack, port: int) -> socket.socket:
    sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(0)
    return sock


def _timer(began: float, period: float) -> int:
    """A timerfd that expires every `period` seconds after `began`, which is on the clock of `time.perf_counter`."""
    number: int = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_CLOEXEC)
    times = (*divmod(round(period * 1e9), 10**9), *divmod(round((began + period) * 1e9), 10**9))
    if number < 0 or _libc.timerfd_settime(number, _ABSOLUTE, struct.pack("4l", *times), None) != 0:
        raise OSError(ctypes.get_errno(), "timerfd")
    return number
