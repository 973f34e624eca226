"""What is remembered of heads changes the cost and never the meaning: a head read before, or nearly, is read the same.

The oracle is the same code with its memories emptied before every head.
"""

import pytest
from http1_wire import forward, relay
from hypothesis import given
from hypothesis import strategies as st

from sidecar.http1 import blocks, fields, forwarded, request, response
from sidecar.http1.errors import ProtocolError
from sidecar.http1.forwarded import Peer
from sidecar.http1.request import RequestHead, parse_request, recall_request
from sidecar.http1.response import ResponseHead, parse_response

STABLE = b"Accept: */*|User-Agent: x|user-agent:  y|Cookie: S=1|Cookie: S=2|Connection: keep-alive|Connection: close"
SPECIAL = (
    b"Content-Length: 5|Content-Length: 0|Transfer-Encoding: chunked|X-Forwarded-For: 10.0.0.1|X-Real-IP: 1.2.3.4"
    b"|TE: trailers|Expect: 100-continue|Authorization: Bearer a|Content-Type: a/b|Upgrade: h2c|X_C: 1|Remote-User: a"
    b"|X-HTTP-Method-Override: PUT|Connection: x-request-id|Host: b|Content_Length: 5|OIDC_CLAIM_a: b"
)
VARYING = (
    b"X-Request-ID: 1|X-Request-ID: 2|x-request-id: 3|Referer: /a|Referer:/b |X-Odd: \xa0|X: \x00|X : y|If-Match: a"
)
LINES = st.lists(st.sampled_from(b"|".join((STABLE, SPECIAL, VARYING, VARYING)).split(b"|")), max_size=5)
START = st.sampled_from(
    [b"GET / HTTP/1.1"] * 3
    + [b"POST /a?b HTTP/1.1", b"PROPFIND / HTTP/1.1", b"GET / HTTP/1.0", b"GET http://c/ HTTP/1.1", b"TRACE / HTTP/1.1"]
)
HEADS = st.lists(
    st.builds(lambda start, lines: b"\r\n".join([start, b"Host: a", *lines, b"", b""]), START, LINES), max_size=8
)
# Of two heads that differ in one line, so that one is found by the other.
PAIRS = st.builds(
    lambda start, lines, one, other: [
        b"\r\n".join([start, b"Host: a", *lines[:2], each, *lines[2:], b"", b""]) for each in (one, other, one, other)
    ],
    START,
    st.lists(st.sampled_from(STABLE.split(b"|") + VARYING.split(b"|")), max_size=4),
    st.sampled_from(VARYING.split(b"|")),
    st.sampled_from((VARYING + b"|" + SPECIAL).split(b"|")),
)
# Of an ingress, which writes one or two ids into every head; now and then one that is odd.
ID = st.sampled_from(
    [b"X-Request-ID: %d" % number for number in range(5)]
    + b"traceparent: a|traceparent: b|x-request-id: %b|X-Request-ID: %s|X-Request-ID:1|X-Request-ID: \x00"
    b"|X-Request-ID: 1 2|X-Request-ID: |\x00|A: 1|X-Request-ID: 1\r\nX-Request-ID: 1".split(b"|")
)
STREAMS = st.builds(
    lambda before, after, ids: [
        b"\r\n".join([b"GET / HTTP/1.1", b"Host: a", *before, *each, *after, b"", b""]) for each in ids
    ],
    st.lists(st.sampled_from([*STABLE.split(b"|"), *SPECIAL.split(b"|"), b"Cookie: a=%b%%", b"Via: \x00"]), max_size=2),
    st.lists(st.sampled_from(STABLE.split(b"|")), max_size=2),
    st.lists(st.lists(ID, min_size=1, max_size=2), min_size=2, max_size=8),
)
TRUSTED = Peer(b"10.0.0.1", is_trusted=True)


@pytest.fixture(autouse=True)
def _emptied() -> None:
    forget()


