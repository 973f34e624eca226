"""From a logout to everybody: enforce here, then write it down where every replica reads.

The order is the promise (DESIGN promise 1): the local replica denies before the store is asked, whatever the store then
does; `publish` returns only when the revocations are durable. When it raises instead, they wait in an outbox, bounded
and expiring, and are tried again until the store takes them.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from sidecar import clock, metrics
from sidecar.core.replica import Replica
from sidecar.core.revocation import Revocation, merge
from sidecar.log import event
from sidecar.stores.backoff import Backoff
from sidecar.stores.interface import PAGE, Store, StoreError

OUTBOX_LIMIT = 100_000  # about 30 MB; a minute of logouts at the rate that one process can verify
RETRY_S = 2.0  # one attempt to write what waits; a store that hangs fails earlier by itself

logger = logging.getLogger(__name__)


class Publisher:
    """Takes the revocations of this process. `start` runs the retries, `aclose` ends them."""

    def __init__(
        self,
        *,
        store: Store,
        replica: Replica,
        on_revocation: Callable[[Revocation], None],
        budget_s: float = 0.8,  # of the second within which a logout POST is answered
        outbox_limit: int = OUTBOX_LIMIT,
        wall: Callable[[], float] = clock.early,
    ) -> None:
        self._store = store
        self._replica = replica
        self._on_revocation = on_revocation
        self._budget_s = budget_s
        self._outbox = Outbox(outbox_limit)
        self._wall = wall
        self._waiting = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Run the retries in the background."""
        self._task = asyncio.create_task(self._retry(), name="outbox")

    async def aclose(self) -> None:
        """Stop retrying. What still waits was never acknowledged, and is lost with the process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None

    @property
    def waiting(self) -> int:
        """How many revocations are enforced here and not in the store yet."""
        return len(self._outbox)

    async def publish(self, revocations: Iterable[Revocation]) -> None:
        """Enforce at once, and return when durable. StoreError: enforced here only, so far."""
        revocations = tuple(revocations)
        for revocation in revocations:
            if self._replica.apply(revocation):
                metrics.revocations_applied.labels(kind=revocation.kind.name.lower()).inc()
                self._on_revocation(revocation)
        try:
            with metrics.store_seconds.labels(operation="append").time():
                await self._append(revocations, self._budget_s)
        except (StoreError, asyncio.CancelledError):
            # Cancelled: the peer hung up. It logged somebody out all the same.
            self._keep(revocations)
            raise

    async def _append(self, revocations: Sequence[Revocation], budget_s: float) -> None:
        try:
            async with asyncio.timeout(budget_s):
                await self._store.append(revocations)
        except TimeoutError:
            # It may have been written or not. Writing it again is harmless: the log merges.
            raise StoreError("store_timeout", "the store did not answer in time") from None

    def _keep(self, revocations: Iterable[Revocation]) -> None:
        kept = [self._outbox.put(revocation) for revocation in revocations]
        if not all(kept):  # enforced here, refused to the provider, and lost with this process
            event(logger, logging.ERROR, "outbox_full", dropped=kept.count(False))
            metrics.store_errors.labels(reason="outbox_full").inc(kept.count(False))
        self._measure()
        self._waiting.set()

    async def _retry(self) -> None:
        backoff = Backoff()
        while True:
            await self._waiting.wait()
            oldest = self._outbox.first(PAGE)
            try:
                await self._write_live(oldest)
            except StoreError as error:
                metrics.store_errors.labels(reason=error.reason).inc()
                await backoff.wait()
            else:
                backoff.reset()
                self._outbox.done(oldest)
                self._measure()

    async def _write_live(self, revocations: Sequence[Revocation]) -> None:
        now = self._wall()
        live = [revocation for revocation in revocations if revocation.expires > now]
        if live:
            await self._append(live, RETRY_S)
            event(logger, logging.INFO, "outbox_published", published=len(live))

    def _measure(self) -> None:
        metrics.outbox_length.set(len(self._outbox))
        if not self._outbox:
            self._waiting.clear()


class Outbox:
    """Revocations that wait for the store: merged per digest, at most `limit`. No I/O, no clock."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[bytes, Revocation] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, revocation: Revocation) -> bool:
        """Keep it, merged with what waits for the same digest. False when there is no room left."""
        known = self._waiting.get(revocation.digest)
        if known is None and len(self._waiting) >= self._limit:
            return False
        self._waiting[revocation.digest] = revocation if known is None else merge(known, revocation)
        return True

    def first(self, count: int) -> Sequence[Revocation]:
        """The oldest, at most `count`."""
        return list(islice(self._waiting.values(), count))

    def done(self, revocations: Iterable[Revocation]) -> None:
        """Forget these, but for those that more was merged into since they were taken."""
        for revocation in revocations:
            if self._waiting.get(revocation.digest) == revocation:
                del self._waiting[revocation.digest]
