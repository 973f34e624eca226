"""How the app is reached: addresses, TLS, dead peers, last words; and connections that belong to one client."""

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from bench_certificates import Authority, server
from bench_plane import CALLBACK, Stage, revoked_cookie, session
from test_proxy_upgrade import SWITCHED, UPGRADE
from wire import Wire, ask, message, ok, seen, until

from sidecar import clock
from sidecar.proxy.errors import UpstreamError
from sidecar.proxy.pool import Address, Pool, PoolTerms

NOBODY = "127.0.0.2"  # no app listens there

# -- addresses -----------------------------------------------------------------------------------------------------


def resolve(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Each look-up gets the next of these answers, the last one again and again. Returns the names looked up."""
    asked: list[str] = []
    ordinary = asyncio.get_running_loop().getaddrinfo

    async def getaddrinfo(host: str, port: int, **how: Any) -> list[Any]:
        if not host.endswith(".internal"):
            return await ordinary(host, port, **how)
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


def reach(stage: Stage, tls: ssl.SSLContext | None = None, host: str = "app.internal", **settings: Any) -> Pool:
    """The stage's app under another address."""
    pool = Pool(Address(host=host, port=stage.pool.address.port, tls=tls), PoolTerms(head_bytes=65536, **settings))
    stage.plane.app = stage.pool = pool
    return pool


async def test_every_new_connection_resolves_the_name_anew(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    asked = resolve(monkeypatch, [NOBODY], ["127.0.0.1"])
    reach(stage)
    client = await stage.client(ask())
    assert (await client.answer()).status == 502
    await client.send(ask())
    app = await stage.app()
    await app.head()
    await app.send(ok())
    await client.expect(ok())
    assert asked == ["app.internal", "app.internal"]


async def test_an_address_where_nobody_listens_is_not_the_end_while_there_are_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    resolve(monkeypatch, [NOBODY, "127.0.0.1"])
    reach(stage)
    await stage.client(ask())
    await (await stage.app()).head()


async def test_an_address_that_swallows_everything_costs_its_share_of_the_time_and_no_more(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    resolve(monkeypatch, [NOBODY, "127.0.0.1"])
    reach(stage, connect_timeout=0.6)
    with full_backlog(stage.pool.address.port):
        began = clock.boot()
        await stage.client(ask())
        await (await stage.app()).head()
        assert 0.2 < clock.boot() - began < 0.6


async def test_no_address_that_answers_in_time_is_a_504(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    resolve(monkeypatch, [NOBODY, NOBODY])
    reach(stage, connect_timeout=0.2)
    with full_backlog(stage.pool.address.port):
        answer = await (await stage.client(ask())).answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (504, b"upstream_connect_timeout")


async def test_a_name_that_does_not_exist_is_a_502(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    async def getaddrinfo(*_: Any, **_how: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(UpstreamError) as caught:
        await reach(stage).open()
    assert (caught.value.status, caught.value.reason) == (502, "upstream_unreachable")


@contextlib.contextmanager
def full_backlog(port: int):
    """A listener at NOBODY that takes no more connections: whoever comes gets no answer at all."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((NOBODY, port))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((NOBODY, port))
        yield


async def test_dead_peers_are_found_out_on_both_sides(stage: Stage):
    await stage.asks(ask())
    (client,), (app,) = list(stage.plane.connections), stage.pool._all
    for connection in (client, app):
        sock = connection.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 120_000


# -- TLS -----------------------------------------------------------------------------------------------------------


class TlsApp:
    """An https app, and what it got to see."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.seen = b""
        self.names: list[str | None] = []
        context.sni_callback = lambda _sock, name, _context: self.names.append(name)
        self._context = context

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        return self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.seen += await reader.readuntil(b"\r\n\r\n")
                writer.write(ok(b"safe"))
        writer.close()

    def close(self) -> None:
        self._server.close()


async def tls_stage(stage: Stage, app: TlsApp, trusts: ssl.SSLContext, host: str) -> None:
    stage.plane.app = stage.pool = Pool(
        Address(host=host, port=await app.start(), tls=trusts), PoolTerms(head_bytes=65536)
    )


async def test_an_https_app_with_the_right_certificate_is_asked_over_one_kept_connection(stage: Stage, tmp_path: Path):
    authority = Authority(tmp_path)
    app = TlsApp(server(authority.issue(tmp_path)))
    await tls_stage(stage, app, authority.client(), "127.0.0.1")
    client = await stage.client(ask())
    await client.expect(ok(b"safe"))
    await client.send(ask())
    await client.expect(ok(b"safe"))
    assert app.seen == seen() * 2
    assert stage.pool.counts == (0, 1, 0)
    app.close()


@pytest.mark.parametrize("wrong", ["authority", "name", "expired"])
async def test_an_app_with_a_wrong_certificate_is_a_502_and_hears_nothing_of_the_request(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
):
    authority = Authority(tmp_path)
    trusted = Authority(tmp_path, "other") if wrong == "authority" else authority
    app = TlsApp(server(authority.issue(tmp_path, days=-1 if wrong == "expired" else 1)))
    resolve(monkeypatch, ["127.0.0.1"])
    await tls_stage(stage, app, trusted.client(), "app.internal" if wrong == "name" else "127.0.0.1")
    answer = await (await stage.client(ask())).answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (502, b"upstream_tls_failed")
    assert app.seen == b""
    assert app.names == (["app.internal"] if wrong == "name" else [None])  # the name is sent; an address never is
    app.close()


async def test_an_https_app_that_speaks_plain_http_is_a_502(stage: Stage, tmp_path: Path):
    reach(stage, Authority(tmp_path).client(), "127.0.0.1")
    client = await stage.client(ask())
    app = await stage.app()
    await app.send(message("HTTP/1.1 400 Bad Request", "Content-Length: 0"))
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (502, b"upstream_tls_failed")
    assert b"GET" not in await app.gone()


async def test_an_https_app_that_never_shakes_hands_is_a_504(stage: Stage, tmp_path: Path):
    reach(stage, Authority(tmp_path).client(), "127.0.0.1", connect_timeout=0.2)
    answer = await (await stage.client(ask())).answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (504, b"upstream_connect_timeout")


# -- last words ----------------------------------------------------------------------------------------------------

REFUSED = message("HTTP/1.1 413 Too Large", "Content-Length: 3", body=b"no!")


async def test_an_answer_is_heard_even_if_writing_the_rest_of_the_upload_fails_first(stage: Stage):
    """The app answers and resets; our next write meets the reset before anybody has read the answer."""
    client = await stage.client(ask("POST / HTTP/1.1", "Content-Length: 9000000"))
    app = await stage.app()
    await app.head()
    (upstream,) = stage.pool._all
    upstream.transport.pause_reading()  # the loop looks at the writing side first
    app.sock.send(REFUSED)
    app.abort()
    sending = asyncio.create_task(client.send(b"x" * 1_000_000))
    answer = await client.answer()
    assert (answer.status, answer.body) == (413, b"no!")
    sending.cancel()
    await until(lambda: not stage.pool._all)


# -- tunnels and event streams have no turn ------------------------------------------------------------------------


async def test_open_websockets_keep_nobody_waiting(open_stage):
    stage = await open_stage(pool={"max_connections": 1})
    client, app = await stage.asks(UPGRADE)
    await app.send(SWITCHED)
    await client.expect(SWITCHED)
    assert stage.pool.counts == (0, 0, 0)
    await stage.client(ask())
    await (await stage.app()).head()
    client.abort()
    await app.gone()
    await until(lambda: not stage.pool._apart)


async def test_open_event_streams_keep_nobody_waiting_and_a_long_download_does(open_stage):
    stage = await open_stage(pool={"max_connections": 1})
    client, app = await stage.asks(ask())
    waiting = await stage.client(ask("GET /2 HTTP/1.1"))
    await until(lambda: stage.pool.counts == (1, 0, 1))
    await app.send(message("HTTP/1.1 200 OK", "content-type: Text/Event-Stream; charset=utf-8"), b"data: 1\n\n")
    other = await stage.app()
    await other.expect(seen("GET /2 HTTP/1.1"))
    await other.send(message("HTTP/1.1 200 OK", "Content-Type: text/html", "Transfer-Encoding: chunked"), b"1\r\nx\r\n")
    await waiting.until(b"x\r\n")
    await stage.client(ask("GET /3 HTTP/1.1"))
    await until(lambda: stage.pool.counts == (1, 0, 1))
    client.close()
    await app.gone()
    await until(lambda: not stage.pool._apart)


# -- connections that belong to a client ---------------------------------------------------------------------------

CHALLENGE = message("HTTP/1.1 401 Unauthorized", "WWW-Authenticate: Negotiate, NTLM", "Content-Length: 0")


async def authenticated(stage: Stage, scheme: str = "NTLM") -> tuple[Wire, Wire]:
    """A client that has gone through the handshake, and its connection to the app, idle."""
    client, app = await stage.asks(ask())
    await app.send(CHALLENGE)
    await client.expect(CHALLENGE)
    await client.send(ask("GET / HTTP/1.1", f"Authorization: {scheme} TlRMTVNTUAAB"))
    await app.head()
    await app.send(ok(b"in"))
    await client.expect(ok(b"in"))
    return client, app


@pytest.mark.parametrize("scheme", ["NTLM", "negotiate", "NTLM\t"])
async def test_a_connection_that_the_app_has_authenticated_serves_nobody_else(stage: Stage, scheme: str):
    client, app = await authenticated(stage, scheme)
    stranger = await stage.client(ask("GET /secret HTTP/1.1"))
    other = await stage.app()
    await other.expect(seen("GET /secret HTTP/1.1"))
    await other.send(ok(b"public"))
    await stranger.expect(ok(b"public"))
    assert app.is_silent()
    await client.send(ask("GET /mine HTTP/1.1"))
    await app.expect(seen("GET /mine HTTP/1.1"))
    await app.send(ok(b"mine"))
    await client.expect(ok(b"mine"))


async def test_a_challenge_alone_pins_because_the_answer_must_come_on_the_same_connection(stage: Stage):
    client, app = await stage.asks(ask())
    await app.send(CHALLENGE)
    await client.expect(CHALLENGE)
    await stage.client(ask("GET /other HTTP/1.1"))
    await (await stage.app()).head()
    assert app.is_silent()


async def test_who_authenticates_unasked_has_the_connection_for_that_request_alone(stage: Stage):
    client, app = await stage.asks(ask("GET / HTTP/1.1", "Authorization: Negotiate YII="))
    await app.send(ok())
    await client.expect(ok())
    await app.ended()
    await client.send(ask("GET /again HTTP/1.1"))
    await (await stage.app()).until(b"/again")


async def test_an_unasked_authentication_that_the_app_answers_with_a_challenge_goes_on(stage: Stage):
    client, app = await stage.asks(ask("GET / HTTP/1.1", "Authorization: NTLM TlRMTVNTUAAB"))
    await app.send(CHALLENGE)
    await client.expect(CHALLENGE)
    await client.send(ask("GET / HTTP/1.1", "Authorization: NTLM TlRMTVNTUAAD"))
    await app.until(b"TlRMTVNTUAAD")


async def test_pinned_connections_take_no_turn_from_others(open_stage):
    stage = await open_stage(pool={"max_connections": 1, "queue_timeout": 0.2})
    pinned = [await authenticated(stage) for _ in range(3)]
    client, app = await stage.asks(ask("GET /other HTTP/1.1"))
    await app.send(ok())
    await client.expect(ok())
    assert len(stage.pool._apart) == len(pinned)


@pytest.mark.parametrize("fields", [("WWW-Authenticate: Basic realm=ntlm",), ("WWW-Authenticate: Bearer",), ()])
async def test_other_schemes_leave_the_connection_to_everybody(stage: Stage, fields: tuple[str, ...]):
    client, app = await stage.asks(ask("GET / HTTP/1.1", "Authorization: Basic YTpi"))
    await app.send(message("HTTP/1.1 401 Unauthorized", *fields, "Content-Length: 0"))
    await client.answer()
    await stage.client(ask("GET /other HTTP/1.1"))
    await app.until(b"/other")


async def test_with_the_client_its_connection_goes(stage: Stage):
    client, app = await authenticated(stage)
    client.close()
    await app.gone(within=1.5)
    await until(stage.is_quiet)
    assert not stage.pool._all


async def test_a_pinned_connection_that_the_app_closed_is_replaced(stage: Stage):
    client, app = await authenticated(stage)
    app.close()
    await client.send(ask("POST /again HTTP/1.1", "Content-Length: 2", body=b"hi"))
    await (await stage.app()).expect(seen("POST /again HTTP/1.1", framing=("Content-Length: 2",), body=b"hi"))


async def test_a_pinned_connection_may_become_a_tunnel(stage: Stage):
    client, app = await authenticated(stage)
    await client.send(UPGRADE)
    await app.head()
    await app.send(SWITCHED)
    await client.expect(SWITCHED)
    await client.send(b"up")
    await app.expect(b"up")
    await app.send(b"down")
    await client.expect(b"down")


async def test_a_login_cannot_be_shed_by_pinning_its_connection_and_hanging_up(stage: Stage):
    """The app goes on with the login; what its answer teaches is awaited on the pinned connection as well."""
    client, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1", "Authorization: NTLM TlRMTVNTUAAB"))
    assert stage.logins.complete("C", session())
    client.abort()
    await until(lambda: not stage.plane.connections)
    await app.send(ok(b"", "Set-Cookie: JSESSIONID=new; Path=/"))
    await until(stage.is_quiet)
    await stage.logout("s-1")
    assert (await (await stage.client(revoked_cookie(value="new"))).answer()).status == 401
