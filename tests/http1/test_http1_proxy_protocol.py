"""The PROXY protocol: which headers say what, which say nothing, and where the client's own bytes begin."""

import contextlib
import ipaddress
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.http1.errors import ProtocolError
from sidecar.http1.proxy_protocol import HeaderReader, Nobody

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
IPV4 = ipaddress.IPv4Address("203.0.113.9")
IPV6 = ipaddress.IPv6Address("2001:db8::9")
MOST = 16 + 216 + 2048  # bytes of any header


def v2(command: int, family: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(payload) if length is None else length) + payload


def tcp4(extensions: bytes = b"") -> bytes:
    return v2(0x21, 0x11, IPV4.packed + bytes((10, 0, 0, 1)) + struct.pack("!HH", 40000, 443) + extensions)


def tcp6(extensions: bytes = b"") -> bytes:
    return v2(0x21, 0x21, IPV6.packed * 2 + struct.pack("!HH", 40000, 443) + extensions)


GOOD = [
    (b"PROXY TCP4 203.0.113.9 10.0.0.1 40000 443\r\n", IPV4),
    (b"PROXY TCP4 203.0.113.9 10.0.0.1 0 65535\r\n", IPV4),
    (b"PROXY TCP6 2001:db8::9 ::1 40000 443\r\n", IPV6),
    (b"PROXY TCP6 2001:DB8:0:0:0:0:0:9 ::1 1 1\r\n", IPV6),
    (b"PROXY TCP6 ::ffff:203.0.113.9 ::1 1 1\r\n", ipaddress.IPv6Address("::ffff:203.0.113.9")),
    (b"PROXY UNKNOWN\r\n", Nobody.UNKNOWN),
    (b"PROXY UNKNOWN ffff:f...f:ffff whatever 65535 65535\r\n", Nobody.UNKNOWN),
    (b"PROXY UNKNOWN " + b"x" * (107 - 16) + b"\r\n", Nobody.UNKNOWN),
    (tcp4(), IPV4),
    (tcp6(), IPV6),
    (tcp4(b"\x04\x00\x01x"), IPV4),
    (tcp6(bytes(2048)), IPV6),
    (v2(0x20, 0x00), Nobody.LOCAL),
    (v2(0x20, 0x11, bytes(12)), Nobody.LOCAL),
    (v2(0x20, 0xFF, b"?"), Nobody.LOCAL),  # of LOCAL the rest is not looked at
    (v2(0x21, 0x00), Nobody.UNKNOWN),
    (v2(0x21, 0x00, bytes(2048)), Nobody.UNKNOWN),
    (v2(0x21, 0x31, bytes(216)), Nobody.UNKNOWN),
]

BAD = {
    "HTTP": b"GET / HTTP/1.1\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00",
    "lower case": b"proxy TCP4 203.0.113.9 10.0.0.1 40000 443\r\n",
    "two blanks": b"PROXY  TCP4 203.0.113.9 10.0.0.1 40000 443\r\n",
    "a blank at the end": b"PROXY TCP4 203.0.113.9 10.0.0.1 40000 443 \r\n",
    "another family": b"PROXY UDP4 203.0.113.9 10.0.0.1 40000 443\r\n",
    "a family and no addresses": b"PROXY TCP4\r\n",
    "a word that begins like UNKNOWN": b"PROXY UNKNOWNS\r\n",
    "nothing": b"PROXY \r\n",
    "no port": b"PROXY TCP4 203.0.113.9 10.0.0.1 40000\r\n",
    "a port too large": b"PROXY TCP4 203.0.113.9 10.0.0.1 65536 443\r\n",
    "a port with a zero before it": b"PROXY TCP4 203.0.113.9 10.0.0.1 040 443\r\n",
    "a negative port": b"PROXY TCP4 203.0.113.9 10.0.0.1 -1 443\r\n",
    "an address with a zero before it": b"PROXY TCP4 203.0.113.009 10.0.0.1 1 443\r\n",
    "a short address": b"PROXY TCP4 203.113 10.0.0.1 1 443\r\n",
    "an address of the other family": b"PROXY TCP4 2001:db8::9 10.0.0.1 1 443\r\n",
    "another one": b"PROXY TCP6 203.0.113.9 ::1 1 443\r\n",
    "a wrong address of ours": b"PROXY TCP4 203.0.113.9 300.0.0.1 1 443\r\n",
    "a zone": b"PROXY TCP6 fe80::1%eth0 ::1 1 443\r\n",
    "a bare line feed": b"PROXY TCP4 203.0.113.9 10.0.0.1 40000 443\n" + b"x" * 80,
    "a bare carriage return": b"PROXY UNKNOWN \r x\r\n",
    "a long line": b"PROXY UNKNOWN " + b"x" * (107 - 15) + b"\r\n",
    "a broken signature": SIGNATURE[:-1] + b"X",
    "version 1 in the second form": v2(0x11, 0x11, bytes(12)),
    "version 3": v2(0x31, 0x11, bytes(12)),
    "another command": v2(0x22, 0x11, bytes(12)),
    "datagrams": v2(0x21, 0x12, bytes(12)),
    "datagrams over IPv6": v2(0x21, 0x22, bytes(36)),
    "Unix datagrams": v2(0x21, 0x32, bytes(216)),
    "an unknown family": v2(0x21, 0x41, bytes(216)),
    "IPv4 and too little": v2(0x21, 0x11, bytes(11)),
    "IPv6 and too little": v2(0x21, 0x21, bytes(35)),
    "a Unix socket and too little": v2(0x21, 0x31, bytes(215)),
    "too many extensions": v2(0x21, 0x11, length=12 + 2049),
    "too many of LOCAL": v2(0x20, 0x11, length=2049),
    "65535 bytes": v2(0x21, 0x21, length=65535),
}


