"""The traceparent of W3C Trace Context: which one counts, what takes the place of one that does not."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.http1.request import RequestHead, parse_request
from sidecar.http1.trace import trace_id, traceparent_line, with_trace

TRACE, SPAN = b"0af7651916cd43dd8448eb211c80319c", b"b7ad6b7169203331"
VALID = b"00-%b-%b-01" % (TRACE, SPAN)
NEW = re.compile(rb"traceparent: 00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00")


def request(*lines: bytes) -> RequestHead:
    head = b"\r\n".join((b"GET / HTTP/1.1", b"Host: app.example", *lines, b"", b""))
    return parse_request(head, max_headers=100)


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
    assert traceparent_line(asked, random.getrandbits) == line
    assert with_trace(asked, random.getrandbits) is asked.lines
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
    assert NEW.fullmatch(traceparent_line(asked, random.getrandbits))
    sent = with_trace(asked, random.getrandbits)
    (parent,) = parents(sent)
    assert NEW.fullmatch(parent)
    assert not any(line.lower().startswith(b"tracestate:") for line in sent)  # section 3.3: it belonged to the parent
    assert b"Te-st: kept" in sent
    assert b"Accept: */*" in sent


def test_the_lines_of_a_remembered_block_are_not_touched() -> None:
    first, again = request(b"Accept: text/html"), request(b"Accept: text/html")
    with_trace(first, random.getrandbits)
    assert parents(again.lines) == []
    assert again.block is not None
    assert parents(again.block.lines) == []


def test_what_was_made_is_what_the_log_finds() -> None:
    asked = request()
    asked.lines = with_trace(asked, random.getrandbits)
    (parent,) = parents(asked.lines)
    assert trace_id(asked) == parent[16:48]


@given(st.integers(0, 2**192 - 1))
def test_whatever_is_drawn_makes_a_valid_parent(number: int) -> None:
    line = traceparent_line(request(), lambda _bits: number)
    assert NEW.fullmatch(line)
    assert trace_id(request(line)) is not None


def test_the_least_and_the_greatest_draw_are_valid_too() -> None:
    for number in (0, 2**192 - 1, 1 << 64, 1):
        assert NEW.fullmatch(traceparent_line(request(), lambda _bits, drawn=number: drawn))


@given(st.binary(max_size=80).filter(lambda text: not re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", text)))
def test_a_stranger_never_gets_more_than_32_digits_into_the_log(value: bytes) -> None:
    found = trace_id(request(b"traceparent: " + value))
    assert found is None or re.fullmatch(rb"[0-9a-f]{32}", found)
