"""Connections: reuse and its races, order, limits in number, size and time, half-closing clients, draining."""

import asyncio
import contextlib
import socket

import pytest
from bench_plane import Stage, revoked_cookie
from wire import TIMEOUT, Wire, ask, message, ok, seen, until

from sidecar import clock

# -- the pool ------------------------------------------------------------------------------------------------------


async def idle(stage: Stage) -> tuple[Wire, Wire]:
    """A client, and a connection to the app that waits in the pool."""
    client, app = await stage.asks(ask())
    await app.send(ok())
    await client.expect(ok())
    return client, app


async def swallowed(stage: Stage, request: bytes) -> tuple[Wire, Wire]:
    """A request that was sent on a reused connection, which the app then closes without a word."""
    client, app = await idle(stage)
    await client.send(request)
    await app.head()
    app.close()
    return client, app


@pytest.mark.parametrize(
    ("method", "head"),
    [("HEAD", "HTTP/1.1 200 OK"), ("HEAD", "HTTP/1.1 404 Not Found"), ("GET", "HTTP/1.1 304 Not Modified")],
)
async def test_a_body_that_must_not_come_and_comes_late_never_meets_the_next_request(
    stage: Stage, method: str, head: str
):
    client, app = await stage.asks(ask(f"{method} / HTTP/1.1"))
    await app.send(message(head, "Content-Length: 5"))
    await client.expect(message(head, "Content-Length: 5"))
    (connection,) = stage.pool._idle
    connection.transport.pause_reading()  # the loop does not come to it before the next request
    await app.send(b"hello")
    await client.send(ask("GET /next HTTP/1.1"))
    other = await stage.app()
    await other.expect(seen("GET /next HTTP/1.1"))
    await app.gone()


async def test_after_an_answer_to_head_the_connection_is_used_again(stage: Stage):
    client, app = await stage.asks(ask("HEAD / HTTP/1.1"))
    await app.send(message("HTTP/1.1 200 OK", "Content-Length: 5"))
    await client.expect(message("HTTP/1.1 200 OK", "Content-Length: 5"))
    await client.send(ask())
    await app.expect(seen())


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_a_repeatable_request_that_met_a_closing_connection_is_asked_once_more(stage: Stage, method: str):
    client, _ = await swallowed(stage, ask(f"{method} /again HTTP/1.1"))
    app = await stage.app()
    await app.expect(seen(f"{method} /again HTTP/1.1"))
    await app.send(ok())
    await client.expect(ok())


async def test_it_is_asked_once_more_and_not_twice(stage: Stage):
    client, _ = await swallowed(stage, ask())
    (await stage.app()).close()
    assert (await client.answer()).status == 502
    assert stage.is_app_untouched()


