"""Bodies under way: streaming, early answers, 1xx, back-pressure, and what each side sees when the other breaks off."""

import asyncio

import pytest
from bench_plane import Stage
from wire import Wire, ask, message, ok, seen, until

MIB = 1 << 20
HELD = 2 * MIB  # what the sidecar may hold of one conversation, with room for what one read can bring
UPLOAD = ask("POST /up HTTP/1.1", "Content-Length: 10")
CHUNKED = message("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")


# -- 1xx -----------------------------------------------------------------------------------------------------------


async def test_an_expectation_is_passed_on_and_the_100_of_the_app_comes_back_before_the_body_goes(stage: Stage):
    client = await stage.client(ask("POST / HTTP/1.1", "Expect: 100-continue", "Content-Length: 2"))
    app = await stage.app()
    await app.expect(seen("POST / HTTP/1.1", framing=("Expect: 100-continue", "Content-Length: 2")))
    await app.send(message("HTTP/1.1 100 Continue"))
    await client.expect(message("HTTP/1.1 100 Continue"))
    await client.send(b"hi")
    await app.expect(b"hi")
    await app.send(ok(b"done"))
    await client.expect(ok(b"done"))
    await client.send(ask())
    await app.expect(seen())


async def test_an_app_that_refuses_an_expectation_is_heard_without_a_100(stage: Stage):
    client, app = await stage.asks(ask("POST / HTTP/1.1", "Expect: 100-continue", "Content-Length: 2"))
    await app.send(message("HTTP/1.1 417 Expectation Failed", "Content-Length: 0"))
    await client.expect(message("HTTP/1.1 417 Expectation Failed", "Content-Length: 0", "Connection: close"))
    await client.ended()
    await app.gone()


async def test_early_hints_are_passed_on_in_order_and_do_not_leak_into_the_answer(stage: Stage):
    client, app = await stage.asks(ask())
    hints = message("HTTP/1.1 103 Early Hints", "Link: </a.css>; rel=preload") + message("HTTP/1.1 102 Processing")
    await app.send(hints)
    await client.expect(hints)
    await app.send(ok(b"x"))
    await client.expect(ok(b"x"))


async def test_a_client_that_speaks_http_1_0_hears_of_no_early_hints(stage: Stage):
    client, app = await stage.asks(b"GET / HTTP/1.0\r\n\r\n")
    await app.send(message("HTTP/1.1 103 Early Hints", "Link: </a.css>"), ok(b"x"))
    await client.expect(message("HTTP/1.1 200 OK", "Content-Length: 1", "Connection: close", body=b"x"))


# -- streaming -----------------------------------------------------------------------------------------------------


async def test_each_piece_of_an_answer_is_passed_on_at_once(stage: Stage):
    client, app = await stage.asks(ask())
    await app.send(message("HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked"))
    await client.head()
    for number in range(3):
        await app.send(b"7\r\ndata: %d\r\n" % number)
        await client.expect(b"7\r\ndata: %d\r\n" % number)


async def test_an_answer_that_comes_before_the_end_of_the_upload_is_relayed_and_ends_the_connection(stage: Stage):
    client = await stage.client(UPLOAD, b"abc")
    app = await stage.app()
    await app.expect(seen("POST /up HTTP/1.1", framing=("Content-Length: 10",), body=b"abc"))
    await app.send(message("HTTP/1.1 413 Too Large", "Content-Length: 3", body=b"no!"))
    await client.expect(message("HTTP/1.1 413 Too Large", "Content-Length: 3", "Connection: close", body=b"no!"))
    await app.gone()


async def test_an_early_answer_is_not_lost_to_a_client_that_goes_on_sending(stage: Stage):
    client, app = await stage.asks(ask("POST /up HTTP/1.1", "Content-Length: 1000000"))
    await app.send(message("HTTP/1.1 413 Too Large", "Content-Length: 3", body=b"no!"))
    await until(lambda: not client.is_silent())
    await client.send(b"x" * 100_000, b"x" * 100_000)
    await client.expect(message("HTTP/1.1 413 Too Large", "Content-Length: 3", "Connection: close", body=b"no!"))
    await client.ended()
    await client.send(b"x")  # no reset: the sidecar still takes what comes
    assert client.is_silent() or await client.rest() == b""


async def test_an_answer_may_flow_while_the_upload_goes_on(open_stage):
    stage = await open_stage(response_timeout=0.3)
    client = await stage.client(ask("POST /up HTTP/1.1", "Content-Length: 4"), b"ab")
    app = await stage.app()
    await app.until(b"ab")
    await app.send(CHUNKED, b"1\r\n1\r\n")
    await client.until(b"1\r\n1\r\n")
    await client.send(b"cd")
    await app.expect(b"cd")
    began = stage.plane.now
    await until(lambda: stage.plane.now > began + 1)  # the response time-out is for the head, which is there
    await app.send(b"1\r\n2\r\n0\r\n\r\n")
    await client.expect(b"1\r\n2\r\n0\r\n\r\n")


