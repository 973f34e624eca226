"""The line: several calls at once, errors with their reasons, and nobody left waiting when it ends."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from bench_line import until

from sidecar.errors import SidecarError
from sidecar.workers.line import Call, Handler, Line, LineLost, Refused
from sidecar.workers.uplink import Uplink

Handlers = Mapping[Call, Handler]


async def echo(payload: bytes) -> bytes:
    return payload


@asynccontextmanager
async def lines(folder: Path, *, server: Handlers, client: Handlers) -> AsyncIterator[tuple[Line, Line]]:
    """Both ends of one line."""
    ends: list[Line] = []

    async def connected(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        ends.append(Line(socket, server))
        await ends[0].run()
        return socket

    app = web.Application()
    app.router.add_get("/", connected)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(folder / "line")).start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(folder / "line")))
        )
        socket = await stack.enter_async_context(session.ws_connect("http://x/"))
        line = Line(socket, client)
        task = asyncio.create_task(line.run())
        stack.callback(task.cancel)
        await until(lambda: ends)
        yield ends[0], line


async def test_both_ends_ask_at_once(tmp_path: Path) -> None:
    async with lines(tmp_path, server={Call.APPEND: echo}, client={Call.STRAY: echo}) as (server, client):
        asked = [client.call(Call.APPEND, bytes([number])) for number in range(50)]
        asked += [server.call(Call.STRAY, bytes([number])) for number in range(50)]
        assert await asyncio.gather(*asked) == [bytes([number]) for number in (*range(50), *range(50))]


async def test_a_slow_answer_holds_up_no_other(tmp_path: Path) -> None:
    free = asyncio.Event()

    async def slow(payload: bytes) -> bytes:
        await free.wait()
        return b"slow"

    async with lines(tmp_path, server={Call.LOAD: slow, Call.APPEND: echo}, client={}) as (_, client):
        waiting = asyncio.create_task(client.call(Call.LOAD))
        assert await client.call(Call.APPEND, b"quick") == b"quick"
        free.set()
        assert await waiting == b"slow"


async def test_an_error_arrives_with_reason_and_text(tmp_path: Path) -> None:
    async def refuse(payload: bytes) -> bytes:
        raise SidecarError("store_full", "no room\nat all")

    async with lines(tmp_path, server={Call.APPEND: refuse}, client={}) as (_, client):
        with pytest.raises(Refused, match="no room\nat all") as caught:
            await client.call(Call.APPEND)
        assert caught.value.reason == "store_full"


async def test_a_defect_is_logged_and_told_without_its_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(payload: bytes) -> bytes:
        raise ValueError("secret")

    async with lines(tmp_path, server={Call.APPEND: broken}, client={}) as (_, client):
        with caplog.at_level(logging.ERROR), pytest.raises(Refused) as caught:
            await client.call(Call.APPEND)
    assert (caught.value.reason, str(caught.value)) == ("internal_error", "internal_error")
    assert [record.getMessage() for record in caplog.records] == ["line_fault"]


async def test_silence_is_bounded(tmp_path: Path) -> None:
    async def silent(payload: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with lines(tmp_path, server={Call.APPEND: silent}, client={}) as (_, client):
        with pytest.raises(LineLost) as caught:
            await client.call(Call.APPEND, timeout_s=0.05)
        assert caught.value.reason == "line_silent"


@pytest.mark.parametrize("end", ["server", "client"])
async def test_the_end_of_the_line_is_told_to_all_who_wait_and_to_all_who_come(tmp_path: Path, end: str) -> None:
    async def silent(payload: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with lines(tmp_path, server={Call.APPEND: silent}, client={Call.APPEND: silent}) as (server, client):
        ours, theirs = (client, server) if end == "server" else (server, client)
        waiting = [asyncio.create_task(ours.call(Call.APPEND)) for _ in range(3)]
        await until(lambda: len(theirs._answering) == 3)
        await theirs._socket.close()
        assert [str(error) for error in await asyncio.gather(*waiting, return_exceptions=True)] == ["line_lost"] * 3
        with pytest.raises(LineLost):
            await ours.call(Call.APPEND)
        await until(lambda: not theirs._answering)  # what nobody waits for is not worked on


async def test_an_uplink_connects_again_and_says_when(tmp_path: Path) -> None:
    path, seen = str(tmp_path / "hub"), []
    uplink = Uplink(path=path, slot=3, pid=42)
    uplink.on_up, uplink.on_down = lambda: seen.append("up"), lambda: seen.append("down")
    task = asyncio.create_task(uplink.run())
    for _ in range(2):
        async with serving(path) as asked:
            assert await uplink.call(Call.APPEND, b"x", timeout_s=5) == b"x"
            assert asked == [{"slot": "3", "pid": "42"}]
        await until(lambda: seen[-1] == "down")
    assert seen == ["up", "down", "up", "down"]
    with pytest.raises(LineLost) as caught:
        await uplink.call(Call.APPEND, timeout_s=0.01)
    assert caught.value.reason == "line_down"
    task.cancel()
    await asyncio.wait({task})


@asynccontextmanager
async def serving(path: str) -> AsyncIterator[list[dict[str, str]]]:
    asked: list[dict[str, str]] = []
    sockets: list[web.WebSocketResponse] = []

    async def connected(request: web.Request) -> web.WebSocketResponse:
        asked.append(dict(request.query))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sockets.append(socket)
        await Line(socket, {Call.APPEND: echo}).run()
        return socket

    app = web.Application()
    app.router.add_get("/", connected)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, path).start()
    yield asked
    for socket in sockets:
        await socket.close()
    await runner.cleanup()
