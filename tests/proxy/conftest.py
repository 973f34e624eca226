"""Every test of this folder runs on both event loops, with a data plane of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import uvloop
from bench_plane import Stage
from bench_plane import stage as new_stage


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A data plane with the usual settings."""
    async with new_stage() as opened:
        yield opened


@pytest.fixture
async def open_stage() -> AsyncIterator[Callable[..., Any]]:
    """A function that opens a data plane with other settings: `stage = await open_stage(action="strip")`."""
    async with contextlib.AsyncExitStack() as stack:

        async def opener(**settings: Any) -> Stage:
            return await stack.enter_async_context(new_stage(**settings))

        yield opener
