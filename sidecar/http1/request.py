"""One request head, from bytes to validated fields, and from fields to bytes for the app.

llhttp reads the header block; the rules that it leaves open are here. What two parsers could read differently is a
ProtocolError before anything reaches the app. The outgoing head is built from the validated fields, never copied, and
carries exactly one framing field, computed here (reference cases 1-5, 13-22, 33-38, 121, 127).
"""

from collections.abc import Sequence
from typing import Final

import httptools

from sidecar.http1 import grammar
from sidecar.http1.errors import ProtocolError
from sidecar.http1.hop_by_hop import HOP_BY_HOP, is_protected, nominated

# llhttp knows a fixed list of methods, some with rules of their own. It is told POST instead, so that WebDAV verbs and
# methods of tomorrow pass (reference case 19); these common ones need no rewriting.
_PLAIN_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"))

# RFC 9112 section 3.2, and what an app must not see twice (reference case 37).
_SINGLETONS = (
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"content-type",
    b"expect",
    b"upgrade",
    b"authorization",
)

# Folded `_` to `-`, as CGI-like app servers do, these would be read as the real thing (reference case 17).
_NO_UNDERSCORE = frozenset(
    (
        b"content-length",
        b"transfer-encoding",
        b"content-type",
        b"set-cookie",
        b"x-real-ip",
        b"remote-user",
        b"remote-addr",
    )
)

# Fields by which a client could name another path or identity than the one judged here (reference cases 42 and 43).
_STRIPPED = frozenset(
    (
        b"x-original-url",
        b"x-rewrite-url",
        b"aspfiltersessionid",
        b"proxy",  # becomes HTTP_PROXY in CGI-like servers
    )
)

_DROPPED = HOP_BY_HOP | _STRIPPED | {b"content-length", b"expect"}


class RequestHead:
    """A validated request head. `headers` holds, in order and spelling, only what goes on to the app."""

    __slots__ = (
        "accepts_trailers",
        "chunked",
        "content_length",
        "expects_continue",
        "fields",
        "grouped",
        "headers",
        "host",
        "keep_alive",
        "method",
        "target",
        "upgrade",
        "version",
    )

    def __init__(self, method: bytes, target: bytes, version: int) -> None:
        self.method: Final = method
        self.target = target  # origin-form, or `*`
        self.version: Final = version  # minor version: 0 or 1
        self.headers: list[tuple[bytes, bytes]] = []
        self.fields: dict[bytes, bytes] = {}  # by lower-case name; the last of several, see `values`
        self.grouped: dict[bytes, list[bytes]] | None = None  # every value by name, where some name occurs twice
        self.host = b""
        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = True
        self.expects_continue = False
        self.accepts_trailers = False
        self.upgrade = False  # to a WebSocket; no other upgrade exists here

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a field, by lower-case name, in order."""
        if self.grouped is not None:
            return self.grouped.get(name, [])
        value = self.fields.get(name)
        return [] if value is None else [value]

    @property
    def has_body(self) -> bool:
        """Whether content follows the head."""
        return self.chunked or bool(self.content_length)

    def __repr__(self) -> str:
        return f"<RequestHead {self.method!r} HTTP/1.{self.version}>"


class _Collector:
    """Receives llhttp's callbacks."""

    __slots__ = ("headers",)

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


def parse_request(head: bytes, *, max_headers: int) -> RequestHead:
    """Parse one complete head, including its final empty line. Raises ProtocolError."""
    line_end = head.index(b"\r\n")
    line = grammar.REQUEST_LINE.fullmatch(head, 0, line_end)
    if not line:
        raise ProtocolError(400, "bad_request_line")
    method, target, minor = line.groups()
    if method in (b"CONNECT", b"TRACE"):  # never a tunnel to elsewhere; TRACE reflects cookies (cases 58 and 115)
        raise ProtocolError(405, "method_not_allowed")
    request = RequestHead(method, target, 1 if minor == b"1" else 0)
    # The target is judged here, not by llhttp: it refuses some that apps use.
    headers = _read_block(b"POST / HTTP/1.%b%b" % (minor, head[line_end:]))
    if len(headers) > max_headers:
        raise ProtocolError(431, "too_many_headers")
    names = [name.lower() for name, _ in headers]
    request.fields = fields = dict(zip(names, [value for _, value in headers], strict=True))
    if len(fields) != len(names):
        _group(request, headers)
    if b"_" in b" ".join(fields):
        _check_underscores(fields)
    if _DROPPED.isdisjoint(fields):
        request.keep_alive = request.version == 1
        request.headers = headers
    else:
        drop = set(_DROPPED)
        _read_connection(request, drop)
        _read_framing(request)
        request.headers = [field for field, name in zip(headers, names, strict=True) if name not in drop]
    _read_target(request)
    return request


