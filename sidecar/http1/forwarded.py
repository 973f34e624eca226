"""Whose word about the client counts, and what the app is told (reference cases 41-43).

A peer inside `trusted_proxies` is believed: its X-Forwarded-* and its `Forwarded` stay, all lines of them, and its
address is appended. Anybody else's are replaced, and `Forwarded`, `X-Real-IP` and the fields by which an authenticating
proxy names a user are dropped (`names.py`).

Behind a balancer that speaks the PROXY protocol the peer is the client that the balancer names, and it is that client's
address which decides: the balancer carries bytes, so the HTTP fields are the client's word and not the balancer's. A
connection whose client the balancer cannot name (UNKNOWN, a Unix socket on its machine) is somebody's, so it is shown
with the balancer's address and believed in nothing. Only the balancer's own connections (LOCAL) are judged as its own.

A peer on a Unix socket has no address. Whoever may open the socket's file has been let in by its permissions, so such a
peer is believed when `trusted_proxies` says `unix`, and nothing is appended for it.
"""

import ipaddress
from collections.abc import Sequence

from sidecar.http1.blocks import Block
from sidecar.http1.fields import parse_line
from sidecar.http1.names import is_about_client
from sidecar.http1.request import RequestHead, build_plain_request, build_request, checked

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_FOR, _PROTO, _HOST, _PORT = b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port"
_FORWARDED = b"forwarded"
_OURS = frozenset((_FOR, _PROTO, _HOST, _PORT, _FORWARDED))

# An ingress says the same of a user's every request, and what the app hears of it depends on the peer as well.
_told: dict[tuple[Block, tuple[object, ...]], bytes] = {}
_MAX_TOLD = 4096  # of some 4 KiB at the most, with the block that they keep


class Peer:
    """The other end of a downstream connection: its address and whether it is believed."""

    __slots__ = ("_block", "_host", "_lines", "_scheme", "_who", "address", "is_trusted")

    def __init__(self, address: bytes, *, is_trusted: bool, scheme: bytes = b"http") -> None:
        self.address = address  # empty for a Unix socket, and for a peer that is gone
        self.is_trusted = is_trusted
        self._scheme = scheme
        self._who = address, is_trusted, scheme  # all that matters of a peer
        self._host: bytes | None = None
        self._lines: tuple[bytes, ...] = ()
        self._block = b""

    def head(self, request: RequestHead) -> bytes:
        """The head for the app: without what does not count, with what it is told about the client."""
        block = request.block
        if block is None:
            return build_request(request, self.apply(request))
        if block.is_about_client:
            return build_plain_request(request, block, self._tell(request, block), b"")
        if block.host != self._host:
            self._meet(block.host)
        return build_plain_request(request, block, block.sent or checked(request.lines), self._block)

    def _tell(self, request: RequestHead, block: Block) -> bytes:
        """All lines for the app, of a request that says something about the client."""
        if not block.sent:
            return checked(self.apply(request))
        told = _told.get((block, self._who))
        if told is None:
            if len(_told) >= _MAX_TOLD:
                _told.clear()
            told = _told[block, self._who] = checked(self._applied(block.lines, request))
        return told

    def doubted(self) -> "Peer":
        """The same address, and nothing that it says is believed."""
        return Peer(self.address, is_trusted=False, scheme=self._scheme)

    def apply(self, request: RequestHead) -> list[bytes]:
        """The request's lines without those that do not count, and the lines that tell the app about the client."""
        return self._applied(request.lines, request)

    def _applied(self, lines: list[bytes], request: RequestHead) -> list[bytes]:
        if any(map(is_about_client, request.special)):
            lines = [line for line in lines if not self._is_replaced(parse_line(line)[0])]
            if self.is_trusted:
                return [*lines, *self._appended_lines(request)]
        if request.host != self._host:
            self._meet(request.host)
        return [*lines, *self._lines]

    def _meet(self, host: bytes) -> None:
        """Another host than before; a browser keeps to one on a connection."""
        chain = [self.address] if self.address else []
        self._lines = _lines(chain, self._scheme, host, _port(host, self._scheme))
        self._block = b"".join(line + b"\r\n" for line in self._lines)
        self._host = host

    def _is_replaced(self, name: bytes) -> bool:
        return name in _OURS or (not self.is_trusted and is_about_client(name))

    def _appended_lines(self, request: RequestHead) -> tuple[bytes, ...]:
        said = request.special
        proto = said.get(_PROTO, [b""])[-1] or self._scheme
        host = said.get(_HOST, [b""])[-1] or request.host
        # A list of protocols begins with the one that the client used.
        port = said.get(_PORT, [b""])[-1] or _port(host, proto.partition(b",")[0].strip().lower())
        lines = _lines(_chain(said.get(_FOR, ()), self.address), proto, host, port)
        # Continued where there is one: an app that prefers it must not miss this hop (RFC 7239 section 4).
        chain = _chain(said[_FORWARDED], _node(self.address)) if _FORWARDED in said else []
        return (b"Forwarded: " + b", ".join(chain), *lines) if chain else lines


def _chain(said: Sequence[bytes], address: bytes) -> list[bytes]:
    """What came in several lines, and one more."""
    return [part for part in (*said, address) if part]


def _node(address: bytes) -> bytes:
    """An element of `Forwarded`; an IPv6 address has brackets, and quotes because of them (RFC 7239 section 6)."""
    if not address:
        return b""
    return b'for="[%b]"' % address if b":" in address else b"for=" + address


def peer_of(address: object, networks: Sequence[Network], *, unix: bool = False, scheme: bytes = b"http") -> Peer:
    """The peer for a socket address as asyncio gives it; `unix`: whether one on a Unix socket is believed."""
    if not isinstance(address, tuple) or not address:
        # The other end of a Unix socket has a path or, mostly, nothing. None is a peer that cannot be told any more.
        return Peer(b"", is_trusted=unix and address is not None, scheme=scheme)
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(str(address[0]).partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped  # a dual-stack listener shows IPv4 clients so (reference case 187)
    trusted = any(ip.version == network.version and ip in network for network in networks)
    return Peer(str(ip).encode(), is_trusted=trusted, scheme=scheme)


def _lines(chain: list[bytes], proto: bytes, host: bytes, port: bytes) -> tuple[bytes, ...]:
    lines = (
        b"X-Forwarded-Proto: %b" % proto,
        b"X-Forwarded-Host: %b" % host,
        b"X-Forwarded-Port: %b" % port,
    )
    return (b"X-Forwarded-For: %b" % b", ".join(chain), *lines) if chain else lines


def _port(host: bytes, scheme: bytes) -> bytes:
    _, _, port = host.rpartition(b"]")[2].partition(b":")
    return port or (b"443" if scheme == b"https" else b"80")
