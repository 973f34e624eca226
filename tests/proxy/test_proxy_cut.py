"""What an end from our side looks like: close frames in tunnels, event streams, half-sent answers, and draining."""

import asyncio
import random

import pytest
from bench_plane import Stage, revoked_cookie
from test_proxy_upgrade import HANDSHAKE, SWITCHED, UPGRADE
from wire import TIMEOUT, Wire, ask, message, ok, seen, until

from sidecar.proxy.frames import Frames, close_frame

GOING_AWAY, POLICY = b"\x88\x02\x03\xe9", b"\x88\x02\x03\xf0"  # 1001 and 1008 as a server sends them
EVENTS = message("HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
SMALL, MEDIUM, LARGE = (
    b"\x81\x05hello",
    b"\x82\x7e\x01\x00" + b"m" * 256,
    b"\x82\x7f" + (70_000).to_bytes(8) + b"l" * 70_000,
)


def test_a_close_frame_is_unmasked_and_holds_nothing_but_its_code():
    assert (close_frame(1001), close_frame(1008)) == (GOING_AWAY, POLICY)


# -- where frames end ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [b"\x89\x00", SMALL, MEDIUM, LARGE, b"\x81\x85\x01\x02\x03\x04hello", b"\x01\x02hi"])
def test_a_place_between_frames_is_found_at_the_ends_and_nowhere_else(frame: bytes):
    for cut in [*range(min(len(frame), 20)), len(frame) - 1]:
        frames = Frames()
        frames.feed(SMALL + frame[:cut])
        assert frames.is_between == (cut == 0)
        frames.feed(frame[cut:])
        assert frames.is_between


def test_however_the_bytes_are_cut_the_end_of_a_frame_is_the_same():
    draw = random.Random(7)
    stream = b"".join(draw.choice((SMALL, MEDIUM, LARGE, b"\x8a\x00")) for _ in range(200))
    frames = Frames()
    while stream:
        size = draw.choice((1, 2, 3, 9, 300, 5000))
        frames.feed(stream[:size])
        stream = stream[size:]
    assert frames.is_between


def test_after_the_apps_own_close_frame_there_is_no_place_for_another():
    frames = Frames()
    frames.feed(SMALL + b"\x88\x02\x03\xe8")
    assert frames.has_close
    assert not frames.is_between


def test_more_frames_than_are_worth_counting_leave_no_place():
    frames = Frames()
    frames.feed(b"\x89\x00" * 10_000)
    assert not frames.is_between
    frames.feed(SMALL)
    assert not frames.is_between


# -- tunnels -------------------------------------------------------------------------------------------------------


async def tunnel(stage: Stage, request: bytes = UPGRADE) -> tuple[Wire, Wire]:
    client, app = await stage.asks(request)
    await app.send(SWITCHED)
    await client.expect(SWITCHED)
    return client, app


async def mine(stage: Stage) -> tuple[Wire, Wire]:
    """The WebSocket of a session that can be logged out."""
    await stage.bind("mine")
    return await tunnel(stage, revoked_cookie("GET /ws HTTP/1.1", *HANDSHAKE, value="mine"))


@pytest.mark.parametrize("before", [b"", SMALL, LARGE, SMALL + MEDIUM])
async def test_a_revoked_websocket_gets_a_close_frame_that_says_policy(stage: Stage, before: bytes):
    client, app = await mine(stage)
    if before:
        await app.send(before)
        await client.expect(before)
    await stage.logout("s-1")
    await client.expect(POLICY)
    await client.ended(within=1)
    await app.gone(within=1)
    await client.send(b"\x88\x82\x00\x00\x00\x00\x03\xf0")  # its own close frame: taken, and not answered by a reset
    client.half_close()
    await until(stage.is_quiet)


@pytest.mark.parametrize("unfinished", [b"\x81", LARGE[:-1], b"\x82\x7e\x01"])
async def test_in_the_middle_of_a_frame_there_is_only_an_abort(stage: Stage, unfinished: bytes):
    client, app = await mine(stage)
    await app.send(unfinished)
    await client.expect(unfinished)
    await stage.logout("s-1")
    assert await client.reset(within=1) == b""
    await app.gone(within=1)
    await until(stage.is_quiet)


async def test_early_bytes_behind_the_101_count_as_frames(stage: Stage):
    await stage.bind("mine")
    client, app = await stage.asks(revoked_cookie("GET /ws HTTP/1.1", *HANDSHAKE, value="mine"))
    await app.send(SWITCHED + SMALL[:3])
    await client.expect(SWITCHED + SMALL[:3])
    await stage.logout("s-1")
    assert await client.reset(within=1) == b""


async def test_nothing_of_the_app_follows_the_close_frame(stage: Stage):
    client, app = await mine(stage)
    app.sock.send(SMALL)  # in the kernel when the logout comes
    await stage.logout("s-1")
    said = await client.gone(within=4)
    assert said in (POLICY, SMALL + POLICY)
    assert await app.gone() == b""


async def test_a_client_that_does_not_end_after_the_close_frame_is_not_waited_for(stage: Stage):
    client, _ = await mine(stage)
    await stage.logout("s-1")
    await client.expect(POLICY)
    await until(lambda: not stage.plane.connections, within=4)


async def test_at_the_deadline_a_websocket_is_told_that_we_are_going_away(stage: Stage):
    client, app = await tunnel(stage)
    finishing = asyncio.create_task(stage.plane.finish(0.3))
    await client.expect(GOING_AWAY)
    await client.ended()
    client.close()
    await app.gone()
    await finishing
    assert stage.is_quiet()


# -- streams -------------------------------------------------------------------------------------------------------


async def test_at_the_deadline_a_chunked_event_stream_breaks_off_and_never_looks_complete(stage: Stage):
    client, app = await stage.asks(ask())
    await app.send(EVENTS, b"3\r\na\n\n\r\n")
    await client.until(b"a\n\n\r\n")
    await stage.plane.finish(0.1)
    assert await client.reset() == b""
    await app.gone()
    assert stage.is_quiet()


async def test_at_the_deadline_an_event_stream_that_has_no_end_but_the_connections_ends_in_good_order(stage: Stage):
    client, app = await stage.asks(ask("GET / HTTP/1.0"))
    await app.send(EVENTS, b"3\r\na\n\n\r\n")
    await client.until(b"a\n\n")
    await stage.plane.finish(0.1)
    await client.ended()
    await app.gone()


@pytest.mark.parametrize("head", [("HTTP/1.1 200 OK", "Content-Length: 9"), ("HTTP/1.1 200 OK", "X: y")])
async def test_at_the_deadline_a_half_sent_answer_breaks_off(stage: Stage, head: tuple[str, str]):
    client, app = await stage.asks(ask("GET / HTTP/1.0"))
    await app.send(message(*head), b"abc")
    await client.until(b"abc")
    await stage.plane.finish(0.1)
    assert await client.reset() == b""


async def test_at_the_deadline_a_request_without_an_answer_is_told_to_come_again(stage: Stage):
    client, app = await stage.asks(ask())
    await stage.plane.finish(0.1)
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (503, b"draining")
    assert answer.values("retry-after")
    await app.gone()


# -- draining ------------------------------------------------------------------------------------------------------


async def test_while_draining_pipelined_requests_are_all_answered_and_the_last_ends_the_connection(stage: Stage):
    client = await stage.client(ask("GET /1 HTTP/1.1") + ask("GET /2 HTTP/1.1") + ask("GET /3 HTTP/1.1"))
    app = await stage.app()
    stage.plane.is_draining = True
    for number in (b"1", b"2", b"3"):
        await app.expect(seen(f"GET /{number.decode()} HTTP/1.1"))
        await app.send(ok(number))
        answer = await client.answer()
        assert (answer.body, answer.values("connection")) == (number, [b"close"] if number == b"3" else [])
    await client.ended()


async def test_a_client_that_closed_its_side_behind_several_requests_gets_all_answers(stage: Stage):
    client = await stage.client(ask("GET /1 HTTP/1.1") + ask("GET /2 HTTP/1.1"))
    app = await stage.app()
    await app.head()
    client.half_close()
    await app.send(ok(b"1"))
    await client.expect(ok(b"1"))
    await app.head()
    await app.send(ok(b"2"))
    answer = await client.answer()
    assert (answer.body, answer.value("connection")) == (b"2", b"close")
    await client.ended()


async def test_a_client_that_closed_its_side_within_a_second_request_is_not_waited_for(stage: Stage):
    client = await stage.client(ask() + b"GET /never HT")
    app = await stage.app()
    await app.head()
    client.half_close()
    await app.send(ok(b"1"))
    await client.expect(ok(b"1"))
    await client.ended(within=2)
    await until(lambda: not stage.plane.connections)


async def test_who_connects_just_before_the_end_may_still_ask(stage: Stage):
    client = await stage.client()
    await until(lambda: len(stage.plane.connections) == 1)
    stage.plane.is_draining = True
    finishing = asyncio.create_task(stage.plane.finish(TIMEOUT))
    began = stage.plane.now
    await until(lambda: stage.plane.now > began)  # a sweep has seen it idle
    await client.send(ask())
    app = await stage.app()
    await app.head()
    await app.send(ok(b"last"))
    assert (await client.answer()).body == b"last"
    await finishing


async def test_under_load_no_request_is_lost_at_the_end(stage: Stage):
    """Clients ask over kept connections and over new ones while the end comes; every request gets its answer."""
    answered = asked = 0

    async def serve() -> None:
        while True:
            app = await stage.app()
            serving.append(asyncio.create_task(answer(app)))

    async def answer(app: Wire) -> None:
        while await app.some():
            await app.send(ok(b"here"))

    async def ask_on() -> None:
        nonlocal answered, asked
        client = await stage.client()
        for _ in range(100):
            asked += 1
            await client.send(ask())
            got = await client.answer()
            answered += got.body == b"here"
            if got.values("connection"):
                client.close()
                return
            await asyncio.sleep(0)

    serving = [asyncio.create_task(serve())]
    try:
        asking = [asyncio.create_task(ask_on()) for _ in range(20)]
        await until(lambda: answered > 200)
        stage.plane.is_draining = True
        await asyncio.gather(*asking)
        await stage.plane.finish(TIMEOUT)
    finally:
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
    assert answered == asked
    assert not stage.plane.connections