@pytest.mark.parametrize(
    "request_bytes",
    [
        ask("POST / HTTP/1.1", "Content-Length: 0"),
        ask("PATCH / HTTP/1.1"),
        ask("PUT / HTTP/1.1", "Content-Length: 2", body=b"hi"),
        ask("GET / HTTP/1.1", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    ],
)
async def test_what_must_not_be_done_twice_is_never_asked_again(stage: Stage, request_bytes: bytes):
    client, _ = await swallowed(stage, request_bytes)
    assert (await client.answer()).status == 502
    assert stage.is_app_untouched()


async def test_a_request_on_a_new_connection_is_not_asked_again(stage: Stage):
    client, app = await stage.asks(ask())
    app.close()
    assert (await client.answer()).status == 502
    assert stage.is_app_untouched()


async def test_a_request_of_which_an_answer_has_begun_is_not_asked_again(stage: Stage):
    client, app = await idle(stage)
    await client.send(ask())
    await app.head()
    await app.send(b"H")
    await until(lambda: any(connection.has_answer for connection in stage.pool._all))
    app.close()
    assert (await client.answer()).status == 502
    assert stage.is_app_untouched()


async def test_a_post_does_not_go_to_a_connection_that_the_app_has_just_closed(stage: Stage):
    """The end of the connection is in the kernel and no event loop has looked at it yet."""
    client, app = await idle(stage)
    client.sock.send(ask("POST / HTTP/1.1", "Content-Length: 2", body=b"hi"))
    app.close()
    other = await stage.app()
    await other.expect(seen("POST / HTTP/1.1", framing=("Content-Length: 2",), body=b"hi"))
    await other.send(ok())
    await client.expect(ok())


@pytest.mark.parametrize("unasked", [message("HTTP/1.1 408 Request Timeout", "Content-Length: 0"), b"\r\n", ok(b"bad")])
async def test_what_the_app_says_unasked_costs_it_the_connection_and_answers_nobody(stage: Stage, unasked: bytes):
    client, app = await idle(stage)
    await app.send(unasked)
    await app.gone()
    await client.send(ask("GET /next HTTP/1.1"))
    await (await stage.app()).expect(seen("GET /next HTTP/1.1"))


@pytest.mark.parametrize(
    "answer",
    [
        ok(b"right"),
        message("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"5\r\nright\r\n0\r\n\r\n"),
        message("HTTP/1.1 204 No Content"),
        message("HTTP/1.1 304 Not Modified", "Content-Length: 5"),
    ],
)
async def test_what_follows_an_answer_is_never_taken_for_the_next_one(stage: Stage, answer: bytes):
    client, app = await stage.asks(ask())
    await app.send(answer + ok(b"wrong"))
    assert (await client.answer()).body in (b"right", b"")
    await app.gone()
    await client.send(ask("GET /next HTTP/1.1"))
    app = await stage.app()
    await app.expect(seen("GET /next HTTP/1.1"))
    await app.send(ok(b"next"))
    await client.expect(ok(b"next"))


async def test_a_connection_that_was_idle_too_long_is_closed_by_the_sidecar(open_stage):
    stage = await open_stage(pool={"keepalive": 0.1})
    client, app = await idle(stage)
    await app.ended(within=1.5)
    await client.send(ask())
    await (await stage.app()).head()


@pytest.mark.parametrize("said", [b"", b"220 smtp ready\r\n"])
async def test_an_app_that_speaks_or_closes_before_it_is_asked_is_a_502_at_once(stage: Stage, said: bytes):
    """The connection is dead before the request is written to it; nobody may wait for its answer."""
    await stage.app_speaks_first(said)
    client = await stage.client(ask())
    assert (await client.answer()).status == 502
    await until(lambda: not stage.pool._all)


async def test_an_app_that_does_not_listen_is_a_502(stage: Stage):
    stage.stop_app()
    client = await stage.client(ask())
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (502, b"upstream_unreachable")


async def test_more_requests_than_the_app_may_see_at_once_wait_for_their_turn(open_stage):
    stage = await open_stage(pool={"max_connections": 1})
    one, app = await stage.asks(ask())
    two = await stage.client(ask("GET /2 HTTP/1.1"))
    await until(lambda: stage.pool.counts == (1, 0, 1))
    await app.send(ok(b"1"))
    await one.expect(ok(b"1"))
    await app.expect(seen("GET /2 HTTP/1.1"))
    await app.send(ok(b"2"))
    await two.expect(ok(b"2"))


async def test_a_turn_that_comes_with_a_closed_connection_opens_another(open_stage):
    stage = await open_stage(pool={"max_connections": 1})
    one, app = await stage.asks(ask())
    two = await stage.client(ask("GET /2 HTTP/1.1"))
    await until(lambda: stage.pool.counts == (1, 0, 1))
    await app.send(ok(b"1"))
    app.close()
    await one.expect(ok(b"1"))
    app = await stage.app()
    await app.expect(seen("GET /2 HTTP/1.1"))
    await app.send(ok(b"2"))
    await two.expect(ok(b"2"))


async def test_a_request_that_waited_too_long_for_its_turn_is_a_503(open_stage):
    stage = await open_stage(pool={"max_connections": 1, "queue_timeout": 0.1})
    await stage.asks(ask())
    answer = await (await stage.client(ask())).answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (503, b"upstream_busy")
    assert answer.values("retry-after")


async def test_a_client_that_leaves_the_queue_takes_nobodys_turn(open_stage):
    stage = await open_stage(pool={"max_connections": 1})
    one, app = await stage.asks(ask())
    two = await stage.client(ask("GET /2 HTTP/1.1"))
    await until(lambda: stage.pool.counts == (1, 0, 1))
    two.abort()
    await until(lambda: stage.pool.counts == (1, 0, 0))
    await app.send(ok())
    await one.expect(ok())
    await one.send(ask("GET /3 HTTP/1.1"))
    await app.expect(seen("GET /3 HTTP/1.1"))


# -- pipelining ----------------------------------------------------------------------------------------------------


async def test_pipelined_requests_are_answered_in_order_and_each_is_judged_by_itself(stage: Stage):
    await stage.bind("dead")
    await stage.logout("s-1")
    client = await stage.client(ask("GET /1 HTTP/1.1") + revoked_cookie("GET /2 HTTP/1.1") + ask("GET /3 HTTP/1.1"))
    app = await stage.app()
    await app.expect(seen("GET /1 HTTP/1.1"))
    assert app.is_silent()  # one at a time
    await app.send(ok(b"1"))
    await app.expect(seen("GET /3 HTTP/1.1"))
    await app.send(ok(b"3"))
    assert [(await client.answer()).status for _ in range(3)] == [200, 401, 200]


async def test_many_pipelined_denials_are_answered_without_recursion(stage: Stage):
    await stage.bind("dead")
    await stage.logout("s-1")
    client = await stage.client(revoked_cookie() * 2000)
    for _ in range(2000):
        assert (await client.answer()).status == 401
    assert stage.is_app_untouched()


# -- limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (ask("GET / HTTP/1.1", "X: " + "x" * 5000), 431),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 5000, 431),
        (b"GET /" + b"x" * 5000, 414),
        (ask("GET / HTTP/1.1", *["X: y"] * 50), 431),
    ],
)
async def test_a_head_beyond_the_limits_is_refused_even_before_its_end(open_stage, request_bytes: bytes, status: int):
    stage = await open_stage(limits={"head_bytes": 4096, "header_count": 20})
    client = await stage.client(request_bytes)
    assert (await client.answer()).status == status
    await client.ended()
    assert stage.is_app_untouched()


