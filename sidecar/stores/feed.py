"""From the store's log to the replica of this process: load, follow, heal, and prove freshness.

The rule is short because revocations merge: after any doubt about the log (connection lost, entries lost, another
server) the whole log is loaded again and merged in. What the replica knows and the log then lacks, the store has lost,
and it is published again. Nothing is ever taken out of the replica but what has expired.

A proof is stamped with the boot time at which the question was sent, and only when the answer was complete: the replica
then knows everything that was acknowledged before that time. The feed judges no request; that is core/verdict.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from functools import partial
from itertools import islice

from sidecar import clock, metrics
from sidecar.core.freshness import Freshness, State
from sidecar.core.identity import Kind
from sidecar.core.replica import SHARDS, Replica
from sidecar.core.revocation import Revocation
from sidecar.log import event
from sidecar.stores.backoff import Backoff, until_done
from sidecar.stores.interface import NOT_DURABLE, PAGE, Store, StoreError

SWEEP_S = 0.25  # one shard each: a full pass takes 64 s
PRUNE_S = 60.0
AUDIT_S = 600.0  # at most between two looks at the whole log, and at least half of it
AUDIT_PAUSE_S = 0.02  # between two pages: nothing waits for it
AUDIT_MARGIN_S = 60.0  # what expires so soon, another replica may have pruned by a clock that is ahead of ours
HEAL_SPREAD_S = 0.5  # replicas begin to heal at different times, and see what the others have published already

FAULT = "feed_fault"
FAULT_S = 5.0  # at most, after a defect of ours, before the same is tried again
FAULT_FIRST_S = 0.1  # what strikes once must not blind anybody
FAULTLESS_S = 60.0  # after so long the next defect is a first one

logger = logging.getLogger(__name__)


class Feed:
    """Keeps one replica up to date. `start` returns at once; `loaded` is set after the first full load."""

    def __init__(
        self,
        *,
        store: Store,
        replica: Replica,
        freshness: Freshness,
        on_revocation: Callable[[Revocation], None],
        on_read: Callable[[Sequence[Revocation]], None] = lambda _page: None,
        everywhere: Callable[[], Awaitable[bool]] | None = None,
        audit_s: float = AUDIT_S,
        boot: Callable[[], float] = clock.boot,
        wall: Callable[[], float] = clock.early,
    ) -> None:
        """`on_read` hears what the log holds, `on_revocation` what of it was new.

        `everywhere`: whether what this replica has is enforced in all processes that it answers for."""
        self._store = store
        self._replica = replica
        self._freshness = freshness
        self._on_revocation = on_revocation
        self._on_read = on_read
        self._everywhere = everywhere
        self._audit_s = audit_s
        self._is_told = False  # whether the store knows that all of it is enforced
        self._boot = boot
        self._wall = wall
        self._known: Replica | None = None  # what the store is known to hold, while healing
        self._said = State.BLIND  # the state that was logged last
        self._tasks: set[asyncio.Task[None]] = set()
        self._healing: asyncio.Task[None] | None = None
        self.loaded = asyncio.Event()  # readiness: one full load, then no dependence on the store
        self.last_error: str | None = None  # reason of the present outage, None when there is none

    def start(self) -> None:
        """Begin to load and follow. A store that is down is waited for."""
        for work in (self._run, self._sweep, self._prune, self._audit):
            self._spawn(self._lasting(work))

    async def aclose(self) -> None:
        """Stop. The replica stays as it is and grows stale."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def state(self) -> State:
        """How fresh the replica is now."""
        return self._freshness.state(self._boot())

    # Load and follow

    async def _run(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._load()
                while True:
                    await self._follow()
                    backoff.reset()  # not before: a store that loads and never follows would be loaded without a pause
            except StoreError as error:
                self._failed(error)
                await backoff.wait()
            except Exception:
                self._failed(StoreError(FAULT, "a defect of ours, see the log"))
                raise

    async def _load(self) -> None:
        sent = self._boot()
        await self._store.open()
        await self._stop_healing()
        # An empty replica knows nothing that the store could have lost.
        self._known = Replica() if len(self._replica) else None
        with metrics.store_seconds.labels(operation="load").time():
            async for page in self._store.snapshot():
                self._take(page)
                await asyncio.sleep(0)  # requests go on between two pages
        self._heard(sent)
        self.loaded.set()
        self._is_told = False
        event(logger, logging.INFO, "revocations_loaded", revocations=len(self._replica))
        if self._known is not None:
            self._healing = self._spawn(self._heal(self._known))

    async def _follow(self) -> None:
        sent = self._boot()
        batch = await self._store.follow()
        self._take(batch.revocations)
        if batch.complete:
            self._heard(sent)
        if batch.revocations:
            self._is_told = False
        if not self._is_told and self._store.is_awaited:
            await self._tell()

    async def _tell(self) -> None:
        """Only what is enforced may be confirmed (`store.confirm`). Asked again at the next turn where it is not."""
        if self._everywhere is None or await self._everywhere():
            self._store.applied()
            self._is_told = True

    def _take(self, revocations: Sequence[Revocation]) -> None:
        self._on_read(revocations)
        applied: Counter[Kind] = Counter()
        for revocation in revocations:
            if self._known is not None:
                self._known.apply(revocation)
            if self._replica.apply(revocation):
                applied[revocation.kind] += 1
                self._on_revocation(revocation)
        for kind, number in applied.items():  # once a page: each label costs as much as all else of one revocation
            metrics.revocations_applied.labels(kind=kind.name.lower()).inc(number)

    def _heard(self, sent: float) -> None:
        self._freshness.proved(sent)
        metrics.store_up.set(1)
        if self.last_error is not None:
            event(logger, logging.INFO, "store_recovered", after=self.last_error)
            self.last_error = None

    def _failed(self, error: StoreError) -> None:
        metrics.store_up.set(0)
        metrics.store_errors.labels(reason=error.reason).inc()
        if self.last_error != error.reason:  # one line for an outage, not one for each attempt
            event(logger, logging.WARNING, "store_failed", reason=error.reason, detail=str(error))
            self.last_error = error.reason

    # Heal: publish again what the store has lost

    async def _heal(self, known: Replica, margin_s: float = 0.0) -> None:
        await asyncio.sleep(random.uniform(0, HEAL_SPREAD_S))  # noqa: S311 - jitter, not a secret
        # Replicas that heal together begin in different shards and skip what they hear from each other. There is no
        # lock: publishing twice is harmless, and a lock whose holder dies is not.
        first = random.randrange(SHARDS)  # noqa: S311 - jitter, not a secret
        lost = self._replica.lacking(known, self._wall() + margin_s, first)
        published = 0
        while page := list(islice(lost, PAGE)):
            await until_done(partial(self._put_back, page))
            published += len(page)
        self._known = None
        if published:
            event(logger, logging.WARNING, "store_healed", published=published)

    async def _audit(self) -> None:
        """Whoever deletes or trims entries leaves no trace in the counts that `follow` compares."""
        while True:
            await asyncio.sleep(self._audit_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            if self.loaded.is_set() and self.last_error is None and self._known is None:  # else a load does the same
                if (pages := self._store.reread()) is None:
                    return
                self._known = Replica()
                self._healing = self._spawn(self._compare(pages, self._known))

    async def _compare(self, pages: AsyncIterator[Sequence[Revocation]], known: Replica) -> None:
        try:
            async for page in pages:
                self._take(page)
                await asyncio.sleep(AUDIT_PAUSE_S)
        except StoreError as error:  # `follow` finds out by itself what that means
            metrics.store_errors.labels(reason=error.reason).inc()
            self._known = None
            return
        await self._heal(known, AUDIT_MARGIN_S)

    async def _put_back(self, page: Sequence[Revocation]) -> None:
        try:
            await self._store.restore(page)
        except StoreError as error:
            if error.reason not in NOT_DURABLE:  # those are in the log, and all that was lost is what is in no log
                raise

    async def _stop_healing(self) -> None:
        if self._healing is not None:
            self._healing.cancel()
            await asyncio.wait((self._healing,))
            self._healing = None

    # Expire

    async def _sweep(self) -> None:
        while True:
            self._replica.sweep(self._wall())
            metrics.revocations_active.set(len(self._replica))
            metrics.replica_age.set(self._freshness.age(self._boot()))
            self._say_state(self.state)
            await asyncio.sleep(SWEEP_S)

    def _say_state(self, now: State) -> None:
        for state in State:
            metrics.replica_state.labels(state.value).set(state is now)
        before, self._said = self._said, now
        if now is not before:
            level = logging.INFO if now is State.FRESH else logging.WARNING
            event(logger, level, "freshness_changed", state=now.value, before=before.value)

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_S * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
            try:
                await self._store.prune()
            except StoreError as error:
                metrics.store_errors.labels(reason=error.reason).inc()

    # Tasks

    async def _lasting(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """A defect of ours, or an answer that no server gives: say so, and begin again (decision 024).

        Without what it does there are no proofs of freshness: safe, and loud.
        """
        pause = 0.0
        while True:
            began = self._boot()
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - see above
                self._faulty(error)
                before = pause if self._boot() - began < FAULTLESS_S else 0.0
                pause = min(2 * before or FAULT_FIRST_S, FAULT_S)
                await asyncio.sleep(pause)
            else:
                return

    def _faulty(self, error: BaseException) -> None:
        metrics.store_errors.labels(reason=FAULT).inc()
        logger.critical("feed_fault", exc_info=error)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._known = None  # while healing: the next look at the whole log does it
            self._faulty(error)
