"""The `traceparent` field of W3C Trace Context (level 1, https://www.w3.org/TR/trace-context/), without I/O.

The sidecar makes no spans. A valid parent passes as it came, bytes and all; where there is none, an edge may begin a
trace, so that the app's log and the access log can be laid side by side. Ids are random, not secret: they need to be
different, no more, and the caller says where from. What a stranger sends is taken only in the exact form of the
specification, hence bounded.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

from sidecar.http1.fields import parse_line, without
from sidecar.http1.request import RequestHead

# Section 3.2.2: lower-case hex only. 00 has nothing after the flags; a later version may, behind a dash (section 4.3).
_PARENT: Final = re.compile(
    rb"(?:00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}"
    rb"|(?!00|ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-[\x21-\x7e]{0,200})?)"
)
_NO_TRACE: Final = b"0" * 32
_NO_PARENT: Final = b"0" * 16
_NOT_ZERO: Final = 1 << 64 | 1  # neither id may be all zeros
_NAMES: Final = frozenset((b"traceparent", b"tracestate"))

Draw = Callable[[int], int]  # that many random bits: `random.getrandbits`


def begin_trace(request: RequestHead, draw: Draw) -> None:
    """Have the request carry exactly one valid `traceparent`: its own, or that of a new trace.

    A `tracestate` means nothing without the parent that it came with: it goes as well (section 3.3).
    """
    found = _trace_lines(request)
    if found:
        if _own(found)[1] is not None:
            return
        request.lines = without(request.lines, _NAMES)
        request.block = None  # it is not that block any more
    request.added = _new_line(draw) + b"\r\n"


def trace_id(request: RequestHead) -> bytes | None:
    """The 32 hex digits of the trace that the request belongs to; None where it names none, or no valid one."""
    return _own([request.added[:-2]] if request.added else _trace_lines(request))[1]


def _trace_lines(request: RequestHead) -> list[bytes]:
    block = request.block
    if block is None or not block.sent:
        return _among(request.lines)
    if block.traces is None:
        block.traces = _among(block.lines)
    return block.traces + _among(request.own) if request.own else block.traces


def _among(lines: Iterable[bytes]) -> list[bytes]:
    # The first look is for the first letter alone: this runs over every line of a request.
    return [line for line in lines if line[0] | 0x20 == 0x74 and line[:5].lower() == b"trace"]


def _own(lines: list[bytes]) -> tuple[bytes, bytes | None]:
    """The only `traceparent` line and its trace id; no id when it is absent, repeated or invalid."""
    parents = [line for line in lines if line[:12].lower() == b"traceparent:"]
    if len(parents) != 1:
        return b"", None  # section 3.2: several parents are none
    parent = _PARENT.fullmatch(parse_line(parents[0])[1])
    if parent is None:
        return b"", None
    trace, span = parent[1] or parent[3], parent[2] or parent[4]
    return (b"", None) if trace == _NO_TRACE or span == _NO_PARENT else (parents[0], trace)


def _new_line(draw: Draw) -> bytes:
    """A new trace, not sampled: whether to record it is for those who record."""
    ids = (draw(192) | _NOT_ZERO).to_bytes(24).hex()  # half the price of formatting numbers
    return f"traceparent: 00-{ids[:32]}-{ids[32:]}-00".encode()
