"""WebSocket: raw bytes both ways after a 101 that was asked for, and no other way out of HTTP."""

import asyncio

import pytest
from bench_plane import Stage, revoked_cookie
from wire import Wire, ask, message, ok, seen, until

HANDSHAKE = (
    "Connection: keep-alive, Upgrade",
    "Upgrade: WebSocket",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)
PASSED_ON = HANDSHAKE[2:]
SWITCH = ("Connection: Upgrade", "Upgrade: websocket")
UPGRADE = ask("GET /ws HTTP/1.1", *HANDSHAKE)
SWITCHED = message("HTTP/1.1 101 Switching Protocols", *SWITCH)


async def tunnel(stage: Stage, request: bytes = UPGRADE) -> tuple[Wire, Wire]:
    client, app = await stage.asks(request)
    await app.send(SWITCHED)
    await client.expect(SWITCHED)
    return client, app


async def test_bytes_flow_both_ways_the_early_ones_of_both_sides_first(stage: Stage):
    client = await stage.client(UPGRADE + b"early client")
    app = await stage.app()
    await app.expect(seen("GET /ws HTTP/1.1", *PASSED_ON, framing=SWITCH))
    await app.send(
        message("HTTP/1.1 101 Switching Protocols", *SWITCH, "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        + b"early app"
    )
    await client.expect(
        message("HTTP/1.1 101 Switching Protocols", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", *SWITCH)
    )
    await client.expect(b"early app")
    await app.expect(b"early client")
    await client.send(b"\x81\x85\x00\r\n\r\n")
    await app.expect(b"\x81\x85\x00\r\n\r\n")
    await app.send(b"HTTP/1.1 200 OK\r\n\r\n")
    await client.expect(b"HTTP/1.1 200 OK\r\n\r\n")


async def test_a_declined_upgrade_is_an_ordinary_answer_and_the_connection_goes_on(stage: Stage):
    client, app = await stage.asks(UPGRADE)
    declined = message("HTTP/1.1 426 Upgrade Required", "Sec-WebSocket-Version: 13", "Content-Length: 2", body=b"no")
    await app.send(declined)
    await client.expect(declined)
    await client.send(ask())
    await app.expect(seen())


@pytest.mark.parametrize(
    ("request_bytes", "answer"),
    [
        (ask(), SWITCHED),
        (UPGRADE, message("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: h2c")),
        (UPGRADE, message("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket")),
        (UPGRADE, message("HTTP/1.1 101 Switching Protocols")),
        (b"GET / HTTP/1.0\r\nHost: app.example\r\n" + UPGRADE.partition(b"example\r\n")[2], SWITCHED),
        (UPGRADE, SWITCHED.replace(b"1.1", b"1.0")),
    ],
)
async def test_a_101_that_nobody_asked_for_or_to_another_protocol_is_a_502(
    stage: Stage, request_bytes: bytes, answer: bytes
):
    client, app = await stage.asks(request_bytes)
    await app.send(answer + b"hello")
    assert (await client.answer()).status == 502
    await app.gone()
    assert stage.stats.tunnels == 0


@pytest.mark.parametrize(
    "fields",
    [
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        ("Connection: Upgrade", "Upgrade: TLS/1.0"),
        ("Upgrade: websocket", "Sec-WebSocket-Key: x"),
    ],
)
async def test_any_other_upgrade_is_taken_out_and_the_request_is_a_plain_one(stage: Stage, fields: tuple[str, ...]):
    client = await stage.client(ask("GET / HTTP/1.1", *fields))
    app = await stage.app()
    kept = [field for field in fields if field.startswith("Sec-")]
    await app.expect(seen("GET / HTTP/1.1", *kept))
    await app.send(ok(b"plain"))
    await client.expect(ok(b"plain"))


@pytest.mark.parametrize(("one", "other"), [("client", "app"), ("app", "client")])
async def test_when_one_side_ends_the_other_may_finish_and_then_nothing_is_left(stage: Stage, one: str, other: str):
    ends = dict(zip(("client", "app"), await tunnel(stage), strict=True))
    await ends[one].send(b"last words")
    ends[one].half_close()
    await ends[other].expect(b"last words")
    await ends[other].ended()
    await ends[other].send(b"and mine")
    await ends[one].expect(b"and mine")
    ends[other].half_close()
    await ends[one].ended()
    await until(stage.is_quiet, within=1.5)
    assert stage.stats.tunnels == 0
    assert stage.stats.requests[(b"GET", 101)] == 1


@pytest.mark.parametrize(("one", "other"), [("client", "app"), ("app", "client")])
async def test_when_one_side_breaks_off_the_other_hears_of_it_at_once(stage: Stage, one: str, other: str):
    ends = dict(zip(("client", "app"), await tunnel(stage), strict=True))
    ends[one].abort()
    await ends[other].gone(within=1.5)
    await until(stage.is_quiet)
    assert stage.stats.tunnels == 0


@pytest.mark.parametrize(("one", "other"), [("client", "app"), ("app", "client")])
async def test_a_side_that_does_not_read_makes_the_other_wait(stage: Stage, one: str, other: str):
    ends = dict(zip(("client", "app"), await tunnel(stage), strict=True))
    size = 64 << 20

    async def send() -> None:
        for _ in range(64):
            await ends[one].send(b"x" * (1 << 20))

    sending = asyncio.create_task(send())
    await until(lambda: stage.buffered() > 64 << 10)
    async for _ in ends[other].pieces(size):
        assert stage.buffered() < 2 << 20
    await sending


async def test_a_flood_before_the_101_waits_with_the_client(stage: Stage):
    client, app = await stage.asks(UPGRADE)
    size = 32 << 20
    sending = asyncio.create_task(client.send(b"x" * size))
    await until(stage.is_waiting)
    assert stage.buffered() < 1 << 20
    await app.send(SWITCHED)
    await client.expect(SWITCHED)
    await until(stage.is_waiting)
    async for _ in app.pieces(size):
        assert stage.buffered() < 2 << 20
    await sending


async def test_a_logout_closes_the_tunnels_of_the_session_and_no_other(stage: Stage):
    await stage.bind("mine")
    await stage.bind("yours", to=None)
    client, app = await tunnel(stage, revoked_cookie("GET /ws HTTP/1.1", *HANDSHAKE, value="mine"))
    other, _ = await tunnel(stage)
    await stage.logout("s-1")
    await client.gone(within=1)
    await app.gone(within=1)
    await until(lambda: len(stage.plane.connections) == 1)
    assert other.is_silent()
    assert not stage.live
    assert stage.stats.tunnels == 1


async def test_a_revoked_session_gets_no_tunnel_and_the_app_does_not_hear_of_it(stage: Stage):
    await stage.bind("dead")
    await stage.logout("s-1")
    client = await stage.client(revoked_cookie("GET /ws HTTP/1.1", *HANDSHAKE))
    assert (await client.answer()).status == 401
    assert stage.is_app_untouched()


async def test_a_101_that_comes_after_the_logout_is_withheld(stage: Stage):
    await stage.bind("dead")
    client, app = await stage.asks(revoked_cookie("GET /ws HTTP/1.1", *HANDSHAKE))
    await stage.logout("s-1")
    await app.send(SWITCHED + b"secret")
    answer = await client.answer()
    assert answer.status == 401
    assert b"secret" not in answer.body
    await app.gone()
    assert stage.stats.tunnels == 0


async def test_an_idle_tunnel_outlives_the_idle_time_out_of_requests(open_stage):
    stage = await open_stage(limits={"idle_timeout": 0.2, "head_timeout": 0.2}, response_timeout=0.2)
    client, app = await tunnel(stage)
    began = stage.plane.now
    await until(lambda: stage.plane.now > began + 0.8)
    await client.send(b"still here")
    await app.expect(b"still here")


async def test_an_idle_tunnel_ends_after_its_own_time_out(open_stage):
    stage = await open_stage(tunnel_idle_timeout=0.3)
    client, app = await tunnel(stage)
    await client.ended(within=2)
    await app.ended(within=2)
    await until(stage.is_quiet)
