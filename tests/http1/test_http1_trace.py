"""The traceparent of W3C Trace Context: which one counts, what takes the place of one that does not."""

import random
import re

import pytest
from http1_wire import forward
from hypothesis import given
from hypothesis import strategies as st

from sidecar.http1.request import RequestHead, parse_request
from sidecar.http1.trace import begin_trace, trace_id

TRACE, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"
VALID = b"00-%b-%b-01" % (TRACE, SPAN)
NEW = re.compile(rb"traceparent: 00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00")


def request(*lines: bytes) -> RequestHead:
    head = b"\r\n".join((b"GET / HTTP/1.1", b"Host: app.example", *lines, b"", b""))
    return parse_request(head, max_headers=100)


def sent(asked: RequestHead) -> list[bytes]:
    """The lines for the app."""
    return forward(asked).split(b"\r\n")[1:-2]


def parents(lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if line.lower().startswith(b"traceparent:")]


@pytest.mark.parametrize(
    "value",
    [
        VALID,
        VALID[:-2] + b"00",
        VALID[:-2] + b"ff",  # flags that nobody knows yet
        b"01" + VALID[2:],  # section 4.3: a later version is read as far as it is known
        b"cc" + VALID[2:] + b"-what-the-future-will-be-like",
        b"fe" + VALID[2:] + b"-",
    ],
)
@pytest.mark.parametrize("name", [b"traceparent", b"Traceparent", b"TRACEPARENT"])
def test_a_valid_parent_goes_on_as_it_came(name: bytes, value: bytes) -> None:
    line = b"%b: %b" % (name, value)
    asked = request(b"Accept: */*", line, b"tracestate: vendor=1")
    before = sent(asked)
    begin_trace(asked, random.getrandbits)
    assert sent(asked) == before
    assert line in before
    assert trace_id(asked) == TRACE


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b"traceparent:"],
        [b"traceparent: x"],
        [b"traceparent: ff" + VALID[2:]],
        [b"traceparent: " + VALID.upper()],
        [b"traceparent: " + VALID + b"-more"],  # version 00 ends with its flags
        [b"traceparent: 01" + VALID[2:] + b"."],
        [b"traceparent: 01" + VALID[2:] + b"-" + b"x" * 5000],  # nothing of that length goes into a log
        [b"traceparent: " + VALID[:-1]],
        [b"traceparent: 00-%b-%b-01" % (b"0" * 32, SPAN)],
        [b"traceparent: 00-%b-%b-01" % (TRACE, b"0" * 16)],
        [b"traceparent: 00-%b-%b-01" % (TRACE[:-1] + b"\xe9", SPAN)],
        [b"traceparent: " + VALID, b"traceparent: " + VALID],  # section 3.2: one, or none
        [b"traceparent: " + VALID, b"Traceparent: x"],
        [b"traceparent: " + VALID + b", " + VALID],
        [b"x-traceparent: " + VALID],
        [b"traceparents: " + VALID],
    ],
)
def test_absent_repeated_and_invalid_parents_give_way_to_a_new_one(lines: list[bytes]) -> None:
    asked = request(b"Accept: */*", *lines, b"TraceState: vendor=1", b"Te-st: kept")
    assert trace_id(asked) is None
    begin_trace(asked, random.getrandbits)
    told = sent(asked)
    (parent,) = parents(told)
    assert NEW.fullmatch(parent)
    assert not any(line.lower().startswith(b"tracestate:") for line in told)  # section 3.3: it belonged to the parent
    assert b"Te-st: kept" in told
    assert b"Accept: */*" in told


def test_the_lines_of_a_remembered_block_are_not_touched() -> None:
    first, again = request(b"Accept: text/html"), request(b"Accept: text/html")
    begin_trace(first, random.getrandbits)
    assert first.block is again.block is not None
    assert parents(sent(again)) == []
    begin_trace(again, random.getrandbits)
    assert len({*parents(sent(first)), *parents(sent(again))}) == 2


def test_what_was_made_is_what_the_log_finds() -> None:
    for line in (b"A: 1", b"X-Request-ID: 1", b"X-Request-ID: 2", b"X-Request-ID: 3", b"traceparent: x"):
        asked = request(line)
        begin_trace(asked, random.getrandbits)
        (parent,) = parents(sent(asked))
        assert trace_id(asked) == parent[16:48]


@pytest.mark.parametrize("other", [b"X-Request-ID: %d", b"X-Other: %d", b"X-Forwarded-For: 1.2.3.%d", b"X: y"])
def test_a_parent_is_found_however_the_head_is_remembered(other: bytes) -> None:
    """By its bytes, by its meaning, or but for the lines that differ each time, of which the parent may be one."""
    for number in range(6):
        trace = b"%032x" % (number + 1)
        asked = request(other.replace(b"%d", b"%d" % number), b"traceparent: 00-%b-%b-01" % (trace, SPAN))
        begin_trace(asked, random.getrandbits)
        assert trace_id(asked) == trace
        assert len(parents(sent(asked))) == 1


@given(st.integers(0, 2**192 - 1))
def test_whatever_is_drawn_makes_a_valid_parent(number: int) -> None:
    asked = request()
    begin_trace(asked, lambda _bits: number)
    (line,) = parents(sent(asked))
    assert NEW.fullmatch(line)
    assert trace_id(request(line)) is not None


def test_the_least_and_the_greatest_draw_are_valid_too() -> None:
    for number in (0, 2**192 - 1, 1 << 64, 1):
        asked = request()
        begin_trace(asked, lambda _bits, drawn=number: drawn)
        assert NEW.fullmatch(parents(sent(asked))[0])


@given(st.binary(max_size=80).filter(lambda text: not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", text)))
def test_a_stranger_never_gets_more_than_32_digits_into_the_log(value: bytes) -> None:
    found = trace_id(request(b"traceparent: " + value))
    assert found is None or re.fullmatch(rb"[0-9a-f]{32}", found)
