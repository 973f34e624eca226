"""One request head, from bytes to validated fields, and from fields to bytes for the app.

What two parsers could read differently is a ProtocolError before anything reaches the app. The outgoing head is built
from the validated parts, never copied, and carries exactly one framing field, computed here (reference cases 1-5,
13-22, 33-38, 121, 127).
"""

from collections.abc import Iterable, Mapping
from typing import Final

from sidecar.http1 import grammar
from sidecar.http1.blocks import GAP, MAX_BLOCK_BYTES, MAX_BLOCK_LINES, MAX_SPECIAL, Block, Memory, Traits, without_ids
from sidecar.http1.errors import ProtocolError
from sidecar.http1.fields import Field, FieldReader, parse_line, without
from sidecar.http1.hop_by_hop import HOP_BY_HOP, is_protected, nominated
from sidecar.http1.names import CLIENT_FIELDS, CLIENT_PREFIXES, METHOD_OVERRIDES, is_about_client, is_ambiguous

# What has to be looked at, and whether it is sent on. What decides about framing, connection or path is not: the proxy
# writes its own, or nothing.
_SPECIAL = {
    **dict.fromkeys(HOP_BY_HOP, False),
    b"content-length": False,
    b"expect": False,
    # By these a client could name another path, method or session than the one judged here (reference cases 42 and 43).
    b"x-original-url": False,
    b"x-original-method": False,
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
    **dict.fromkeys(METHOD_OVERRIDES, True),
    **dict.fromkeys(CLIENT_FIELDS, True),  # only a trusted peer's word counts (`forwarded.py`)
}

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
        *METHOD_OVERRIDES,
    )
)

# No tunnel to elsewhere; TRACE, and TRACK of old IIS, reflect cookies (58, 115). PRI begins HTTP/2 (31). Some servers
# do not care about the case of a method.
_FORBIDDEN_METHODS = frozenset((b"CONNECT", b"TRACE", b"TRACK", b"PRI"))
_COMMON_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))

_reader = FieldReader(_SPECIAL, prefixes=CLIENT_PREFIXES, blame=400)
_memory = Memory(_reader)
_whole, _cut_out = _memory.whole, _memory.cut_out
_is_origin_form = grammar.ORIGIN_FORM.fullmatch


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
    nominated: frozenset[bytes] = frozenset()  # names that `Connection` takes off, from the trailers as well
    is_trusted = False  # whether a trusted peer has sent it; only known where a binder asks (`proxy/plane.py`)
    is_spoofed = False  # whether it said what only such a peer may say
    overrides_method = False  # a field asks the app for another method: only with POST, and no route may go by it
    block: Block | None = None  # what is remembered of the header block; `lines` are its lines, as long as it is set
    own: tuple[bytes, ...] = ()  # the lines in the gaps of the block
    added = b""  # a complete line that the proxy adds
    aside: tuple[bytes, ...] = ()  # cookie values that are the sidecar's own: taken out of `lines` and `cookies`
    form: bytes | None = None  # the body, where it is a form and had to be read (`gate/gate.py`)
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
    known = recall_request(head, max_headers)
    if known is not None:
        return known
    method, _, after = head.partition(b" ")
    target, _, rest = after.partition(b" ")
    if method in _COMMON_METHODS and _is_origin_form(target) and rest[:10] == b"HTTP/1.1\r\n":
        found = _memory.find_holed(rest[:-4][10:].split(b"\r\n"), max_headers)
        if found is not None:
            _see_again(*found, rest)
            return _of(*found, method, target)
    return _read(head, rest, max_headers)


def recall_request(data: bytes, max_headers: int) -> RequestHead | None:
    """The request, where `data` is one whole head whose block was read before, and nothing else; else None.

    Looking for the end of a head takes longer than all of this: what is remembered has its end where it has it.
    """
    method, _, after = data.partition(b" ")
    target, _, rest = after.partition(b" ")
    if method not in _COMMON_METHODS or _is_origin_form(target) is None:
        return None
    block = _whole.get(rest)
    if block is not None and block.count <= max_headers:
        return _of(block, block.lines, method, target)
    key, own = _memory.cut(rest)
    block = _cut_out.get(key) if own else None
    if block is None or block.count > max_headers:
        return None
    request = _of(block, block.filled(own), method, target)
    request.own = own
    return request


