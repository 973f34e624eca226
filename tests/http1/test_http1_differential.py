"""What we let through, h11 and llhttp read as the same single message. Generated, so that nobody had to think of it.

The generator works with pieces that parsers are known to disagree about, next to random bytes, and with legal messages
that were damaged a little.
"""

import contextlib
import os
from collections.abc import Callable

import h11
import httptools
import pytest
from http1_wire import (
    LLHTTP_METHODS,
    STRANGER,
    Callbacks,
    Fields,
    Reader,
    by_h11,
    by_llhttp,
    forward,
    on_the_wire,
    read_requests,
    read_responses,
    response_by_h11,
    response_by_llhttp,
    sent_fields,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.http1.errors import ProtocolError
from sidecar.http1.fields import FieldReader
from sidecar.http1.grammar import join_head, tokens
from sidecar.http1.request import RequestHead, build_request, parse_request
from sidecar.http1.response import ResponseHead, build_response, parse_response

DEPTH = 25 if os.environ.get("EXPLORE") else 1  # how much longer to look

NAMES = st.sampled_from(
    b"Host|host|Cookie|Content-Length|content-length|Transfer-Encoding|Connection|Upgrade|TE|Expect|Content-Type|X|x-a"
    b"|X_A|Content_Length|X-Forwarded-For|Forwarded|Keep-Alive|Sec-WebSocket-Key|Set-Cookie|Trailer|Via|"
    b"|X Y|X\t|\xffX|X:|Accept".split(b"|")
)
VALUES = st.one_of(
    st.sampled_from(
        b"a|app.test|app.test:80|[::1]|5|0|05|+5|5, 5|chunked|Chunked|gzip, chunked|close|keep-alive|Upgrade|websocket"
        b'|h2c|trailers|100-continue|S=1|x-a|host|close, x-a| a\t|\xe9|a:b|"a"|,|;|18446744073709551616'.split(b"|")
    ),
    st.binary(max_size=6),
    st.just(b""),
)
COLONS = st.sampled_from([b": ", b":", b":\t ", b" :", b""])
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\n ", b"\r\n\t", b"\r\r\n"])
FIELDS = st.lists(st.tuples(NAMES, COLONS, VALUES, ENDS).map(b"".join), max_size=6).map(b"".join)
METHODS = st.sampled_from(
    [b"GET", b"POST", b"HEAD", b"OPTIONS", b"PROPFIND", b"get", b"CONNECT", b"TRACE", b"G T", b""]
)
ODD_TARGETS = (
    b"/|*|/a?b|//evil/x|http://other.test/x|http://other.test|https://[::1]:1?q|http://u@h/|/#f|x|/%00|/a b|/\xe9"
)
TARGETS = st.one_of(
    st.sampled_from(ODD_TARGETS.split(b"|")),
    st.binary(max_size=5).map(lambda tail: b"/" + tail),
)
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 4 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 ", b""])
LINES = st.tuples(METHODS, TARGETS, VERSIONS).map(b" ".join)
REQUESTS = st.tuples(LINES, st.just(b"\r\n"), st.sampled_from([b"Host: app.test\r\n", b""]), FIELDS).map(b"".join)
ODD_STATUS_LINES = (
    b"HTTP/1.1 200 OK|HTTP/1.1 204|HTTP/1.1 304 x|HTTP/1.0 200 M\xfc|HTTP/1.1 404 |HTTP/1.1 99 x|HTTP/1.1 500 a\tb"
)
STATUS_LINES = st.sampled_from(ODD_STATUS_LINES.split(b"|"))
RESPONSES = st.tuples(STATUS_LINES, st.just(b"\r\n"), FIELDS).map(b"".join)


def as_received(data: bytes) -> bytes:
    """The head as the connection cuts it out: up to the first empty line."""
    return data[: (data + b"\r\n\r\n").index(b"\r\n\r\n")] + b"\r\n\r\n"


def accepted(data: bytes) -> RequestHead | None:
    try:
        return parse_request(as_received(data), max_headers=128)
    except ProtocolError as error:
        is_clients_fault = error.status in {400, 405, 417, 431}
    assert is_clients_fault
    return None


def forwarded(request: RequestHead) -> bytes:
    """The long way out: nothing remembered."""
    request.host = request.host or b"upstream"
    return build_request(request, STRANGER.apply(request))


def body_of(request: RequestHead | ResponseHead) -> bytes:
    """The smallest complete content that fits the framing."""
    return b"0\r\n\r\n" if request.chunked else b"x" * (request.content_length or 0)


@settings(max_examples=400 * DEPTH)
@given(REQUESTS)
def test_h11_reads_the_forwarded_request_as_the_one_that_we_read(data: bytes) -> None:
    request = accepted(data)
    if request is None or request.content_length not in {None, 0, 5}:
        return
    head = forwarded(request)
    method, target, fields, content = by_h11(head + body_of(request))
    assert (method, target) == (request.method, request.target)
    assert fields == sent_fields(head)
    assert [value for name, value in fields if name == b"host"] == [request.host]
    assert [value for name, value in fields if name == b"cookie"] == list(request.cookies)
    assert content == (b"" if request.chunked else body_of(request))


@settings(max_examples=400 * DEPTH)
@given(REQUESTS)
def test_llhttp_reads_the_forwarded_request_as_the_one_that_we_read(data: bytes) -> None:
    request = accepted(data)
    if request is None or request.content_length not in {None, 0, 5}:
        return
    # llhttp knows no unknown methods.
    if request.method not in LLHTTP_METHODS:
        return
    head = forwarded(request)
    method, target, fields, content = by_llhttp(head + body_of(request))
    assert (method, target) == (request.method, request.target)
    assert fields == sent_fields(head)
    assert content == (b"" if request.chunked else body_of(request))


@given(REQUESTS)
def test_a_forwarded_request_is_read_as_itself_again(data: bytes) -> None:
    """Building and parsing are inverse: a second sidecar behind this one changes nothing but the client's address."""
    request = accepted(data)
    if request is None:
        return
    head = forwarded(request)
    again = parse_request(head, max_headers=128)
    assert (again.method, again.target, again.host, again.cookies) == (
        request.method,
        request.target,
        request.host,
        request.cookies,
    )
    assert (again.chunked, again.content_length, again.upgrade) == (
        request.chunked,
        request.content_length,
        request.upgrade,
    )
    assert sorted(sent_fields(forwarded(again))) == sorted(sent_fields(head))  # only a missing Host comes last


@given(REQUESTS)
def test_the_short_way_out_sends_the_same_bytes_as_the_long_one(data: bytes) -> None:
    """A repeated head is sent from what was remembered of it."""
    for _ in range(2):
        request = accepted(data)
        if request is not None:
            long = forwarded(request)
            assert forward(request) == long


@given(st.one_of(REQUESTS, st.binary(max_size=200)))
def test_any_bytes_are_a_request_or_a_protocol_error(data: bytes) -> None:
    request = accepted(data)
    if request is not None:
        framing = [
            name for name, _ in sent_fields(forwarded(request)) if name in {b"content-length", b"transfer-encoding"}
        ]
        assert len(framing) <= 1


@given(st.one_of(RESPONSES, st.binary(max_size=200)))
def test_any_bytes_are_a_response_or_the_apps_fault(data: bytes) -> None:
    try:
        response = parse_response(as_received(data))
    except ProtocolError as error:
        status = error.status
    else:
        status = 502
        build_response(response, response.lines, b"", keep_alive=True, minor=1)
    assert status == 502


@settings(max_examples=400 * DEPTH)
@given(RESPONSES)
def test_h11_reads_the_relayed_response_as_the_one_that_we_read(data: bytes) -> None:
    try:
        response = parse_response(as_received(data))
    except ProtocolError:
        return
    if response.content_length not in {None, 0, 5}:
        return
    framing = (
        b"Transfer-Encoding: chunked" if response.chunked else b"Content-Length: %d" % (response.content_length or 0)
    )
    framing = b"" if response.status in {204, 304} else framing
    head = build_response(response, response.lines, framing, keep_alive=True, minor=1)
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(head + (b"" if response.status in {204, 304} else body_of(response)))
    read = client.next_event()
    assert isinstance(read, h11.Response)
    assert (read.status_code, read.reason) == (response.status, response.reason)
    assert [(bytes(name).lower(), bytes(value)) for name, value in read.headers] == sent_fields(head)
    while isinstance(event := client.next_event(), h11.Data):
        pass
    assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data[0] == b""


# -- whole streams, legal ones and damaged ones -----------------------------------------------------------------------

TOKENS = st.sampled_from(b"X-A|x-b|Accept|X-Request-ID|Referer|If-None-Match|Via|X_C|A.B|Cookie".split(b"|"))
TEXT = st.sampled_from(b'a|a, b|M\xfcller|\xa0x\x85|a:b|chunked|5|close|x;y="z"||\t| a  b'.split(b"|"))
PLAIN_FIELDS = st.lists(st.builds(b"%b: %b\r\n".__mod__, st.tuples(TOKENS, TEXT)), max_size=4).map(b"".join)
CONTENT = st.sampled_from(b"|x|hello|0\r\n\r\n|\r\n|GET /b HTTP/1.1\r\nHost: b\r\n\r\n".split(b"|"))


def _framed(content: bytes, kind: int) -> tuple[bytes, bytes]:
    """The framing field and the body: by length, in one chunk, in chunks of one byte with all the trimmings."""
    if kind == 0:
        return b"Content-Length: %d\r\n" % len(content), content
    if kind == 1:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content) if content else b"0\r\n\r\n"
    else:
        body = b"".join(b"01;a=b\r\n%c\r\n" % byte for byte in content) + b"000\r\nX-Sum: 1\r\n\r\n"
    return b"Transfer-Encoding: chunked\r\n", body


