"""What the fields of a request say about its host, its connection, its body and its method, and what its target is.

It fills in a `RequestHead` whose lines were read, and refuses what two parsers could read differently (reference cases
1-5, 13-22, 33-38, 121, 127). It does not read lines, and it does not write any.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sidecar.http1 import grammar
from sidecar.http1.errors import ProtocolError
from sidecar.http1.fields import Field, without
from sidecar.http1.hop_by_hop import is_protected, nominated
from sidecar.http1.names import METHOD_OVERRIDES, is_ambiguous

if TYPE_CHECKING:
    from sidecar.http1.request import RequestHead

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


def read_plain(request: "RequestHead", special: list[Field]) -> bool:
    """Fill in the commonest request at once: HTTP/1.1, origin-form, one Host, at most one Cookie, nothing else.

    False: it is another, and nothing is decided.
    """
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


def read_special(request: "RequestHead", special: list[Field]) -> None:
    """Fill in any other request. Raises ProtocolError."""
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
    _read_target(request)


def _read_connection(request: "RequestHead", values: Mapping[bytes, list[bytes]]) -> None:
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


def _asks_for_websocket(request: "RequestHead", upgrade: bytes) -> bool:
    """Only WebSocket, and only a proper handshake (RFC 6455 section 4.1); h2c and the rest are stripped (case 105)."""
    if b"websocket" not in grammar.tokens(upgrade):
        return False
    keys = request.values(b"sec-websocket-key")
    if request.method != b"GET" or len(keys) != 1 or not keys[0]:
        raise ProtocolError(400, "bad_websocket_handshake")
    return True


def _read_framing(request: "RequestHead", values: Mapping[bytes, list[bytes]]) -> None:
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


def _read_overrides(request: "RequestHead", values: Mapping[bytes, list[bytes]]) -> None:
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


def _read_target(request: "RequestHead") -> None:
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
