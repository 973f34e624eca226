"""Answers of the sidecar itself, as bytes."""

from email.utils import formatdate

from sidecar import clock
from sidecar.core.denial import Answer


def encode(answer: Answer, *, with_body: bool, keep_alive: bool, minor: int) -> bytes:
    """A complete response to a client that speaks HTTP/1.`minor`."""
    lines = [b"HTTP/1.1 %d %b" % (answer.status, answer.phrase), *map(b": ".join, answer.headers)]
    lines.append(b"Date: " + formatdate(clock.wall(), usegmt=True).encode())  # RFC 9110 section 6.6.1
    lines.append(b"Content-Length: %d" % len(answer.body))
    if not keep_alive:
        lines.append(b"Connection: close")
    elif minor == 0:
        lines.append(b"Connection: keep-alive")
    head = b"\r\n".join((*lines, b"", b""))
    return head + answer.body if with_body else head