async def test_a_head_of_just_the_limit_passes(open_stage):
    stage = await open_stage(limits={"head_bytes": 4096})
    head = ask("GET / HTTP/1.1", "X: " + "x" * (4096 - len(ask("GET / HTTP/1.1", "X: ")) + 4))
    await stage.client(head)
    await (await stage.app()).head()


@pytest.mark.parametrize("answer", [ok(b"", "X: " + "x" * 5000), b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5000])
async def test_an_answer_with_a_head_beyond_the_limit_is_a_502(open_stage, answer: bytes):
    stage = await open_stage(limits={"head_bytes": 4096})
    client, app = await stage.asks(ask())
    await app.send(answer)
    assert (await client.answer()).status == 502
    await app.gone()


async def test_more_clients_than_allowed_are_told_so_and_the_others_go_on(open_stage):
    stage = await open_stage(limits={"connections": 2})
    one, app = await stage.asks(ask())
    two = await stage.client()
    await until(lambda: len(stage.plane.connections) == 2)
    answer = await (await stage.client(ask())).answer()
    assert (answer.status, answer.value("connection")) == (503, b"close")
    assert answer.values("retry-after")
    await app.send(ok())
    await one.expect(ok())
    await two.send(ask())
    await app.head()


# -- time ----------------------------------------------------------------------------------------------------------


async def test_a_head_that_takes_too_long_is_a_408_however_regularly_its_bytes_come(open_stage):
    stage = await open_stage(limits={"head_timeout": 0.4})
    client = await stage.client(b"GET / HTTP/1.1\r\n")

    async def drip() -> None:
        while client.is_silent():
            await client.send(b"X: y\r\n")
            await asyncio.sleep(0.05)  # the rhythm of the attack

    dripping = asyncio.create_task(drip())
    assert (await client.answer()).status == 408
    await dripping
    await client.gone()