# -- back-pressure -------------------------------------------------------------------------------------------------


async def _watched(stage: Stage, transfer: asyncio.Task[None], reader: Wire, size: int) -> None:
    """Read `size` bytes; at no moment does the sidecar hold more than HELD of them."""
    async for _ in reader.pieces(size):
        assert stage.buffered() < HELD
    await transfer


@pytest.mark.parametrize("framed", ["length", "chunks", "end"])
async def test_an_app_that_sends_64_mib_waits_for_a_client_that_does_not_read(stage: Stage, framed: str):
    client, app = await stage.asks(ask())
    size = 64 * MIB
    framing = {"length": f"Content-Length: {size}", "chunks": "Transfer-Encoding: chunked", "end": "X-Y: z"}[framed]
    piece = b"x" * MIB
    if framed == "chunks":
        piece = b"100000\r\n" + piece + b"\r\n"

    async def send() -> None:
        await app.send(message("HTTP/1.1 200 OK", framing))
        for _ in range(64):
            await app.send(piece)
        if framed == "chunks":
            await app.send(b"0\r\n\r\n")
        app.close()

    sending = asyncio.create_task(send())
    await client.head()
    await until(stage.is_behind)
    assert not sending.done()
    await _watched(stage, sending, client, size)


async def test_a_client_that_uploads_64_mib_waits_for_an_app_that_does_not_read(stage: Stage):
    size = 64 * MIB
    client = await stage.client(ask("POST / HTTP/1.1", f"Content-Length: {size}"))
    app = await stage.app()
    await app.head()

    async def send() -> None:
        for _ in range(64):
            await client.send(b"x" * MIB)

    sending = asyncio.create_task(send())
    await until(stage.is_waiting)
    assert not sending.done()
    await _watched(stage, sending, app, size)
    await app.send(ok(b"done"))
    await client.expect(ok(b"done"))


async def test_an_upload_that_began_before_the_app_was_reached_waits_as_well(stage: Stage):
    """What was read while the store was asked goes out in one piece; the rest must not follow into a full buffer."""
    first, app = await stage.asks(ask())
    await app.send(ok())
    await first.expect(ok())
    stage.kernel_takes(4096)
    size = 64 * MIB
    stage.bindings.go_on.clear()
    head = ask("POST / HTTP/1.1", "Cookie: JSESSIONID=unknown", f"Content-Length: {size}")
    client = await stage.client()

    async def send() -> None:
        await client.send(head)
        for _ in range(64):
            await client.send(b"x" * MIB)

    sending = asyncio.create_task(send())
    await until(stage.is_waiting)
    stage.bindings.go_on.set()
    await app.head()
    await until(stage.is_waiting)
    assert not sending.done()
    stage.kernel_takes(MIB)
    await _watched(stage, sending, app, size)


async def behind(stage: Stage) -> tuple[Wire, Wire, int]:
    """A client that has not read its answer yet although the app has sent all of it, and the size of that answer.

    How much the kernel takes is not ours to say: sizes are tried until the last piece finds the client behind.
    """
    for size in range(60_000, 300_000, 8_000):
        client = await stage.client(ask(), receives=4096)
        app = await stage.app()
        await app.head()
        await app.send(message("HTTP/1.1 200 OK", f"Content-Length: {size}", body=b"x" * size))
        await until(lambda: stage.is_behind() or not stage.pool.counts[0])
        if stage.is_behind() and not stage.pool.counts[0]:
            return client, app, size
        client.close()
        app.close()
        await until(stage.is_quiet)
    raise AssertionError("no size left the client behind")


async def test_a_connection_to_the_app_serves_others_while_the_last_client_still_reads(open_stage):
    stage = await open_stage(sends=4096)
    client, app, size = await behind(stage)
    other = await stage.client(ask("GET /next HTTP/1.1"))
    await app.expect(seen("GET /next HTTP/1.1"))
    await app.send(ok(b"next"))
    await other.expect(ok(b"next"))
    await client.head()
    await client.read(size)


async def test_a_client_that_asks_on_without_reading_gets_no_second_answer_before_it_has_read_the_first(open_stage):
    stage = await open_stage(sends=4096, limits={"head_timeout": 0.3})
    client, app, size = await behind(stage)
    await client.send(ask("GET /2 HTTP/1.1") * 100)
    began = stage.plane.now
    await until(lambda: stage.plane.now > began + 0.8)  # waiting for the client is not a slow head
    assert app.is_silent()
    await client.head()
    await client.read(size)
    for _ in range(100):
        await app.expect(seen("GET /2 HTTP/1.1"))
        await app.send(ok(b"2"))
        await client.expect(ok(b"2"))


