"""The chunked coding: what is refused, what comes out, and that no segmentation changes either."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.http1.chunked import MAX_EXTENSIONS, MAX_LINE, MAX_TRAILERS, ChunkedDecoder, encode_chunk, encode_end
from sidecar.http1.errors import ProtocolError

Read = tuple[bytes, list[tuple[bytes, bytes]], bytes, bool]


def decode(*segments: bytes) -> Read:
    """Content, trailers, what followed, and whether the end was seen."""
    decoder = ChunkedDecoder(400)
    content, rest = [], b""
    for segment in segments:
        if decoder.done:
            rest += segment
        else:
            content += decoder.feed(segment)
    assert all(content), "a piece of content is never empty"
    return b"".join(content), decoder.trailers, decoder.rest + rest, decoder.done


def single_bytes(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


@pytest.mark.parametrize(
    ("body", "content", "trailers", "rest"),
    [
        (b"0\r\n\r\n", b"", [], b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello", [], b""),
        (b"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1", b"hello", [], b"GET / HTTP/1.1"),
        (b"000a\r\n0123456789\r\n000\r\n\r\n", b"0123456789", [], b""),
        (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789", [], b""),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", [], b""),
        (b"5;name\r\nhello\r\n0;a=b;c=\r\n\r\n", b"hello", [], b""),
        (b"0\r\nX-Sum: 1\r\nx-sum:2 \r\n\r\nrest", b"", [(b"X-Sum", b"1"), (b"x-sum", b"2")], b"rest"),
        (b"0\r\nX: \xff\t\xfc\r\n\r\n", b"", [(b"X", b"\xff\t\xfc")], b""),
        (b"0\r\nX:\r\n\r\n", b"", [(b"X", b"")], b""),
    ],
)
def test_content_trailers_and_what_follows_come_out(
    body: bytes, content: bytes, trailers: list[tuple[bytes, bytes]], rest: bytes
) -> None:
    expected = (content, trailers, rest, True)
    assert decode(body) == expected
    assert decode(*single_bytes(body)) == expected
    for split in range(len(body) + 1):
        assert decode(body[:split], body[split:]) == expected, split


@pytest.mark.parametrize(
    ("case", "body"),
    [
        (7, b"0x5\r\nhello\r\n"),
        (7, b"+5\r\nhello\r\n"),
        (7, b"-5\r\nhello\r\n"),
        (7, b"5_0\r\n"),
        (7, b" 5\r\nhello\r\n"),
        (7, b"5 \r\nhello\r\n"),
        (7, b"5\t\r\nhello\r\n"),
        (7, b"\r\nhello\r\n"),
        (7, b"5g\r\nhello\r\n"),
        (7, b"g\r\n"),
        (7, b"1234567890abcdef\r\n"),  # 16 digits
        (7, b"00000000000000005\r\nhello\r\n"),
        (7, "\u0665\r\nhello\r\n".encode()),
        (7, b"5\nhello\r\n"),  # a bare LF ends a line for some
        (7, b"5\rhello\r\n"),
        (7, b"5\r\r\nhello\r\n"),
        (7, b"5\r\nhello\n0\r\n\r\n"),
        (7, b"5\r\nhello\rX"),
        (8, b"5;\r\nhello\r\n"),
        (8, b"5; a\r\nhello\r\n"),
        (8, b"5 ;a\r\nhello\r\n"),
        (8, b'5;a="b\r\nhello\r\n'),
        (8, b'5;a="b"\r\nhello\r\n'),
        (8, b"5;a\nb\r\nhello\r\n"),
        (8, b"5;a\x00\r\nhello\r\n"),
        (8, b"5;a\rb\r\nhello\r\n"),
        (8, b"5;" + b"a" * MAX_LINE + b"\r\nhello\r\n"),
        (9, b"5\r\nhello!\r\n0\r\n\r\n"),  # longer than it says
        (9, b"5\r\nhell\r\n0\r\n\r\n"),  # shorter
        (10, b"5\r\nhello\r\nX\r\n0\r\n\r\n"),  # never resynchronised
        (11, b"0\r\n Cookie: a\r\n\r\n"),
        (11, b"0\r\nX: a\r\n b\r\n\r\n"),
        (11, b"0\r\nX : a\r\n\r\n"),
        (11, b"0\r\nX\r\n\r\n"),
        (11, b"0\r\n: a\r\n\r\n"),
        (11, b"0\r\nX: a\x00b\r\n\r\n"),
        (11, b"0\r\nX: a\rb\r\n\r\n"),
        (11, b"0\r\nX: a\nY: b\r\n\r\n"),
        (11, b"0\r\n\n"),
        (11, b"0\r\nX: " + b"a" * MAX_LINE + b"\r\n\r\n"),
        (11, b"0\r\n" + b"X: aaaaaaaaaaaa\r\n" * (MAX_TRAILERS // 15 + 1) + b"\r\n"),
    ],
)
def test_what_two_parsers_read_differently_ends_the_connection(case: int, body: bytes) -> None:
    for segments in ([body], single_bytes(body)):
        with pytest.raises(ProtocolError) as caught:
            decode(*segments)
        assert caught.value.status == 400
        assert caught.value.reason in {"bad_chunk", "bad_trailer"}


def test_the_app_is_blamed_for_its_own_chunks() -> None:
    with pytest.raises(ProtocolError) as caught:
        ChunkedDecoder(502).feed(b"x\r\n")
    assert caught.value.status == 502


@pytest.mark.parametrize("size", [MAX_TRAILERS - 1, MAX_TRAILERS, MAX_TRAILERS + 1])
def test_trailers_have_a_limit_in_all(size: int) -> None:
    lines = [b"A:" + b"x" * 2046] * 3 + [b"B:" + b"x" * (size - 3 * 2048 - 2)]
    body = b"0\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"
    if size <= MAX_TRAILERS:
        assert decode(body)[3]
    else:
        with pytest.raises(ProtocolError):
            decode(body)


@pytest.mark.parametrize(
    "name",
    [
        b"Cookie",
        b"Host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"transfer_encoding",
        b"Authorization",
        b"Set-Cookie",
        b"X-Forwarded-For",
        b"X_FORWARDED_FOR",
        b"X-Real-IP",
        b"Forwarded",
        b"Connection",
        b"Upgrade",
        b"Content-Type",
        b"Sec-WebSocket-Key",
        b"TE",
        b"Trailer",
    ],
)
def test_fields_that_frame_route_or_authenticate_are_no_trailers(name: bytes) -> None:
    """Reference case 11: dropped, and what stands beside them stays."""
    assert decode(b"0\r\nA: 1\r\n%b: x\r\nB: 2\r\n\r\n" % name)[1] == [(b"A", b"1"), (b"B", b"2")]


@pytest.mark.parametrize("name", [b"Remote_User", b"OIDC_CLAIM_sub", b"X-Auth-Token", b"x.auth.token", b"If-Match"])
def test_fields_that_identify_or_condition_are_no_trailers_either(name: bytes) -> None:
    assert decode(b"0\r\n%b: x\r\n\r\n" % name)[1] == []


@pytest.mark.parametrize(("name", "is_kept"), [(b"X-Hop", False), (b"x_hop", False), (b"X-Other", True)])
def test_fields_that_are_dropped_from_the_head_are_dropped_from_the_trailers(name: bytes, is_kept: bool) -> None:
    decoder = ChunkedDecoder(400, frozenset((b"x-hop",)))
    decoder.feed(b"0\r\n%b: x\r\n\r\n" % name)
    assert bool(decoder.trailers) is is_kept


@pytest.mark.parametrize("spare", [0, -1])
def test_extensions_have_a_limit_in_all(spare: int) -> None:
    extension = b";" + b"a" * 1023
    body = (b"1" + extension[:1024] + b"\r\nx\r\n") * (MAX_EXTENSIONS // 1023)
    rest = MAX_EXTENSIONS - MAX_EXTENSIONS // 1023 * 1023 - spare
    last = b"0;" + b"a" * rest + b"\r\n\r\n"
    if spare:
        with pytest.raises(ProtocolError) as caught:
            decode(body + last)
        assert caught.value.reason == "bad_chunk"
    else:
        assert decode(body + last)[3]


def test_an_unfinished_body_is_not_done() -> None:
    """Reference case 62: only the last empty line ends it."""
    body = b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"
    assert [decode(body[:end])[3] for end in range(len(body))] == [False] * len(body)


def test_content_is_handed_on_before_its_chunk_is_complete() -> None:
    """Reference case 74: a chunk of a stream may take minutes."""
    decoder = ChunkedDecoder(400)
    assert decoder.feed(b"ffffffff\r\nabc") == [b"abc"]
    assert decoder.feed(b"def") == [b"def"]


def test_bytes_that_wait_for_the_rest_of_a_line_are_bounded() -> None:
    decoder = ChunkedDecoder(400)
    for _ in range(MAX_LINE - 1):
        decoder.feed(b"0")
    with pytest.raises(ProtocolError):
        decoder.feed(b"0")


CONTENT = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
TRAILERS = st.lists(
    st.tuples(
        st.sampled_from([b"X-Sum", b"Digest", b"x-a"]),
        st.binary(max_size=20).filter(lambda value: not set(value) & {*range(9), *range(10, 32), 127}).map(bytes.strip),
    ),
    max_size=3,
)


@given(CONTENT, TRAILERS, st.data())
def test_what_was_encoded_is_decoded_under_every_segmentation(
    pieces: list[bytes], trailers: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    body = b"".join(map(encode_chunk, pieces)) + encode_end(trailers) + b"NEXT"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    segments = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    assert decode(*segments) == (b"".join(pieces), trailers, b"NEXT", True)


@given(CONTENT, TRAILERS)
def test_h11_reads_the_same_from_what_was_encoded(pieces: list[bytes], trailers: list[tuple[bytes, bytes]]) -> None:
    body = b"".join(map(encode_chunk, pieces)) + encode_end(trailers)
    content, read = by_h11(body)
    assert content == b"".join(pieces)
    assert read == [(name.lower(), value) for name, value in trailers]


# Pieces of chunked bodies, right and wrong, to be put together in any order.
FRAGMENTS = st.lists(
    st.sampled_from(
        [
            b"0",
            b"1",
            b"5",
            b"a",
            b"\r\n",
            b"\n",
            b"\r",
            b";",
            b"a=b",
            b'"',
            b" ",
            b"hello",
            b"X: y",
            b"0\r\n\r\n",
            b"\x00",
        ]
    ),
    max_size=14,
).map(b"".join)


@given(st.one_of(FRAGMENTS, st.binary(max_size=40)))
def test_any_bytes_are_content_or_a_protocol_error(body: bytes) -> None:
    try:
        whole = decode(body)
    except ProtocolError:
        with pytest.raises(ProtocolError):
            decode(*single_bytes(body))
    else:
        assert decode(*single_bytes(body)) == whole


@given(FRAGMENTS)
def test_what_is_accepted_h11_reads_the_same(body: bytes) -> None:
    try:
        content, _, rest, done = decode(body)
    except ProtocolError:
        return
    if done and not rest:
        assert by_h11(body)[0] == content


def by_h11(body: bytes) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    content = b""
    while True:
        event = server.next_event()
        if isinstance(event, h11.Data):
            content += event.data
        elif isinstance(event, h11.EndOfMessage):
            return content, [(bytes(name), bytes(value)) for name, value in event.headers]
        else:
            assert isinstance(event, h11.Request), event


# -- many small chunks ---------------------------------------------------------------------------------------------


def test_many_chunks_that_come_together_go_on_as_one_piece() -> None:
    decoder = ChunkedDecoder(400)
    assert decoder.feed(b"1\r\na\r\n2\r\nbc\r\n3;x\r\ndef\r\n1\r\n") == [b"abcdef"]
    assert decoder.feed(b"g") == [b"g"]
    assert decoder.feed(b"\r\n0\r\n\r\n") == []
    assert decoder.done


@given(sizes=st.lists(st.integers(1, 12), max_size=40), turn=st.integers(1, 8), cut=st.integers(0, 200))
def test_a_decoder_that_works_in_turns_loses_and_changes_nothing(sizes: list[int], turn: int, cut: int) -> None:
    content = bytes(range(256)) * 2
    chunks, place = b"", 0
    for size in sizes:
        chunks += encode_chunk(content[place : place + size])
        place += size
    body = chunks + b"0\r\nX: 1\r\n\r\nnext"
    decoder, got, waiting = ChunkedDecoder(400, turn=turn), b"", b""
    for segment in (body[:cut], body[cut:]):
        waiting += segment
        while waiting and not decoder.done:
            got += b"".join(decoder.feed(waiting))
            waiting = decoder.rest
            assert decoder.chunks <= turn
    assert (got, decoder.done, waiting) == (content[:place], True, b"next")


def test_a_turn_ends_after_so_many_chunks_and_the_next_begins_with_the_rest() -> None:
    decoder = ChunkedDecoder(400, turn=3)
    assert decoder.feed(b"1\r\na\r\n" * 5) == [b"aaa"]
    assert decoder.rest
    assert not decoder.done
    assert decoder.feed(decoder.rest) == [b"aa"]
    assert decoder.rest == b""
