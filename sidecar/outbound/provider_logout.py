"""Ends sessions at the provider, server to server: a bounded number at once, tried again a bounded number of times.

The user waits for it only a little, and never for its success: whatever has not come to an end then goes on behind
their back. It lives in this process alone; what still runs when the process ends is given up, and says so.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from sidecar import log, metrics
from sidecar.core.strivacity import Answer, Outcome

_logger = logging.getLogger(__name__)

AT_ONCE: Final = 8  # calls under way
WAITING: Final = 1000  # sessions, those under way included
PAUSE_S: Final = 0.5  # before the second attempt; doubles with each
LONGEST_PAUSE_S: Final = 30.0

Call = Callable[[str, str], Awaitable[Answer]]  # account, session


class ProviderLogouts:
    """The sessions that are being ended at one provider."""

    def __init__(self, call: Call, *, wait_s: float, attempts: int, pause_s: float = PAUSE_S) -> None:
        """`wait_s` is how long `end` keeps its caller, `attempts` how often a session is tried in all."""
        self._call = call
        self._wait_s = wait_s
        self._attempts = attempts
        self._pause_s = pause_s
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[Answer]] = set()

    async def end(self, account: str, session: str) -> None:
        """Begin to end a session; returns when that is done, or after `wait_s`."""
        if len(self._tasks) >= WAITING:
            self.report(Answer(Outcome.UNAVAILABLE, "too_many"))
            return
        task = asyncio.create_task(self.attempt(account, session))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait({task}, timeout=self._wait_s)

    async def attempt(self, account: str, session: str) -> Answer:
        """End a session, however long the attempts take; what it came to."""
        pause = self._pause_s
        for left in range(self._attempts - 1, -1, -1):
            async with self._slots:
                answer = await self._call(account, session)
            if answer.outcome is not Outcome.UNAVAILABLE or not left:
                return answer
            log.event(_logger, logging.INFO, "provider_logout_delayed", reason=answer.reason, attempts_left=left)
            # Jitter, so that many do not come back in step.
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            pause = min(2 * pause, LONGEST_PAUSE_S)
        raise ValueError("at least one attempt")

    def report(self, answer: Answer) -> None:
        """One log line and the metric. What an operator has to mend is an error, and says how."""
        metrics.provider_logouts.labels(answer.outcome).inc()
        if answer.outcome.is_done:
            log.event(_logger, logging.INFO, "provider_logout", outcome=answer.outcome, **answer.problem.as_fields())
            return
        advice = {"advice": answer.advice} if answer.advice else {}
        fields = {"outcome": answer.outcome, "reason": answer.reason, **advice, **answer.problem.as_fields()}
        log.event(_logger, logging.ERROR, "provider_logout_failed", **fields)

    def _ended(self, task: "asyncio.Task[Answer]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            self.report(Answer(Outcome.UNAVAILABLE, "stopped"))
        elif (error := task.exception()) is not None:
            _logger.error("provider_logout_fault", exc_info=error)
        else:
            self.report(task.result())

    async def aclose(self) -> None:
        """Give up what still runs."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
