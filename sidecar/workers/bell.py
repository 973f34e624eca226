"""A bell: whoever waits is woken by the next ring. It remembers nothing, so look at the condition before waiting."""

import asyncio


class Bell:
    """For one thread. Rings cost nothing while nobody waits."""

    def __init__(self) -> None:
        self._next: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake everybody."""
        following, self._next = self._next, None
        if following is not None:
            following.set_result(None)

    async def wait(self) -> None:
        """Return at the next ring."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._next)  # one that gives up must not take the ring from the others
