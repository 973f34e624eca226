"""Header blocks of requests that were read before: what they mean, and what goes on to the app for them.

A browser repeats its header block from request to request. What it means depends on its bytes alone, so a block is read
once and found again by them. Where a few lines differ each time, such as the `X-Request-ID` of an ingress, it is found
by the meanings of the others; the lines that differ are read, and may only be fields that nobody has to look at.

Remembering changes the cost and never the meaning. Both memories are bounded, and forget everything when they are full:
a stranger who fills them costs everybody one more reading, no more.
"""

from collections.abc import Mapping

from sidecar.http1.fields import FieldReader, Holes, Known

_MAX_BLOCKS = 4096
MAX_BLOCK_BYTES = 2048  # longer ones are not remembered: so each memory has some 20 MiB at the most


class Block:
    """What one header block means. Never changed, but for what was found out about it."""

    __slots__ = ("cookies", "count", "holes", "host", "latest", "lines", "remembered", "sent", "tail", "traits")

    def __init__(
        self, *, host: bytes, cookies: tuple[bytes, ...], lines: list[bytes], count: int, traits: Mapping[str, object]
    ) -> None:
        self.host = host
        self.cookies = cookies
        self.lines = lines  # that go on to the app
        self.count = count  # of the lines that came
        self.traits = traits  # what else the head is told apart by, if anything
        self.sent = b""  # the lines as they go out, checked; empty where they differ each time
        self.tail = b"\r\n"  # the framing, and the end of the head
        self.holes: Holes = ()  # the lines that differ
        self.latest = lines  # the lines of the request before
        self.remembered: tuple[object, bytes] | None = None  # what the cookies meant: whose word that is, and what

    def with_lines(self, lines: list[bytes], sent: bytes) -> "Block":
        """The same block with its holes filled: one that repeats after all."""
        block = Block(host=self.host, cookies=self.cookies, lines=lines, count=self.count, traits=self.traits)
        block.sent, block.tail, block.remembered = sent, self.tail, self.remembered
        return block


class Memory:
    """The blocks of one process, by their bytes (`whole`) and by the meanings of their lines."""

    __slots__ = ("_by_meaning", "_reader", "whole")

    def __init__(self, reader: FieldReader) -> None:
        self._reader = reader
        self.whole: dict[bytes, Block] = {}
        self._by_meaning: dict[Known, Block] = {}

    def keep(self, rest: bytes, block: Block) -> None:
        """Remember a block by what followed the target: version and fields."""
        if len(self.whole) >= _MAX_BLOCKS:
            self.whole.clear()
        self.whole[rest] = block

    def keep_holed(self, lines: list[bytes], block: Block) -> bool:
        """Remember a block by the lines that repeat; False when all do, or when one that differs is remarkable."""
        known = self._reader.recall(lines)  # again: by now more is remembered
        block.holes = self._reader.holes(lines, known) or ()
        if block.holes:
            if len(self._by_meaning) >= _MAX_BLOCKS:
                self._by_meaning.clear()
            self._by_meaning[known] = block
        return bool(block.holes)

    def find_holed(self, lines: list[bytes], max_lines: int) -> tuple[Block, list[bytes]] | None:
        """The block that these lines are, but for some, and all the lines to send on. Raises ProtocolError."""
        block = self._by_meaning.get(self._reader.recall(lines))
        if block is None or block.count > max_lines:
            return None
        filled = self._reader.fill(block.holes, lines, block.lines)
        return None if filled is None else (block, filled)
