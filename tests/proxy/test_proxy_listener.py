"""The way in: accept, the balancer's header, TLS. What comes after is the same as on any connection."""

import asyncio
import collections
import contextlib
import functools
import ipaddress
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from bench_certificates import Authority, server
from bench_plane import Stage
from wire import HOST, Wire, ask, message, ok, until

from sidecar.http1.forwarded import peer_of
from sidecar.proxy.acceptor import Acceptor
from sidecar.proxy.arrival import Terms
from sidecar.proxy.limits import REFUSED_AT_ONCE

V1 = b"PROXY TCP4 203.0.113.9 10.0.0.1 40000 443\r\n"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V2 = SIGNATURE + b"\x21\x11\x00\x0c" + bytes((203, 0, 113, 9, 10, 0, 0, 1)) + struct.pack("!HH", 40000, 443)
V2_IPV6 = SIGNATURE + b"\x21\x21\x00\x24" + ipaddress.ip_address("2001:db8::9").packed * 2 + bytes(4)
V2_LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
V1_UNKNOWN = b"PROXY UNKNOWN\r\n"

Open = Callable[..., Awaitable["Door"]]


class Door:
    """A listening socket of a stage."""

    def __init__(self, stage: Stage, acceptor: Acceptor, address: Any) -> None:
        self.stage, self.acceptor, self.address = stage, acceptor, address
        self._family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self._wires: list[Wire] = []
        self.talks: list[Talk] = []

    async def client(self, *sends: bytes) -> Wire:
        sock = socket.socket(self._family)
        sock.setblocking(False)
        wire = Wire(sock)
        self._wires.append(wire)
        await asyncio.get_running_loop().sock_connect(sock, self.address)
        await wire.send(*sends)
        return wire

    def refusals(self, reason: str) -> int:
        return self.stage.stats.refusals[reason]

    async def aclose(self) -> None:
        self.acceptor.close()
        for wire in self._wires:
            wire.close()
        for talk in self.talks:
            await talk.close()


@pytest.fixture
async def open_door(open_stage: Callable[..., Any]) -> AsyncIterator[Open]:
    """A function that opens a data plane with a door: `door = await open_door(proxy_protocol=True, limits={...})`."""
    async with contextlib.AsyncExitStack() as stack:

        async def opener(
            *,
            trusted: tuple[str, ...] = ("127.0.0.0/8",),
            tls: Callable[[], ssl.SSLContext] | None = None,
            proxy_protocol: bool = False,
            path: str | None = None,
            **settings: Any,
        ) -> Door:
            stage = await open_stage(**settings)
            networks = [ipaddress.ip_network(network) for network in trusted if network != "unix"]
            peer = functools.partial(
                peer_of, networks=networks, unix="unix" in trusted, scheme=b"https" if tls else b"http"
            )
            sock = _unix(path) if path else socket.create_server(("127.0.0.1", 0), backlog=64)
            sock.setblocking(False)
            address = sock.getsockname()
            terms = Terms(peer_of=peer, tls=tls, proxy_protocol=proxy_protocol)
            acceptor = Acceptor(sock=sock, plane=stage.plane, terms=terms)
            acceptor.start()
            door = Door(stage, acceptor, address)
            stack.push_async_callback(door.aclose)
            return door

        yield opener


def _unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(16)
    return sock


def told(address: str, scheme: str = "http", port: int = 80) -> list[str]:
    lines = [f"X-Forwarded-Proto: {scheme}", f"X-Forwarded-Host: {HOST}", f"X-Forwarded-Port: {port}"]
    return [f"X-Forwarded-For: {address}", *lines] if address else lines


async def expect_request(door: Door, *fields: str) -> Wire:
    """The app sees GET / with these fields behind Host."""
    app = await door.stage.app()
    await app.expect(message("GET / HTTP/1.1", f"Host: {HOST}", *fields))
    return app


# Plain connections


async def test_a_connection_is_accepted_and_served(open_door: Open) -> None:
    door = await open_door()
    client = await door.client(ask())
    app = await expect_request(door, *told("127.0.0.1"))
    await app.send(ok(b"hello"))
    assert (await client.answer()).body == b"hello"
    assert len(door.stage.plane.connections) == 1


