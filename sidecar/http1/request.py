"""One request head, from bytes to validated fields, and from fields to bytes for the app.

What two parsers could read differently is a ProtocolError before anything reaches the app. The outgoing head is built
from the validated parts, never copied, and carries exactly one framing field, computed here (reference cases 1-5,
13-22, 33-38, 121, 127).
"""

from collections.abc import Iterable, Mapping
from typing import Final

from sidecar.http1 import grammar
from sidecar.http1.errors import ProtocolError
from sidecar.http1.fields import Field, FieldReader, parse_line, without
from sidecar.http1.hop_by_hop import HOP_BY_HOP, is_protected, nominated

# What has to be looked at, and whether it is sent on. What decides about framing, connection or path is not: the proxy
# writes its own, or nothing.
_SPECIAL = {
    **dict.fromkeys(HOP_BY_HOP, False),
    b"content-length": False,
    b"expect": False,
    # By these a client could name another path or session than the one judged here (reference cases 42 and 43).
    b"x-original-url": False,
    b"x-rewrite-url": False,
    b"aspfiltersessionid": False,
    # gunicorn takes this prefix off the path when its peer is on loopback, as we are: `/static/x` would become `/x`.
    **dict.fromkeys((b"script_name", b"script-name", b"x_script_name", b"x-script-name"), False),
    **dict.fromkeys((b"path_info", b"path-info"), False),
    b"proxy": False,  # becomes HTTP_PROXY in CGI-like servers
    b"host": True,
    b"cookie": True,
    b"content-type": True,
    b"authorization": True,
    # Only a trusted peer's word counts (`forwarded.py`).
    b"forwarded": True,
    b"x-real-ip": True,
    b"remote-user": True,
    b"x-remote-user": True,
}
_CLIENT_PREFIXES = (b"x-forwarded", b"ssl-client-", b"x-ssl-client-")

# RFC 9112 section 3.2, and what an app must not see twice (reference case 37).
_SINGLETONS = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"content-type",
        b"expect",
        b"upgrade",
        b"authorization",
    )
)

# Folded `_` to `-`, as CGI-like app servers do, these would be read as the real thing (reference case 17).
_NO_UNDERSCORE = frozenset((b"content-length", b"transfer-encoding", b"content-type", b"set-cookie", b"x-real-ip"))
_NO_UNDERSCORE_PREFIXES = (b"x-forwarded", b"proxy-", b"remote-", b"ssl-client-", b"x-original-", b"x-rewrite-")

_reader = FieldReader(_SPECIAL, prefixes=_CLIENT_PREFIXES, blame=400)


class Block:
    """A header block that was read before, byte for byte, and holds nothing but plain fields, Host and Cookie.

    A browser repeats its header block from request to request; what it means, and what is sent on for it, depends on
    its bytes alone. `remembered` is for whoever judges requests: a place to keep what was found out about this block.
    """

    __slots__ = ("cookies", "host", "lines", "remembered", "sent")

    def __init__(self, request: "RequestHead", sent: bytes) -> None:
        self.lines = request.lines
        self.host = request.host
        self.cookies = request.cookies
        self.sent = sent  # the lines as they go out, checked
        self.remembered: tuple[object, bytes] | None = None  # whose it is, and what


_blocks: dict[bytes, Block] = {}  # by what follows the target: version and fields
_COMMON_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
_MAX_BLOCKS = 4096
_MAX_BLOCK_BYTES = 2048  # so a memory of some 20 MiB at the most


