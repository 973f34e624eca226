"""What was kept of a login goes when the provider has ended its session: nobody needs it any more.

In the background and without promise: what is not forgotten now goes with its time.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from sidecar.core.identity import Kind
from sidecar.core.revocation import Revocation
from sidecar.stores.interface import StoreError

AT_ONCE: Final = 1000


class ForgetLogins:
    """Hears of revocations, and has everybody forget what they keep of those sessions."""

    def __init__(self, *forget: Callable[[bytes], Awaitable[None]]) -> None:
        """Each takes the digest of a session, and may raise StoreError."""
        self._forgetting = forget
        self._tasks: set[asyncio.Task[None]] = set()

    def revoked(self, revocation: Revocation, is_ours: bool) -> None:  # noqa: FBT001 - as `State.on_news` calls it
        """A revocation changed the replica. Never waits; only the process that took it does something."""
        # Kept under the digest of the session itself. Of a whole subject nobody knows the sessions.
        is_session = revocation.kind in {Kind.SID, Kind.SUB_WITHOUT_SID}
        if is_ours and is_session and len(self._tasks) < AT_ONCE:
            task = asyncio.create_task(self._forget(revocation.digest))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forget(self, name: bytes) -> None:
        for forget in self._forgetting:
            with contextlib.suppress(StoreError):
                await forget(name)

    async def aclose(self) -> None:
        """Stop."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
