"""Group commit without a store: who shares which outcome."""

import asyncio
import gc
from collections.abc import Sequence

import pytest

from sidecar.stores.group_commit import GroupCommit


async def test_a_commit_that_fails_after_every_caller_gave_up_is_no_fault_of_the_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    may_fail = asyncio.Event()
    failed = asyncio.Event()

    async def write(_items: Sequence[int]) -> None:
        await may_fail.wait()
        failed.set()
        raise OSError("disk full")

    caller = asyncio.create_task(GroupCommit[int, None](write).add([1]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    may_fail.set()
    await failed.wait()
    await asyncio.sleep(0)
    del caller
    gc.collect()
    assert "never retrieved" not in caplog.text
