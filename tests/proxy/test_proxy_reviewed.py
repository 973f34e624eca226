"""Promises of the data plane that lie between its parts: what no module holds alone."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from bench_certificates import Authority, server
from bench_plane import CALLBACK, MAX_AGE_S, Stage, revoked_cookie, session
from prometheus_client.registry import Collector
from test_proxy_upgrade import HANDSHAKE, SWITCHED, UPGRADE, tunnel
from wire import Wire, ask, message, ok, until

from sidecar import clock, metrics
from sidecar.app.data_plane import DataPlane
from sidecar.app.state import State
from sidecar.config.load import load
from sidecar.core.identity import Digester
from sidecar.core.routes import Rule
from sidecar.core.verdict import ANONYMOUS, CLOCK_SKEW_MS
from sidecar.gate.condemn import Condemner
from sidecar.gate.judgement import Judgement
from sidecar.http1.request import parse_request
from sidecar.proxy.errors import UpstreamError
from sidecar.proxy.limits import MAX_INFORMATIONAL, Limits
from sidecar.proxy.pool import Address, Pool, PoolTerms
from sidecar.proxy.upstream import Upstream
from sidecar.stores.sqlite import SqliteStore

# -- sessions and logins -------------------------------------------------------------------------------------------

CALL = f"GET {CALLBACK}?state=x&code=C HTTP/1.1"
KEPT = "Cookie: JSESSIONID=kept"  # the app logs in the session that the browser has


async def calls(stage: Stage, *fields: str) -> tuple[Wire, bool]:
    """A client's callback, and whether it got through to the app. Being refused is a way to keep the promise, too."""
    client = await stage.client(ask(CALL, KEPT, *fields))
    await until(lambda: not client.is_silent() or not stage.is_app_untouched())
    return client, client.is_silent()


async def is_out_of_reach(stage: Stage) -> bool:
    """Whether the cookie that the app has logged in is served after the logout."""
    await stage.logout("s-1")
    client = await stage.client(revoked_cookie(value="kept"))
    await until(lambda: not client.is_silent() or not stage.is_app_untouched())
    return client.is_silent()


async def test_a_client_cannot_shed_the_logout_by_leaving_within_the_body_of_its_callback(stage: Stage):
    client, is_through = await calls(stage, "Content-Length: 5")
    if is_through:
        app = await stage.app()
        await app.head()
        client.abort()
        await until(lambda: not stage.plane.connections)
        stage.logins.complete("C", session())
        with contextlib.suppress(ConnectionError):
            await app.send(ok(b"welcome"))
        await until(lambda: not stage.pool.counts[0])
        app.close()
        assert not await is_out_of_reach(stage)


async def test_a_client_cannot_shed_the_logout_by_breaking_the_body_of_its_callback(stage: Stage):
    client, is_through = await calls(stage, "Transfer-Encoding: chunked")
    if is_through:
        await (await stage.app()).head()
        assert stage.logins.complete("C", session())
        await client.send(b"no size\r\n")
        await client.gone()
        assert not await is_out_of_reach(stage)


