"""From a logout to everybody: enforce here, then write it down where every replica reads.

The order is the promise (promise 1): the local replica denies before the store is asked, whatever the store then
does; `publish` returns only when the revocations are durable. When it raises instead, they wait in an outbox, bounded
and expiring, and are tried again until the store takes them. It is in memory: what waits there was acknowledged to
nobody, and ends with the process.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import islice

from sidecar import clock, metrics
from sidecar.core.replica import Replica
from sidecar.core.revocation import Revocation, merge
from sidecar.log import event
from sidecar.stores.backoff import Backoff
from sidecar.stores.interface import NOT_DURABLE, PAGE, Mark, Store, StoreError

OUTBOX_LIMIT = 100_000  # about 30 MB; a minute of logouts at the rate that one process can verify
PAUSE_S = 3.0  # between two questions whether what is in the log is durable by now; and after a defect
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
        boot: Callable[[], float] = clock.boot,
    ) -> None:
        self._store = store
        self._replica = replica
        self._on_revocation = on_revocation
        self._budget_s = budget_s
        self._outbox = Outbox(outbox_limit)
        self._wall = wall
        self._boot = boot
        self._waiting = asyncio.Event()
        self._arrived = asyncio.Event()  # something has come since `_retry` has looked
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

    def heard(self, revocations: Iterable[Revocation]) -> None:
        """The log has these. A write whose answer was lost may have done its work, and is then not repeated."""
        if not self._outbox.is_all_written:
            self._outbox.written(revocations)

    async def publish(self, revocations: Iterable[Revocation]) -> None:
        """Enforce at once, and return when durable. StoreError: enforced here only, so far."""
        await self._publish(revocations)

    async def publish_everywhere(self, revocations: Iterable[Revocation]) -> None:
        """The same, and return when no other replica serves without them (`store.confirm: all`).

        What is not confirmed in time is durable, and on its way to everybody: it does not wait in the outbox.
        """
        end = self._boot() + self._budget_s
        mark = await self._publish(revocations)
        if mark is not None:
            with metrics.store_seconds.labels(operation="confirm").time():
                await self._store.confirmed(mark, end - self._boot())

    async def _publish(self, revocations: Iterable[Revocation]) -> Mark | None:
        revocations = tuple(revocations)
        for revocation in revocations:
            if self._replica.apply(revocation):
                metrics.revocations_applied.labels(kind=revocation.kind.name.lower()).inc()
                self._on_revocation(revocation)
        try:
            with metrics.store_seconds.labels(operation="append").time():
                return await self._append(revocations, self._budget_s)
        except BaseException as error:
            # Whatever it was, a peer that hung up or a defect of ours: it logged somebody out all the same.
            self._keep(revocations)
            if _is_in_log(error):
                self._outbox.written(revocations)
            raise

    async def _append(self, revocations: Sequence[Revocation], budget_s: float) -> Mark | None:
        async with _bounded(budget_s):
            return await self._store.append(revocations)

    def _keep(self, revocations: Iterable[Revocation]) -> None:
        now = self._boot()
        kept = [self._outbox.put(revocation, now) for revocation in revocations]
        if not all(kept):  # enforced here, refused to the provider, and lost with this process
            event(logger, logging.ERROR, "outbox_full", dropped=kept.count(False))
            metrics.store_errors.labels(reason="outbox_full").inc(kept.count(False))
        self._measure()
        self._waiting.set()
        self._arrived.set()

    async def _retry(self) -> None:
        backoff = Backoff()
        while True:
            await self._waiting.wait()
            try:
                if self._outbox.is_all_written:
                    await self._ask_again()
                else:
                    await self._write(self._outbox.first(PAGE))
            except StoreError as error:
                metrics.store_errors.labels(reason=error.reason).inc()
                self._measure()
                await backoff.wait()
            except Exception:  # a defect of ours; what waits here has nobody else, so this must not end
                logger.exception("outbox_fault")
                await asyncio.sleep(PAUSE_S)
            else:
                backoff.reset()
                self._measure()

    async def _write(self, oldest: Sequence[Revocation]) -> None:
        now = self._wall()
        live = [revocation for revocation in oldest if revocation.expires > now]
        try:
            if live:
                await self._append(live, RETRY_S)
        except StoreError as error:
            if _is_in_log(error):
                self._outbox.written(live)
            raise
        self._outbox.done(oldest)
        if live:
            event(logger, logging.INFO, "outbox_published", published=len(live))

    async def _ask_again(self) -> None:
        """Everything is in the log. Nothing is written twice for not being durable: the log would grow with it.

        Should another server have lost it, healing puts it back (`feed.py`), or `durable` says so.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PAUSE_S):
                while self._outbox.is_all_written:
                    self._arrived.clear()
                    await self._arrived.wait()
        self._outbox.expire(self._wall())
        if not self._outbox or not self._outbox.is_all_written:
            return
        asked = self._outbox.first(len(self._outbox))  # what comes meanwhile is not meant by the answer
        async with _bounded(RETRY_S):
            is_durable = await self._store.durable()
        if is_durable:
            self._outbox.done(asked)
            event(logger, logging.INFO, "outbox_published", published=len(asked))
        else:
            self._outbox.unwritten()

    def _measure(self) -> None:
        metrics.outbox_length.set(len(self._outbox))
        metrics.outbox_age.set(self._outbox.age(self._boot()))
        if not self._outbox:
            self._waiting.clear()