async def test_a_connection_without_a_request_is_closed(open_stage):
    stage = await open_stage(limits={"idle_timeout": 0.1})
    client, app = await stage.asks(ask())
    await app.send(ok())
    await client.expect(ok())
    await client.ended(within=1.5)


async def test_empty_lines_now_and_then_keep_no_connection(open_stage):
    stage = await open_stage(limits={"idle_timeout": 0.5})
    client = await stage.client()
    began = clock.boot()

    async def drip() -> None:
        with contextlib.suppress(OSError):
            while clock.boot() < began + TIMEOUT:
                await client.send(b"\r\n")
                await asyncio.sleep(0.05)  # the rhythm of the attack

    dripping = asyncio.create_task(drip())
    await client.gone()
    assert clock.boot() - began < 2.0
    await dripping


async def test_a_body_that_stalls_is_a_408_and_the_app_never_takes_it_for_complete(open_stage):
    stage = await open_stage(limits={"body_stall_timeout": 0.2})
    client = await stage.client(ask("POST / HTTP/1.1", "Transfer-Encoding: chunked"), b"3\r\nabc\r\n")
    app = await stage.app()
    await app.until(b"abc\r\n")
    assert (await client.answer()).status == 408
    assert await app.gone() == b""


async def test_an_app_that_does_not_read_an_upload_is_a_504(open_stage):
    stage = await open_stage(limits={"body_stall_timeout": 0.3})
    client = await stage.client(ask("POST / HTTP/1.1", "Content-Length: 64000000"))
    app = await stage.app()
    await app.head()
    sending = asyncio.create_task(client.send(b"x" * 64_000_000))
    assert (await client.answer()).status == 504
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await sending
    await app.gone()
    await until(stage.is_quiet)


async def test_a_client_that_does_not_read_its_answer_is_given_up(open_stage):
    stage = await open_stage(limits={"body_stall_timeout": 0.3})
    _, app = await stage.asks(ask())
    sending = asyncio.create_task(app.send(message("HTTP/1.1 200 OK", "Content-Length: 99999999") + b"x" * 64_000_000))
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await sending
    await until(stage.is_quiet)


async def test_a_client_that_does_not_read_a_complete_answer_is_given_up_as_well(open_stage):
    stage = await open_stage(sends=4096, limits={"body_stall_timeout": 0.3})
    await stage.client(ask("GET / HTTP/1.1", "Connection: close"), receives=4096)
    app = await stage.app()
    await app.head()
    await app.send(ok(b"x" * 50_000))
    await until(lambda: stage.pool.counts[1] or not stage.pool._all)
    assert len(stage.plane.connections) == 1
    await until(lambda: not stage.plane.connections, within=2)


async def test_a_client_that_reads_slowly_is_not_given_up(open_stage):
    stage = await open_stage(limits={"body_stall_timeout": 0.6})
    client, app = await stage.asks(ask())
    size = 16 << 20
    sending = asyncio.create_task(app.send(message("HTTP/1.1 200 OK", f"Content-Length: {size}") + b"x" * size))
    await client.head()
    read = 0
    while read < size:
        step = min(1 << 20, size - read)
        await client.read(step)
        read += step
        await asyncio.sleep(0.1)  # the rhythm of the reader: 1.6 s in all
    await sending


async def test_an_app_that_does_not_answer_in_time_is_a_504_and_hears_that_nobody_waits(open_stage):
    stage = await open_stage(response_timeout=0.2)
    client, app = await stage.asks(ask())
    assert (await client.answer()).status == 504
    await app.gone()


async def test_the_time_for_the_answer_begins_when_the_request_is_complete(open_stage):
    stage = await open_stage(response_timeout=0.3)
    client = await stage.client(ask("POST / HTTP/1.1", "Content-Length: 2"), b"a")
    app = await stage.app()
    began = stage.plane.now
    await until(lambda: stage.plane.now > began + 0.8)
    await client.send(b"b")
    await app.until(b"ab")
    await app.send(ok())
    await client.expect(ok())


