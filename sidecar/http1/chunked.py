"""The chunked transfer coding, without I/O.

httptools cannot say where a chunked message ends inside what it was fed, so a pipelined successor would be lost; and
llhttp forgives more than two parsers agree on. This decoder is strict: a size is hexadecimal digits and nothing else,
lines end with CRLF, extensions are tokens and are dropped. Anything else is a ProtocolError and the connection is over:
it never looks for the next plausible chunk (reference cases 7 and 10).
"""

from collections.abc import Callable

from sidecar.http1.errors import ProtocolError
from sidecar.http1.grammar import CHUNK_EXTENSION, CHUNK_SIZE, FIELD_LINE

MAX_LINE = 4096  # a size line with extensions
MAX_TRAILERS = 8192  # all trailer lines together

LAST_CHUNK = b"0\r\n"

# Fields that frame, route or authenticate a message are never trailers (RFC 9110 section 6.5.1, reference case 11).
_FORBIDDEN_TRAILERS = frozenset(
    (
        b"authorization",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"max-forwards",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"range",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"via",
        b"www-authenticate",
        b"x-real-ip",
    )
)


def encode_chunk(data: bytes) -> bytes:
    """One chunk on the wire. `data` is not empty: an empty chunk would end the message."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_end(trailers: list[tuple[bytes, bytes]]) -> bytes:
    """The end of a chunked message, with its trailers."""
    return b"0\r\n" + b"".join([b"%b: %b\r\n" % field for field in trailers]) + b"\r\n"


class ChunkedDecoder:
    """Feed bytes, get content. `done` once the final chunk and the trailers were seen; `rest` is what followed."""

    __slots__ = ("_blame", "_buffer", "_missing", "_state", "_trailer_bytes", "done", "rest", "trailers")

    def __init__(self, blame: int) -> None:
        self._blame = blame  # status of errors: 400 for a client, 502 for the app
        self._buffer = b""
        self._missing = 0  # bytes of the current chunk that have not come yet
        self._state: Callable[[bytes, int, list[bytes]], int] = self._size_line
        self._trailer_bytes = 0
        self.done = False
        self.rest = b""
        self.trailers: list[tuple[bytes, bytes]] = []

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of content in `data`. Raises ProtocolError; the decoder is useless afterwards."""
        data = self._buffer + data if self._buffer else data
        pieces: list[bytes] = []
        position = 0
        while not self.done:
            advance = self._state(data, position, pieces)
            if advance < 0:
                break
            position = advance
        if self.done:
            self._buffer, self.rest = b"", data[position:]
        else:
            self._buffer = data[position:]
        return pieces

    # Each state takes what it can from `data` at `position` and returns the new position, or -1 when it needs more.

    def _size_line(self, data: bytes, position: int, _pieces: list[bytes]) -> int:
        end = self._line_end(data, position)
        if end < 0:
            return -1
        size, semicolon, extension = data[position:end].partition(b";")
        if not CHUNK_SIZE.fullmatch(size) or not CHUNK_EXTENSION.fullmatch(semicolon + extension):
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
        end = self._line_end(data, position)
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
        if _may_be_trailer(name.lower().replace(b"_", b"-")):
            self.trailers.append((name, value))
        return end + 2

    def _line_end(self, data: bytes, position: int) -> int:
        end = data.find(b"\r\n", position, position + MAX_LINE)
        if end < 0 and len(data) - position >= MAX_LINE:
            raise ProtocolError(self._blame, "bad_chunk")
        if end < 0 and b"\n" in data[position:]:  # a bare LF: some parser would end the line here
            raise ProtocolError(self._blame, "bad_chunk")
        return end


def _may_be_trailer(name: bytes) -> bool:
    return name not in _FORBIDDEN_TRAILERS and not name.startswith((b"x-forwarded-", b"sec-"))