# -- who breaks off ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["close", "abort"])
async def test_a_client_that_goes_while_the_app_thinks_takes_the_request_with_it(stage: Stage, ending: str):
    client, app = await stage.asks(ask())
    getattr(client, ending)()
    await app.gone(within=1.5)
    await until(stage.is_quiet)
    assert stage.stats.requests[(b"GET", 499)] == 1


@pytest.mark.parametrize("ending", ["close", "abort"])
async def test_a_client_that_goes_in_the_middle_of_the_answer_takes_the_request_with_it(stage: Stage, ending: str):
    client, app = await stage.asks(ask())
    await app.send(CHUNKED, b"1\r\nx\r\n")
    await client.until(b"1\r\nx\r\n")
    getattr(client, ending)()
    await app.gone(within=1.5)
    await until(stage.is_quiet)


@pytest.mark.parametrize("ending", ["close", "abort", "half_close"])
@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
async def test_a_client_that_goes_in_the_middle_of_the_upload_leaves_it_visibly_incomplete(
    stage: Stage, ending: str, framing: str
):
    client = await stage.client(ask("POST / HTTP/1.1", framing), b"3\r\nabc\r\n")
    app = await stage.app()
    await app.head()
    await app.until(b"abc")
    getattr(client, ending)()
    assert b"0\r\n\r\n" not in await app.gone(within=1.5)
    await until(stage.is_quiet)


async def test_a_client_that_goes_before_the_app_is_connected_leaves_nothing_behind(stage: Stage):
    stage.bindings.go_on.clear()
    client = await stage.client(ask("GET / HTTP/1.1", "Cookie: JSESSIONID=unknown"))
    await until(lambda: stage.bindings.waiting)
    client.abort()
    await until(stage.is_quiet)
    stage.bindings.go_on.set()
    await until(lambda: not stage.bindings.waiting)
    assert stage.is_app_untouched()


@pytest.mark.parametrize("ending", ["close", "abort"])
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nConte", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_an_app_that_goes_before_the_end_of_its_head_is_a_502(stage: Stage, said: bytes, ending: str):
    client, app = await stage.asks(ask("POST / HTTP/1.1", "Content-Length: 0"))
    if said:
        await app.send(said)
        await until(lambda: any(connection.has_answer for connection in stage.pool._all))
    getattr(app, ending)()
    answer = await client.answer()
    answer = await client.answer() if answer.status == 100 else answer
    assert answer.status == 502
    await client.send(ask("GET /next HTTP/1.1"))
    await (await stage.app()).expect(seen("GET /next HTTP/1.1"))


@pytest.mark.parametrize("ending", ["close", "abort"])
@pytest.mark.parametrize("framing", ["Content-Length: 10", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_answer_that_breaks_off_breaks_off_at_the_client_too(
    stage: Stage, framing: str, ending: str, version: str
):
    """For a client that speaks HTTP/1.0 a plain end would look like success (reference case 65)."""
    client, app = await stage.asks(ask(f"GET / HTTP/{version}"))
    await app.send(message("HTTP/1.1 200 OK", framing), b"3\r\nabc\r\n")
    await client.until(b"abc")
    getattr(app, ending)()
    assert b"0\r\n\r\n" not in await client.reset(within=1.5)
    await until(stage.is_quiet)


async def test_an_answer_until_the_end_of_the_connection_that_is_reset_is_not_complete(stage: Stage):
    client, app = await stage.asks(ask())
    await app.send(message("HTTP/1.1 200 OK"), b"abc")
    await client.until(b"abc")
    app.abort()
    assert b"0\r\n\r\n" not in await client.reset()


async def test_a_broken_chunk_in_an_answer_breaks_it_off(stage: Stage):
    client, app = await stage.asks(ask())
    await app.send(CHUNKED, b"3\r\nabc\r\n")
    await client.until(b"abc\r\n")
    await app.send(b"3 \r\nabc\r\n0\r\n\r\n")
    assert b"abc" not in await client.reset()


@pytest.mark.parametrize("chunk", [b"0x3\r\nabc\r\n", b"3\r\nabcd\r\n", b"3\nabc\r\n", b"\r\n", b'3;a="\r\n"\r\nabc'])
async def test_a_broken_chunk_in_an_upload_is_a_400_and_the_app_never_takes_it_for_complete(stage: Stage, chunk: bytes):
    client = await stage.client(ask("POST / HTTP/1.1", "Transfer-Encoding: chunked"), b"3\r\nabc\r\n")
    app = await stage.app()
    await app.until(b"abc\r\n")
    await client.send(chunk + b"0\r\n\r\n" + ask("GET /smuggled HTTP/1.1"))
    assert (await client.answer()).status == 400
    await client.gone()
    assert b"0\r\n\r\n" not in await app.gone()
    assert stage.is_app_untouched()
