"""Errands: what is done behind everybody's back, a bounded number at once, tried again a bounded number of times.

They live in this process alone. Nobody waits for them who does not want to, and what still runs at the end is given up.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

_logger = logging.getLogger(__name__)

PAUSE_S: Final = 0.5  # before the second attempt; doubles with each
LONGEST_PAUSE_S: Final = 30.0

_Result = TypeVar("_Result")


class Errands(Generic[_Result]):
    """Errands of one kind. `may_pass` says of a result whether another attempt may bring a better one."""

    def __init__(
        self,
        *,
        may_pass: Callable[[_Result], bool],
        on_delay: Callable[[_Result, int], None],
        on_end: Callable[[_Result], None],
        stopped: _Result | None,
        fault: str,
        attempts: int,
        at_once: int,
        waiting: int,
        pause_s: float = PAUSE_S,
    ) -> None:
        """`on_delay` hears of an attempt that failed, and how many are left; `on_end` of what each errand came to.

        That is `stopped` for one that was given up, if there is such a result. `fault` is the log event of a defect.
        """
        self._may_pass = may_pass
        self._on_delay = on_delay
        self._on_end = on_end
        self._stopped = stopped
        self._fault = fault
        self._attempts = attempts
        self._waiting = waiting
        self._pause_s = pause_s
        self._slots = asyncio.Semaphore(at_once)
        self._tasks: set[asyncio.Task[_Result]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(
        self,
        attempt: Callable[[], Awaitable[_Result]],
        then: Callable[[_Result], Awaitable[None]] | None = None,
    ) -> "asyncio.Task[_Result] | None":
        """Start one, and do something with its last result; None when there are too many already."""
        if len(self._tasks) >= self._waiting:
            return None
        task = asyncio.create_task(self._run_then(attempt, then))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def run(self, attempt: Callable[[], Awaitable[_Result]]) -> _Result:
        """Do it, however long the attempts take; the last result."""
        pause = self._pause_s
        for left in range(self._attempts - 1, -1, -1):
            async with self._slots:
                result = await attempt()
            if not left or not self._may_pass(result):
                return result
            self._on_delay(result, left)
            # Jitter, so that many do not come back in step.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(2 * pause, LONGEST_PAUSE_S)
        raise ValueError("at least one attempt")

    async def _run_then(
        self, attempt: Callable[[], Awaitable[_Result]], then: Callable[[_Result], Awaitable[None]] | None
    ) -> _Result:
        result = await self.run(attempt)
        if then is not None:
            await then(result)
        return result

    def _ended(self, task: "asyncio.Task[_Result]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            if self._stopped is not None:
                self._on_end(self._stopped)
        elif (error := task.exception()) is not None:
            _logger.error(self._fault, exc_info=error)
        else:
            self._on_end(task.result())

    async def aclose(self) -> None:
        """Give up what still runs."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