def _request(line: bytes, fields: bytes, content: bytes, kind: int) -> bytes:
    framing, body = _framed(content, kind)
    return line + b" HTTP/1.1\r\nHost: a\r\n" + fields + framing + b"\r\n" + body


def _response(line: bytes, fields: bytes, content: bytes, kind: int) -> bytes:
    framing, body = _framed(content, kind)
    return line + b"\r\n" + fields + framing + b"\r\n" + body


LEGAL_REQUESTS = st.builds(
    _request,
    st.sampled_from([b"GET /", b"POST /a?b", b"PUT http://b/c", b"OPTIONS *", b"HEAD //x", b"DELETE /;y=%00"]),
    PLAIN_FIELDS,
    CONTENT,
    st.integers(0, 2),
)
LEGAL_RESPONSES = st.builds(
    _response,
    st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 404 ", b"HTTP/1.1 500 M\xfc", b"HTTP/1.1 299"]),
    PLAIN_FIELDS,
    CONTENT,
    st.integers(0, 2),
)
ODD_BYTES = st.sampled_from(
    [b"\r", b"\n", b"\0", b" ", b"\t", b":", b",", b"\r\n", b"\r\n ", b"\x0b", b"\xa0", b";", b"0", b"5", b"_", b'"']
)
PLACES = st.integers(0, 400)