@pytest.mark.parametrize(("header", "source"), GOOD, ids=[repr(header[:40]) for header, _ in GOOD])
@pytest.mark.parametrize("rest", [b"", b"\r\n", b"GET / HTTP/1.1\r\n", b"PROXY UNKNOWN\r\n", b"\x16\x03\x01"])
def test_a_header_says_whose_connection_it_is_and_where_it_ends(header: bytes, source: object, rest: bytes) -> None:
    reader = HeaderReader()
    assert reader.feed(header + rest) == len(header)
    assert reader.source == source


@pytest.mark.parametrize(("header", "source"), GOOD, ids=[repr(header[:40]) for header, _ in GOOD])
def test_a_header_may_be_cut_anywhere(header: bytes, source: object) -> None:
    for cut in range(1, len(header)):
        reader = HeaderReader()
        assert reader.feed(header[:cut]) == cut
        assert reader.source is None
        assert reader.feed(header[cut:] + b"rest") == len(header) - cut
        assert reader.source == source


@pytest.mark.parametrize(("header", "source"), GOOD[:14], ids=[repr(header[:40]) for header, _ in GOOD[:14]])
def test_a_header_may_come_byte_by_byte(header: bytes, source: object) -> None:
    reader = HeaderReader()
    assert all(reader.feed(header[at : at + 1]) == 1 and reader.source is None for at in range(len(header) - 1))
    assert reader.feed(header[-1:]) == 1
    assert reader.source == source


@pytest.mark.parametrize("header", BAD.values(), ids=BAD)
def test_anything_else_is_refused(header: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        HeaderReader().feed(header)
    assert caught.value.reason == "bad_proxy_header"


@pytest.mark.parametrize("beginning", [b"G", b"PROXX", b"\r\nX", b"PROXY TCP4 " + b"1" * 96])
def test_what_can_never_become_a_header_is_not_waited_for(beginning: bytes) -> None:
    with pytest.raises(ProtocolError):
        HeaderReader().feed(beginning)


addresses = st.one_of(
    st.tuples(st.just(4), st.ip_addresses(v=4), st.ip_addresses(v=4)),
    st.tuples(st.just(6), st.ip_addresses(v=6), st.ip_addresses(v=6)),
)
ports = st.integers(0, 65535)


@st.composite
def headers(draw: st.DrawFn) -> tuple[bytes, object]:
    """A header as a balancer writes it, and the client's address."""
    version, source, destination = draw(addresses)
    from_port, to_port = draw(ports), draw(ports)
    if draw(st.booleans()):
        return f"PROXY TCP{version} {source} {destination} {from_port} {to_port}\r\n".encode(), source
    payload = source.packed + destination.packed + struct.pack("!HH", from_port, to_port)
    family = 0x11 if version == 4 else 0x21
    return v2(0x21, family, payload + draw(st.binary(max_size=64))), source


@given(headers(), st.lists(st.integers(1, 40)), st.binary(max_size=20))
def test_every_header_of_a_balancer_is_read_however_it_is_cut(
    whole: tuple[bytes, object], sizes: list[int], rest: bytes
) -> None:
    header, source = whole
    reader, left = HeaderReader(), header + rest
    for size in [*sizes, len(left)]:
        taken = reader.feed(left[:size])
        left = left[taken:]
        if reader.source is not None:
            break
    assert (reader.source, left) == (source, rest)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=12), st.sampled_from([b"", b"PROXY ", SIGNATURE + b"!"]))
@example([b"\x00\xff\xff", bytes(3000)], SIGNATURE + b"!")
def test_no_input_does_anything_but_be_read_or_refused(pieces: list[bytes], beginning: bytes) -> None:
    """And nobody can make it hold more than the longest header."""
    reader, taken = HeaderReader(), 0
    with contextlib.suppress(ProtocolError):
        for piece in [beginning or b"P", *pieces]:
            taken += reader.feed(piece)
            assert taken <= MOST
            if reader.source is not None:
                return