@pytest.mark.parametrize("trusted", [("unix",), ("127.0.0.0/8",)])
async def test_on_a_unix_socket_a_peer_is_believed_if_unix_is_trusted(
    open_door: Open, tmp_path: Path, trusted: tuple[str, ...]
) -> None:
    door = await open_door(path=str(tmp_path / "public.sock"), trusted=trusted)
    await door.client(ask("GET / HTTP/1.1", "X-Forwarded-For: 192.0.2.7"))
    await expect_request(door, *told("192.0.2.7" if "unix" in trusted else ""))


async def test_whoever_has_connected_before_the_end_is_served_and_later_ones_are_not(open_door: Open) -> None:
    door = await open_door()
    client = socket.create_connection(door.address)  # the loop has had no turn: it is in the kernel's queue
    door.acceptor.close()
    assert len(door.stage.plane.connections) == 1  # so that the end waits for it
    with pytest.raises(ConnectionRefusedError):
        await door.client()
    wire = Wire(client)
    await wire.send(ask())
    app = await expect_request(door, *told("127.0.0.1"))
    await app.send(ok())
    assert (await wire.answer()).status == 200
    wire.close()


async def test_one_connection_too_many_is_told_so(open_door: Open) -> None:
    door = await open_door(limits={"connections": 1})
    await door.client(ask())
    await door.stage.app()
    second = await door.client()
    assert (await second.answer()).value("X-Logout-Sidecar") == b"too_many_connections"


async def test_far_too_many_connections_are_closed_as_they_come(open_door: Open) -> None:
    door = await open_door(limits={"connections": 1})
    await door.client(ask())
    await door.stage.app()
    for _ in range(REFUSED_AT_ONCE):  # made up: it is their number that counts
        door.stage.plane.connections.add(_Stub())
    await (await door.client()).gone()
    assert door.refusals("too_many_connections") == 1


class _Stub:
    peer = peer_of(None, ())
    buffered = 0

    def tick(self, now: float) -> None:
        pass

    def cut(self) -> None:
        pass

    def abort(self) -> None:
        pass


# The balancer's header


@pytest.mark.parametrize(
    ("header", "address"), [(V1, "203.0.113.9"), (V2, "203.0.113.9"), (V2_IPV6, "2001:db8::9"), (V2_LOCAL, "127.0.0.1")]
)
async def test_the_app_is_told_the_address_that_the_balancer_names(
    open_door: Open, header: bytes, address: str
) -> None:
    door = await open_door(proxy_protocol=True)
    client = await door.client(header + ask())
    app = await expect_request(door, *told(address))
    await app.send(ok())
    assert (await client.answer()).status == 200


@pytest.mark.parametrize("header", [V1, V2])
async def test_the_header_may_come_in_pieces_and_the_request_later(open_door: Open, header: bytes) -> None:
    door = await open_door(proxy_protocol=True)
    client = await door.client()
    for at in range(len(header)):
        await client.send(header[at : at + 1])
        await asyncio.sleep(0)
    await client.send(ask())
    await expect_request(door, *told("203.0.113.9"))


LIE = "X-Forwarded-For: 192.0.2.7"


@pytest.mark.parametrize(
    ("header", "trusted", "chain"),
    [
        # The balancer is believed about the address, the client about nothing: the field is the client's.
        (V1, (), "203.0.113.9"),
        # The client is a trusted proxy itself, a CDN say.
        (V1, ("203.0.113.0/24",), "192.0.2.7, 203.0.113.9"),
        # The balancer's own connection.
        (V2_LOCAL, (), "192.0.2.7, 127.0.0.1"),
        # Somebody's. Were it judged as the balancer's own, anybody who gets through so could lie.
        (V1_UNKNOWN, (), "127.0.0.1"),
        (SIGNATURE + b"\x21\x00\x00\x00", (), "127.0.0.1"),
    ],
)
async def test_forwarded_fields_are_judged_by_the_address_that_the_balancer_names(
    open_door: Open, header: bytes, trusted: tuple[str, ...], chain: str
) -> None:
    door = await open_door(proxy_protocol=True, trusted=("127.0.0.0/8", *trusted))
    await door.client(header + ask("GET / HTTP/1.1", LIE))
    await expect_request(door, *told(chain))


