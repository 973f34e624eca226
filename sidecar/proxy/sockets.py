"""What is asked of the kernel for a connection: small writes go out at once, and a dead peer is found out.

TCP_NODELAY is set here because asyncio, unlike uvloop, leaves it out for accepted connections.
"""

import asyncio
import enum
import os
import select
import socket
import struct
from collections.abc import Iterator
from typing import Protocol, cast

from sidecar.proxy.limits import HIGH_WATER

# A peer that is gone without a word is noticed after about this long, and within a quarter more: an idle tunnel by
# probes, one that is written to by what stays unacknowledged (reference cases 87 and 93).
_DEAD_AFTER_S = 120
_PROBE_AFTER_S, _PROBE_EVERY_S = 60, 15
_PROBES = (_DEAD_AFTER_S - _PROBE_AFTER_S) // _PROBE_EVERY_S

_OPTIONS = tuple(
    (getattr(socket, name), value)
    for name, value in (
        ("TCP_NODELAY", 1),
        ("TCP_KEEPIDLE", _PROBE_AFTER_S),
        ("TCP_KEEPINTVL", _PROBE_EVERY_S),
        ("TCP_KEEPCNT", _PROBES),
        ("TCP_USER_TIMEOUT", _DEAD_AFTER_S * 1000),
    )
    if hasattr(socket, name)  # not every system has all of them
)
_LAST_WORDS = 16  # reads
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close without delivering what is buffered

_TCP_QUICKACK = getattr(socket, "TCP_QUICKACK", socket.TCP_NODELAY)  # Linux; elsewhere what is on already
_FIN = getattr(select, "POLLRDHUP", 0)  # Linux; elsewhere only the end of both sides is seen


class End(enum.Enum):
    """How much of a connection its peer has ended."""

    NONE = enum.auto()
    ONE = enum.auto()  # the peer's side: it will say no more, and may still read
    BOTH = enum.auto()  # it is gone


class Receiver(Protocol):
    """What asyncio tells of a stream connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""

    def data_received(self, data: bytes) -> None:
        """The other end has sent something."""

    def eof_received(self) -> bool:
        """The other end will send no more; whether our side stays open."""

    def pause_writing(self) -> None:
        """The other end does not take what is written."""

    def resume_writing(self) -> None:
        """It does again."""

    def connection_lost(self, error: Exception | None, /) -> None:
        """It is closed."""


def as_protocol(receiver: Receiver) -> asyncio.Protocol:
    """For asyncio, which calls these methods and asks for no base class.

    A class that has one from the standard library cannot be compiled whole: each attribute of it stays a look-up in a
    dict (decision 032).
    """
    return cast("asyncio.Protocol", receiver)


def end_of(transport: asyncio.Transport) -> End:
    """What the kernel knows of the peer's end, however much is unread before it."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return End.BOTH
    poll = select.poll()
    poll.register(sock.fileno(), _FIN)
    events = sum(event for _, event in poll.poll(0))
    if events & (select.POLLHUP | select.POLLERR):
        return End.BOTH
    return End.ONE if events else End.NONE


def prepare(transport: asyncio.Transport) -> None:
    """Have the kernel send without delay, and end the connection when its peer has vanished."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.fileno() < 0:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _OPTIONS:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def reset(transport: asyncio.Transport) -> None:
    """Close with a reset: a plain end would make a half-sent answer look complete (reference case 65)."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


def acknowledge(transport: asyncio.Transport) -> None:
    """Tell the peer's kernel now that its segment came.

    An app that writes head and body apart without TCP_NODELAY sends the second when the first is acknowledged, and a
    kernel takes its time over that on a connection that it has seen answering: measured 40 ms for each request to
    Python's http.server.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_QUICKACK, 1)


def last_words(transport: asyncio.Transport) -> Iterator[bytes]:
    """What the peer said before it broke off, for a plain connection of which writing has met the end before reading.

    An app that refuses an upload answers, and resets the connection because it does not read the rest. The answer is in
    our kernel (reference case 70).
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0 or transport.get_extra_info("ssl_object") is not None:
        return
    for _ in range(_LAST_WORDS):
        try:
            data = os.read(sock.fileno(), HIGH_WATER)
        except OSError:
            return
        if not data:
            return
        yield data
