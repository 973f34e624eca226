"""The PROXY protocol, versions 1 and 2: what a balancer says about a connection before the connection's own bytes.

This is no HTTP, and is read once, before TLS. Bytes go in as they arrive, and each `feed` says how many of them belong
to the header: the rest is the client's and must be left to whoever reads next. Strict, because where two readers take
a header differently, one of them can be lied to about an address: no other spelling of addresses and ports, no family
without its addresses, at most 107 bytes for version 1, at most 2 KiB behind the addresses for version 2. Extensions
(TLVs) are skipped. Section numbers are those of the specification, "The PROXY protocol".
"""

import enum
import ipaddress
import re
import struct
from typing import Final

from sidecar.http1.errors import ProtocolError

_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"  # section 2.2
_FIXED: Final = 16  # signature, version and command, family and transport, length
_LOCAL, _PROXY = 0x20, 0x21  # version 2 in the upper half
_UNSPEC, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESS_BYTES: Final = {_UNSPEC: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}
_MAX_EXTENSIONS: Final = 2048

_V1_BEGINNING: Final = b"PROXY "
_V1_MAX: Final = 107  # section 2.1, with the line end
_V1_LINE: Final = re.compile(
    rb"PROXY (?:(UNKNOWN)(?: [^\r\n]*)?|TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (\d{1,5}) (\d{1,5}))\r\n"
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Nobody(enum.Enum):
    """A header without a client's address."""

    LOCAL = enum.auto()  # the balancer's own connection, a health check say
    UNKNOWN = enum.auto()  # somebody's, and the balancer cannot say whose


class HeaderReader:
    """Reads one header. `source` is None until it is complete, then the client's address, or why there is none."""

    __slots__ = ("_seen", "source")

    def __init__(self) -> None:
        self._seen = b""
        self.source: Address | Nobody | None = None

    def feed(self, data: bytes) -> int:
        """How many of these bytes belong to the header; all of them as long as it is not complete.

        Raises ProtocolError.
        """
        before = len(self._seen)
        self._seen += data
        end = self._end()
        if end is None or end > len(self._seen):
            return len(data)
        header = self._seen[:end]
        self.source = _read_v2(header) if header.startswith(_SIGNATURE) else _read_v1(header)
        return end - before

    def _end(self) -> int | None:
        """Where the header ends, as soon as that can be told. A peer that begins with anything else is refused."""
        seen = self._seen
        if _SIGNATURE.startswith(seen[: len(_SIGNATURE)]):
            return None if len(seen) < _FIXED else _v2_end(seen)
        if _V1_BEGINNING.startswith(seen[: len(_V1_BEGINNING)]):
            end = seen.find(b"\r\n", 0, _V1_MAX) + 2
            if end < 2 and len(seen) >= _V1_MAX:
                raise _bad_header()
            return None if end < 2 else end
        raise _bad_header()


def _v2_end(seen: bytes) -> int:
    """Refuses by the fixed part what can never be right, before anything behind it is waited for."""
    command, family, length = struct.unpack_from("!BBH", seen, len(_SIGNATURE))
    if command not in (_LOCAL, _PROXY):
        raise _bad_header()
    # Section 2.2: the family of LOCAL is not looked at. Datagrams cannot be what runs over this stream.
    expected = 0 if command == _LOCAL else _ADDRESS_BYTES.get(family)
    if expected is None or not expected <= length <= expected + _MAX_EXTENSIONS:
        raise _bad_header()
    return _FIXED + int(length)


def _read_v2(header: bytes) -> Address | Nobody:
    command, family = header[12], header[13]
    if command == _LOCAL:
        return Nobody.LOCAL
    if family == _TCP4:
        return ipaddress.IPv4Address(header[16:20])
    if family == _TCP6:
        return ipaddress.IPv6Address(header[16:32])
    return Nobody.UNKNOWN  # a Unix socket on the balancer's machine says nothing here


def _read_v1(header: bytes) -> Address | Nobody:
    match = _V1_LINE.fullmatch(header)
    if match is None:
        raise _bad_header()
    unknown, version, source, destination, *ports = match.groups()
    if unknown:
        return Nobody.UNKNOWN  # section 2.1: whatever follows is not looked at
    if not all(map(_is_port, ports)):
        raise _bad_header()
    _v1_address(version, destination)
    return _v1_address(version, source)


def _v1_address(version: bytes, text: bytes) -> Address:
    try:
        return (ipaddress.IPv4Address if version == b"4" else ipaddress.IPv6Address)(text.decode())
    except ValueError:
        raise _bad_header() from None


def _is_port(text: bytes) -> bool:
    number = int(text)
    return number <= 65535 and text == b"%d" % number  # no zeros before it


def _bad_header() -> ProtocolError:
    return ProtocolError(400, "bad_proxy_header")