@pytest.mark.parametrize("way", ["too late", "broken"])
async def test_a_login_whose_answer_is_lost_is_not_out_of_reach_of_its_logout(
    open_stage: Callable[..., Awaitable[Stage]], way: str
):
    stage = await open_stage(response_timeout=0.2 if way == "too late" else 30.0)
    client, app = await stage.asks(ask(CALL, KEPT))
    assert stage.logins.complete("C", session())
    if way == "broken":
        await app.send(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n")
    assert (await client.answer()).status in (502, 504)
    assert not await is_out_of_reach(stage)


async def test_a_callback_that_nobody_waits_for_is_given_up_in_time(open_stage: Callable[..., Awaitable[Stage]]):
    stage = await open_stage(response_timeout=0.3)
    client, app = await stage.asks(ask(CALL, KEPT))
    client.abort()
    await until(lambda: not stage.plane.connections)
    await app.gone()
    await until(stage.is_quiet)


@pytest.mark.interpreted
async def test_a_session_that_grows_too_old_is_refused_from_then_on(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    await stage.bind("alive", session(age=MAX_AGE_S - 10))
    client, app = await stage.asks(revoked_cookie(value="alive"))
    await app.send(ok())
    await client.expect(ok())
    later = clock.early() + 10 + CLOCK_SKEW_MS / 1000
    monkeypatch.setattr(clock, "early", lambda: later)
    began = stage.plane.now
    await until(lambda: stage.plane.now > began)
    await client.send(revoked_cookie(value="alive"))
    await until(lambda: not client.is_silent() or not app.is_silent())
    assert app.is_silent()
    assert (await client.answer()).value("x-logout-sidecar") == b"session_too_old"


def test_what_is_found_out_about_a_request_replaces_what_memory_knew():
    judgement = Judgement(None, Rule(None))
    judgement.known = (b"credential", Digester(b"a secret of the tests").bound(session()))
    assert judgement.identity is not ANONYMOUS
    judgement.identity = ANONYMOUS
    assert judgement.identity is ANONYMOUS


# -- an app behind TLS ---------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def https_app(stage: Stage, folder: Path, answer: Callable[[], bytes]) -> AsyncIterator[None]:
    """An app that answers one request over TLS and ends the connection properly."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer())
        writer.close()

    authority = Authority(folder)
    app = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server(authority.issue(folder)))
    port = app.sockets[0].getsockname()[1]
    stage.plane.app = stage.pool = Pool(
        Address(host="127.0.0.1", port=port, tls=authority.client()), PoolTerms(head_bytes=65536)
    )
    yield
    app.close()


@pytest.mark.parametrize("framing", ["Content-Length: 7", "Transfer-Encoding: chunked", "X-Until: the end"])
async def test_an_https_app_that_closes_behind_its_answer_to_the_callback_has_answered_all_the_same(
    stage: Stage, tmp_path: Path, framing: str
):
    def logged_in() -> bytes:
        stage.logins.complete("C", session())
        body = b"7\r\nwelcome\r\n0\r\n\r\n" if "chunked" in framing else b"welcome"
        return message("HTTP/1.1 200 OK", "Connection: close", "Set-Cookie: JSESSIONID=new", framing, body=body)

    async with https_app(stage, tmp_path, logged_in):
        stage.bindings.go_on.clear()
        client = await stage.client(ask(CALL))
        await until(lambda: stage.bindings.waiting or not client.is_silent())
        began = stage.plane.now
        await until(lambda: stage.plane.now > began)  # the end of the connection has been there for a while
        stage.bindings.go_on.set()
        answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"welcome")


@pytest.mark.parametrize("framing", ["Content-Length: 70", "Transfer-Encoding: chunked"])
async def test_an_https_app_that_closes_within_its_answer_to_the_callback_has_not_answered(
    stage: Stage, tmp_path: Path, framing: str
):
    def half() -> bytes:
        stage.logins.complete("C", session())
        return message("HTTP/1.1 200 OK", "Set-Cookie: JSESSIONID=new", framing, body=b"7\r\nwelcome\r\n")

    async with https_app(stage, tmp_path, half):
        answer = await (await stage.client(ask(CALL))).answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (502, b"upstream_closed")
    assert stage.pool.counts == (0, 0, 0)


async def test_an_app_that_is_lost_behind_its_answer_has_not_ended_it(stage: Stage):
    """As TLS may tell of an end that the app has not signed: nobody knows whether the answer is whole."""
    stage.bindings.go_on.clear()
    client, app = await stage.asks(ask(CALL))
    stage.logins.complete("C", session())
    await app.send(message("HTTP/1.1 200 OK", "Set-Cookie: JSESSIONID=new", body=b"wel"))
    await until(lambda: stage.bindings.waiting)
    (connection,) = stage.pool._all
    connection.connection_lost(None)
    assert not stage.pool._all
    stage.bindings.go_on.set()
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (502, b"upstream_closed")
    await app.gone()


async def test_an_https_app_that_ends_its_answer_with_the_connection_has_answered(stage: Stage, tmp_path: Path):
    async with https_app(stage, tmp_path, lambda: message("HTTP/1.1 200 OK", "Connection: close", body=b"all of it")):
        assert (await (await stage.client(ask())).answer()).body == b"all of it"


# -- the pool ------------------------------------------------------------------------------------------------------


async def test_who_waits_for_an_attempt_that_fails_makes_the_next_one_at_once():
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connects, and never shakes hands
        address = Address(host="127.0.0.1", port=silent.getsockname()[1], tls=ssl.create_default_context())
        pool = Pool(address, PoolTerms(head_bytes=1024, connect_timeout=0.1, max_connections=1, queue_timeout=1.0))
        said = await asyncio.gather(pool.open(), pool.open(), return_exceptions=True)
    assert [error.reason for error in said if isinstance(error, UpstreamError)] == ["upstream_connect_timeout"] * 2


async def test_who_waits_for_an_attempt_that_nobody_wants_any_more_makes_the_next_one_at_once():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = Address(host="127.0.0.1", port=silent.getsockname()[1], tls=ssl.create_default_context())
        pool = Pool(address, PoolTerms(head_bytes=1024, max_connections=1, queue_timeout=1.0))
        first, second = asyncio.create_task(pool.open()), asyncio.create_task(pool.open())
        await until(lambda: pool.counts[2] == 1)
        first.cancel()
        await until(lambda: pool.counts[2] == 0)
        assert not second.done()
        second.cancel()
        await asyncio.wait({first, second})


async def test_what_is_held_for_an_app_is_counted_for_its_streams_as_well(stage: Stage):
    client, app = await stage.asks(ask())
    await app.send(message("HTTP/1.1 200 OK", "Content-Type: text/event-stream"))
    await client.head()
    (stream,) = stage.pool._apart
    stream.transport.write(b"x" * 10_000_000)
    assert 0 < stream.buffered == stage.pool.buffered


@contextlib.asynccontextmanager
async def full_pool() -> AsyncIterator[tuple[Pool, Upstream]]:
    """A pool with room for one connection, and that connection, in use."""
    with socket.create_server(("127.0.0.1", 0)) as app:
        address = Address(host="127.0.0.1", port=app.getsockname()[1])
        pool = Pool(address, PoolTerms(head_bytes=1024, max_connections=1, queue_timeout=0.5))
        yield pool, await pool.open()
        pool.close()


async def test_the_end_of_a_connection_makes_room_for_the_next_at_once(open_stage: Callable[..., Awaitable[Stage]]):
    stage = await open_stage(pool={"max_connections": 1})
    client, app = await stage.asks(ask())
    await stage.client(ask("GET /2 HTTP/1.1"))
    await until(lambda: stage.pool.counts == (1, 0, 1))
    await app.send(ok(b"", "Connection: close"))
    await client.answer()
    await (await stage.app()).until(b"/2")


async def test_a_connection_handed_to_somebody_who_leaves_at_that_moment_is_not_lost():
    async with full_pool() as (pool, connection):
        waiting = asyncio.create_task(pool.open())
        await until(lambda: pool.counts == (1, 0, 1))
        pool.put_back(connection)
        waiting.cancel()
        await asyncio.wait({waiting})
        assert pool.counts == (0, 1, 0)


async def test_room_offered_to_somebody_who_leaves_at_that_moment_is_for_the_next():
    async with full_pool() as (pool, connection):
        first, second = asyncio.create_task(pool.open()), asyncio.create_task(pool.open())
        await until(lambda: pool.counts == (1, 0, 2))
        connection.abort()
        first.cancel()
        await asyncio.wait({first, second})
        assert second.exception() is None


# -- tunnels -------------------------------------------------------------------------------------------------------


async def test_a_websocket_of_which_one_side_has_ended_is_not_kept_for_ever(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sidecar.proxy.tunnel.HALF_CLOSED_TIMEOUT", 0.3)
    client, app = await tunnel(stage)
    client.half_close()
    await app.ended()
    await app.send(b"goodbye")
    await client.expect(b"goodbye")
    await client.ended()
    await until(stage.is_quiet)


async def test_a_websocket_that_is_not_read_is_given_up(open_stage: Callable[..., Awaitable[Stage]]):
    stage = await open_stage(limits={"body_stall_timeout": 0.5}, sends=4096)
    _, app = await tunnel(stage)
    sending = asyncio.create_task(app.send(b"x" * 8_000_000))
    await until(stage.is_behind)
    await until(stage.is_quiet)
    sending.cancel()
    await asyncio.wait({sending})


# -- the end of the process ----------------------------------------------------------------------------------------


async def test_what_is_cut_at_the_end_is_gone_before_the_process_is(stage: Stage):
    client, app = await stage.asks(ask())
    await app.send(message("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"1\r\nx\r\n"))
    await client.until(b"x\r\n")
    await stage.plane.finish(0)
    assert not stage.plane.connections
    await client.reset()


# -- the key of the digests ----------------------------------------------------------------------------------------


async def test_what_a_repeated_head_meant_under_another_key_counts_no_more(stage: Stage):
    await stage.bind("alive")
    request = parse_request(revoked_cookie(value="alive"), max_headers=9)
    again = parse_request(revoked_cookie(value="alive"), max_headers=9)
    assert stage.identifier.only_session(request, stage.plane.now)
    assert again.block is request.block is not None
    stage.digester.use(b"another secret of the tests")
    stage.gate.key_changed()
    assert stage.identifier.only_session(again, stage.plane.now) is None


# -- memory --------------------------------------------------------------------------------------------------------


@pytest.mark.interpreted
async def test_what_is_remembered_of_requests_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sidecar.gate.gate._ORDINARY_PATHS", 3)
    monkeypatch.setattr("sidecar.gate.presented._CACHED_LINES", 3)
    gate: Any = stage.gate
    for number in range(9):
        judged = gate.judge(
            parse_request(revoked_cookie(f"GET /{number} HTTP/1.1", value=f"v{number}"), max_headers=9), 0
        )
        await judged
        assert 0 < len(gate._ordinary) <= 3
        assert 0 < len(stage.identifier._reader._lines) <= 3
    gate.judge(parse_request(ask(f"GET /{'x' * 300} HTTP/1.1", "Cookie: a=" + "x" * 5000), max_headers=9), 0)
    assert max(map(len, gate._ordinary)) <= 256
    assert max(map(len, stage.identifier._reader._lines)) <= 4096


@pytest.mark.interpreted
async def test_no_flood_of_denials_makes_more_than_so_many_tasks(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sidecar.gate.condemn._AT_ONCE", 2)
    forever = asyncio.Event()

    async def publish(_revocations: object) -> None:
        await forever.wait()

    condemner = Condemner(replica=stage.replica, directory=stage.directory, publish=publish, max_age_s=60)
    condemner.login_lost(bytes((number,)) * 16 for number in range(9))
    assert len(condemner._tasks) == 2
    forever.set()
    await asyncio.wait(condemner._tasks)


# -- messages ------------------------------------------------------------------------------------------------------


async def test_a_client_that_has_sent_a_whole_body_and_closes_its_side_gets_its_answer(stage: Stage):
    client = await stage.client(ask("POST / HTTP/1.1", "Content-Length: 5", body=b"hello"))
    client.half_close()  # before there is a connection to the app
    app = await stage.app()
    await app.until(b"hello")
    await app.send(ok(b"done"))
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"done")
    await client.ended()


async def test_a_client_is_not_blamed_for_the_time_that_its_upload_waits_for_a_connection(
    open_stage: Callable[..., Awaitable[Stage]],
):
    stage = await open_stage(limits={"body_stall_timeout": 0.6}, pool={"max_connections": 1})
    first, app = await stage.asks(ask())
    client = await stage.client(ask("POST / HTTP/1.1", "Content-Length: 4"))
    await until(lambda: stage.pool.counts == (1, 0, 1))
    began = stage.plane.now
    await until(lambda: stage.plane.now > began + 0.8)
    await app.send(ok())
    await first.expect(ok())
    await app.head()
    began = stage.plane.now
    await until(lambda: stage.plane.now > began)
    await client.send(b"body")
    await app.expect(b"body")
    await app.send(ok())
    await client.expect(ok())


async def test_an_app_that_answers_all_the_time_need_not_read_the_upload(open_stage: Callable[..., Awaitable[Stage]]):
    stage = await open_stage(limits={"body_stall_timeout": 0.5})
    client, app = await stage.asks(ask("POST / HTTP/1.1", "Content-Length: 9000000"))
    await app.send(message("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"))
    await client.head()
    sending = asyncio.create_task(client.send(b"x" * 9_000_000))
    await until(stage.is_waiting)
    began = stage.plane.now
    await until(lambda: stage.plane.now > began + 1.0)
    await app.send(b"1\r\n!\r\n")
    await client.expect(b"1\r\n!\r\n")
    sending.cancel()
    await asyncio.wait({sending})


TRAILERS = b"1\r\nx\r\n0\r\nX-Hop: 1\r\nX-Sum: 2\r\n\r\n"
KEPT_TRAILERS = b"1\r\nx\r\n0\r\nX-Sum: 2\r\n\r\n"


async def test_a_nominated_field_is_no_trailer_of_a_request(stage: Stage):
    fields = ("Connection: X-Hop, TE", "TE: trailers", "Transfer-Encoding: chunked")
    client, app = await stage.asks(ask("POST / HTTP/1.1", *fields))
    await client.send(TRAILERS)
    await app.expect(KEPT_TRAILERS)


async def test_a_nominated_field_is_no_trailer_of_an_answer(stage: Stage):
    client, app = await stage.asks(ask())
    await app.send(message("HTTP/1.1 200 OK", "Connection: X-Hop", "Transfer-Encoding: chunked", body=TRAILERS))
    await client.head()
    await client.expect(KEPT_TRAILERS)


async def test_early_hints_bring_no_session_cookie(stage: Stage):
    client, app = await stage.asks(ask())
    await app.send(message("HTTP/1.1 103 Early Hints", "Link: </a.css>", "Set-Cookie: JSESSIONID=new"))
    await client.expect(message("HTTP/1.1 103 Early Hints", "Link: </a.css>"))


async def test_a_session_that_is_over_gets_no_early_hints(stage: Stage):
    await stage.bind("dead")
    client, app = await stage.asks(revoked_cookie(value="dead"))
    await stage.logout()
    await app.send(message("HTTP/1.1 103 Early Hints", "Link: </a.css>"))
    await app.send(ok())
    assert (await client.answer()).status == 401


@pytest.mark.parametrize(("hints", "status"), [(MAX_INFORMATIONAL, 200), (MAX_INFORMATIONAL + 1, 502)])
async def test_an_app_may_say_only_so_much_before_it_answers(stage: Stage, hints: int, status: int):
    client, app = await stage.asks(ask())
    await app.send(message("HTTP/1.1 103 Early Hints") * hints + ok())
    for _ in range(MAX_INFORMATIONAL):
        assert (await client.answer()).status == 103
    answer = await client.answer()
    assert answer.status == status
    assert answer.values("x-logout-sidecar") == ([b"too_many_informational"] if status == 502 else [])


# -- numbers -------------------------------------------------------------------------------------------------------


def numbers(collector: Collector) -> dict[str, float]:
    return {
        "".join((sample.name.removeprefix("logout_sidecar_"), *sample.labels.values())): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }


async def test_every_gauge_shows_its_own_number(open_stage: Callable[..., Awaitable[Stage]]):
    stage = await open_stage(pool={"max_connections": 3})
    socket_client = await stage.client(UPGRADE)
    socket_app = await stage.app()
    await socket_app.head()
    await socket_app.send(SWITCHED)
    await socket_client.expect(SWITCHED)
    resting, app = await stage.asks(ask())
    for _ in range(2):
        await stage.asks(ask())
    await app.send(ok())
    await resting.expect(ok())
    shown = numbers(stage.stats)
    names = ("connections", "tunnels", "http_requests_in_flight", "upstream_connections_busy")
    assert [shown[name] for name in names] == [4, 1, 3, 2]
    assert (shown["upstream_connections_idle"], shown["upstream_queue"]) == (1, 0)
    for _ in range(3):
        await stage.client(ask())
    await until(lambda: numbers(stage.stats)["upstream_queue"] == 2)
    assert numbers(stage.stats)["upstream_connections_busy"] == 3
    assert numbers(stage.stats)["buffered_bytes"] == 0
    await stage.client(ask("POST / HTTP/1.1", "Content-Length: 2000", body=b"x" * 1000))  # nobody takes it yet
    await until(lambda: numbers(stage.stats)["buffered_bytes"] == 1000)


async def test_every_counter_counts_what_it_says(stage: Stage):
    await stage.bind("alive")
    await stage.bind("dead", session("s-2"))
    await stage.logout("s-2")
    client, app = await stage.asks(revoked_cookie(value="alive"))
    await app.send(ok())
    await client.expect(ok())
    for request in (ask(), revoked_cookie(value="unknown"), ask("PROPFIND / HTTP/1.1")):
        await client.send(request)
        await app.head()
        await app.send(ok())
        await client.expect(ok())
    assert (await (await stage.client(revoked_cookie(value="dead"))).answer()).status == 401
    assert (await (await stage.client(b"no HTTP\r\n\r\n")).answer()).status == 400
    await client.send(ask())
    await app.head()
    await app.send(b"no HTTP\r\n\r\n")
    assert (await client.answer()).status == 502
    shown = numbers(stage.stats) | numbers(stage.counts)
    assert {name: shown[name] for name in shown if name.startswith(("auth_", "requests_by_"))} == {
        "auth_decisions_totalallow": 5,
        "auth_decisions_totalrevoked": 1,
        "requests_by_coverage_totalbound": 2,
        "requests_by_coverage_totalunbound": 1,
        "requests_by_coverage_totalanonymous": 3,
    }
    assert shown["http_requests_totalGET200"] == 3
    assert shown["http_requests_total_OTHER200"] == 1
    assert shown["http_requests_totalGET401"] == shown["http_requests_totalGET502"] == 1
    assert shown["http_refusals_totalbad_request_line"] == 1
    assert shown["upstream_errors_totalbad_status_line"] == 1


@pytest.mark.parametrize("is_tunnel", [False, True])
async def test_a_stream_that_a_logout_cuts_is_counted(stage: Stage, is_tunnel: bool):
    await stage.bind("alive")
    before = metrics.streams_cut.labels("revoked")._value.get()
    client, app = await stage.asks(revoked_cookie("GET / HTTP/1.1", *(HANDSHAKE if is_tunnel else ()), value="alive"))
    await app.send(SWITCHED if is_tunnel else message("HTTP/1.1 200 OK", "Content-Type: text/event-stream"))
    await client.head()
    await stage.logout()
    await client.gone()
    assert metrics.streams_cut.labels("revoked")._value.get() == before + 1


# -- settings ------------------------------------------------------------------------------------------------------

SETTINGS = """\
providers: [{issuer: "https://idp.example.com", client_id: app}]
session: {credentials: [{cookie: S}], bind: [{from: token_endpoint, callback: /cb}]}
store: {url: "sqlite://"}
upstream:
  url: http://app.internal:8081
  response_timeout: 11s
  connect_timeout: 12s
  keepalive: 13s
  max_connections: 14
  queue_timeout: 15s
  stall_timeout: 16s
  tunnel_idle_timeout: 17s
limits:
  head_bytes: 21KiB
  header_count: 22
  head_timeout: 23s
  idle_timeout: 24s
  body_stall_timeout: 25s
  body_min_rate: 26
  body_bytes: 27
  connections: 28
  connections_per_peer: 29
log: {access: true, access_sample: 0.5, traceparent: create}
"""


async def test_every_setting_reaches_the_data_plane_under_its_own_name(tmp_path: Path):
    (tmp_path / "config.yaml").write_text(SETTINGS)
    config = load(str(tmp_path / "config.yaml"))
    state = State(config, SqliteStore(None))
    plane = DataPlane(config, state, {}, control_socket="/control").plane
    assert plane.limits == Limits(
        head_bytes=21 * 1024,
        header_count=22,
        head_timeout=23,
        idle_timeout=24,
        body_stall_timeout=25,
        body_min_rate=26,
        body_bytes=27,
        connections=28,
        connections_per_peer=29,
    )
    assert (plane.response_timeout, plane.stall_timeout, plane.tunnel_idle_timeout) == (11, 16, 17)
    pool: Any = plane.app
    assert pool.address == Address(host="app.internal", port=8081)
    assert (pool._connect_timeout, pool._keepalive, pool._max, pool._queue_timeout) == (12, 13, 14, 15)
    assert pool._head_bytes == 21 * 1024
    assert plane.control.address == Address(path="/control")
    assert plane.creates_trace
    access_log = plane.new_exchange.keywords["access_log"]  # type: ignore[attr-defined]  # a partial, with `log.access`
    assert access_log._sample == 0.5
    await state.aclose()