def forget() -> None:
    for reader in (request._reader, response._reader):
        reader._known.clear()
        reader._plain_names.clear()
    for memory in (request._memory.whole, request._memory.cut_out, request._memory._by_meaning, forwarded._told):
        memory.clear()
    request._memory._id_marks = ()
    response._heads.clear()
    response._holed.clear()


def read(head: bytes) -> object:
    """Everything that is known of a request, and what goes out for it; or why not."""
    try:
        found = parse_request(head, max_headers=6)
        return {name: getattr(found, name) for name in NAMES}, forward(found), TRUSTED.head(found)
    except ProtocolError as error:
        return error.status, error.reason


NAMES = tuple(
    name
    for name in ("method", "target", "version", "lines", *vars(RequestHead))
    if name[0] != "_" and name not in {"values", "fields", "block", "own"}
)


@given(st.one_of(HEADS, PAIRS, STREAMS))
def test_a_request_means_the_same_whatever_came_before(heads: list[bytes]) -> None:
    forget()
    warm = [read(head) for head in heads for _ in range(2)]
    cold = []
    for head in heads:
        forget()
        cold += [read(head)] * 2
    assert warm == cold


def read_response(head: bytes) -> object:
    try:
        found = parse_response(head)
        return {name: getattr(found, name) for name in RESPONSE_NAMES}, relay(found)
    except ProtocolError as error:
        return error.status, error.reason


RESPONSE_NAMES = tuple(
    name
    for name in ("status", "reason", "version", "lines", *vars(ResponseHead))
    if name != "plain_head" and name[0] != "_"
)


