"""What the app is told about the client, and whose word counts (reference cases 41-43)."""

import ipaddress

import pytest

from sidecar.http1.forwarded import Peer, peer_of
from sidecar.http1.request import parse_request

NETWORKS = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "127.0.0.0/8", "2001:db8::/32")]
STRANGER = ("203.0.113.9", 40000)
PROXY = ("10.1.2.3", 40000)


def told(peer: Peer, *fields: bytes, host: bytes = b"app.test") -> list[bytes]:
    """The lines that go to the app, without Host."""
    head = b"\r\n".join([b"GET / HTTP/1.1", b"Host: " + host, *fields]) + b"\r\n\r\n"
    return peer.apply(parse_request(head, max_headers=128))[1:]


def about(address: bytes, proto: bytes = b"http", host: bytes = b"app.test", port: bytes = b"80") -> list[bytes]:
    lines = [
        b"X-Forwarded-For: " + address,
        b"X-Forwarded-Proto: " + proto,
        b"X-Forwarded-Host: " + host,
        b"X-Forwarded-Port: " + port,
    ]
    return lines if address else lines[1:]


@pytest.mark.parametrize(
    ("address", "shown", "is_trusted"),
    [
        (("203.0.113.9", 1), b"203.0.113.9", False),
        (("10.255.255.255", 1), b"10.255.255.255", True),
        (("11.0.0.0", 1), b"11.0.0.0", False),
        (("127.0.0.1", 1), b"127.0.0.1", True),
        (("2001:db8::1", 1, 0, 0), b"2001:db8::1", True),
        (("2001:DB8:0:0::1", 1, 0, 0), b"2001:db8::1", True),
        (("2001:db9::1", 1, 0, 0), b"2001:db9::1", False),
        (("::1", 1, 0, 0), b"::1", False),
        (("fe80::1%eth0", 1, 0, 2), b"fe80::1", False),  # the zone means nothing to the app
        (("::ffff:10.1.2.3", 1, 0, 0), b"10.1.2.3", True),  # case 187: IPv4 on a dual-stack listener
        (("::ffff:203.0.113.9", 1, 0, 0), b"203.0.113.9", False),
    ],
)
def test_a_peer_is_shown_and_believed_by_its_address(address: object, shown: bytes, is_trusted: bool) -> None:
    peer = peer_of(address, NETWORKS)
    assert (peer.address, peer.is_trusted) == (shown, is_trusted)
    assert told(peer) == about(shown)


def test_nobody_is_trusted_without_networks() -> None:
    assert not peer_of(("127.0.0.1", 1), []).is_trusted


@pytest.mark.parametrize("address", ["", "/run/proxy.sock", b"", b"\0abstract"])
@pytest.mark.parametrize("unix", [True, False])
def test_a_peer_on_a_unix_socket_is_believed_if_the_operator_says_so(address: object, unix: bool) -> None:
    peer = peer_of(address, NETWORKS, unix=unix)
    assert (peer.address, peer.is_trusted) == (b"", unix)
    assert told(peer, b"X-Forwarded-For: 1.2.3.4") == (about(b"1.2.3.4") if unix else about(b""))


def test_a_peer_that_is_gone_is_not_believed() -> None:
    """Its address is None; to believe in it would be to believe whoever resets at the right moment."""
    assert not peer_of(None, NETWORKS, unix=True).is_trusted


def test_a_doubted_peer_keeps_its_address_and_scheme_and_is_not_believed() -> None:
    peer = peer_of(PROXY, NETWORKS, scheme=b"https").doubted()
    assert told(peer, b"X-Forwarded-For: 1.2.3.4", b"X-Real-IP: 1.2.3.4") == about(b"10.1.2.3", b"https", port=b"443")


@pytest.mark.parametrize(
    ("scheme", "host", "port"),
    [
        (b"http", b"app.test", b"80"),
        (b"https", b"app.test", b"443"),
        (b"https", b"app.test:8443", b"8443"),
        (b"http", b"app.test:", b"80"),
        (b"http", b"[2001:db8::1]", b"80"),
        (b"http", b"[2001:db8::1]:81", b"81"),
    ],
)
def test_scheme_host_and_port_are_those_of_the_request(scheme: bytes, host: bytes, port: bytes) -> None:
    assert told(peer_of(STRANGER, NETWORKS, scheme=scheme), host=host) == about(b"203.0.113.9", scheme, host, port)


@pytest.mark.parametrize(
    "field",
    [
        b"X-Forwarded-For: 1.2.3.4",
        b"x-forwarded-for: 1.2.3.4, 10.0.0.1",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: evil.test",
        b"X-Forwarded-Port: 1",
        b"X-Forwarded-Prefix: /evil",
        b"X-Forwarded-User: admin",
        b"X-Forwarded-Client-Cert: x",
        b"Forwarded: for=1.2.3.4",
        b"X-Real-IP: 1.2.3.4",
        b"Remote-User: admin",
        b"X-Remote-User: admin",
        b"X_Remote_User: admin",
        b"SSL-Client-Cert: x",
        b"X-SSL-Client-S-DN: x",
    ],
)
def test_a_strangers_word_about_itself_does_not_reach_the_app(field: bytes) -> None:
    lines = told(peer_of(STRANGER, NETWORKS), b"A: 1", field, b"B: 2")
    assert lines == [b"A: 1", b"B: 2", *about(b"203.0.113.9")]


