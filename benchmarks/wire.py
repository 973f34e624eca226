"""HTTP with large bodies on blocking sockets, as cheap as it gets, for the client and for the app behind the proxy.

Both share a core, so they copy nothing: bodies leave a memory file by sendfile, and what arrives is discarded in the
kernel (tcp(7), MSG_TRUNC). Every wait is bounded by a time-out of the socket.
"""

import os
import re
import socket
import struct
import time

from benchmarks.deployment import COOKIE

LARGEST = 100 * 1024 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_PIECE = 1024 * 1024
_LIMIT = struct.pack("ll", 30, 0)


class Peer:
    """One side of a connection: reads heads, throws bodies away, sends bodies of nothing."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _LIMIT)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _LIMIT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._nowhere = bytearray(_PIECE)
        self._missing = 0

    def read_head(self) -> bytes:
        """The next head, or nothing at the end. Looked at first, so that no byte of the body is taken with it."""
        end = 0
        while end < 4:
            seen = self._sock.recv(65536, socket.MSG_PEEK)
            if not seen:
                return b""
            end = seen.find(b"\r\n\r\n") + 4
        head = self._sock.recv(end)
        length = _LENGTH.search(head)
        self._missing = int(length[1]) if length else 0
        return head

    def discard_body(self) -> None:
        while self._missing:
            count = self._sock.recv_into(self._nowhere, min(self._missing, _PIECE), socket.MSG_TRUNC)
            if not count:
                raise SystemExit(f"the body ended {self._missing} bytes early")
            self._missing -= count

    def send(self, head: bytes, content: int, size: int) -> None:
        """A head, and so many bytes of the file."""
        self._sock.sendall(head, socket.MSG_MORE if size else 0)
        sent = 0
        while sent < size:
            sent += os.sendfile(self._sock.fileno(), content, sent, size - sent)

    def expect_success(self) -> None:
        head = self.read_head()
        if b" 200 " not in head[:16]:
            raise SystemExit(f"not a 200: {head[:80]!r}")
        self.discard_body()


def memory_file() -> int:
    """A file of zeros in memory, as long as the longest body."""
    content = os.memfd_create("body")
    os.truncate(content, LARGEST)
    return content


def request(line: bytes, size: int = 0, extra: bytes = b"") -> bytes:
    """The head of a request of a bound session."""
    length = b"Content-Length: %d\r\n" % size if size else b""
    return b"%b HTTP/1.1\r\nHost: app.example.com\r\nCookie: %b\r\n%b%b\r\n" % (line, COOKIE.encode(), length, extra)


def download(port: int, size: int, until: float) -> int:
    """Fetch bodies of this size until then, at least one; how many bytes that were."""
    return _repeat(port, request(b"GET /%d" % size), size, until, sends=False)


def upload(port: int, size: int, until: float) -> int:
    """Send bodies of this size until then, at least one; how many bytes that were."""
    return _repeat(port, request(b"POST /upload", size), size, until, sends=True)


def _repeat(port: int, head: bytes, size: int, until: float, *, sends: bool) -> int:
    content, total = memory_file(), 0
    try:
        with socket.create_connection(("127.0.0.1", port), 30) as sock:
            peer = Peer(sock)
            while not total or time.monotonic() < until:
                peer.send(head, content, size if sends else 0)
                peer.expect_success()
                total += size
    finally:
        os.close(content)
    return total
