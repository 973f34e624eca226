"""Header blocks of requests that were read before: what they mean, and what goes on to the app for them.

A browser repeats its header block from request to request. What it means depends on its bytes alone, so a block is read
once and found again by them. Where a few lines differ each time it is found by the meanings of the others; the lines
that differ are read, and may only be fields that nobody has to look at. Most deployments have an ingress that writes a
new `X-Request-ID` into every head, so such a line is cut out of the bytes, and the block is found by what is left.

Remembering changes the cost and never the meaning. Both memories are bounded, and forget everything when they are full:
a stranger who fills them costs everybody one more reading, no more.
"""

import re
from collections.abc import Mapping
from typing import Final

from sidecar.http1.fields import FieldReader, Holes, Known

_MAX_BLOCKS = 4096
# Others are not remembered. A browser behind an ingress sends some 30 fields, ten of which have to be looked at. What a
# block costs goes by its lines, most by those that have to be looked at. Measured: 6 KiB for 40 plain lines, 14 KiB at
# the worst; so each of the three memories has 55 MiB at the most.
MAX_BLOCK_BYTES = 2048
MAX_BLOCK_LINES = 48
MAX_SPECIAL = 24

# Whoever is in front gives each request one of its own: ingress-nginx, Envoy, HAProxy, AWS, Google, tracing.
_IDS: Final = frozenset(
    b"x-request-id x-correlation-id traceparent x-amzn-trace-id x-cloud-trace-context x-b3-traceid x-b3-spanid".split()
)
_MAX_ID_MARKS: Final = 4  # spellings of these that are looked for
_ID: Final = re.compile(rb"[\x21-\x7e]{1,256}")
GAP: Final = b"\x00"  # where such a line was; no head with this byte in it is ever looked for


class Traits:
    """What a header block says besides its host and its cookies, as `request.RequestHead` has it."""

    __slots__ = (
        "accepts_trailers",
        "chunked",
        "content_length",
        "expects_continue",
        "has_body",
        "keep_alive",
        "special",
    )

    def __init__(
        self,
        *,
        special: Mapping[bytes, list[bytes]],
        keep_alive: bool,
        content_length: int | None,
        chunked: bool,
        has_body: bool,
        expects_continue: bool,
        accepts_trailers: bool,
    ) -> None:
        self.special = special
        self.keep_alive = keep_alive
        self.content_length = content_length
        self.chunked = chunked
        self.has_body = has_body
        self.expects_continue = expects_continue
        self.accepts_trailers = accepts_trailers


class Block:
    """What one header block means. Never changed, but for what was found out about it."""

    __slots__ = (
        "cookies",
        "count",
        "holes",
        "host",
        "is_about_client",
        "latest",
        "lines",
        "remembered",
        "sent",
        "tail",
        "traces",
        "traits",
    )

    def __init__(
        self,
        *,
        host: bytes,
        cookies: tuple[bytes, ...],
        lines: list[bytes],
        count: int,
        traits: Traits | None,
        is_about_client: bool,
    ) -> None:
        self.host = host
        self.cookies = cookies
        self.lines = lines  # that go on to the app; GAP for one of `Memory.cut`
        self.count = count  # of the lines that came
        self.traits = traits  # None: a plain block, as most attributes of a head are by default
        self.is_about_client = is_about_client  # so what goes on depends on the peer (`forwarded.py`)
        self.sent = b""  # the lines as they go out, checked, a format where they have gaps; empty while nobody knows
        self.tail = b"\r\n"  # the framing, and the end of the head
        self.holes: Holes = ()  # the lines that differ
        self.latest = lines  # the lines of the request before
        self.traces: list[bytes] | None = None  # the lines of a trace context
        self.remembered: tuple[object, bytes, tuple[bytes, ...]] | None = None  # whose word that is; what cookies meant

    def with_lines(self, lines: list[bytes], sent: bytes) -> "Block":
        """The same block with its holes filled: one that repeats after all."""
        block = Block(
            host=self.host,
            cookies=self.cookies,
            lines=lines,
            count=self.count,
            traits=self.traits,
            is_about_client=self.is_about_client,
        )
        block.sent, block.tail, block.remembered = sent, self.tail, self.remembered
        return block

    def filled(self, own: tuple[bytes, ...]) -> list[bytes]:
        """The lines, with these in the gaps."""
        lines = self.lines.copy()
        for line in own:
            lines[lines.index(GAP)] = line
        return lines


class Memory:
    """The blocks of one process, by their bytes (`whole`) and by the meanings of their lines."""

    __slots__ = ("_by_meaning", "_id_marks", "_reader", "cut_out", "whole")

    def __init__(self, reader: FieldReader) -> None:
        self._reader = reader
        self.whole: dict[bytes, Block] = {}
        self.cut_out: dict[bytes, Block] = {}  # by what `cut` leaves
        self._by_meaning: dict[Known, Block] = {}
        self._id_marks: tuple[bytes, ...] = ()  # the beginnings of lines that were seen to differ each time

    def keep(self, rest: bytes, block: Block) -> None:
        """Remember a block by what followed the target: version and fields."""
        blocks = self.cut_out if GAP in rest else self.whole
        if len(blocks) >= _MAX_BLOCKS:
            blocks.clear()
        blocks[rest] = block

    def keep_holed(self, lines: list[bytes], block: Block) -> bool:
        """Remember a block by the lines that repeat; False when all do, or when one that differs is remarkable."""
        known = self._reader.recall(lines)  # again: by now more is remembered
        block.holes = self._reader.holes(lines, known) or ()
        if block.holes:
            if len(self._by_meaning) >= _MAX_BLOCKS:
                self._by_meaning.clear()
            self._by_meaning[known] = block
            for index, _ in block.holes:
                self._note_id(lines[index].partition(b":")[0])
        return bool(block.holes)

    def _note_id(self, name: bytes) -> None:
        mark = b"\r\n%b: " % name
        if name.lower() in _IDS and mark not in self._id_marks:
            kept = self._id_marks if len(self._id_marks) < _MAX_ID_MARKS else ()
            self._id_marks = (*kept, mark)

    def cut(self, rest: bytes) -> tuple[bytes, tuple[bytes, ...]]:
        """The block without the ids that are this request's own, and their lines in order.

        What is cut is a complete line with a clean value, and it may only be one that nobody has to look at: whether
        the line is that, and the head clean around it, was found out when the block was remembered.
        """
        own: tuple[bytes, ...] = ()
        if GAP in rest:
            return rest, own
        last = 0
        for mark in self._id_marks:
            start = rest.find(mark, last)
            end = rest.find(b"\r\n", start + 2)
            if start >= 0 and _ID.fullmatch(rest, start + len(mark), end) is not None:
                own += (rest[start + 2 : end],)
                last = start + 2
                rest = rest[:last] + GAP + rest[end:]
        return rest, own

    def find_holed(self, lines: list[bytes], max_lines: int) -> tuple[Block, list[bytes]] | None:
        """The block that these lines are, but for some, and all the lines to send on. Raises ProtocolError."""
        block = self._by_meaning.get(self._reader.recall(lines))
        if block is None or block.count > max_lines:
            return None
        filled = self._reader.fill(block.holes, lines, block.lines)
        return None if filled is None else (block, filled)


def without_ids(lines: list[bytes], own: tuple[bytes, ...]) -> list[bytes] | None:
    """The lines with gaps for these; None where one is there twice, and nobody can say later which was meant."""
    if any(lines.count(line) != 1 for line in own):
        return None
    return [GAP if line in own else line for line in lines]
