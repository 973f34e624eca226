"""How long to wait before trying a store again.

Full jitter: each wait is random between zero and a limit that doubles, so that the replicas of a deployment do not all
come back in the same moment. The limit stays at a second, because what waits here is a logout,
to be published within 5 s of the store's return.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sidecar.stores.interface import StoreError

T = TypeVar("T")

FIRST_S = 0.02
LAST_S = 1.0


class Backoff:
    """The waits of one loop. `reset` after a success."""

    def __init__(self) -> None:
        self._limit = FIRST_S

    def reset(self) -> None:
        """The next wait is short again."""
        self._limit = FIRST_S

    async def wait(self) -> None:
        """Wait, and let the next wait be longer."""
        limit, self._limit = self._limit, min(self._limit * 2, LAST_S)
        await asyncio.sleep(random.uniform(0, limit))  # noqa: S311 - jitter, not a secret


async def until_done(operation: Callable[[], Awaitable[T]]) -> T:
    """Try until the store does it. For work that must happen, however long the outage."""
    backoff = Backoff()
    while True:
        try:
            return await operation()
        except StoreError:
            await backoff.wait()
