"""The chunked transfer coding, without I/O.

httptools cannot say where a chunked message ends inside what it was fed, so a pipelined successor would be lost; and
llhttp forgives more than two parsers agree on. This decoder is strict: a size is hexadecimal digits and nothing else,
lines end with CRLF, extensions are tokens and are dropped. Anything else is a ProtocolError and the connection is over:
it never looks for the next plausible chunk (reference cases 7 and 10).
"""

import sys
from collections.abc import Callable, Container

from sidecar.field_names import fold
from sidecar.http1.errors import ProtocolError
from sidecar.http1.grammar import CHUNK_EXTENSION, CHUNK_SIZE, CHUNK_START, FIELD_LINE, has_framing, join_head
from sidecar.http1.names import METHOD_OVERRIDES, is_about_client

MAX_LINE = 4096  # a size line with extensions
MAX_EXTENSIONS = 16_384  # of all chunks together: nobody needs them, and they carry no content (RFC 9112 section 7.1.1)
MAX_TRAILERS = 8192  # all trailer lines together

LAST_CHUNK = b"0\r\n"

# Fields that frame, route, condition or authenticate a message are never trailers (RFC 9110 section 6.5.1, reference
# case 11). Some servers put trailers among the header fields, and some of those after the app has looked at them.
_FORBIDDEN_TRAILERS = METHOD_OVERRIDES | frozenset(
    b"accept-encoding age aspfiltersessionid authorization cache-control connection content-encoding content-length"
    b" content-location content-range content-type cookie cookie2 date expect expires host http2-settings if-match"
    b" if-modified-since if-none-match if-range if-unmodified-since keep-alive location max-forwards origin path-info"
    b" pragma proxy proxy-authenticate proxy-authorization proxy-connection range referer retry-after script-name"
    b" set-cookie set-cookie2 te trailer transfer-encoding upgrade vary via warning www-authenticate x-auth-key"
    b" x-auth-token x-original-method x-original-url x-rewrite-url x-script-name".split()
)


