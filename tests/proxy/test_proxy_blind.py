"""A replica that has not heard the store for longer than `grace`: what it let in before must not flow on for ever."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from bench_plane import Stage, revoked_cookie, session
from test_proxy_upgrade import HANDSHAKE, SWITCHED
from wire import Wire, ask, message, ok, until

from sidecar import clock, metrics
from sidecar.core.denial import Action
from sidecar.core.identity import Kind
from sidecar.core.paths import compile_pattern
from sidecar.core.revocation import Revocation
from sidecar.core.routes import Route, Rule
from sidecar.gate.live import RECHECKED_A_TURN, LiveStreams

GRACE = 1.0
CUT_S = GRACE + 0.5 + 1.0  # until nobody is served any more; and a second for what flows
SSE = message("HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
LONG = message("HTTP/1.1 200 OK", "Content-Length: 9999")
LATER = b"\x88\x02\x03\xf5"  # 1013, try again later

OpenStage = Callable[..., Any]


def route(*, fail_open: bool) -> Route:
    return Route(compile_pattern("/other/*"), Rule(Action.REJECT, None, fail_open), frozenset())


async def flowing(stage: Stage, request: bytes, head: bytes = SSE) -> tuple[Wire, Wire]:
    client, app = await stage.asks(request)
    await app.send(head)
    await client.head()
    return client, app


async def cut_off(stage: Stage) -> float:
    """The store is silent from now on."""
    await stage.feed.aclose()
    return clock.boot()


async def is_flowing(client: Wire, app: Wire) -> bool:
    await app.send(b"1\r\nx\r\n")
    await client.expect(b"1\r\nx\r\n")
    return True


@pytest.mark.parametrize("value", ["mine", "unknown"])
@pytest.mark.parametrize("head", [SSE, LONG])
async def test_an_answer_that_flows_is_cut_when_nobody_can_know_whether_its_session_lives(
    open_stage: OpenStage, value: str, head: bytes
):
    stage = await open_stage(grace=GRACE)
    await stage.bind("mine")
    client, app = await flowing(stage, revoked_cookie(value=value), head)
    before = metrics.streams_cut.labels("replica_stale")._value.get()
    began = await cut_off(stage)
    await client.gone(within=CUT_S)
    await app.gone(within=1)

    assert GRACE - 0.5 < clock.boot() - began < CUT_S
    assert metrics.streams_cut.labels("replica_stale")._value.get() == before + 1
    await until(stage.is_quiet)


async def test_a_websocket_is_told_to_come_again_later(open_stage: OpenStage):
    stage = await open_stage(grace=GRACE)
    await stage.bind("mine")
    client, app = await stage.asks(revoked_cookie("GET /ws HTTP/1.1", *HANDSHAKE, value="mine"))
    await app.send(SWITCHED)
    await client.expect(SWITCHED)
    await cut_off(stage)
    assert await client.gone(within=CUT_S) == LATER
    await app.gone(within=1)


async def test_an_upload_is_cut_as_well(open_stage: OpenStage):
    stage = await open_stage(grace=GRACE)
    await stage.bind("mine")
    body = b"3\r\nabc\r\n"
    client = await stage.client(
        revoked_cookie("POST / HTTP/1.1", "Transfer-Encoding: chunked", value="mine", body=body)
    )
    app = await stage.app()
    await app.until(b"abc\r\n")
    await cut_off(stage)
    await client.gone(within=CUT_S)
    assert await app.gone(within=1) == b""


async def test_streams_of_nobody_flow_on(open_stage: OpenStage):
    stage = await open_stage(grace=GRACE)
    client, app = await flowing(stage, ask())
    await cut_off(stage)
    await until(lambda: stage.gate.is_blind)
    await asyncio.wait_for(stage.live.recheck_all(), 1)

    assert await is_flowing(client, app)


@pytest.mark.parametrize("of_all", [True, False])
async def test_each_route_has_its_own_choice(open_stage: OpenStage, of_all: bool):
    stage = await open_stage(grace=GRACE, fail_open=of_all, routes=[route(fail_open=not of_all)])
    await stage.bind("mine")
    ordinary = await flowing(stage, revoked_cookie(value="mine"))
    other = await flowing(stage, revoked_cookie("GET /other/1 HTTP/1.1", value="mine"))
    goes_on, ends = (ordinary, other) if of_all else (other, ordinary)
    await cut_off(stage)
    await ends[0].gone(within=CUT_S)

    assert await is_flowing(*goes_on)
    await stage.logout("s-1")  # a logout that this process hears itself cuts it all the same
    await goes_on[0].gone(within=1)


async def test_an_answer_that_comes_too_late_is_withheld_and_the_session_is_kept(open_stage: OpenStage):
    stage = await open_stage(grace=GRACE)
    await stage.bind("mine")
    client, app = await stage.asks(revoked_cookie(value="mine"))
    await cut_off(stage)
    await until(lambda: stage.gate.is_blind)
    await app.send(ok(b"secret"))
    answer = await client.answer()

    assert (answer.status, answer.value("x-logout-sidecar")) == (503, b"replica_stale")
    assert answer.values("retry-after")
    assert not answer.values("set-cookie")
    assert stage.replica.cutoff(stage.digester.credential(b"mine")) is None


async def test_a_late_answer_to_nobody_passes(open_stage: OpenStage):
    stage = await open_stage(grace=GRACE)
    client, app = await stage.asks(ask())
    await cut_off(stage)
    await until(lambda: stage.gate.is_blind)
    await app.send(ok(b"public"))
    await client.expect(ok(b"public"))


async def test_when_the_store_is_heard_again_the_session_is_served(open_stage: OpenStage):
    stage = await open_stage(grace=GRACE)
    await stage.bind("mine", session("s-2"))
    client, _ = await flowing(stage, revoked_cookie(value="mine"))
    await cut_off(stage)
    await client.gone(within=CUT_S)
    stage.feed.start()
    await until(lambda: not stage.gate.is_blind)

    assert await is_flowing(*await flowing(stage, revoked_cookie(value="mine")))


# The register by itself


async def test_a_stream_that_cannot_be_cut_saves_no_other(caplog: pytest.LogCaptureFixture):
    live, cut = LiveStreams(), []
    live.add("one", [b"d"], lambda: 1 / 0)
    live.add("two", [b"d", b"e"], lambda: cut.append("two"))
    live.revoked(Revocation(Kind.SID, b"d", 1, 2))
    await live.recheck_all()

    assert cut == ["two", "two"]  # once for each, though it is known under two names
    assert caplog.text.count("stream_not_cut") == 2


async def test_others_have_their_turn_while_very_many_are_cut():
    live, cut, turns = LiveStreams(), [], []
    for number in range(RECHECKED_A_TURN * 4):
        live.add(number, [number.to_bytes(16)], lambda number=number: cut.append(number))

    async def others() -> None:
        while len(cut) < RECHECKED_A_TURN * 4:
            turns.append(len(cut))
            await asyncio.sleep(0)

    await asyncio.gather(live.recheck_all(), others())

    assert turns == [RECHECKED_A_TURN * number for number in (1, 2, 3)]
    assert len(cut) == RECHECKED_A_TURN * 4
