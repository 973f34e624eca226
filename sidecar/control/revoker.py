"""From verified logouts to revocations, once the deployment's digest key is known.

Without `store.secret` the key is in the store, and a store that is away at the start keeps it away. Until then every
bound request is refused anyway; the logouts of that time are kept, bounded, and published when the key comes. One that
was queued while a process started is not refused for the moment that reading the key takes.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence

from sidecar import metrics
from sidecar.core.identity import Digester
from sidecar.core.revocation import Logout, Revocation, meant_by
from sidecar.log import event
from sidecar.stores.interface import StoreError

MAX_KEPT = 10_000
KEY_S = 0.25  # of the second within which a logout is answered; a store that is there gives the key in a few ms

_logger = logging.getLogger(__name__)


class Revoker:
    """Publishes what logouts mean; kept until `expires`, in seconds of wall time."""

    def __init__(self, *, digester: Digester, publish: Callable[[Sequence[Revocation]], Awaitable[None]]) -> None:
        self._digester = digester
        self._publish = publish
        self._keyed = asyncio.Event()
        self._kept: list[tuple[Logout, int]] = []
        self._dropped = 0

    async def __call__(self, logouts: Sequence[Logout], expires: int) -> None:
        """Enforce here at once, and return when durable. Raises StoreError."""
        if not await self._is_keyed():
            for logout in logouts:
                self._keep(logout, expires)
            raise StoreError("store_unavailable", "the store has not been reached since the start")
        await self._publish(tuple(each for logout in logouts for each in self._meant_by(logout, expires)))

    async def keyed(self) -> None:
        """The key is known: publish what was kept. What the store refuses waits in the publisher's outbox."""
        self._keyed.set()
        kept, self._kept = self._kept, []
        if self._dropped:
            event(_logger, logging.ERROR, "logouts_dropped", dropped=self._dropped)
        # All at once: each is enforced here before the store is waited for, however long that takes.
        meant = [each for logout, expires in kept for each in self._meant_by(logout, expires)]
        if meant:
            with contextlib.suppress(StoreError):
                await self._publish(meant)

    async def _is_keyed(self) -> bool:
        if not self._keyed.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KEY_S):
                    await self._keyed.wait()
        return self._keyed.is_set()

    def _keep(self, logout: Logout, expires: int) -> None:
        if len(self._kept) < MAX_KEPT:
            self._kept.append((logout, expires))
            return
        # Enforced nowhere, then. The provider is told so, as for those that are kept, and may try again.
        metrics.store_errors.labels(reason="logouts_dropped").inc()
        if not self._dropped:
            event(_logger, logging.ERROR, "logouts_dropped", kept=MAX_KEPT)
        self._dropped += 1

    def _meant_by(self, logout: Logout, expires: int) -> Iterator[Revocation]:
        """Under every accepted key: while the secret is changed, bindings exist under the old one and the new one."""
        for digester in self._digester.all:
            yield from meant_by(logout, digester, expires=expires)
