"""How slowly a body may move, and how much of it there may be: stalls, trickles, sizes, and apps that stop."""

import asyncio

import pytest
from bench_plane import Stage
from wire import TIMEOUT, ask, message, ok, until

from sidecar.proxy.pace import Pace

# -- the rule ------------------------------------------------------------------------------------------------------

STALL, RATE = 10.0, 100.0


def first_complaint(moves: dict[int, int], *, until: int = 100, rate: float = RATE) -> int | None:
    """The second in which a transfer that moves so many bytes at these seconds is found too slow."""
    pace = Pace(0.0)
    for second in range(1, until):
        pace.count += moves.get(second, 0)
        if pace.is_too_slow(float(second), stall=STALL, rate=rate):
            return second
    return None


@pytest.mark.parametrize(
    ("moves", "second"),
    [
        ({}, 10),  # nothing at all
        (dict.fromkeys(range(1, 100), 100), None),  # just enough, evenly
        (dict.fromkeys(range(1, 100), 99), 10),  # a trickle
        (dict.fromkeys(range(9, 100, 10), 1000), None),  # in bursts, one a window
        ({1: 1_000_000}, 12),  # what was quick before does not excuse a stall
        ({1: 1_000_000} | dict.fromkeys(range(2, 100), 1), 20),  # nor a trickle
    ],
)
def test_a_transfer_is_too_slow_when_it_stands_still_or_trickles(moves: dict[int, int], second: int | None):
    assert first_complaint(moves) == second


def test_without_a_minimum_one_byte_now_and_then_is_enough():
    assert first_complaint(dict.fromkeys(range(0, 100, 9), 1), rate=0) is None
    assert first_complaint({1: 1}, rate=0) == 12


def test_the_time_before_a_restart_does_not_count():
    pace = Pace(0.0)
    pace.restart(9.0)
    assert not pace.is_too_slow(18.0, stall=STALL, rate=RATE)
    assert pace.is_too_slow(19.5, stall=STALL, rate=RATE)


def test_a_write_buffer_that_grows_is_no_progress_and_one_that_shrinks_is():
    pace = Pace(0.0, unsent=100)
    assert [pace.look(size) for size in (100, 150, 120, 120, 0)] == [False, False, True, False, True]
    assert pace.count == 150


# -- on the wire ---------------------------------------------------------------------------------------------------


async def test_an_upload_that_trickles_is_a_408_although_it_never_stands_still(open_stage):
    stage = await open_stage(limits={"body_stall_timeout": 0.5, "body_min_rate": 1000})
    client = await stage.client(ask("POST / HTTP/1.1", "Content-Length: 100000"))
    app = await stage.app()
    await app.head()

    async def drip() -> None:
        while client.is_silent():
            await client.send(b"x")
            await asyncio.sleep(0.05)  # the rhythm of the attack

    dripping = asyncio.create_task(drip())
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (408, b"body_timeout")
    await dripping
    await app.gone()


async def test_a_reader_that_trickles_is_given_up_although_it_never_stands_still(open_stage):
    stage = await open_stage(sends=4096, limits={"body_stall_timeout": 0.6, "body_min_rate": 1 << 20})
    client = await stage.client(ask(), receives=4096)
    app = await stage.app()
    await app.head()
    sending = asyncio.create_task(app.send(message("HTTP/1.1 200 OK", "Content-Length: 99999999") + b"x" * 32_000_000))
    await client.head()

    async def sip() -> None:
        while stage.plane.connections:
            await client.some()
            await asyncio.sleep(0.02)  # the rhythm of the reader: far below the rate, and never still

    await asyncio.wait_for(sip(), TIMEOUT)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await sending
    await until(stage.is_quiet)


async def test_an_upload_waits_for_a_slow_app_without_being_blamed(open_stage):
    """While the app is behind, no byte moves, and that is not the client's fault."""
    stage = await open_stage(limits={"body_stall_timeout": 0.8, "body_min_rate": 1000})
    size = 8 << 20
    client = await stage.client(ask("POST / HTTP/1.1", f"Content-Length: {size}"))
    app = await stage.app()
    await app.head()
    sending = asyncio.create_task(client.send(b"x" * size))
    await until(stage.is_waiting)
    began = stage.plane.now
    await until(lambda: stage.plane.now > began + 0.5)
    assert len(await app.read(size)) == size
    await sending
    await app.send(ok(b"done"))
    await client.expect(ok(b"done"))


@pytest.mark.parametrize(
    ("request_bytes", "is_early"),
    [
        (ask("POST / HTTP/1.1", "Content-Length: 1001"), True),
        (ask("POST / HTTP/1.1", "Transfer-Encoding: chunked", body=b"3e9\r\n" + b"x" * 1001 + b"\r\n"), False),
    ],
)
async def test_a_body_beyond_the_limit_is_a_413_and_never_complete(open_stage, request_bytes: bytes, is_early: bool):
    stage = await open_stage(limits={"body_bytes": 1000})
    client = await stage.client(request_bytes)
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (413, b"body_too_large")
    await client.ended()
    if is_early:
        assert stage.is_app_untouched()
    else:
        assert b"x" not in (await (await stage.app()).gone()).partition(b"\r\n\r\n")[2]
    assert stage.stats.refusals["body_too_large"] == 1
    await until(lambda: not stage.stats.in_flight)


