"""The fixtures that open a data plane, for this folder and for those that attack it."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from bench_plane import Stage
from bench_plane import stage as new_stage


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