def build_request(request: RequestHead, headers: list[tuple[bytes, bytes]], extra: Sequence[bytes]) -> bytes:
    """The head for the app: `headers`, then `extra` (lines made by the proxy), then the framing."""
    lines = [b"%b %b HTTP/1.1" % (request.method, request.target), *map(b": ".join, headers), *extra]
    if b"host" not in request.fields:  # HTTP/1.0; the exchange filled in the app's own name
        lines.append(b"Host: %b" % request.host)
    if request.upgrade:
        lines += (b"Connection: Upgrade", b"Upgrade: websocket")
    elif request.accepts_trailers:
        lines += (b"Connection: TE", b"TE: trailers")
    if request.expects_continue and request.has_body:
        lines.append(b"Expect: 100-continue")
    if request.chunked:
        lines.append(b"Transfer-Encoding: chunked")
    elif request.content_length is not None:
        lines.append(b"Content-Length: %d" % request.content_length)
    head = grammar.join_head(lines)
    if head is None:
        raise ProtocolError(400, "unclean_head")
    return head


def _read_block(block: bytes) -> list[tuple[bytes, bytes]]:
    collector = _Collector()
    try:
        httptools.HttpRequestParser(collector).feed_data(block)
    except httptools.HttpParserUpgrade:
        pass  # llhttp stops at any Upgrade; whether one is wanted is decided below
    except httptools.HttpParserError:
        raise ProtocolError(400, "bad_header") from None
    return collector.headers


def _group(request: RequestHead, headers: list[tuple[bytes, bytes]]) -> None:
    grouped: dict[bytes, list[bytes]] = {}
    request.grouped = grouped
    for name, value in headers:
        grouped.setdefault(name.lower(), []).append(value)
    if any(len(grouped.get(name, ())) > 1 for name in _SINGLETONS):
        raise ProtocolError(400, "repeated_field")


def _check_underscores(fields: dict[bytes, bytes]) -> None:
    for name in fields:
        folded = name.replace(b"_", b"-")
        if folded != name and (folded in _NO_UNDERSCORE or folded.startswith((b"x-forwarded", b"proxy-"))):
            raise ProtocolError(400, "ambiguous_field_name")


def _read_connection(request: RequestHead, drop: set[bytes]) -> None:
    """Connection options, upgrade, TE and Expect; adds nominated fields to `drop`."""
    fields = request.fields
    request.keep_alive = request.version == 1
    if b"connection" in fields:
        options = grammar.tokens(b",".join(request.values(b"connection")))
        request.keep_alive = b"close" not in options and (request.version == 1 or b"keep-alive" in options)
        for name in nominated(options):
            if is_protected(name):
                raise ProtocolError(400, "protected_field_nominated")
            drop.add(name)
        if b"upgrade" in fields and b"upgrade" in options and request.version == 1:
            request.upgrade = _asks_for_websocket(request)
    if b"te" in fields:
        request.accepts_trailers = b"trailers" in grammar.tokens(fields[b"te"])
    if b"expect" in fields and request.version == 1:
        if fields[b"expect"].lower() != b"100-continue":  # reference case 23
            raise ProtocolError(417, "unknown_expectation")
        request.expects_continue = True


def _asks_for_websocket(request: RequestHead) -> bool:
    """Only WebSocket, and only a proper handshake (RFC 6455 section 4.1); h2c and the rest are stripped (case 105)."""
    if b"websocket" not in grammar.tokens(request.fields[b"upgrade"]):
        return False
    if request.method != b"GET" or not request.fields.get(b"sec-websocket-key"):
        raise ProtocolError(400, "bad_websocket_handshake")
    return True


def _read_framing(request: RequestHead) -> None:
    """RFC 9112 section 6.3, stricter: what a first-wins and a last-wins parser read differently is refused."""
    length = request.fields.get(b"content-length")
    coding = request.fields.get(b"transfer-encoding")
    if coding is not None:
        if length is not None or request.version == 0 or coding.lower() != b"chunked":
            raise ProtocolError(400, "bad_transfer_encoding")
        request.chunked = True
    elif length is not None:
        if not grammar.CONTENT_LENGTH.fullmatch(length):
            raise ProtocolError(400, "bad_content_length")
        request.content_length = int(length)
    if request.upgrade and request.has_body:
        raise ProtocolError(400, "bad_websocket_handshake")


def _read_target(request: RequestHead) -> None:
    """Origin-form, `*` for OPTIONS, or absolute-form, whose authority replaces Host (RFC 9112 section 3.2.2)."""
    host = request.fields.get(b"host")
    if host is not None and not grammar.HOST.fullmatch(host):
        raise ProtocolError(400, "bad_host")
    if host is None and request.version == 1:
        raise ProtocolError(400, "missing_host")
    request.host = host or b""
    target = request.target
    if target.startswith(b"/") or (target == b"*" and request.method == b"OPTIONS"):
        return
    absolute = grammar.ABSOLUTE_FORM.fullmatch(target)
    if not absolute or not grammar.HOST.fullmatch(absolute[1]):
        raise ProtocolError(400, "bad_target")
    request.host = absolute[1]
    request.target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    request.headers = [(name, request.host if name.lower() == b"host" else value) for name, value in request.headers]
