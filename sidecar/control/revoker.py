"""From a valid logout token to revocations, once the deployment's digest key is known.

Without `store.secret` the key is in the store, and a store that is away at the start keeps it away. Until then every
bound request is refused anyway; the logouts of that time are kept, bounded, and published when the key comes.
"""

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence

from sidecar import metrics
from sidecar.core.identity import Digester
from sidecar.core.logout_token import LogoutToken, revocations
from sidecar.core.revocation import Revocation
from sidecar.log import event
from sidecar.stores.interface import StoreError

MAX_KEPT = 10_000

_logger = logging.getLogger(__name__)


class Revoker:
    """Publishes what a logout token means; kept until `expires`, in seconds of wall time."""

    def __init__(self, *, digester: Digester, publish: Callable[[Sequence[Revocation]], Awaitable[None]]) -> None:
        self._digester = digester
        self._publish = publish
        self._is_keyed = False
        self._kept: list[tuple[LogoutToken, int]] = []
        self._dropped = 0

    async def __call__(self, token: LogoutToken, expires: int) -> None:
        """Enforce here at once, and return when durable. Raises StoreError."""
        if not self._is_keyed:
            self._keep(token, expires)
            raise StoreError("store_unavailable", "the store has not been reached since the start")
        await self._publish(tuple(self._meant_by(token, expires)))

    async def keyed(self) -> None:
        """The key is known: publish what was kept. What the store refuses waits in the publisher's outbox."""
        self._is_keyed = True
        kept, self._kept = self._kept, []
        if self._dropped:
            event(_logger, logging.ERROR, "logouts_dropped", dropped=self._dropped)
        # All at once: each is enforced here before the store is waited for, however long that takes.
        meant = [each for token, expires in kept for each in self._meant_by(token, expires)]
        if meant:
            with contextlib.suppress(StoreError):
                await self._publish(meant)

    def _keep(self, token: LogoutToken, expires: int) -> None:
        if len(self._kept) < MAX_KEPT:
            self._kept.append((token, expires))
            return
        # Enforced nowhere, then. The provider is told so, as for those that are kept, and may try again.
        metrics.store_errors.labels(reason="logouts_dropped").inc()
        if not self._dropped:
            event(_logger, logging.ERROR, "logouts_dropped", kept=MAX_KEPT)
        self._dropped += 1

    def _meant_by(self, token: LogoutToken, expires: int) -> Iterator[Revocation]:
        """Under every accepted key: while the secret is changed, bindings exist under the old one and the new one."""
        for digester in self._digester.all:
            yield from revocations(token, digester, expires=expires)
