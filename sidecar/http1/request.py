"""One request head, from bytes to validated fields, and from fields to bytes for the app.

What two parsers could read differently is a ProtocolError before anything reaches the app. The outgoing head is built
from the validated parts, never copied, and carries exactly one framing field, computed here. What the fields of a
request mean is read in `request_fields`.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from sidecar.http1 import grammar
from sidecar.http1.blocks import GAP, MAX_BLOCK_BYTES, MAX_BLOCK_LINES, MAX_SPECIAL, Block, Memory, Traits, without_ids
from sidecar.http1.errors import ProtocolError
from sidecar.http1.fields import FieldReader, parse_line
from sidecar.http1.hop_by_hop import HOP_BY_HOP
from sidecar.http1.names import CLIENT_FIELDS, CLIENT_PREFIXES, METHOD_OVERRIDES, is_about_client
from sidecar.http1.request_fields import read_plain, read_special

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

# No tunnel to elsewhere; TRACE, and TRACK of old IIS, reflect cookies (cases 58 and 115). PRI begins HTTP/2
# (case 31). Some servers do not care whether a method is in upper case.
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
    is_plain = read_plain(request, special)
    if not is_plain:
        read_special(request, special)
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