def encode_chunk(data: bytes) -> bytes:
    """One chunk on the wire. `data` is not empty: an empty chunk would end the message."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_end(trailers: list[tuple[bytes, bytes]]) -> bytes:
    """The end of a chunked message, with its trailers. Raises ProtocolError when they are unclean."""
    if not trailers:
        return b"0\r\n\r\n"
    end = join_head([b"0", *(b"%b: %b" % field for field in trailers)])
    if end is None or has_framing(end):  # the last check, as for heads
        raise ProtocolError(502, "bad_trailer")
    return end


class ChunkedDecoder:
    """Feed bytes, get content. `done` once the final chunk and the trailers were seen; `rest` is what followed.

    `turn`: how many chunks one feed takes at the most. When there are more, `rest` is what was not looked at: feed it
    next. Chunks of one byte cost so much more than their bytes that others have to have their turn in between.

    `dropped`: folded lower-case names that are no trailers here either, because `Connection` nominates them (RFC 9110
    section 7.6.1) or because the app takes a credential from them.
    """

    __slots__ = (
        "_blame",
        "_buffer",
        "_dropped",
        "_extension_bytes",
        "_missing",
        "_state",
        "_trailer_bytes",
        "_turn",
        "chunks",
        "done",
        "rest",
        "trailers",
    )

    def __init__(self, blame: int, dropped: Container[bytes] = (), *, turn: int = sys.maxsize) -> None:
        self._blame = blame  # status of errors: 400 for a client, 502 for the app
        self._turn = turn
        self._dropped = dropped
        self._extension_bytes = 0
        self._buffer = b""
        self._missing = 0  # bytes of the current chunk that have not come yet
        self._state: Callable[[bytes, int, list[bytes]], int] = self._size_line
        self._trailer_bytes = 0
        self.chunks = 0  # how many pieces of chunks the last feed has met: what it has cost
        self.done = False
        self.rest = b""
        self.trailers: list[tuple[bytes, bytes]] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The content in `data`, as one piece. Raises ProtocolError; the decoder is useless afterwards."""
        data = self._buffer + data if self._buffer else data
        pieces: list[bytes] = []
        position = 0
        while not self.done and len(pieces) < self._turn:
            if self._state == self._size_line:
                position = self._whole_chunks(data, position, pieces)
            advance = self._state(data, position, pieces)
            if advance < 0:
                break
            position = advance
        self.chunks = len(pieces)
        is_over = self.done or self.chunks >= self._turn
        self.rest, self._buffer = (data[position:], b"") if is_over else (b"", data[position:])
        return [b"".join(pieces)] if self.chunks > 1 else pieces  # a thousand tiny chunks go on as one

    def _whole_chunks(self, data: bytes, position: int, pieces: list[bytes]) -> int:
        """Take the chunks that are here completely and say nothing but their size: the same rules at a tenth of the
        cost. A stranger can put a hundred thousand of them into one megabyte.
        """
        turn, next_size = self._turn, CHUNK_START.match
        while len(pieces) < turn and (start := next_size(data, position)) is not None:
            begin = start.end()
            end = begin + int(start[1], 16)
            if end == begin or not data.startswith(b"\r\n", end):
                break
            pieces.append(data[begin:end])
            position = end + 2
        return position

    # Each state takes what it can from `data` at `position` and returns the new position, or -1 when it needs more.

    def _size_line(self, data: bytes, position: int, _pieces: list[bytes]) -> int:
        end = self._line_end(data, position, "bad_chunk")
        if end < 0:
            return -1
        size, semicolon, extension = data[position:end].partition(b";")
        if not CHUNK_SIZE.fullmatch(size) or not CHUNK_EXTENSION.fullmatch(semicolon + extension):
            raise ProtocolError(self._blame, "bad_chunk")
        self._extension_bytes += len(extension)
        if self._extension_bytes > MAX_EXTENSIONS:
            raise ProtocolError(self._blame, "bad_chunk")
        self._missing = int(size, 16)
        self._state = self._content if self._missing else self._trailer
        return end + 2

    def _content(self, data: bytes, position: int, pieces: list[bytes]) -> int:
        piece = data[position : position + self._missing]
        if not piece:
            return -1
        pieces.append(piece)
        self._missing -= len(piece)
        if not self._missing:
            self._state = self._content_end
        return position + len(piece)

    def _content_end(self, data: bytes, position: int, _pieces: list[bytes]) -> int:
        mark = data[position : position + 2]
        if mark == b"\r\n":
            self._state = self._size_line
            return position + 2
        if mark in (b"", b"\r"):
            return -1
        raise ProtocolError(self._blame, "bad_chunk")

    def _trailer(self, data: bytes, position: int, _pieces: list[bytes]) -> int:
        end = self._line_end(data, position, "bad_trailer")
        if end < 0:
            return -1
        if end == position:
            self.done = True
            return end + 2
        self._trailer_bytes += end - position
        field = FIELD_LINE.fullmatch(data, position, end)
        if not field or self._trailer_bytes > MAX_TRAILERS:
            raise ProtocolError(self._blame, "bad_trailer")
        name, value = field[1], field[2].rstrip(b" \t")
        folded = fold(name.lower())
        if _may_be_trailer(folded) and folded not in self._dropped:
            self.trailers.append((name, value))
        return end + 2

    def _line_end(self, data: bytes, position: int, reason: str) -> int:
        end = data.find(b"\r\n", position, position + MAX_LINE)
        if end < 0 and len(data) - position >= MAX_LINE:
            raise ProtocolError(self._blame, reason)
        if end < 0 and b"\n" in data[position:]:  # a bare LF: some parser would end the line here
            raise ProtocolError(self._blame, reason)
        return end


def _may_be_trailer(name: bytes) -> bool:
    return name not in _FORBIDDEN_TRAILERS and not name.startswith(b"sec-") and not is_about_client(name)