@pytest.mark.parametrize("said", [ask(), b"\x16\x03\x01\x02\x00\x01\x00", b"PROXY TCP4 nonsense\r\n"])
async def test_a_connection_without_a_good_header_is_closed_without_a_word(open_door: Open, said: bytes) -> None:
    door = await open_door(proxy_protocol=True)
    client = await door.client(said)
    assert await client.gone() == b""
    assert door.refusals("bad_proxy_header") == 1
    assert door.stage.is_app_untouched()


async def test_a_header_from_somebody_who_is_not_trusted_is_refused(open_door: Open) -> None:
    door = await open_door(proxy_protocol=True, trusted=("10.0.0.0/8",))
    client = await door.client(V1 + ask())
    assert await client.gone() == b""
    assert door.refusals("untrusted_balancer") == 1


async def test_where_none_is_expected_a_header_is_no_http(open_door: Open) -> None:
    door = await open_door()
    client = await door.client(V1 + ask())
    assert (await client.answer()).status == 400
    assert door.stage.is_app_untouched()


async def test_a_header_that_does_not_end_is_waited_for_as_long_as_a_head(open_door: Open) -> None:
    door = await open_door(proxy_protocol=True, limits={"head_timeout": 0.2})
    client = await door.client(V1[:-1])
    assert await client.gone() == b""
    assert door.refusals("handshake_timeout") == 1
    await until(door.stage.is_quiet)


async def test_a_check_that_connects_and_leaves_is_no_refusal(open_door: Open) -> None:
    door = await open_door(proxy_protocol=True)
    client = await door.client()
    await until(lambda: len(door.stage.plane.connections) == 1)
    client.close()
    await until(door.stage.is_quiet)
    assert not door.stage.stats.refusals


async def test_the_limit_per_peer_counts_clients_and_not_the_balancer(open_door: Open) -> None:
    door = await open_door(proxy_protocol=True, limits={"connections_per_peer": 1})
    first = await door.client(V1 + ask())
    await (await expect_request(door, *told("203.0.113.9"))).send(ok())
    assert (await first.answer()).status == 200
    second = await door.client(V1 + ask())
    assert await second.gone() == b""
    assert door.refusals("too_many_connections_of_peer") == 1
    other = await door.client(V2_IPV6 + ask())
    await other.send()
    await until(lambda: len(door.stage.plane.connections) == 2)


# TLS


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def tls(authority: Authority, tmp_path: Path) -> Callable[[], ssl.SSLContext]:
    context = server(authority.issue(tmp_path))
    return lambda: context