def _insert(data: bytes, place: int, odd: bytes) -> bytes:
    return data[:place] + odd + data[place:]


def _replace(data: bytes, place: int, odd: bytes) -> bytes:
    return data[:place] + odd + data[place + 1 :]


def _flip(data: bytes, place: int, odd: bytes) -> bytes:
    return data[:place] + bytes(byte ^ (1 << odd[0] % 8) for byte in data[place : place + 1]) + data[place + 1 :]


def _delete(data: bytes, place: int, odd: bytes) -> bytes:
    return data[:place] + data[place + len(odd) :]


def _double_a_line(data: bytes, place: int, odd: bytes) -> bytes:
    lines = data.split(b"\r\n")
    line = lines[place % len(lines)]
    return b"\r\n".join(
        [*lines[: place % len(lines)], line, odd.join(line.partition(b"_")), *lines[place % len(lines) + 1 :]]
    )


def _join_lines(data: bytes, place: int, odd: bytes) -> bytes:
    lines = data.split(b"\r\n")
    place = place % len(lines)
    return b"\r\n".join([*lines[:place], odd.join(lines[place : place + 2]), *lines[place + 2 :]])


def _add_a_framing(data: bytes, place: int, odd: bytes) -> bytes:
    lines = data.split(b"\r\n")
    field = [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Content-Length: 0"][place % 3]
    place = place % len(lines)
    return b"\r\n".join([*lines[:place], _insert(field, place * 7 % len(field), odd), *lines[place:]])


DAMAGES = st.lists(
    st.tuples(
        st.sampled_from([_insert, _replace, _flip, _delete, _double_a_line, _join_lines, _add_a_framing]),
        PLACES,
        ODD_BYTES,
    ),
    min_size=1,
    max_size=3,
)


def _damaged(data: bytes, damages: list[tuple[Callable[[bytes, int, bytes], bytes], int, bytes]]) -> bytes:
    for damage, place, odd in damages:
        data = damage(data, place, odd)
    return data


def all_agree_on_requests(read: Reader) -> None:
    """Each message that goes out is one message, with the same content, for both of the others."""
    for (head, content), trailers in zip(read.forwarded, read.trailers, strict=True):
        if b"\r\nUpgrade: " in head:
            continue
        wire = on_the_wire(head, content, trailers)
        method, target = head.split(b" ")[:2]
        expected = (method, target, sent_fields(head), content)
        assert by_h11(wire) == expected
        if method in LLHTTP_METHODS:
            assert by_llhttp(wire) == expected


def all_agree_on_responses(read: Reader) -> None:
    for (head, content), trailers in zip(read.forwarded, read.trailers, strict=True):
        status = int(head[9:12])
        if status == 101:
            continue
        reason = head[13 : head.index(b"\r\n")]
        wire = on_the_wire(head, content, trailers)
        assert response_by_h11(wire) == (status, reason, sent_fields(head), content)
        assert response_by_llhttp(wire) == (status, reason, sent_fields(head), content)


@settings(max_examples=150 * DEPTH)
@given(st.lists(LEGAL_REQUESTS, min_size=1, max_size=3), st.lists(PLACES, max_size=6))
def test_legal_requests_pass_one_by_one_however_they_are_cut(stream: list[bytes], cuts: list[int]) -> None:
    read = read_requests(b"".join(stream))
    assert (len(read.forwarded), read.refusal, read.is_waiting) == (len(stream), "", False)
    all_agree_on_requests(read)
    again = read_requests(b"".join(stream), cuts)
    assert (again.forwarded, again.trailers) == (read.forwarded, read.trailers)


@settings(max_examples=700 * DEPTH)
@given(LEGAL_REQUESTS, DAMAGES, st.lists(PLACES, max_size=4))
def test_a_damaged_request_is_refused_or_everybody_agrees_what_it_is(
    data: bytes, damages: list[tuple[Callable[[bytes, int, bytes], bytes], int, bytes]], cuts: list[int]
) -> None:
    data = _damaged(data, damages)
    read = read_requests(data)
    all_agree_on_requests(read)
    again = read_requests(data, cuts)
    assert (again.forwarded, again.trailers, again.refusal) == (read.forwarded, read.trailers, read.refusal)


@settings(max_examples=500 * DEPTH)
@given(LEGAL_REQUESTS, DAMAGES)
def test_a_hop_in_front_that_lets_a_damaged_request_through_reads_it_as_we_do(
    data: bytes, damages: list[tuple[Callable[[bytes, int, bytes], bytes], int, bytes]]
) -> None:
    """Where h11 or llhttp sees one whole message and we see one too, the content is the same."""
    data = _damaged(data, damages)
    read = read_requests(data)
    if len(read.forwarded) != 1 or read.refusal or read.is_waiting:
        return
    for parse in (by_h11, by_llhttp):
        with contextlib.suppress(AssertionError, h11.RemoteProtocolError, httptools.HttpParserError):
            assert_same(parse(data)[3], read.forwarded[0][1])


def assert_same(theirs: bytes, ours: bytes) -> None:
    """Not by `assert`: a parser that sees no whole message fails by that, and is no witness."""
    if theirs != ours:
        raise ValueError(f"{theirs!r} is not {ours!r}")


@settings(max_examples=150 * DEPTH)
@given(st.lists(LEGAL_RESPONSES, min_size=1, max_size=3), st.lists(PLACES, max_size=6))
def test_legal_responses_pass_one_by_one_however_they_are_cut(stream: list[bytes], cuts: list[int]) -> None:
    read = read_responses(b"".join(stream))
    assert (len(read.forwarded), read.refusal, read.is_waiting) == (len(stream), "", False)
    all_agree_on_responses(read)
    again = read_responses(b"".join(stream), cuts=cuts)
    assert (again.forwarded, again.trailers) == (read.forwarded, read.trailers)


@settings(max_examples=700 * DEPTH)
@given(LEGAL_RESPONSES, DAMAGES, st.lists(PLACES, max_size=4))
def test_a_damaged_response_is_refused_or_everybody_agrees_what_it_is(
    data: bytes, damages: list[tuple[Callable[[bytes, int, bytes], bytes], int, bytes]], cuts: list[int]
) -> None:
    data = _damaged(data, damages)
    read = read_responses(data)
    all_agree_on_responses(read)
    again = read_responses(data, cuts=cuts)
    assert (again.forwarded, again.trailers, again.refusal) == (read.forwarded, read.trailers, read.refusal)


def by_reader(line: bytes) -> Fields | None:
    try:
        return FieldReader({}, prefixes=(b"",), blame=400).read([line])[1]
    except ProtocolError:
        return None


@given(st.tuples(NAMES, COLONS, VALUES).map(b"".join) | st.binary(max_size=20))
def test_what_the_field_reader_accepts_llhttp_accepts_too(line: bytes) -> None:
    """Our own reader is never laxer than the parser that it replaced."""
    fields = by_reader(line)
    if not fields or fields[0][0] in {b"content-length", b"transfer-encoding", b"upgrade", b"connection"}:
        return
    seen = Callbacks()
    httptools.HttpRequestParser(seen).feed_data(b"GET / HTTP/1.1\r\n" + line + b"\r\n\r\n")
    assert seen.fields == fields


@given(st.lists(st.binary(max_size=12), max_size=5))
def test_a_joined_head_has_the_lines_that_were_asked_for_or_is_refused(lines: list[bytes]) -> None:
    head = join_head([*lines])
    bad = {*range(0x20)} - {0x09} | {0x7F}
    if any(bad.intersection(line) for line in lines):
        assert head is None
    else:
        assert head == b"".join(line + b"\r\n" for line in [*lines, b""])


@pytest.mark.parametrize("count", [253, 254, 255, 256, 257, 1000])
def test_a_head_of_any_number_of_lines_is_joined_and_checked(count: int) -> None:
    assert join_head([b"x"] * count) == b"x\r\n" * count + b"\r\n"
    assert join_head([*[b"x"] * count, b"\n"]) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", []),
        (b" , ,", []),
        (b"Close", [b"close"]),
        (b"\tkeep-alive ,  UPGRADE,", [b"keep-alive", b"upgrade"]),
        (b"a b, c;d", [b"a b", b"c;d"]),
    ],
)
def test_a_list_is_read_without_blanks_case_and_empty_members(value: bytes, expected: list[bytes]) -> None:
    assert tokens(value) == expected


FRAMES: list[Callable[[int], bytes]] = [
    lambda size: b"Content-Length: " + b"9" * size,
    lambda size: b"X: " + b" " * size,
    lambda size: b"X:" + b"\t" * size + b"\x00",
    lambda size: b"Connection: " + b"," * size,
    lambda size: b"X" * size,
    lambda size: b"Host: " + b"%" * size,
]


@pytest.mark.timeout(5)  # each takes a millisecond; a rule that tries every position twice would take minutes
@pytest.mark.parametrize("frame", FRAMES)
def test_long_fields_are_read_in_one_pass(frame: Callable[[int], bytes]) -> None:
    for _ in range(20):
        accepted(b"GET / HTTP/1.1\r\nHost: a\r\n" + frame(60_000))
