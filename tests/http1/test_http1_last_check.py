"""The last check before the wire: whatever went wrong before, no control character, no line too many, one framing.

The heads are made by hand, as a fault of ours could make them; the parsers would have refused them.
"""

import pytest

from sidecar.http1 import request as rules
from sidecar.http1.chunked import encode_end
from sidecar.http1.errors import ProtocolError
from sidecar.http1.forwarded import peer_of
from sidecar.http1.request import RequestHead, build_request
from sidecar.http1.response import ResponseHead, build_response

FRAMINGS = [
    b"Content-Length: 5",
    b"content-length:5",
    b"CONTENT-LENGTH : 5",
    b"Content-Length\t: 5",
    b"Content_Length: 5",
    b"Transfer-Encoding: chunked",
    b"transfer-encoding:identity",
    b"TRANSFER_ENCODING: x",
]
UNCLEAN = [b"X: a\r\nY: b", b"X: a\nY: b", b"X: a\r", b"X: \x00", b"X: \x7f", b"X: \x0b", b"\r\n", b"X: a\r\n\r\nGET /"]
HARMLESS = [b"Content-Language: en", b"X-Content-Length: 5", b"Content-LengthX: 5", b"X: Content-Length: 5", b"X: \xff"]


def hand_made(*lines: bytes, length: int | None = None, chunked: bool = False, version: int = 1) -> RequestHead:
    request = RequestHead(b"POST", b"/", version, [b"Host: a", *lines])
    request.host, request.special = b"a", {b"host": [b"a"]}
    request.content_length, request.chunked = length, chunked
    return request


def refused(request: RequestHead) -> bool:
    with pytest.raises(ProtocolError) as caught:
        build_request(request, request.lines)
    return (caught.value.status, caught.value.reason) == (400, "unclean_head")


@pytest.mark.parametrize("line", FRAMINGS + UNCLEAN)
def test_a_request_with_a_line_that_it_must_not_have_never_goes_out(line: bytes) -> None:
    assert refused(hand_made(line))
    assert refused(hand_made(line, length=5))
    assert refused(hand_made(line, b"X: y", chunked=True))
    assert refused(hand_made(line, version=0))


@pytest.mark.parametrize("line", FRAMINGS + UNCLEAN)
def test_it_is_not_remembered_either(line: bytes) -> None:
    request = hand_made(line)
    with pytest.raises(ProtocolError) as caught:
        rules._remember(request, b"HTTP/1.1\r\n" + line, [b"Host: a"], is_plain=True)
    assert caught.value.reason == "unclean_head"


@pytest.mark.parametrize("line", FRAMINGS + UNCLEAN)
def test_a_remembered_block_with_a_hole_is_checked_each_time(line: bytes) -> None:
    peer = peer_of(("203.0.113.9", 1), [])
    head = b"GET / HTTP/1.1\r\nHost: last-check\r\nX-Other: %b\r\n\r\n" % line.hex().encode()
    request = rules.parse_request(head, max_headers=9)
    request.lines = [*request.lines, line]
    assert request.block is not None
    assert not request.block.sent
    with pytest.raises(ProtocolError):
        peer.head(request)


def test_both_framings_are_never_made_at_once() -> None:
    head = build_request(hand_made(length=5, chunked=True), [b"Host: a"])
    assert head == b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("line", HARMLESS)
def test_a_line_that_only_looks_like_it_goes_out(line: bytes) -> None:
    request = hand_made(line, length=5)
    assert build_request(request, request.lines).split(b"\r\n")[2:4] == [line, b"Content-Length: 5"]
    assert line in build_response(ResponseHead(200, b"OK", 1, []), [line], b"", keep_alive=True, minor=1)


@pytest.mark.parametrize("method", [b"GET / HTTP/1.1\r\nX:", b"G\x00T", b"\nGET"])
def test_a_method_or_a_target_cannot_add_a_line(method: bytes) -> None:
    for request in (RequestHead(method, b"/", 1, []), RequestHead(b"GET", method, 1, [])):
        assert refused(request)


@pytest.mark.parametrize("line", FRAMINGS + UNCLEAN)
@pytest.mark.parametrize("framing", [b"", b"Content-Length: 3", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("keep_alive", [True, False])
def test_a_response_with_a_line_that_it_must_not_have_never_goes_out(
    line: bytes, framing: bytes, keep_alive: bool
) -> None:
    response = ResponseHead(200, b"OK", 1, [b"X: y", line])
    for lines in (response.lines, [line]):
        with pytest.raises(ProtocolError) as caught:
            build_response(response, lines, framing, keep_alive=keep_alive, minor=1)
        assert (caught.value.status, caught.value.reason) == (502, "unclean_head")


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 3\r\nTransfer-Encoding: chunked", b"Content-Length: 3\r", b"X: \x00", b"X: \xff"]
)
def test_a_framing_is_one_clean_line(framing: bytes) -> None:
    response = ResponseHead(200, b"OK", 1, [])
    with pytest.raises(ProtocolError):
        build_response(response, [], framing, keep_alive=True, minor=1)


@pytest.mark.parametrize("reason", [b"OK\r\nX: y", b"O\x00K", b"O\nK", b"OK\r\nContent-Length: 5"])
def test_a_reason_cannot_add_a_line(reason: bytes) -> None:
    with pytest.raises(ProtocolError):
        build_response(ResponseHead(200, reason, 1, []), [], b"", keep_alive=True, minor=1)


@pytest.mark.parametrize(
    "field",
    [
        (b"X", b"a\r\nY: b"),
        (b"X", b"\x00"),
        (b"X\r\n", b"a"),
        (b"X", b"a\nb"),
        (b"Content-Length", b"5"),
        (b"transfer_encoding", b"x"),
    ],
)
def test_trailers_are_checked_as_heads_are(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(ProtocolError) as caught:
        encode_end([(b"A", b"1"), field])
    assert caught.value.reason == "bad_trailer"
