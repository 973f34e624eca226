"""Ends sessions at the provider, server to server.

The user waits for it only a little, and never for its success: whatever has not come to an end then goes on behind
their back (`errands.py`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from sidecar import log, metrics
from sidecar.core.strivacity import Answer, Outcome
from sidecar.outbound.errands import PAUSE_S, Errands

_logger = logging.getLogger(__name__)

AT_ONCE: Final = 8  # calls under way
WAITING: Final = 1000  # sessions, those under way included

Call = Callable[[str, str], Awaitable[Answer]]  # account, session


class ProviderLogouts:
    """The sessions that are being ended at one provider."""

    def __init__(self, call: Call, *, wait_s: float, attempts: int, pause_s: float = PAUSE_S) -> None:
        """`wait_s` is how long `end` keeps its caller, `attempts` how often a session is tried in all."""
        self._call = call
        self._wait_s = wait_s
        self._errands = Errands(
            may_pass=lambda answer: answer.outcome is Outcome.UNAVAILABLE,
            on_delay=_delayed,
            on_end=_report,
            stopped=Answer(Outcome.UNAVAILABLE, "stopped"),
            fault="provider_logout_fault",
            attempts=attempts,
            at_once=AT_ONCE,
            waiting=WAITING,
            pause_s=pause_s,
        )

    async def end(self, account: str, session: str) -> None:
        """Begin to end a session; returns when that is done, or after `wait_s`."""
        task = self._errands.begin(partial(self._call, account, session))
        if task is None:
            _report(Answer(Outcome.UNAVAILABLE, "too_many"))
        else:
            await asyncio.wait({task}, timeout=self._wait_s)

    async def attempt(self, account: str, session: str) -> Answer:
        """End a session, however long the attempts take; what it came to."""
        return await self._errands.run(partial(self._call, account, session))

    async def aclose(self) -> None:
        """Give up what still runs."""
        await self._errands.aclose()


def _delayed(answer: Answer, left: int) -> None:
    log.event(_logger, logging.INFO, "provider_logout_delayed", reason=answer.reason, attempts_left=left)


def _report(answer: Answer) -> None:
    """One log line and the metric. What an operator has to mend is an error, and says how."""
    metrics.provider_logouts.labels(answer.outcome).inc()
    if answer.outcome.is_done:
        log.event(_logger, logging.INFO, "provider_logout", outcome=answer.outcome, **answer.problem.as_fields())
        return
    advice = {"advice": answer.advice} if answer.advice else {}
    fields = {"outcome": answer.outcome, "reason": answer.reason, **advice, **answer.problem.as_fields()}
    log.event(_logger, logging.ERROR, "provider_logout_failed", **fields)