async def test_a_body_of_just_the_limit_passes(open_stage):
    stage = await open_stage(limits={"body_bytes": 1000})
    client = await stage.client(ask("POST / HTTP/1.1", "Content-Length: 1000", body=b"x" * 1000))
    app = await stage.app()
    await app.until(b"x" * 1000)
    await app.send(ok())
    await client.expect(ok())


# -- an app that stops ---------------------------------------------------------------------------------------------


async def test_an_app_that_stalls_in_an_answer_of_known_length_is_cut_and_so_is_the_client(open_stage):
    stage = await open_stage(stall_timeout=0.4)
    client, app = await stage.asks(ask())
    await app.send(message("HTTP/1.1 200 OK", "Content-Length: 10"), b"abc")
    assert (await client.reset(within=2)).endswith(b"abc")
    await app.gone()
    assert stage.stats.upstream_errors["upstream_stalled"] == 1
    await until(stage.is_quiet)


async def test_an_app_that_goes_on_in_time_is_not_cut(open_stage):
    stage = await open_stage(stall_timeout=0.6)
    client, app = await stage.asks(ask())
    await app.send(message("HTTP/1.1 200 OK", "Content-Length: 5"))
    await client.head()
    for _ in range(5):
        await app.send(b"x")
        await client.expect(b"x")
        await asyncio.sleep(0.25)  # the rhythm of the app: 1.25 s in all


@pytest.mark.parametrize("framing", ["Transfer-Encoding: chunked", "X: until the end of the connection"])
async def test_an_answer_of_unknown_length_may_pause_for_as_long_as_it_likes(open_stage, framing: str):
    stage = await open_stage(stall_timeout=0.2)
    client, app = await stage.asks(ask())
    await app.send(message("HTTP/1.1 200 OK", framing), b"1\r\nx\r\n")
    await client.until(b"x")
    began = stage.plane.now
    await until(lambda: stage.plane.now > began + 0.9)
    await app.send(b"1\r\ny\r\n")
    await client.until(b"y")


async def test_while_the_client_is_behind_it_is_not_the_app_that_stalls(open_stage):
    stage = await open_stage(stall_timeout=0.3)
    client, app = await stage.asks(ask())
    size = 16 << 20
    sending = asyncio.create_task(app.send(message("HTTP/1.1 200 OK", f"Content-Length: {size}") + b"x" * size))
    await until(stage.is_behind)
    began = stage.plane.now
    await until(lambda: stage.plane.now > began + 0.9)
    await client.head()
    assert len(await client.read(size)) == size
    await sending


# -- how many ------------------------------------------------------------------------------------------------------


async def test_one_address_gets_only_so_many_connections_and_a_closed_one_counts_no_more(open_stage):
    stage = await open_stage(limits={"connections_per_peer": 2})
    one, _ = await stage.client(), await stage.client()
    await until(lambda: len(stage.plane.connections) == 2)
    third = await stage.client(ask())
    refused = await third.answer()
    assert (refused.status, refused.value("x-logout-sidecar")) == (503, b"too_many_connections_of_peer")
    assert len(stage.plane.connections) == 3  # the refused one still lingers
    one.close()
    third.close()
    await until(lambda: len(stage.plane.connections) == 1)
    await stage.client(ask())
    await (await stage.app()).head()


async def test_a_trusted_proxy_may_have_more(open_stage):
    stage = await open_stage(limits={"connections_per_peer": 1}, trusted=["127.0.0.0/8"])
    await stage.client()
    await stage.client(ask())
    await (await stage.app()).head()


async def test_far_too_many_clients_are_closed_without_a_word(open_stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sidecar.proxy.connections.REFUSED_AT_ONCE", 0)
    stage = await open_stage(limits={"connections": 1})
    await stage.client()
    await until(lambda: len(stage.plane.connections) == 1)
    assert await (await stage.client()).gone() == b""
    await until(lambda: len(stage.plane.connections) == 1)


async def test_forty_stalled_transfers_hold_little_more_than_their_buffers(stage: Stage):
    """The full size is in `tests/proxy/bench_stalled.py`."""
    downloads = [await stage.asks(ask()) for _ in range(20)]
    sending = [
        asyncio.create_task(app.send(message("HTTP/1.1 200 OK", "Content-Length: 99999999") + b"x" * 16_000_000))
        for _, app in downloads
    ]
    uploads = []
    for _ in range(20):
        client = await stage.client(ask("POST / HTTP/1.1", "Content-Length: 99999999"))
        await (await stage.app()).head()
        uploads.append(client)
    sending += [asyncio.create_task(client.send(b"x" * 16_000_000)) for client in uploads]
    held = -1

    def is_still() -> bool:
        nonlocal held
        before, held = held, stage.buffered()
        return held == before and stage.is_behind() and stage.is_waiting()

    await until(is_still)
    assert held < 40 * (320 << 10)
    assert stage.plane._buffered() == held
    for task in sending:
        assert not task.done()
        task.cancel()