def _is_in_log(error: BaseException) -> bool:
    return isinstance(error, StoreError) and error.reason in NOT_DURABLE


@contextlib.asynccontextmanager
async def _bounded(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        # It may have been written or not. Writing it again is harmless: the log merges.
        raise StoreError("store_timeout", "the store did not answer in time") from None


class Outbox:
    """Revocations that wait for the store: merged per digest, at most `limit`. No I/O, no clock."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[bytes, Revocation] = {}
        self._written: dict[bytes, Revocation] = {}  # in the log, and not durable yet
        self._since: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._written)

    @property
    def is_all_written(self) -> bool:
        """Whether everything that waits is in the log already."""
        return not self._waiting

    def age(self, now: float) -> float:
        """How long the oldest one has waited."""
        return now - next(iter(self._since.values()), now)

    def put(self, revocation: Revocation, now: float = 0.0) -> bool:
        """Keep it, merged with what waits for the same digest. False when there is no room left."""
        known = self._waiting.get(revocation.digest) or self._written.pop(revocation.digest, None)
        if known is None and len(self) >= self._limit:
            return False
        self._waiting[revocation.digest] = revocation if known is None else merge(known, revocation)
        self._since.setdefault(revocation.digest, now)
        return True

    def first(self, count: int) -> Sequence[Revocation]:
        """The oldest, at most `count`; those that are in the log come last."""
        return list(islice((self._waiting or self._written).values(), count))

    def written(self, revocations: Iterable[Revocation]) -> None:
        """These are in the log, but for those that more was merged into since they were taken."""
        for revocation in revocations:
            for waiting in (self._waiting, self._written):
                if waiting.get(revocation.digest) == revocation:
                    self._written[revocation.digest] = waiting.pop(revocation.digest)
                    break

    def unwritten(self) -> None:
        """The log has lost what was in it, or may have."""
        self._waiting = self._written | self._waiting
        self._written = {}

    def expire(self, now: float) -> None:
        """Forget what is over."""
        everything = (*self._waiting.values(), *self._written.values())
        self.done([revocation for revocation in everything if revocation.expires <= now])

    def done(self, revocations: Iterable[Revocation]) -> None:
        """Forget these, but for those that more was merged into since they were taken."""
        for revocation in revocations:
            for waiting in (self._waiting, self._written):
                if waiting.get(revocation.digest) == revocation:
                    del waiting[revocation.digest], self._since[revocation.digest]
