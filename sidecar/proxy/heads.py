"""Request heads, cut out of the byte stream where they do not come one by one.

What can never become a head is refused when it begins, instead of being waited for until its end.
"""

import re
from typing import Final

from sidecar.http1.errors import ProtocolError
from sidecar.http1.request import RequestHead, parse_request
from sidecar.proxy.limits import Limits

_NOT_A_METHOD: Final = re.compile(rb"[^\r\n!#$%&'*+\-.^_`|~0-9A-Za-z]")
_EMPTY_LINES: Final = re.compile(rb"\A(?:\r\n)+")
_LONGEST_METHOD: Final = 64  # that is looked at before the head is complete


def next_head(buffer: bytes, limits: Limits) -> tuple[RequestHead | None, bytes]:
    """The first head in `buffer`, None while it is incomplete; and what is left. Raises ProtocolError."""
    if buffer[0] == 0x0D:  # empty lines before a request are forgiven (RFC 9112 section 2.2), a bare CR or LF is not
        buffer = _EMPTY_LINES.sub(b"", buffer)
    end = buffer.find(b"\r\n\r\n", 0, limits.head_bytes + 4) + 4
    if end < 4:
        _check_beginning(buffer, limits.head_bytes)
        return None, buffer
    return parse_request(buffer[:end], max_headers=limits.header_count), buffer[end:]


def _check_beginning(buffer: bytes, head_bytes: int) -> None:
    if len(buffer) > head_bytes:
        raise ProtocolError(414 if b"\r\n" not in buffer else 431, "head_too_large")
    if buffer.count(b"\n") != buffer.count(b"\r\n"):  # counted, because a slow head is looked at for every byte
        raise ProtocolError(400, "bare_line_feed")
    if _NOT_A_METHOD.search(buffer[:_LONGEST_METHOD].partition(b" ")[0]):
        raise ProtocolError(400, "not_http")  # a TLS handshake on the plain port, most often
