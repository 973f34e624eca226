"""What happens while a request waits: for a connection to the app, for its turn, for a client that reads."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from bench_plane import CALLBACK, Stage, revoked_cookie
from wire import ask, message, ok, until

from sidecar.proxy.linger import Lingering

OpenStage = Callable[..., Any]


async def test_a_request_that_waited_for_a_connection_is_judged_again(open_stage: OpenStage):
    stage = await open_stage(pool={"max_connections": 1})
    await stage.bind("dead")
    first, app = await stage.asks(ask())
    second = await stage.client(revoked_cookie("POST /transfer HTTP/1.1", "Content-Length: 2", body=b"hi"))
    await until(lambda: stage.pool.counts[2] == 1)
    await stage.logout("s-1")
    await app.send(ok(b"first"))
    await first.expect(ok(b"first"))
    assert (await second.answer()).status == 401
    assert app.is_silent()  # nothing of it has reached the app
    await first.send(ask("GET /next HTTP/1.1"))  # and the connection serves others
    await app.head()


async def test_a_callback_that_waited_for_its_turn_is_judged_again(stage: Stage):
    await stage.bind("dead")
    first, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1"))
    second = await stage.client(revoked_cookie(f"GET {CALLBACK}?code=C HTTP/1.1"))
    await until(lambda: any(flight.waiting for flight in stage.logins._flights.values()))
    await stage.logout("s-1")
    await app.send(ok())
    await first.expect(ok())
    assert (await second.answer()).status == 401
    assert app.is_silent()
    assert stage.is_app_untouched()


@pytest.mark.parametrize("first", ["GET /2 HTTP/1.1", "DELETE /2 HTTP/1.1", "POST /2 HTTP/1.1"])
async def test_a_connection_that_the_app_closes_is_not_handed_to_who_waits(open_stage: OpenStage, first: str):
    stage = await open_stage(pool={"max_connections": 1})
    one, app = await stage.asks(ask())
    two = await stage.client(ask(first))
    await until(lambda: stage.pool.counts[2] == 1)
    await app.send(ok(b"one"))
    app.close()
    await one.expect(ok(b"one"))
    fresh = await stage.app()
    await fresh.head()
    await fresh.send(ok(b"two"))
    await two.expect(ok(b"two"))


async def test_answers_to_pipelined_requests_stop_when_nobody_reads_them(open_stage: OpenStage):
    stage = await open_stage(sends=4096)
    client = await stage.client(receives=4096)
    request = ask("GET /%5Fsidecar HTTP/1.1")
    await client.send(request * 2000)
    await until(stage.is_behind)
    assert stage.buffered() < 400_000
    for _ in range(2000):
        assert (await client.answer()).status == 404


async def test_an_empty_line_before_a_complete_request_is_forgiven(stage: Stage):
    client, app = await stage.asks(b"\r\n" + ask())
    await app.send(ok(b"here"))
    await client.expect(ok(b"here"))


async def test_an_app_that_answers_early_and_reads_no_more_keeps_no_connection(open_stage: OpenStage):
    stage = await open_stage()
    client = await stage.client(ask("POST / HTTP/1.1", "Content-Length: 9000000"))
    app = await stage.app()
    await app.head()
    app.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sending = asyncio.create_task(client.send(b"x" * 8_000_000))
    await until(stage.is_waiting)
    transport = next(iter(stage.pool._all)).transport
    await app.send(message("HTTP/1.1 413 Too Large", "Content-Length: 0"))
    assert (await client.answer()).status == 413
    sending.cancel()
    await until(lambda: (sock := transport.get_extra_info("socket")) is None or sock.fileno() < 0)


async def test_the_end_of_an_early_answer_reaches_a_slow_reader(open_stage: OpenStage):
    stage = await open_stage(sends=4096)
    client = await stage.client(ask("POST / HTTP/1.1", "Content-Length: 9000"), receives=4096)
    app = await stage.app()
    await app.head()
    await app.send(message("HTTP/1.1 413 Too Large", "Content-Length: 50000", body=b"x" * 50_000))
    await until(lambda: any(isinstance(each, Lingering) for each in stage.plane.connections))
    await client.head()
    got = 0
    for _ in range(14):
        got += len(await client.read(2000))
        await asyncio.sleep(0.25)  # not a wait for anything: this is how slowly the client reads
    assert got == 28000
    await client.read(22_000)


async def test_a_connection_on_which_the_app_is_behind_is_not_used_again(stage: Stage):
    client, app = await stage.asks(ask())
    stage.kernel_takes(4096)
    app.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await app.send(ok())
    await client.expect(ok())
    await client.send(ask("POST / HTTP/1.1", "Content-Length: 150000", body=b"x" * 150_000))
    await app.head()
    await until(lambda: all(connection._exchange.request_done for connection in stage.plane.connections))
    await app.send(ok(b"early"))
    await client.expect(ok(b"early"))
    upload = await stage.client()
    sending = asyncio.create_task(upload.send(ask("POST / HTTP/1.1", "Content-Length: 9000000"), b"x" * 9_000_000))
    fresh = await stage.app()
    await fresh.head()
    await until(stage.is_waiting)
    assert stage.buffered() < 1_000_000
    sending.cancel()
