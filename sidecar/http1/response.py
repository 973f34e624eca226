"""One response head, from the app's bytes to validated fields, and from fields to bytes for the client.

What the app may send is as strictly framed as what a client may send: a response that two parsers read differently
poisons the queue of the next one (reference cases 6, 25, 26, 53, 59). All errors are 502: the client is not to blame.
"""

import re
from typing import Final

import httptools

from sidecar.http1 import grammar
from sidecar.http1.errors import ProtocolError
from sidecar.http1.hop_by_hop import HOP_BY_HOP, is_protected, nominated

# RFC 9112 section 4. Some old apps leave out the space before an empty reason.
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")

_DROPPED = HOP_BY_HOP | {b"content-length"}


class ResponseHead:
    """A validated response head. `headers` holds, in order and spelling, only what goes on to the client."""

    __slots__ = (
        "chunked",
        "content_length",
        "fields",
        "headers",
        "keep_alive",
        "reason",
        "status",
        "upgrade",
        "version",
    )

    def __init__(self, status: int, reason: bytes, version: int) -> None:
        self.status: Final = status
        self.reason: Final = reason
        self.version: Final = version  # minor version
        self.headers: list[tuple[bytes, bytes]] = []
        self.fields: dict[bytes, bytes] = {}  # by lower-case name; the last of several
        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = True
        self.upgrade = b""  # lower case

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status}>"


class _Collector:
    """Receives llhttp's callbacks."""

    __slots__ = ("headers",)

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


def parse_response(head: bytes) -> ResponseHead:
    """Parse one complete head, including its final empty line. Raises ProtocolError(502)."""
    line = _STATUS_LINE.fullmatch(head, 0, head.index(b"\r\n"))
    if not line:
        raise ProtocolError(502, "bad_status_line")
    response = ResponseHead(int(line[2]), line[3] or b"", int(line[1]))
    collector = _Collector()
    try:
        httptools.HttpResponseParser(collector).feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # a 101; whether it is wanted is decided by the exchange
    except httptools.HttpParserError:
        raise ProtocolError(502, "bad_upstream_header") from None
    headers = collector.headers
    names = [name.lower() for name, _ in headers]
    response.fields = fields = dict(zip(names, [value for _, value in headers], strict=True))
    if len(fields) != len(names) and (names.count(b"content-length") > 1 or names.count(b"transfer-encoding") > 1):
        raise ProtocolError(502, "bad_upstream_framing")
    if _DROPPED.isdisjoint(fields):
        response.keep_alive = response.version == 1
        response.headers = headers
        return response
    drop = set(_DROPPED)
    _read_connection(response, headers, names, drop)
    _read_framing(response)
    response.headers = [field for field, name in zip(headers, names, strict=True) if name not in drop]
    return response


def build_response(
    response: ResponseHead, headers: list[tuple[bytes, bytes]], framing: bytes, *, keep_alive: bool, minor: int
) -> bytes:
    """The head for an HTTP/1.`minor` client. `framing` is empty or one line, made by the exchange."""
    lines = [b"HTTP/1.1 %d %b" % (response.status, response.reason), *map(b": ".join, headers)]
    if framing:
        lines.append(framing)
    if not keep_alive:
        lines.append(b"Connection: close")
    elif minor == 0:
        lines.append(b"Connection: keep-alive")  # a 1.0 client goes on only when told (RFC 9112 section 9.3)
    head = grammar.join_head(lines)
    if head is None:
        raise ProtocolError(502, "unclean_head")
    return head


def has_no_body(status: int, method: bytes) -> bool:
    """Whether a response never has content, whatever its fields say (RFC 9112 section 6.3)."""
    return method == b"HEAD" or status in (204, 304) or status < 200


def _read_connection(
    response: ResponseHead, headers: list[tuple[bytes, bytes]], names: list[bytes], drop: set[bytes]
) -> None:
    response.keep_alive = response.version == 1
    if b"connection" not in response.fields:
        return
    lines = [value for (_, value), name in zip(headers, names, strict=True) if name == b"connection"]
    options = grammar.tokens(b",".join(lines))
    response.keep_alive = b"close" not in options and (response.version == 1 or b"keep-alive" in options)
    drop.update(name for name in nominated(options) if not is_protected(name))
    if b"upgrade" in options:
        response.upgrade = response.fields.get(b"upgrade", b"").lower()


def _read_framing(response: ResponseHead) -> None:
    length = response.fields.get(b"content-length")
    coding = response.fields.get(b"transfer-encoding")
    if coding is not None:
        informational = response.status < 200 or response.status == 204
        if length is not None or response.version == 0 or coding.lower() != b"chunked" or informational:
            raise ProtocolError(502, "bad_upstream_framing")
        response.chunked = True
    elif length is not None:
        if not grammar.CONTENT_LENGTH.fullmatch(length):
            raise ProtocolError(502, "bad_upstream_framing")
        response.content_length = int(length)
