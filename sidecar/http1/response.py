"""One response head, from the app's bytes to validated fields, and from fields to bytes for the client.

What the app may send is as strictly framed as what a client may send: a response that two parsers read differently
poisons the queue of the next one (reference cases 6, 25, 26, 53, 59). All errors are 502: the client is not to blame.
"""

import re
from collections.abc import Iterable
from typing import Final

from sidecar.field_names import fold
from sidecar.http1 import grammar
from sidecar.http1.errors import ProtocolError
from sidecar.http1.fields import Field, FieldReader, Holes, Known, without
from sidecar.http1.hop_by_hop import HOP_BY_HOP, is_protected, nominated

# RFC 9112 section 4. Some old apps leave out the space before an empty reason.
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")

_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_NOT_IN_LINE = re.compile(rb"[^\x20-\x7e]")

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
    nominated: frozenset[bytes] = frozenset()  # names that `Connection` takes off, from the trailers as well
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
# Where some plain lines differ each time, a head is found by its status line and the meanings of the others.
_holed: dict[tuple[bytes, Known], tuple[ResponseHead, Holes]] = {}
_MAX_HEADS = 2048
_MAX_HEAD_BYTES = 2048  # so a memory of some 10 MiB at the most, each


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
    start, *lines = head[:-4].split(b"\r\n")
    known = start, _reader.recall(lines)
    like = _holed.get(known)
    if like is not None:
        filled = _reader.fill(like[1], lines, like[0].lines)
        if filled is not None:
            return _copied(like[0], filled)
    response = _read(start, lines)
    if len(head) <= _MAX_HEAD_BYTES and not response.nominated and response.status != 101:
        known = start, _reader.recall(lines)  # again: by now more is remembered
        if holes := _reader.holes(lines, known[1]):
            if len(_holed) >= _MAX_HEADS:
                _holed.clear()
            _holed[known] = response, holes
    return response


def _copied(known: ResponseHead, lines: list[bytes]) -> ResponseHead:
    """A head that differs from a known one in lines that nobody has to look at."""
    response = ResponseHead(known.status, known.reason, known.version, lines)
    response.content_length = known.content_length
    response.chunked = known.chunked
    response.keep_alive = known.keep_alive
    response.nominated = known.nominated
    response.sets_cookies = known.sets_cookies
    response.upgrade = known.upgrade
    response.has_sized_body = known.has_sized_body
    response.length_line = known.length_line
    return response


def _read(start: bytes, lines: list[bytes]) -> ResponseHead:
    match = _STATUS_LINE.fullmatch(start)
    if match is None:
        raise ProtocolError(502, "bad_status_line")
    minor, status, reason = match.groups()
    sent, special = _reader.read(lines)
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
    head = grammar.join_head([b"HTTP/1.1 %d %b" % (response.status, response.reason), *lines])
    # The last check: no control character, no line too many, and no framing but ours.
    if head is None or grammar.has_framing(head) or _NOT_IN_LINE.search(framing):
        raise ProtocolError(502, "unclean_head")
    ends = framing + b"\r\n" if framing else b""
    if not keep_alive:
        ends += b"Connection: close\r\n"
    elif minor == 0:
        ends += b"Connection: keep-alive\r\n"  # a 1.0 client goes on only when told (RFC 9112 section 9.3)
    if ends:
        head = b"".join((head[:-2], ends, b"\r\n"))
    if is_plain:
        response.plain_head = head
    return head


def has_no_body(status: int, method: bytes) -> bool:
    """Whether a response never has content, whatever its fields say (RFC 9112 section 6.3)."""
    return status == 204 or status == 304 or method == b"HEAD" or status < 200


def _read_special(response: ResponseHead, special: list[Field]) -> None:
    values: dict[bytes, list[bytes]] = {}
    for name, value in special:
        values.setdefault(name, []).append(value)
    if not _FRAMING.isdisjoint(fold(name) for name in values if name not in _FRAMING):
        raise ProtocolError(502, "bad_upstream_framing")  # `Content_Length`: one of two parsers takes it for the other
    response.sets_cookies = b"set-cookie" in values
    if b"connection" in values:
        _read_connection(response, values)
    _read_framing(response, values)


def _read_connection(response: ResponseHead, values: dict[bytes, list[bytes]]) -> None:
    options = grammar.tokens(b",".join(values[b"connection"]))
    response.keep_alive = b"close" not in options and (response.version == 1 or b"keep-alive" in options)
    response.nominated = names = frozenset(name for name in nominated(options) if not is_protected(name))
    if names:
        response.lines = without(response.lines, names)
    if b"upgrade" in options:
        response.upgrade = b",".join(values.get(b"upgrade", ())).lower()


def _read_framing(response: ResponseHead, values: dict[bytes, list[bytes]]) -> None:
    """RFC 9112 section 6.3, stricter. A 1xx and a 204 have no content, so nothing may frame one (reference case 6)."""
    length, coding = values.get(b"content-length"), values.get(b"transfer-encoding")
    is_bare = response.status < 200 or response.status == 204
    if coding is not None:
        if length is not None or response.version == 0 or is_bare or [each.lower() for each in coding] != [b"chunked"]:
            raise ProtocolError(502, "bad_upstream_framing")
        response.chunked = True
    elif length is not None:
        if len(length) > 1 or not grammar.CONTENT_LENGTH.fullmatch(length[0]):
            raise ProtocolError(502, "bad_upstream_framing")
        response.content_length = int(length[0])
        if not is_bare:
            response.has_sized_body = response.status != 304
            response.length_line = b"Content-Length: %d" % response.content_length
        elif response.content_length and response.status < 200:  # what follows: this content, or the final head?
            raise ProtocolError(502, "bad_upstream_framing")
        elif response.content_length:
            response.keep_alive = False  # a 204 whose content may still come: it must not meet the next request