class RequestHead:
    """A validated request head. `lines` holds, in order and spelling, only what goes on to the app.

    Class attributes are defaults: a plain request sets few of them.
    """

    host = b""
    content_length: int | None = None
    chunked = False
    has_body = False  # whether content follows the head
    keep_alive = True
    expects_continue = False
    accepts_trailers = False
    upgrade = False  # to a WebSocket; no other upgrade exists here
    cookies: tuple[bytes, ...] = ()  # the values of all Cookie fields
    special: Mapping[bytes, list[bytes]] = {}  # values of the other fields that were looked at, by lower-case name
    block: Block | None = None  # where the whole block was read before
    _fields: dict[bytes, bytes] | None = None

    def __init__(self, method: bytes, target: bytes, version: int, lines: list[bytes]) -> None:
        self.method: Final = method
        self.target = target  # origin-form, or `*`
        self.version: Final = version  # minor version: 0 or 1
        self.lines = lines

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a field that goes on to the app, by lower-case name, in order."""
        return [value for key, value in map(parse_line, self.lines) if key == name]

    @property
    def fields(self) -> Mapping[bytes, bytes]:
        """The fields that go on to the app, by lower-case name; the last of several. Not for the common path."""
        if self._fields is None:
            self._fields = dict(map(parse_line, self.lines))
        return self._fields

    def __repr__(self) -> str:
        return f"<RequestHead {self.method!r} HTTP/1.{self.version}>"


def parse_request(head: bytes, *, max_headers: int) -> RequestHead:
    """Parse one complete head, including its final empty line. Raises ProtocolError."""
    method, _, after = head.partition(b" ")
    target, _, rest = after.partition(b" ")
    block = _blocks.get(rest)
    if (
        block is not None
        and method in _COMMON_METHODS
        and len(block.lines) <= max_headers
        and grammar.ORIGIN_FORM.fullmatch(target) is not None
    ):
        request = RequestHead(method, target, 1, block.lines)
        request.host, request.cookies, request.block = block.host, block.cookies, block
        return request
    return _read(head, rest, max_headers)


def _read(head: bytes, rest: bytes, max_headers: int) -> RequestHead:
    line, *lines = head[:-4].split(b"\r\n")
    start = grammar.REQUEST_LINE.fullmatch(line)
    if start is None:
        raise ProtocolError(400, "bad_request_line")
    method, target, minor = start.groups()
    if method == b"CONNECT" or method == b"TRACE":  # no tunnel to elsewhere; TRACE reflects cookies (58, 115)
        raise ProtocolError(405, "method_not_allowed")
    if len(lines) > max_headers:
        raise ProtocolError(431, "too_many_headers")
    sent, special = _reader.read(lines)
    request = RequestHead(method, target, 1 if minor == b"1" else 0, sent)
    if _is_plain(request, special):
        _remember(request, rest)
        return request
    _read_special(request, special)
    _read_target(request)
    return request


def _remember(request: RequestHead, rest: bytes) -> None:
    if len(rest) > _MAX_BLOCK_BYTES:
        return
    sent = grammar.join_head(list(request.lines))
    if sent is None:
        raise ProtocolError(400, "unclean_head")
    if len(_blocks) >= _MAX_BLOCKS:
        _blocks.clear()  # a stranger who fills it costs everybody one more reading, no more
    _blocks[rest] = request.block = Block(request, sent[:-2])


def build_plain_request(request: RequestHead, block: Block, extra: bytes) -> bytes:
    """The head for the app where the block was checked before. `extra`: complete lines made by the proxy."""
    return b"".join((request.method, b" ", request.target, b" HTTP/1.1\r\n", block.sent, extra, b"\r\n"))


def build_request(request: RequestHead, lines: Iterable[bytes]) -> bytes:
    """The head for the app: `lines` (the request's own and the proxy's), then the framing."""
    head = [b"%b %b HTTP/1.1" % (request.method, request.target), *lines]
    if not request.special and request.version == 1:  # a plain one: Host stands among the lines
        return _joined(head)
    if b"host" not in request.special and request.version == 0:  # HTTP/1.0; the exchange filled in the app's own name
        head.append(b"Host: %b" % request.host)
    if request.upgrade:
        head += (b"Connection: Upgrade", b"Upgrade: websocket")
    elif request.accepts_trailers:
        head += (b"Connection: TE", b"TE: trailers")
    if request.expects_continue and request.has_body:
        head.append(b"Expect: 100-continue")
    if request.chunked:
        head.append(b"Transfer-Encoding: chunked")
    elif request.content_length is not None:
        head.append(b"Content-Length: %d" % request.content_length)
    return _joined(head)


def _joined(lines: list[bytes]) -> bytes:
    head = grammar.join_head(lines)
    if head is None:
        raise ProtocolError(400, "unclean_head")
    return head


def _is_plain(request: RequestHead, special: list[Field]) -> bool:
    """Fill in the commonest request at once: HTTP/1.1, origin-form, one Host, at most one Cookie, nothing else."""
    count = len(special)
    if not 0 < count < 3 or request.version == 0 or request.target[:1] != b"/":
        return False
    name, host = special[0]
    if count == 2:
        other, value = special[1]
        if name == b"cookie":
            name, host, other, value = other, value, name, host
        if other != b"cookie":
            return False
        request.cookies = (value,)
    if name != b"host" or grammar.HOST.fullmatch(host) is None:
        return False
    request.host = host
    return True


def _read_special(request: RequestHead, special: list[Field]) -> None:
    values: dict[bytes, list[bytes]] = {}
    for name, value in special:
        values.setdefault(name, []).append(value)
    if any(len(values[name]) > 1 for name in _SINGLETONS.intersection(values)):
        raise ProtocolError(400, "repeated_field")
    request.cookies = tuple(values.pop(b"cookie", ()))
    request.special = values
    request.keep_alive = request.version == 1
    for name in values:
        _check_underscore(name)
    _read_connection(request, values)
    _read_framing(request, values)


def _check_underscore(name: bytes) -> None:
    folded = name.replace(b"_", b"-")
    if folded != name and (folded in _NO_UNDERSCORE or folded.startswith(_NO_UNDERSCORE_PREFIXES)):
        raise ProtocolError(400, "ambiguous_field_name")


def _read_connection(request: RequestHead, values: Mapping[bytes, list[bytes]]) -> None:
    """Connection options and what they nominate, upgrade, TE and Expect."""
    options = grammar.tokens(b",".join(values.get(b"connection", ())))
    if options:
        request.keep_alive = b"close" not in options and (request.version == 1 or b"keep-alive" in options)
        names = nominated(options)
        if any(map(is_protected, names)):
            raise ProtocolError(400, "protected_field_nominated")
        if names:
            request.lines = without(request.lines, names)
        if b"upgrade" in values and b"upgrade" in options and request.version == 1:
            request.upgrade = _asks_for_websocket(request, values[b"upgrade"][0])
    if b"te" in values:
        request.accepts_trailers = b"trailers" in grammar.tokens(b",".join(values[b"te"]))
    if b"expect" in values and request.version == 1:
        if values[b"expect"][0].lower() != b"100-continue":  # reference case 23
            raise ProtocolError(417, "unknown_expectation")
        request.expects_continue = True


def _asks_for_websocket(request: RequestHead, upgrade: bytes) -> bool:
    """Only WebSocket, and only a proper handshake (RFC 6455 section 4.1); h2c and the rest are stripped (case 105)."""
    if b"websocket" not in grammar.tokens(upgrade):
        return False
    keys = request.values(b"sec-websocket-key")
    if request.method != b"GET" or len(keys) != 1 or not keys[0]:
        raise ProtocolError(400, "bad_websocket_handshake")
    return True


def _read_framing(request: RequestHead, values: Mapping[bytes, list[bytes]]) -> None:
    """RFC 9112 section 6.3, stricter: what a first-wins and a last-wins parser read differently is refused."""
    length, coding = values.get(b"content-length"), values.get(b"transfer-encoding")
    if coding is not None:
        if length is not None or request.version == 0 or coding[0].lower() != b"chunked":
            raise ProtocolError(400, "bad_transfer_encoding")
        request.chunked = True
    elif length is not None:
        if not grammar.CONTENT_LENGTH.fullmatch(length[0]):
            raise ProtocolError(400, "bad_content_length")
        request.content_length = int(length[0])
    request.has_body = request.chunked or bool(request.content_length)
    if request.upgrade and request.has_body:
        raise ProtocolError(400, "bad_websocket_handshake")


def _read_target(request: RequestHead) -> None:
    """Origin-form, `*` for OPTIONS, or absolute-form, whose authority replaces Host (RFC 9112 section 3.2.2)."""
    host = request.special.get(b"host", [None])[0]
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
    if request.method == b"OPTIONS" and not absolute[2]:
        request.target = b"*"  # RFC 9112 section 3.2.4: the last proxy says what the whole server was asked
    else:
        request.target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    if host is not None:
        request.lines = [b"Host: " + request.host if line[:5].lower() == b"host:" else line for line in request.lines]
