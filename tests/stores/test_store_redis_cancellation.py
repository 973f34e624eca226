"""A cancellation that the library has lost on its way still ends whoever asked, whatever else came in its place."""

import asyncio
import contextlib

import pytest

from sidecar.stores.redis_client import _cancellable


async def losing(error: Exception | None) -> None:
    """What `asyncio.wait_for` of Python 3.11 does with a cancellation that comes together with a result."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    if error is not None:
        raise error


@pytest.mark.parametrize("error", [None, ConnectionResetError(), ValueError()])
async def test_a_lost_cancellation_ends_the_task(error: Exception | None) -> None:
    async def ask() -> None:
        with _cancellable():
            await losing(error)

    task = asyncio.ensure_future(ask())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_lost_deadline_is_a_deadline() -> None:
    async def ask() -> None:
        async with asyncio.timeout(0):
            with _cancellable():
                await losing(ValueError())

    with pytest.raises(TimeoutError):
        await ask()


async def test_an_error_alone_is_the_error() -> None:
    with pytest.raises(ValueError, match="refused"), _cancellable():
        raise ValueError("refused")