class Talk:
    """A TLS client; plain bytes first, if any."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def begin(cls, door: Door, authority: Authority, *, first: bytes = b"") -> "Talk":
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(*door.address)
            writer.write(first)
            await writer.start_tls(authority.client(), server_hostname="127.0.0.1")
        talk = cls(reader, writer)
        door.talks.append(talk)
        return talk

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> bytes:
        """All until the end of a head and its body."""
        async with asyncio.timeout(5):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            return head + await self.reader.readexactly(int(length))

    async def close(self) -> None:
        """At once, whatever is still to be read."""
        with contextlib.suppress(AttributeError):  # Python 3.11.2 cannot abort TLS that has ended already
            self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


async def test_a_request_over_tls_is_told_to_the_app_as_https(open_door: Open, tls: Any, authority: Authority) -> None:
    door = await open_door(tls=tls)
    talk = await Talk.begin(door, authority)
    await talk.send(ask())
    app = await expect_request(door, *told("127.0.0.1", "https", 443))
    for secret in (b"one", b"two"):
        await app.send(ok(secret))
        assert (await talk.answer()).endswith(secret)
        await talk.send(ask())
        await app.head()
    talk.writer.close()
    await until(door.stage.is_quiet)


@pytest.mark.parametrize("header", [V1, V2])
async def test_the_balancers_header_comes_before_tls(
    open_door: Open, tls: Any, authority: Authority, header: bytes
) -> None:
    door = await open_door(tls=tls, proxy_protocol=True)
    talk = await Talk.begin(door, authority, first=header)
    await talk.send(ask("GET / HTTP/1.1", LIE))
    await expect_request(door, *told("203.0.113.9", "https", 443))


async def test_a_new_certificate_is_for_new_connections(open_door: Open, authority: Authority, tmp_path: Path) -> None:
    contexts = [server(authority.issue(tmp_path, name)) for name in ("new", "old")]
    door = await open_door(tls=lambda: contexts[-1])
    old = await Talk.begin(door, authority)
    contexts.pop()
    new = await Talk.begin(door, authority)
    names = [talk.writer.get_extra_info("ssl_object").getpeercert()["subject"][0][0][1] for talk in (old, new)]
    assert names == ["old", "new"]
    await old.send(ask())
    app = await expect_request(door, *told("127.0.0.1", "https", 443))
    await app.send(ok(b"still here"))
    assert (await old.answer()).endswith(b"still here")


async def test_plain_http_on_the_tls_port_is_closed_without_a_word(open_door: Open, tls: Any) -> None:
    door = await open_door(tls=tls)
    client = await door.client(ask())
    assert ok() not in await client.gone()
    assert door.refusals("http_on_tls_port") == 1
    await until(door.stage.is_quiet)


async def test_what_is_neither_tls_nor_http_is_closed(open_door: Open, tls: Any) -> None:
    door = await open_door(tls=tls)
    client = await door.client(b"\x00" * 64)
    await client.gone()
    assert door.refusals("tls_handshake_failed") == 1
    await until(door.stage.is_quiet)


async def test_a_tls_hello_on_the_plain_port_gets_400(open_door: Open) -> None:
    door = await open_door()
    client = await door.client(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    assert (await client.answer()).value("X-Logout-Sidecar") == b"not_http"


async def test_a_handshake_that_does_not_end_is_bounded_in_time_and_counts_as_a_connection(
    open_door: Open, tls: Any
) -> None:
    door = await open_door(tls=tls, limits={"head_timeout": 0.3, "connections": 2})
    slow = [await door.client(b"\x16") for _ in range(2)]
    await until(lambda: len(door.stage.plane.connections) == 2)
    third = await door.client(b"\x16")
    await third.gone()  # at once: no handshake is begun for it
    assert (door.refusals("too_many_connections"), door.refusals("handshake_timeout")) == (1, 0)
    for client in slow:
        await client.gone()
    assert door.refusals("handshake_timeout") == 2
    await until(door.stage.is_quiet)


async def test_a_large_answer_to_a_slow_reader_over_tls_is_held_back(
    open_door: Open, tls: Any, authority: Authority
) -> None:
    """And it is complete when the reader goes on."""
    size = 32 * 1024 * 1024  # more than the kernel takes
    door = await open_door(tls=tls)
    talk = await Talk.begin(door, authority)
    await talk.send(ask())
    app = await door.stage.app()
    await app.head()
    sending = asyncio.ensure_future(app.send(ok(bytes(size))))
    looks: collections.deque[bool] = collections.deque(maxlen=20)

    def is_stuck() -> bool:
        looks.append(door.stage.is_behind())
        return len(looks) == 20 and all(looks)

    await until(is_stuck)
    assert door.stage.buffered() < 1024 * 1024
    assert not sending.done()
    assert len(await talk.answer()) > size
    await sending


async def test_the_last_answer_over_tls_arrives_whole_before_the_end(
    open_door: Open, tls: Any, authority: Authority
) -> None:
    door = await open_door(tls=tls)
    talk = await Talk.begin(door, authority)
    await talk.send(ask("GET / HTTP/1.1", "Connection: close"))
    app = await door.stage.app()
    await app.head()
    await app.send(ok(b"x" * 300_000))
    assert (await talk.answer()).endswith(b"x" * 1000)
    async with asyncio.timeout(5):
        assert await talk.reader.read() == b""
    talk.writer.close()
    await until(door.stage.is_quiet)


async def test_a_client_that_ends_tls_cancels_its_request(
    open_door: Open, tls: Any, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """TLS knows no half of a connection here, so close_notify is the end."""
    door = await open_door(tls=tls)
    talk = await Talk.begin(door, authority)
    await talk.send(ask())
    app = await door.stage.app()
    await app.head()
    talk.writer.close()
    await app.gone()
    await until(door.stage.is_quiet)
    assert caplog.records == []


async def test_an_upload_over_tls_goes_through(open_door: Open, tls: Any, authority: Authority) -> None:
    door = await open_door(tls=tls)
    talk = await Talk.begin(door, authority)
    body = bytes(range(256)) * 4096
    sending = asyncio.ensure_future(talk.send(ask("POST /up HTTP/1.1", f"Content-Length: {len(body)}", body=body)))
    app = await door.stage.app()
    await app.head()
    assert await app.read(len(body)) == body
    await sending
