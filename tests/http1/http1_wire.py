"""What the tests of `http1` share: byte streams read as a connection reads them, and other people's parsers.

h11 and llhttp are the second and third opinion. What they are asked about is always what would go out.
"""

import itertools
from collections.abc import Callable, Iterable

import h11
import httptools

from sidecar.http1.chunked import ChunkedDecoder, encode_chunk, encode_end
from sidecar.http1.errors import ProtocolError
from sidecar.http1.forwarded import peer_of
from sidecar.http1.request import RequestHead, parse_request
from sidecar.http1.response import ResponseHead, build_response, has_no_body, parse_response

Fields = list[tuple[bytes, bytes]]
Message = tuple[bytes, bytes, Fields, bytes]

STRANGER = peer_of(("203.0.113.9", 1), [])
LLHTTP_METHODS = frozenset(b"DELETE GET HEAD OPTIONS PATCH POST PROPFIND PUT QUERY".split())


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` in segments, cut at these places."""
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


class Reader:
    """Feeds segments to the rules as a connection does; `forwarded` holds what would go out, message by message."""

    def __init__(self, begin: Callable[[bytes], tuple[bytes, int | ChunkedDecoder | None, bool]]) -> None:
        self._begin = begin
        self._buffer = b""
        self._head: bytes | None = None
        self._body: int | ChunkedDecoder | None = 0  # None: until the connection ends
        self._content = b""
        self._ends_after = False
        self._is_over = False
        self.forwarded: list[tuple[bytes, bytes]] = []  # head and content
        self.trailers: list[Fields] = []
        self.refusal = ""

    def feed(self, segment: bytes) -> None:
        if self.refusal or self._is_over:
            return  # thrown away with the connection
        self._buffer += segment
        try:
            while self._step():
                pass
        except ProtocolError as error:
            self.refusal = error.reason

    def end(self) -> None:
        if not self.refusal and self._head is not None and self._body is None:
            self._finish([])

    @property
    def is_waiting(self) -> bool:
        return bool(self._buffer) or self._head is not None

    def _step(self) -> bool:
        if self._head is not None:
            return self._read_body()
        self._buffer = self._buffer.lstrip(b"\r\n")
        end = self._buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return False
        head, self._buffer = self._buffer[:end], self._buffer[end:]
        self._head, self._body, self._ends_after = self._begin(head)
        return True

    def _read_body(self) -> bool:
        data, self._buffer = self._buffer, b""
        if isinstance(self._body, ChunkedDecoder):
            self._content += b"".join(self._body.feed(data))
            self._buffer = self._body.rest
            return self._body.done and self._finish(self._body.trailers)
        if self._body is None:
            self._content += data
            return False
        self._content += data[: self._body]
        self._buffer = data[self._body :]
        self._body -= min(self._body, len(data))
        return not self._body and self._finish([])

    def _finish(self, trailers: Fields) -> bool:
        assert self._head is not None
        self.forwarded.append((self._head, self._content))
        self.trailers.append(trailers)
        self._head, self._content = None, b""
        if self._ends_after:
            self._buffer, self._is_over = b"", True
        return not self._ends_after


def request_reader() -> Reader:
    """For what a client sends."""

    def begin(head: bytes) -> tuple[bytes, int | ChunkedDecoder | None, bool]:
        request = parse_request(head, max_headers=128)
        body = ChunkedDecoder(400, request.nominated) if request.chunked else request.content_length or 0
        return forward(request), body, not request.keep_alive

    return Reader(begin)


def response_reader(method: bytes = b"GET") -> Reader:
    """For what an app answers to this method."""

    def begin(head: bytes) -> tuple[bytes, int | ChunkedDecoder | None, bool]:
        response = parse_response(head)
        body: int | ChunkedDecoder | None = response.content_length
        if has_no_body(response.status, method):
            body = 0
        elif response.chunked:
            body = ChunkedDecoder(502, response.nominated)
        return relay(response, method), body, body is None or not response.keep_alive or response.status == 101

    return Reader(begin)


def read_requests(data: bytes, cuts: Iterable[int] = ()) -> Reader:
    reader = request_reader()
    for segment in cut(data, cuts):
        reader.feed(segment)
    return reader


def read_responses(data: bytes, method: bytes = b"GET", cuts: Iterable[int] = ()) -> Reader:
    reader = response_reader(method)
    for segment in cut(data, cuts):
        reader.feed(segment)
    reader.end()
    return reader


def forward(request: RequestHead) -> bytes:
    """The head for the app, from a stranger."""
    request.host = request.host or b"upstream"
    return STRANGER.head(request)


def relay(response: ResponseHead, method: bytes = b"GET") -> bytes:
    """The head for an HTTP/1.1 client, with the framing that the exchange would choose."""
    framing = response.length_line
    if not framing and not has_no_body(response.status, method):
        framing = b"Transfer-Encoding: chunked"
    return build_response(response, response.lines, framing, keep_alive=True, minor=1)


def is_chunked(head: bytes) -> bool:
    return b"\r\nTransfer-Encoding: chunked\r\n" in head


def on_the_wire(head: bytes, content: bytes, trailers: Fields = []) -> bytes:  # noqa: B006 - read only
    """The message as the other side gets it."""
    if not is_chunked(head):
        return head + content
    return head + (encode_chunk(content) if content else b"") + encode_end(trailers)


def sent_fields(head: bytes) -> Fields:
    """What stands in a head, cut by hand."""
    pairs = (line.partition(b":") for line in head[:-4].split(b"\r\n")[1:])
    return [(name.lower(), value.strip(b" \t")) for name, _, value in pairs]


def by_h11(message: bytes) -> Message:
    """Method, target, fields and content of the one message; fails when there is more or less."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    server.receive_data(message)
    request = server.next_event()
    assert isinstance(request, h11.Request), request
    content = b""
    while isinstance(event := server.next_event(), h11.Data):
        content += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert server.trailing_data[0] == b""
    fields = [(bytes(name).lower(), bytes(value)) for name, value in request.headers]
    return bytes(request.method), bytes(request.target), fields, content


def response_by_h11(message: bytes, method: bytes = b"GET") -> tuple[int, bytes, Fields, bytes]:
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(message)
    response = client.next_event()
    assert isinstance(response, h11.Response | h11.InformationalResponse), response
    fields = [(bytes(name).lower(), bytes(value)) for name, value in response.headers]
    content = b""
    if isinstance(response, h11.Response):
        while isinstance(event := client.next_event(), h11.Data):
            content += event.data
        assert isinstance(event, h11.EndOfMessage)
    assert client.trailing_data[0] == b""
    return response.status_code, response.reason, fields, content


class Callbacks:
    """Collects what llhttp reports."""

    def __init__(self) -> None:
        self.url = b""
        self.status = b""
        self.fields: Fields = []
        self.content = b""
        self.messages = 0
        self._is_in_head = True

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_status(self, status: bytes) -> None:
        self.status += status

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # trailers come this way as well
            self.fields.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self._is_in_head = False

    def on_body(self, body: bytes) -> None:
        self.content += body

    def on_message_complete(self) -> None:
        self.messages += 1


def by_llhttp(message: bytes) -> Message:
    """As `by_h11`."""
    seen = Callbacks()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(message)
    except httptools.HttpParserUpgrade:
        seen.messages = 1
    assert seen.messages == 1
    return parser.get_method(), seen.url, seen.fields, seen.content


def response_by_llhttp(message: bytes) -> tuple[int, bytes, Fields, bytes]:
    seen = Callbacks()
    parser = httptools.HttpResponseParser(seen)
    parser.feed_data(message)
    assert seen.messages == 1
    return parser.get_status_code(), seen.status, seen.fields, seen.content