@pytest.mark.interpreted
async def test_a_fault_in_the_time_outs_of_one_connection_ends_it_and_not_those_of_the_others(
    open_stage, caplog: pytest.LogCaptureFixture
):
    stage = await open_stage(limits={"idle_timeout": 0.6})
    faulty = await stage.client(b"GET")
    await until(lambda: stage.buffered() == 3)
    (connection,) = stage.plane.connections
    connection._since = "never"  # what no clock can be compared with
    idle = await stage.client()
    await faulty.gone()
    await idle.ended(within=2)
    assert [record.message for record in caplog.records] == ["tick_failed"]


@pytest.mark.interpreted
async def test_a_fault_in_what_is_swept_ends_no_sweep_to_come(
    open_stage, caplog: pytest.LogCaptureFixture, monkeypatch
):
    stage = await open_stage(limits={"idle_timeout": 0.6})
    sweeps = []

    def defective(now: float) -> None:
        sweeps.append(now)
        raise ZeroDivisionError

    monkeypatch.setattr(stage.plane.gate, "tick", defective)
    idle = await stage.client()
    await idle.ended(within=3)
    await until(lambda: len(sweeps) > 2)
    assert {record.message for record in caplog.records} == {"sweep_failed"}


# -- half-closing --------------------------------------------------------------------------------------------------


async def test_a_client_that_has_said_all_and_closes_its_side_still_gets_its_answer(stage: Stage):
    client, app = await stage.asks(ask())
    client.half_close()
    await app.send(ok(b"hi"))
    assert (await client.answer()).body == b"hi"
    await client.ended()


async def test_a_client_that_closed_its_side_gets_all_of_an_answer_that_flows_for_long(stage: Stage):
    client, app = await stage.asks(ask())
    client.half_close()
    await app.send(message("HTTP/1.1 200 OK", "Content-Length: 15"))
    await client.head()
    for _ in range(15):
        await app.send(b"x")
        await client.expect(b"x")
        await asyncio.sleep(0.1)  # the rhythm of the app
    await client.ended()


# -- draining ------------------------------------------------------------------------------------------------------


async def test_while_draining_answers_end_their_connections(stage: Stage):
    client, app = await stage.asks(ask())
    stage.plane.is_draining = True
    await app.send(ok(b"last"))
    answer = await client.answer()
    assert (answer.body, answer.value("connection")) == (b"last", b"close")
    await client.ended()


async def test_at_the_end_idle_connections_are_closed_and_running_exchanges_finish(stage: Stage):
    quiet = await stage.client()
    client, app = await stage.asks(ask())
    stage.plane.is_draining = True
    finishing = asyncio.create_task(stage.plane.finish(TIMEOUT))
    await quiet.ended()
    assert not finishing.done()
    await app.send(ok(b"last"))
    assert (await client.answer()).body == b"last"
    await finishing
    assert stage.is_quiet()


async def test_what_does_not_finish_does_not_keep_the_process(stage: Stage):
    await stage.asks(ask())
    took = clock.boot()
    await stage.plane.finish(0.1)
    assert clock.boot() - took < 2
    assert not stage.stats.in_flight


async def test_who_was_gone_before_he_was_accepted_is_not_taken_for_somebody_to_trust(stage: Stage):
    """The kernel has no address for such a connection any more; only a Unix socket may be without one."""
    _, app = await idle(stage)
    client = socket.create_connection(stage.address)  # no await: the sidecar has not accepted it yet
    client.send(ask("GET / HTTP/1.1", "X-Forwarded-For: 10.0.0.1"))
    Wire(client).abort()
    served = await stage.client(ask("GET /served HTTP/1.1"))
    heard = await app.some()
    if b"/served" not in heard:
        app = await stage.app()
        await app.head()
    assert b"10.0.0.1" not in heard
    await app.send(ok())
    await served.expect(ok())
