"""Accepts connections on the public socket.

A loop of our own, because those of asyncio and uvloop end badly when descriptors run out (reference case 89). asyncio
writes a traceback for each attempt of each connection that waits. uvloop closes what waits with a descriptor that it
keeps in reserve, and says nothing; where the reserve is gone as well, it tries again and again at full CPU for as long
as anybody waits (seen with 0.23.0). Here accepting pauses: who waits goes on waiting in the kernel's queue and is
served when there are descriptors again, it is counted, and logged once a minute.

It guarantees that a flood does not grow memory: far beyond the limit connections are closed as they come.
"""

import asyncio
import errno
import logging
import socket
from typing import Final

from sidecar import log, metrics
from sidecar.proxy.arrival import Arrival, Terms
from sidecar.proxy.limits import REFUSED_AT_ONCE
from sidecar.proxy.plane import Plane

_logger = logging.getLogger(__name__)

_AT_ONCE: Final = 64  # before others get their turn
_AT_THE_END: Final = 4096  # as long as the kernel's queue usually is
_PAUSE: Final = 0.1
_COMPLAINTS_EVERY: Final = 60.0


class Acceptor:
    """One listening socket, from `start` to `close`."""

    def __init__(self, *, sock: socket.socket, plane: Plane, terms: Terms) -> None:
        self._sock = sock
        self._plane = plane
        self._terms = terms
        self._pause: asyncio.TimerHandle | None = None
        self._complained_at = 0.0
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Accept from here on."""
        self._pause = None
        self._loop.add_reader(self._sock, self._accept)

    def close(self) -> None:
        """Take those who have connected already, then close the socket. What is open stays open."""
        self._stop()
        if self._sock.fileno() >= 0:
            self._accept(_AT_THE_END)  # the kernel would answer those in its queue with a reset
            self._stop()
            self._sock.close()

    def _stop(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        elif self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)

    def _accept(self, most: int = _AT_ONCE) -> None:
        for _ in range(most):
            try:
                sock, address = self._sock.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # it is gone before it was accepted: accept(2), ECONNABORTED
            except OSError as error:
                # Descriptors or memory, mostly. Whatever it is: it must neither spin nor end the listener.
                self._wait(error)
                return
            self._admit(sock, address)

    def _admit(self, sock: socket.socket, address: object) -> None:
        if len(self._plane.connections) >= self._plane.limits.connections + REFUSED_AT_ONCE:
            self._plane.refused("too_many_connections", b"")
            sock.close()
            return
        sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
        Arrival(plane=self._plane, terms=self._terms, sock=sock, address=address).start()

    def _wait(self, error: OSError) -> None:
        self._stop()
        self._pause = self._loop.call_later(_PAUSE, self.start)
        reason = errno.errorcode.get(error.errno or 0, "unknown").lower()
        metrics.accept_errors.labels(reason).inc()
        if self._complained_at and self._plane.now - self._complained_at < _COMPLAINTS_EVERY:
            return
        self._complained_at = self._plane.now
        log.event(_logger, logging.WARNING, "accept_failed", reason=reason, connections=len(self._plane.connections))
