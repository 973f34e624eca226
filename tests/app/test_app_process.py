"""What every process does about its background tasks: run them, and end when one of them meets a defect."""

import asyncio
import contextlib

import pytest

from sidecar.app.process import Background
from sidecar.workers.supervisor import FAULT


async def test_a_task_that_meets_a_defect_is_logged_and_ends_the_process(caplog: pytest.LogCaptureFixture):
    background = Background()

    async def defective() -> None:
        raise ZeroDivisionError

    async with contextlib.AsyncExitStack() as stack:
        background.run(stack, "roster", defective())
        async with asyncio.timeout(1):
            await background.failed.wait()

    assert background.code == FAULT
    (record,) = caplog.records
    assert (record.getMessage(), record.fields) == ("task_died", {"name": "roster"})  # type: ignore[attr-defined]
    assert record.exc_info is not None


async def test_a_task_that_ends_by_itself_or_with_the_process_is_in_order(caplog: pytest.LogCaptureFixture):
    background, ended = Background(), []

    async def short() -> None:
        ended.append("short")

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("long")

    async with contextlib.AsyncExitStack() as stack:
        background.run(stack, "short", short())
        background.run(stack, "long", long())
        await asyncio.sleep(0)

    assert ended == ["short", "long"]
    assert background.code == 0
    assert not background.failed.is_set()
    assert not caplog.records
