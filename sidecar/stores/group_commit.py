"""Group commit: what is asked for while one commit is under way goes into the next, together.

A commit costs a round trip or an fsync, whatever it holds; a hundred logouts at once need two. Each caller waits for
the commit that holds its own items and shares its outcome. A caller that gives up takes nothing away from the others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class GroupCommit(Generic[T, R]):
    """Commits one after the other through `write`, each with everything that gathered during the last."""

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[R]]) -> None:
        self._write = write
        self._gathered: list[T] = []
        self._forming: asyncio.Task[R] | None = None  # the commit that new items still join
        self._writing: asyncio.Task[R] | None = None

    async def add(self, items: Sequence[T]) -> R:
        """What `write` returned for the commit with these items; raise what that raised."""
        self._gathered.extend(items)
        if self._forming is None:
            self._forming = asyncio.create_task(self._commit(after=self._writing))
            self._forming.add_done_callback(_note_outcome)
        return await asyncio.shield(self._forming)

    async def _commit(self, after: asyncio.Task[R] | None) -> R:
        if after is not None:
            await asyncio.wait((after,))  # its outcome belongs to those who wait for it
        items, self._gathered = self._gathered, []
        self._writing, self._forming = self._forming, None
        return await self._write(items)


def _note_outcome(commit: "asyncio.Task[R]") -> None:
    """Every caller may have given up by now: then nobody else asks, and asyncio would complain at some later time."""
    if not commit.cancelled():
        commit.exception()
