"""The cutter does what it says, and a client of the store survives every cut of its connection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from chaos_link import Link
from chaos_stores import PROGRAMS, single

from sidecar.stores.interface import StoreError
from sidecar.stores.open import open_store
from sidecar.stores.redis import RedisStore


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    if not PROGRAMS:
        pytest.skip("no redis or valkey server on this machine")
    with single(tmp_path, next(iter(PROGRAMS))) as place:
        yield place.server


@contextlib.asynccontextmanager
async def linked(server: Any) -> AsyncIterator[tuple[Link, RedisStore]]:
    link = Link(server.port)
    await link.open()
    store = open_store(f"redis://127.0.0.1:{link.port}/0")
    assert isinstance(store, RedisStore)
    await store.open()
    try:
        yield link, store
    finally:
        await store.aclose()
        await link.aclose()


@pytest.mark.parametrize("way", [("up",), ("down",), ("up", "down")])
async def test_a_cut_holds_back_and_delivers_when_it_is_mended(server: Any, way: tuple[str, ...]) -> None:
    async with linked(server) as (link, store):
        link.cut(*way)
        with pytest.raises(StoreError):
            await store.get_binding(b"c" * 16)
        link.restore()
        assert await store.get_binding(b"c" * 16) is None


async def test_a_reset_ends_every_connection_and_refuses_new_ones(server: Any) -> None:
    async with linked(server) as (link, store):
        link.reset()
        with pytest.raises(StoreError):
            await store.get_binding(b"c" * 16)
        link.restore()
        assert await store.get_binding(b"c" * 16) is None


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of transports that the loop has not closed yet when it ends
def test_a_connection_that_dies_while_a_command_is_being_sent_is_an_error_of_the_store(server: Any) -> None:
    """uvloop raises RuntimeError for a write to a closed transport, where asyncio would drop the bytes."""

    async def scenario() -> None:
        store: Any = open_store(server.url)
        await store.get_binding(b"c" * 16)
        (connection,) = store._clients.bindings._pool._available_connections
        send = connection.send_packed_command

        async def dies_before_it_is_sent(*args: Any, **options: Any) -> None:
            connection.send_packed_command = send  # only this once
            connection._writer.transport.abort()
            for _ in range(3):  # uvloop closes it in one of its next turns
                await asyncio.sleep(0)
            await send(*args, **options)

        connection.send_packed_command = dies_before_it_is_sent
        try:
            with pytest.raises(StoreError):
                await store.get_binding(b"c" * 16)
        finally:
            await store.aclose()

    uvloop.run(scenario())
