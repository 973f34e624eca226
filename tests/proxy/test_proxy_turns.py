"""Bodies of tiny chunks: they take turns with everybody else, and arrive complete all the same."""

import asyncio

import pytest
from bench_plane import Stage
from wire import ask, message, ok, seen, until

from sidecar.http1.chunked import encode_chunk
from sidecar.proxy import client_body
from sidecar.proxy.limits import CHUNKS_A_TURN

TINY = b"1\r\na\r\n"
MANY = 10 * CHUNKS_A_TURN
POST = ask("POST /up HTTP/1.1", "Transfer-Encoding: chunked")


async def content(wire, size: int) -> tuple[bytes, int]:
    """So many bytes of a chunked body, and in how many chunks they came."""
    got, chunks = b"", 0
    while len(got) < size:
        got += (await wire.read(int(await wire.until(b"\r\n"), 16) + 2))[:-2]
        chunks += 1
    return got, chunks


async def test_an_upload_of_tiny_chunks_reaches_the_app_whole_and_in_few_large_ones(stage: Stage):
    client = await stage.client(POST, TINY * MANY + b"0\r\n\r\n" + ask("GET /next HTTP/1.1"))
    app = await stage.app()
    await app.expect(seen("POST /up HTTP/1.1", framing=("Transfer-Encoding: chunked",)))
    got, chunks = await content(app, MANY)
    assert got == b"a" * MANY
    assert chunks < MANY / 100
    await app.expect(b"0\r\n\r\n")
    await app.send(ok(b"done"))
    await client.expect(ok(b"done"))
    await app.expect(seen("GET /next HTTP/1.1"))


async def test_others_are_answered_between_two_turns_of_an_upload(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client_body, "TURN_PAUSE", 3600.0)
    await stage.client(POST, TINY * MANY)
    app = await stage.app()
    await app.head()
    got, _ = await content(app, CHUNKS_A_TURN)
    assert len(got) == CHUNKS_A_TURN  # and not one more in this turn
    client, other = await stage.asks(ask())
    await other.send(ok(b"x"))
    await client.expect(ok(b"x"))
    assert app.is_silent()


async def test_an_app_that_reads_slowly_is_not_written_to_at_the_next_turn(stage: Stage):
    client, app = await stage.asks(POST)
    stage.kernel_takes(4096)
    size, piece = 30 * 100_000, encode_chunk(b"a" * 100) * 1000
    sending = asyncio.ensure_future(client.send(*[piece] * 30))
    await until(stage.is_waiting)
    most = 0
    while size:
        got, _ = await content(app, 1)
        size -= len(got)
        most = max(most, stage.buffered())
    assert most < 1 << 20
    await sending


async def test_a_client_that_closes_its_side_behind_tiny_chunks_has_sent_them_all(stage: Stage):
    client = await stage.client(POST, TINY * MANY + b"0\r\n\r\n")
    client.half_close()
    app = await stage.app()
    await app.head()
    assert len((await content(app, MANY))[0]) == MANY
    await app.expect(b"0\r\n\r\n")
    await app.send(ok(b"done"))
    assert (await client.answer()).body == b"done"


async def test_a_client_that_leaves_between_two_turns_ends_the_request_of_the_app(stage: Stage):
    client = await stage.client(POST, TINY * MANY)
    app = await stage.app()
    await app.head()
    client.abort()
    await app.gone()
    await until(stage.is_quiet)


async def test_an_answer_of_tiny_chunks_reaches_the_client_whole(stage: Stage):
    client, app = await stage.asks(ask())
    await app.send(message("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), TINY * MANY + b"0\r\n\r\n")
    answer = await client.answer()
    assert answer.body == b"a" * MANY