@given(st.one_of(HEADS, PAIRS), st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 204 x", b"HTTP/1.0 200 OK"]))
def test_a_response_means_the_same_whatever_came_before(heads: list[bytes], line: bytes) -> None:
    forget()
    heads = [line + b"\r\n" + head.partition(b"\r\n")[2].replace(b"Cookie", b"Set-Cookie") for head in heads]
    warm = [read_response(head) for head in heads for _ in range(2)]
    cold = []
    for head in heads:
        forget()
        cold += [read_response(head)] * 2
    assert warm == cold


def head(*lines: bytes, start: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([start, b"Host: a", b"Accept: */*", *lines, b"", b""])


def parse(*lines: bytes, start: bytes = b"GET / HTTP/1.1") -> RequestHead:
    return parse_request(head(*lines, start=start), max_headers=128)


def test_a_block_that_differs_in_one_plain_line_is_found_and_keeps_that_line_in_its_place() -> None:
    first = parse(b"X-Request-ID: 1", b"Cookie: S=1")
    second = parse(b"X-Request-ID: 2", b"Cookie: S=1")
    assert second.block is not None
    assert second.block is first.block
    assert second.lines == [b"Host: a", b"Accept: */*", b"X-Request-ID: 2", b"Cookie: S=1"]
    assert forward(second).split(b"\r\n")[1:5] == second.lines


def test_blocks_with_different_cookies_are_never_the_same() -> None:
    """What was found out about the cookies of one is kept with the block."""
    assert parse(b"X: 1", b"Cookie: S=1").block is not parse(b"X: 1", b"Cookie: S=2").block


def test_a_line_that_matters_is_never_taken_for_one_that_does_not() -> None:
    parse(b"X-Request-ID: 1")
    assert parse(b"Cookie: S=2").cookies == (b"S=2",)
    assert parse(b"X-Forwarded-For: 10.0.0.1").special[b"x-forwarded-for"] == [b"10.0.0.1"]
    assert not parse(b"Connection: close").keep_alive
    with pytest.raises(ProtocolError):
        parse(b"X-Request-ID : 1")


def test_a_block_that_repeats_after_all_is_found_by_its_bytes() -> None:
    for _ in range(2):
        parse(b"Referer: 1")
    assert parse(b"Referer: 1").block in request._memory.whole.values()


def test_a_block_is_found_by_its_bytes_but_for_the_ids_that_differ_each_time() -> None:
    for number in range(4):
        parse(b"X-Request-ID: %d" % number, b"Cookie: S=%b", b"Traceparent: %d" % number)
    first, again = (
        recall_request(head(b"X-Request-ID: %b" % value, b"Cookie: S=%b", b"Traceparent: -%b" % value), 9)
        for value in (b"x%d", b"y")
    )
    assert first is not None
    assert again is not None
    assert first.block is again.block
    assert first.lines[2:] == [b"X-Request-ID: x%d", b"Cookie: S=%b", b"Traceparent: -x%d"]
    assert forward(again).split(b"\r\n")[1:6] == again.lines
    assert recall_request(head(b"X-Request-ID: a b", b"Cookie: S=%b", b"Traceparent: c"), 9) is None
    assert recall_request(head(b"\x00", b"Cookie: S=%b", b"\x00"), 9) is None
    assert recall_request(head(b"\x00", b"Cookie: S=%b", b"Traceparent: c"), 9) is None
    assert recall_request(head(b"X-Request-ID: a", b"Cookie: S=%b", b"Traceparent: c"), 4) is None


@pytest.mark.parametrize("end", [b"", b"GET / HTTP/1.1\r\n", b"x\r\n\r\n", b"\r\n"])
def test_only_one_whole_head_and_nothing_else_is_recalled(end: bytes) -> None:
    for _ in range(2):
        parse(b"Accept: b")
    data = head(b"Accept: b")
    assert recall_request(data, 9) is not None
    assert recall_request(data + end if end else data[:-1], 9) is None
    assert recall_request(data + data, 9) is None


def test_an_id_that_is_there_twice_is_no_gap() -> None:
    """Which of the two a later head had in its place could not be told."""
    for number in range(5):
        twice = [b"X-Request-ID: %d" % number] * 2
        assert forward(parse(*twice)).count(twice[0]) == 2
    assert recall_request(head(b"X-Request-ID: 8", b"X-Request-ID: 8"), 9) is None
    assert forward(parse(b"X-Request-ID: 8", b"X-Request-ID: 4")).split(b"\r\n")[3:5] == [
        b"X-Request-ID: 8",
        b"X-Request-ID: 4",
    ]


def test_what_an_ingress_says_of_its_users_is_told_apart_by_peer_and_by_user() -> None:
    others = Peer(b"10.0.0.2", is_trusted=True), Peer(b"10.0.0.1", is_trusted=False)
    for number in range(6):
        for user in (b"1.1.1.1", b"2.2.2.2"):
            asked = parse(b"X-Request-ID: %d" % number, b"X-Forwarded-For: " + user, b"X-Forwarded-Proto: https")
            assert b"\r\nX-Forwarded-For: %b, 10.0.0.1\r\nX-Forwarded-Proto: https" % user in TRUSTED.head(asked)
            assert b"\r\nX-Forwarded-For: %b, 10.0.0.2\r\nX-Forwarded-Proto: https" % user in others[0].head(asked)
            assert b"\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: http\r" in others[1].head(asked)
            assert all(b"\r\nX-Request-ID: %d\r\n" % number in peer.head(asked) for peer in (TRUSTED, *others))


def test_an_overriding_field_is_looked_at_with_every_method() -> None:
    assert parse(b"X-HTTP-Method: PUT", start=b"POST / HTTP/1.1").overrides_method
    assert not parse(b"X-HTTP-Method: PUT").overrides_method
    assert parse(b"X-HTTP-Method: PUT", start=b"POST / HTTP/1.1").overrides_method


def test_long_lines_and_long_blocks_are_not_remembered() -> None:
    for size in (3000, 4000):
        parse(b"X: 1", b"Y: " + b"y" * size)
    parse(b"Accept-Language: " + b"x" * 1100)
    assert all(len(each) <= blocks.MAX_BLOCK_BYTES for each in request._memory.whole)
    assert all(sum(map(len, each.latest)) <= blocks.MAX_BLOCK_BYTES for each in request._memory._by_meaning.values())
    assert all(len(line) <= fields._MAX_KNOWN_LINE for line in request._reader._known)


@pytest.mark.parametrize(
    ("lines", "is_kept"),
    [
        ([b"P%d:" % number for number in range(45)], True),
        ([b"P%d:" % number for number in range(46)], False),  # with the others one too many
        ([b"_%d:" % number for number in range(22)], True),
        ([b"_%d:" % number for number in range(24)], False),  # each has to be looked at, and costs as much as ten
    ],
)
def test_a_block_of_many_lines_is_not_kept(lines: list[bytes], is_kept: bool) -> None:
    parse(b"Cookie: S=1", *lines)
    memory = request._memory
    assert bool(memory.whole or memory.cut_out or memory._by_meaning) is is_kept


def test_every_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (blocks, "_MAX_BLOCKS"),
        (fields, "_MAX_KNOWN"),
        (blocks, "_MAX_ID_MARKS"),
        (forwarded, "_MAX_TOLD"),
        (fields, "_MAX_NAMES"),
        (response, "_MAX_HEADS"),
    ):
        monkeypatch.setattr(module, name, 5)
    for number in range(30):
        for _ in range(3):
            parse(b"X-%d: 1" % number, b"Cookie: S=%d" % number)
            spelling = bytes(letter - (32 if number >> bit & 1 else 0) for bit, letter in enumerate(b"traceparent"))
            TRUSTED.head(parse(b"%b: %d" % (spelling, len(request._memory.cut_out)), b"X-Real-IP: %d" % number))
            parse_response(b"HTTP/1.1 200 OK\r\nDate: %d\r\nX: %d\r\n\r\n" % (number, number))
        for reader in (request._reader, response._reader):
            assert len(reader._known) <= 5
            assert len(reader._plain_names) <= 5
        assert len(request._memory._id_marks) <= 5
        for memory in (request._memory.whole, request._memory.cut_out, request._memory._by_meaning, forwarded._told):
            assert len(memory) <= 5
        for memory in (response._heads, response._holed):
            assert len(memory) <= 5


def test_a_block_that_is_nearly_known_still_counts_its_fields() -> None:
    parse(b"X-Request-ID: 1")
    with pytest.raises(ProtocolError) as caught:
        parse_request(head(b"X-Request-ID: 2"), max_headers=2)
    assert caught.value.status == 431


def test_a_nominated_field_is_taken_off_where_another_plain_one_stood() -> None:
    connection = b"Connection: x-hop"
    assert parse(connection, b"X-Other: 1").lines[2:] == [b"X-Other: 1"]
    assert parse(connection, b"X-Hop: 1").lines[2:] == []
    for line, expected in ((b"X-Other: 1", [b"X-Other: 1"]), (b"X-Hop: 1", [])):
        answer = b"\r\n".join((b"HTTP/1.1 200 OK", connection, line, b"", b""))
        assert parse_response(answer).lines == expected


def test_blocks_that_differ_each_time_do_not_crowd_out_those_that_repeat() -> None:
    for number in range(5):
        parse(b"X-Request-ID: %d" % number)
    assert not request._memory.whole


def test_an_answer_that_is_nearly_known_goes_out_with_its_own_lines() -> None:
    for number in range(3):
        answer = b"HTTP/1.1 200 OK\r\nX-Request-ID: %d\r\nContent-Length: 5\r\n\r\n" % number
        assert relay(parse_response(answer)) == answer


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 x"])
@pytest.mark.parametrize(
    "line",
    b"Set-Cookie: S=1|Content-Length: 5|Transfer-Encoding: chunked|Connection: close|Upgrade: websocket".split(b"|"),
)
def test_an_answer_that_is_nearly_known_means_what_it_says(start: bytes, line: bytes) -> None:
    heads = [b"%b\r\n%b\r\nX-Request-ID: %d\r\n\r\n" % (start, line, number) for number in range(3)]
    warm = [read_response(head) for head in heads]
    cold = []
    for head in heads:
        forget()
        cold.append(read_response(head))
    assert warm == cold