def _of(block: Block, lines: list[bytes], method: bytes, target: bytes) -> RequestHead:
    """A request whose header block is known."""
    request = RequestHead(method, target, 1, lines)
    request.host, request.cookies, request.block = block.host, block.cookies, block
    traits = block.traits
    if traits is not None:
        request.special, request.keep_alive = traits.special, traits.keep_alive
        request.content_length, request.has_body = traits.content_length, traits.has_body
        request.chunked = traits.chunked
        request.expects_continue, request.accepts_trailers = traits.expects_continue, traits.accepts_trailers
    return request


def _read(head: bytes, rest: bytes, max_headers: int) -> RequestHead:
    line, *lines = head[:-4].split(b"\r\n")
    start = grammar.REQUEST_LINE.fullmatch(line)
    if start is None:
        raise ProtocolError(400, "bad_request_line")
    method, target, minor = start.groups()
    if method.upper() in _FORBIDDEN_METHODS:
        raise ProtocolError(405, "method_not_allowed")
    if len(lines) > max_headers:
        raise ProtocolError(431, "too_many_headers")
    sent, special = _reader.read(lines)
    request = RequestHead(method, target, 1 if minor == b"1" else 0, sent)
    is_plain = _is_plain(request, special)
    if not is_plain:
        _read_special(request, special)
        _read_target(request)
    is_bare = request.version == 1 and target[:1] == b"/" and not request.upgrade and not request.overrides_method
    if is_bare and request.lines is sent:
        _remember(request, rest, lines, is_plain=is_plain)
    return request


def _see_again(block: Block, lines: list[bytes], rest: bytes) -> None:
    """A block that is known but for some plain lines: when they are those of the request before, remember it by them.

    A browser's do not differ, at least while it loads one page; but for `own`, which always do.
    """
    key, own = _memory.cut(rest)
    repeating = without_ids(lines, own) if own else lines
    if len(key) <= MAX_BLOCK_BYTES and repeating is not None:
        if repeating == block.latest:
            _memory.keep(key, block.with_lines(repeating, checked(repeating)))
        block.latest = repeating


def _remember(request: RequestHead, rest: bytes, lines: list[bytes], *, is_plain: bool) -> None:
    """Remember what this header block means; nothing that depends on the request line."""
    if len(rest) > MAX_BLOCK_BYTES or len(lines) > MAX_BLOCK_LINES or len(request.special) > MAX_SPECIAL:
        return
    traits = Traits(
        special=request.special,
        keep_alive=request.keep_alive,
        content_length=request.content_length,
        chunked=request.chunked,
        has_body=request.has_body,
        expects_continue=request.expects_continue,
        accepts_trailers=request.accepts_trailers,
    )
    request.block = block = Block(
        host=request.host,
        cookies=request.cookies,
        lines=request.lines,
        count=len(lines),
        traits=None if is_plain else traits,
        is_about_client=any(map(is_about_client, request.special)),
    )
    block.tail = b"\r\n".join((*_framing_lines(request), b"", b""))
    if not _memory.keep_holed(lines, block):
        block.sent = checked(request.lines)
        _memory.keep(rest, block)


def checked(lines: list[bytes]) -> bytes:
    """The lines as they go out after the last check; a format where they have gaps."""
    if GAP not in lines:
        return _joined([b"", *lines])[:-2][2:]
    _joined([line for line in lines if line != GAP])
    return b"".join(b"%b\r\n" if line == GAP else line.replace(b"%", b"%%") + b"\r\n" for line in lines)


