"""One response head, from the app's bytes to validated fields, and from fields to bytes for the client.

What the app may send is as strictly framed as what a client may send: a response that two parsers read differently
poisons the queue of the next one (reference cases 6, 25, 26, 53, 59). All errors are 502: the client is not to blame.
"""

import re
from collections.abc import Iterable
from typing import Final

from sidecar.http1 import grammar
from sidecar.http1.errors import ProtocolError
from sidecar.http1.fields import Field, FieldReader, without
from sidecar.http1.hop_by_hop import HOP_BY_HOP, is_protected, nominated

# RFC 9112 section 4. Some old apps leave out the space before an empty reason.
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")

_reader = FieldReader(
    {**dict.fromkeys(HOP_BY_HOP, False), b"content-length": False, b"set-cookie": True}, prefixes=(), blame=502
)


class ResponseHead:
    """A validated response head. `lines` holds, in order and spelling, only what goes on to the client.

    Never changed after parsing: heads that repeat are shared.
    """

    content_length: int | None = None
    chunked = False
    keep_alive = True
    sets_cookies = False
    upgrade = b""  # lower case
    has_sized_body = False  # a body of known length follows, but for HEAD
    length_line = b""  # the framing line where the length is known; 204 has none (RFC 9110 section 8.6)
    plain_head = b""  # for an HTTP/1.1 client that stays connected; made when first needed

    def __init__(self, status: int, reason: bytes, version: int, lines: list[bytes]) -> None:
        self.status: Final = status
        self.reason: Final = reason
        self.version: Final = version  # minor version
        self.lines = lines

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status}>"


# An app repeats its heads as a browser does, at least for as long as a second lasts (`Date`).
_heads: dict[bytes, ResponseHead] = {}
_MAX_HEADS = 2048
_MAX_HEAD_BYTES = 2048  # so a memory of some 10 MiB at the most


def parse_response(head: bytes) -> ResponseHead:
    """Parse one complete head, including its final empty line. Raises ProtocolError(502)."""
    known = _heads.get(head)
    if known is not None:
        return known
    response = _parse(head)
    if len(head) <= _MAX_HEAD_BYTES and not response.sets_cookies and response.status != 101:
        if len(_heads) >= _MAX_HEADS:
            _heads.clear()
        _heads[head] = response
    return response


def _parse(head: bytes) -> ResponseHead:
    lines = head[:-4].split(b"\r\n")
    start = _STATUS_LINE.fullmatch(lines[0])
    if start is None:
        raise ProtocolError(502, "bad_status_line")
    minor, status, reason = start.groups()
    sent, special = _reader.read(lines[1:])
    response = ResponseHead(int(status), reason or b"", 1 if minor == b"1" else 0, sent)
    response.keep_alive = minor == b"1"
    if special:
        _read_special(response, special)
    return response


def build_response(
    response: ResponseHead, lines: Iterable[bytes], framing: bytes, *, keep_alive: bool, minor: int
) -> bytes:
    """The head for an HTTP/1.`minor` client. `framing` is empty or one line, made by the exchange."""
    is_plain = keep_alive and minor == 1 and lines is response.lines and framing is response.length_line
    if is_plain and response.plain_head:
        return response.plain_head
    head = [b"HTTP/1.1 %d %b" % (response.status, response.reason), *lines]
    if framing:
        head.append(framing)
    if not keep_alive:
        head.append(b"Connection: close")
    elif minor == 0:
        head.append(b"Connection: keep-alive")  # a 1.0 client goes on only when told (RFC 9112 section 9.3)
    joined = grammar.join_head(head)
    if joined is None:
        raise ProtocolError(502, "unclean_head")
    if is_plain:
        response.plain_head = joined
    return joined


def has_no_body(status: int, method: bytes) -> bool:
    """Whether a response never has content, whatever its fields say (RFC 9112 section 6.3)."""
    return status == 204 or status == 304 or method == b"HEAD" or status < 200


def _read_special(response: ResponseHead, special: list[Field]) -> None:
    values: dict[bytes, list[bytes]] = {}
    for name, value in special:
        values.setdefault(name, []).append(value)
    response.sets_cookies = b"set-cookie" in values
    if b"connection" in values:
        _read_connection(response, values)
    _read_framing(response, values)


def _read_connection(response: ResponseHead, values: dict[bytes, list[bytes]]) -> None:
    options = grammar.tokens(b",".join(values[b"connection"]))
    response.keep_alive = b"close" not in options and (response.version == 1 or b"keep-alive" in options)
    names = {name for name in nominated(options) if not is_protected(name)}
    if names:
        response.lines = without(response.lines, names)
    if b"upgrade" in options:
        response.upgrade = b",".join(values.get(b"upgrade", ())).lower()


def _read_framing(response: ResponseHead, values: dict[bytes, list[bytes]]) -> None:
    length, coding = values.get(b"content-length"), values.get(b"transfer-encoding")
    if coding is not None:
        informational = response.status < 200 or response.status == 204
        if length is not None or response.version == 0 or [each.lower() for each in coding] != [b"chunked"]:
            raise ProtocolError(502, "bad_upstream_framing")
        if informational:  # reference case 6
            raise ProtocolError(502, "bad_upstream_framing")
        response.chunked = True
    elif length is not None:
        if len(length) > 1 or not grammar.CONTENT_LENGTH.fullmatch(length[0]):
            raise ProtocolError(502, "bad_upstream_framing")
        response.content_length = int(length[0])
        if response.status != 204 and response.status >= 200:
            response.has_sized_body = response.status != 304
            response.length_line = b"Content-Length: %d" % response.content_length
