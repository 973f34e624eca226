"""The data plane of `tests/proxy`, attacked."""

import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "proxy"))  # where the bench and the wires live

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