def build_plain_request(request: RequestHead, block: Block, sent: bytes, extra: bytes) -> bytes:
    """The head for the app where `sent` is what `checked` gave for the block. `extra`: complete lines of the proxy."""
    if request.own:
        sent %= request.own
    return b"".join((request.method, b" ", request.target, b" HTTP/1.1\r\n", sent, extra, request.added, block.tail))


def build_request(request: RequestHead, lines: Iterable[bytes]) -> bytes:
    """The head for the app: `lines` (the request's own and the proxy's), then the framing."""
    head = [b"%b %b HTTP/1.1" % (request.method, request.target), *lines]
    if request.added:
        head.append(request.added[:-2])
    if b"host" not in request.special and request.version == 0:  # HTTP/1.0; the exchange filled in the app's own name
        head.append(b"Host: %b" % request.host)
    framing = _framing_lines(request)
    joined = _joined(head)
    return joined[:-2] + b"\r\n".join((*framing, b"", b"")) if framing else joined


def _framing_lines(request: RequestHead) -> list[bytes]:
    """What the proxy says itself about the connection and the body: at most one framing field (reference case 22)."""
    lines: list[bytes] = []
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
    return lines


def _joined(lines: list[bytes]) -> bytes:
    """The lines as they go out. The last check: no control character, no line too many, no framing but ours."""
    head = grammar.join_head(lines)
    if head is None or grammar.has_framing(head):
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
    if name != b"host" or not grammar.is_host(host):
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
    if any(map(is_ambiguous, values)):
        raise ProtocolError(400, "ambiguous_field_name")
    _read_connection(request, values)
    _read_framing(request, values)
    _read_overrides(request, values)


def _read_connection(request: RequestHead, values: Mapping[bytes, list[bytes]]) -> None:
    """Connection options and what they nominate, upgrade, TE and Expect."""
    options = grammar.tokens(b",".join(values.get(b"connection", ())))
    if options:
        request.keep_alive = b"close" not in options and (request.version == 1 or b"keep-alive" in options)
        request.nominated = names = nominated(options)
        if any(map(is_protected, names)):
            raise ProtocolError(400, "protected_field_nominated")
        if names:
            request.lines = without(request.lines, names)
        if b"upgrade" in values and b"upgrade" in options and request.version == 1:
            request.upgrade = _asks_for_websocket(request, values[b"upgrade"][0])
    if b"te" in values and request.version == 1:
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


def _read_overrides(request: RequestHead, values: Mapping[bytes, list[bytes]]) -> None:
    """Frameworks take another method from these fields, most of them with POST only (reference case 42).

    With POST they are kept, for the clients that need them. With any other method they would only change what was
    judged, a GET say, into something else.
    """
    if METHOD_OVERRIDES.isdisjoint(values):
        return
    if request.method == b"POST":
        request.overrides_method = True
    else:
        request.lines = without(request.lines, METHOD_OVERRIDES)


def _read_target(request: RequestHead) -> None:
    """Origin-form, `*` for OPTIONS, or absolute-form, whose authority replaces Host (RFC 9112 section 3.2.2)."""
    host = request.special.get(b"host", [None])[0]
    if host is not None and not grammar.is_host(host):
        raise ProtocolError(400, "bad_host")
    if host is None and request.version == 1:
        raise ProtocolError(400, "missing_host")
    request.host = host or b""
    target = request.target
    if target.startswith(b"/") or (target == b"*" and request.method == b"OPTIONS"):
        return
    absolute = grammar.ABSOLUTE_FORM.fullmatch(target)
    if not absolute or not grammar.is_host(absolute[1]):
        raise ProtocolError(400, "bad_target")
    request.host = absolute[1]
    if request.method == b"OPTIONS" and not absolute[2]:
        request.target = b"*"  # RFC 9112 section 3.2.4: the last proxy says what the whole server was asked
    else:
        request.target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    if host is not None:
        request.lines = [b"Host: " + request.host if line[:5].lower() == b"host:" else line for line in request.lines]