@pytest.mark.parametrize(
    "field",
    [
        b"X-Forwarded-Prefix: /app",
        b"X-Forwarded-User: alice",
        b"X-Real-IP: 1.2.3.4",
        b"Remote-User: alice",
        b"SSL-Client-Cert: x",
    ],
)
def test_a_trusted_proxys_word_reaches_the_app(field: bytes) -> None:
    assert told(peer_of(PROXY, NETWORKS), field) == [field, *about(b"10.1.2.3")]


def test_a_trusted_proxys_chain_is_continued() -> None:
    """Every line of it, in order."""
    lines = told(
        peer_of(PROXY, NETWORKS),
        b"X-Forwarded-For: 1.2.3.4, 5.6.7.8",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-For: 10.9.9.9",
        b"X-Forwarded-Host: public.test:8443",
    )
    assert lines == about(b"1.2.3.4, 5.6.7.8, 10.9.9.9, 10.1.2.3", b"https", b"public.test:8443", b"8443")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([b"X-Forwarded-Proto: https"], about(b"10.1.2.3", b"https", port=b"443")),
        ([b"X-Forwarded-Port: 8080"], about(b"10.1.2.3", port=b"8080")),
        ([b"X-Forwarded-Host: public.test"], about(b"10.1.2.3", host=b"public.test")),
        ([b"X-Forwarded-Host: "], about(b"10.1.2.3")),
        ([b"X-Forwarded-Proto: http", b"X-Forwarded-Proto: https"], about(b"10.1.2.3", b"https", port=b"443")),
    ],
)
def test_what_a_trusted_proxy_leaves_out_is_filled_in(fields: list[bytes], expected: list[bytes]) -> None:
    assert told(peer_of(PROXY, NETWORKS), *fields) == expected


def test_a_unix_socket_adds_nothing_to_the_chain_of_the_proxy_behind_it() -> None:
    peer = peer_of("", NETWORKS, unix=True)
    assert told(peer, b"X-Forwarded-For: 1.2.3.4") == about(b"1.2.3.4")
    assert told(peer, b"Forwarded: for=1.2.3.4") == [b"Forwarded: for=1.2.3.4", *about(b"")]


@pytest.mark.parametrize(
    ("address", "element"),
    [
        (PROXY, b"for=10.1.2.3"),
        (("::ffff:10.1.2.3", 1, 0, 0), b"for=10.1.2.3"),
        (("2001:DB8::1", 1, 0, 0), b'for="[2001:db8::1]"'),  # RFC 7239 section 6
    ],
)
def test_a_trusted_proxys_forwarded_chain_is_continued(address: object, element: bytes) -> None:
    """All lines of it in one, and only where there is one."""
    peer = peer_of(address, NETWORKS)
    lines = told(
        peer, b"Forwarded: for=1.2.3.4;proto=https", b"A: 1", b'forwarded: for="[2001:db8::7]:80", for=5.6.7.8'
    )
    expected = b'Forwarded: for=1.2.3.4;proto=https, for="[2001:db8::7]:80", for=5.6.7.8, ' + element
    assert lines == [b"A: 1", expected, *about(peer.address)]
    assert told(peer, b"A: 1") == [b"A: 1", *about(peer.address)]


def test_each_request_of_a_connection_is_told_its_own_host() -> None:
    peer = peer_of(STRANGER, NETWORKS)
    hosts = [b"a.test", b"a.test", b"b.test:81", b"a.test"]
    ports = [b"80", b"80", b"81", b"80"]
    assert [told(peer, host=host) for host in hosts] == [
        about(b"203.0.113.9", host=host, port=port) for host, port in zip(hosts, ports, strict=True)
    ]


def test_other_fields_keep_their_order_and_spelling() -> None:
    fields = [b"x-REALM: a", b"X-Forward: b", b"X_Own: c", b"X-Realm: d"]
    assert told(peer_of(STRANGER, NETWORKS), *fields, b"X-Real-IP: e") == [*fields, *about(b"203.0.113.9")]


def test_a_list_of_protocols_from_a_trusted_peer_gives_the_port_of_the_first() -> None:
    request = parse_request(
        b"GET / HTTP/1.1\r\nHost: app.example.com\r\nX-Forwarded-Proto: https, http\r\n\r\n", max_headers=16
    )
    assert b"X-Forwarded-Port: 443" in Peer(b"10.0.0.1", is_trusted=True).apply(request)
