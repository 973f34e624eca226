"""Clients that say too much, go away unheard or end one side: what is held for them, and what they still get."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from bench_plane import Stage
from test_proxy_upgrade import tunnel
from wire import Wire, ask, message, ok, until

from sidecar.http1.request import parse_request
from sidecar.proxy.exchange import Exchange
from sidecar.proxy.limits import FIN_GRACE
from sidecar.proxy.sockets import End

Open = Callable[..., Awaitable[Stage]]

HELD_AT_MOST = 400_000  # what is read at once (256 KiB), and the high-water marks
GET = ask("GET / HTTP/1.1")


class Busy:
    """A client that sends and reads all the time."""

    def __init__(self, client: Wire, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [
            asyncio.create_task(loop.sock_sendall(client.sock, data)),
            asyncio.create_task(self._read(client)),
        ]

    async def _read(self, client: Wire) -> None:
        while await asyncio.get_running_loop().sock_recv(client.sock, 65536):
            pass

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


# -- requests ahead ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [GET, ask("POST / HTTP/1.1", "Content-Length: 5", body=b"hello")])
async def test_requests_that_are_sent_ahead_wait_in_the_kernel(stage: Stage, first: bytes):
    client = await stage.client()
    busy = Busy(client, first + GET * 100_000)
    app = await stage.app()
    held = 0
    for _ in range(40):
        await app.head()
        await until(lambda: stage.is_waiting() or stage.buffered() > HELD_AT_MOST)
        held = max(held, stage.buffered())
        await app.send(ok())
    await busy.stop()
    assert held < HELD_AT_MOST


async def test_a_head_that_is_larger_than_what_is_held_of_others_is_read_to_its_end(open_stage: Open):
    stage = await open_stage(limits={"head_bytes": 500_000})
    client, app = await stage.asks(GET)
    sending = asyncio.create_task(client.send(ask("GET /2 HTTP/1.1", "X-Long: " + "x" * 400_000)))
    await until(stage.is_waiting)
    await app.send(ok())
    await app.until(b"/2")
    await sending


async def test_requests_behind_answers_that_are_not_read_wait_for_the_reader(open_stage: Open):
    stage = await open_stage(sends=4096)
    client = await stage.client(receives=4096)
    sending = asyncio.create_task(client.send(GET * 20_000))
    app = await stage.app()
    while not stage.is_behind():
        await until(lambda: stage.is_behind() or not app.is_silent())
        if not stage.is_behind():
            await app.head()
            await app.send(ok(b"x" * 30_000))
    await until(stage.is_waiting)
    assert stage.buffered() < HELD_AT_MOST
    sending.cancel()
    await asyncio.wait({sending})


# -- going away ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["close", "abort"])
async def test_a_client_that_leaves_behind_more_than_is_read_is_noticed(stage: Stage, way: str):
    client, app = await stage.asks(GET)
    await client.send(ask("GET /2 HTTP/1.1", "X-Long: " + "x" * 40_000) * 3)
    await until(stage.is_waiting)
    getattr(client, way)()
    await app.gone()
    await until(stage.is_quiet)


@pytest.mark.interpreted
async def test_a_client_that_ends_its_side_behind_a_body_that_the_app_takes_late_gets_its_answer(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    size = 9_000_000
    client, app = await stage.asks(ask("PUT / HTTP/1.1", f"Content-Length: {size}"))
    monkeypatch.setattr("sidecar.proxy.downstream.end_of", lambda _transport: End.ONE)  # the body is in the kernel
    sending = asyncio.create_task(client.send(b"x" * size))
    await until(stage.is_waiting)
    began = stage.plane.now
    await until(lambda: stage.plane.now > began + 2 * FIN_GRACE)
    async for _ in app.pieces(size):
        pass
    await sending
    client.half_close()
    await app.send(ok(b"done"))
    assert (await client.answer()).body == b"done"


async def test_a_websocket_whose_client_is_gone_while_the_app_does_not_read_is_given_up(stage: Stage):
    client, _app = await tunnel(stage)
    stage.kernel_takes(4096)
    sending = asyncio.create_task(client.send(b"x" * 20_000_000))
    await until(stage.is_waiting)
    sending.cancel()
    await asyncio.wait({sending})
    client.abort()
    await until(stage.is_quiet)


async def test_what_the_app_has_not_taken_of_a_websocket_is_counted_once(stage: Stage):
    client, _app = await tunnel(stage)
    (connection,) = stage.plane.connections
    connection._app.transport.write(b"x" * 10_000_000)  # type: ignore[attr-defined]  # it is the tunnel
    unsent: Any = connection._app.transport.get_write_buffer_size()  # type: ignore[attr-defined]
    assert 0 < unsent == stage.buffered()
    client.abort()


@pytest.mark.parametrize("minor", [0, 1])
async def test_half_a_request_that_ends_under_its_answer_ends_the_answer_visibly(stage: Stage, minor: int):
    client, app = await stage.asks(ask(f"POST / HTTP/1.{minor}", "Content-Length: 1000", body=b"x"))
    await app.send(message("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"))
    await client.until(b"hello")
    client.half_close()
    await client.reset()
    await app.gone()


async def test_half_a_request_that_ends_before_there_is_a_connection_to_the_app_is_given_up(open_stage: Open):
    stage = await open_stage(pool={"max_connections": 1})
    first, app = await stage.asks(GET)
    client = await stage.client(ask("POST / HTTP/1.1", "Content-Length: 1000", body=b"x"))
    client.half_close()
    await until(lambda: stage.pool.counts[2])
    await app.send(ok())
    await first.expect(ok())
    await client.ended()
    first.close()
    await app.gone()
    await until(stage.is_quiet)


# -- the last answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["client", "draining"])
async def test_a_request_behind_the_last_answer_does_not_destroy_it(stage: Stage, who: str):
    client = await stage.client(
        ask("GET / HTTP/1.1", *(["Connection: close"] if who == "client" else [])), receives=4096
    )
    app = await stage.app()
    await app.head()
    stage.plane.is_draining = who == "draining"
    await app.send(ok(b"x" * 100_000))
    await until(lambda: not stage.stats.in_flight and not stage.buffered())  # the kernel has all of it
    assert b"close" in await client.head()
    await client.send(GET)
    async for _ in client.pieces(100_000):
        pass
    await client.ended()
    client.close()
    await until(stage.is_quiet)


@pytest.mark.parametrize("pause", ["long", "until the process ends"])
async def test_half_of_the_last_answer_has_no_good_end(open_stage: Open, pause: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sidecar.proxy.plane.CUT_GRACE", 0.1)
    stage = await open_stage(sends=4096, limits={"body_stall_timeout": 0.3 if pause == "long" else 30.0})
    client = await stage.client(ask("GET / HTTP/1.0"), receives=4096)
    app = await stage.app()
    await app.head()
    await app.send(ok(b"x" * 60_000))
    await until(lambda: not stage.stats.in_flight)
    if pause == "until the process ends":
        await stage.plane.finish(0)
    await until(lambda: not stage.plane.connections)
    await client.reset()


@pytest.mark.parametrize("start", ["HEAD / HTTP/1.1", "\r\nHEAD / HTTP/1.1"])
async def test_a_malformed_head_request_is_refused_without_a_body(stage: Stage, start: str):
    client = await stage.client(message(start, "Host: a", "no colon"))
    answer = await client.answer(to_head=True)
    assert (answer.status, answer.value("x-logout-sidecar")) == (400, b"bad_header")
    await client.ended()


# -- inside --------------------------------------------------------------------------------------------------------


async def test_work_that_is_cancelled_before_it_begins_leaves_nothing_behind(stage: Stage):
    async def work() -> None:
        raise AssertionError("it never begins")

    client, _app = await stage.asks(GET)
    (connection,) = stage.plane.connections
    exchange = Exchange(connection, stage.plane, parse_request(GET, max_headers=9))  # type: ignore[arg-type]
    begun = work()
    task = stage.plane.spawn(begun, lambda _: None, exchange)
    task.cancel()
    await asyncio.wait({task})
    await until(lambda: inspect.getcoroutinestate(begun) == inspect.CORO_CLOSED)
    client.close()
