"""The real feed, publisher, replica and freshness of two processes, driven through any history, against a model.

The store is scripted: it loses what it is told to lose and breaks when it is told to. Both clocks are the machine's.
Nothing waits for real time, so that a failing history is found again and made smaller.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sidecar.core.freshness import Freshness, State
from sidecar.core.identity import BoundSession, Kind
from sidecar.core.replica import SHARDS, Replica
from sidecar.core.revocation import Revocation, covers
from sidecar.stores import feed as feed_module
from sidecar.stores.feed import Feed
from sidecar.stores.interface import PAGE, Batch, StoreError
from sidecar.stores.publish import Publisher

FRESH_S, GRACE_S = 1.0, 3.0
MAX_AGE_S = 100_000  # longer than any history lasts, clock steps included
NUMBERS = st.integers(0, 4)
TIMES = st.integers(1, 6)
REPLICAS = st.integers(0, 1)


def digest(number: int) -> bytes:
    return bytes((number * 50,)) + bytes(15)


class World:
    """What all processes share: the log, and the clocks."""

    def __init__(self) -> None:
        self.log: list[tuple[int, Revocation]] = []  # by id
        self.added = 0
        self.generation = 0  # another one is another data set
        self.is_up = True
        self.is_mute = False
        self.is_full = False
        self.boot = 1000.0
        self.wall = 1_790_000_000.0
        self.last_id = 0

    def append(self, revocations: Sequence[Revocation]) -> None:
        for each in revocations:
            self.last_id += 1
            self.added += 1
            self.log.append((self.last_id, each))


class ScriptedStore:
    """One process's connection to the world. Detects what `RedisStore` detects, when the machine lets it look."""

    is_awaited = False

    def __init__(self, world: World) -> None:
        self._world = world
        self._cursor: tuple[int, int, int] | None = None  # last id, entries ever added, generation
        self.is_cut = False

    async def open(self) -> None:
        self._check()

    async def append(self, revocations: Sequence[Revocation]) -> None:
        self._check()
        if self._world.is_full:
            raise StoreError("store_full")
        self._world.append(revocations)
        if self._world.is_mute:
            raise StoreError("store_timeout")

    restore = append

    async def snapshot(self) -> AsyncIterator[Sequence[Revocation]]:
        self._check()
        cursor = self._now()
        yield [each for _, each in self._world.log]
        self._cursor = cursor

    async def follow(self) -> Batch:
        self._check()
        if self._cursor is None:
            raise StoreError("log_not_loaded")
        (last, added, generation), self._cursor = self._cursor, None
        news = [(number, each) for number, each in self._world.log if number > last][:PAGE]
        if self._now() != (news[-1][0] if news else last, added + len(news), generation):
            raise StoreError("log_gap")
        self._cursor = self._now()
        return Batch([each for _, each in news], complete=True)

    def drop(self) -> None:
        """The connection is lost: what came meanwhile, nobody knows."""
        self._cursor = None

    def applied(self) -> None: ...

    def _now(self) -> tuple[int, int, int]:
        return self._world.last_id, self._world.added, self._world.generation

    def _check(self) -> None:
        if self.is_cut or not self._world.is_up:
            self._cursor = None
            raise StoreError("store_unavailable")


class Process:
    """One sidecar, as far as its state goes. Turned by hand: one step of the feed, one of the outbox."""

    def __init__(self, world: World) -> None:
        self.store: Any = ScriptedStore(world)
        self.replica = Replica()
        self.freshness = Freshness(FRESH_S, GRACE_S)
        common = {"store": self.store, "replica": self.replica, "on_revocation": lambda _: None}
        clocks: dict[str, Callable[[], float]] = {"wall": lambda: world.wall}
        self.publisher = Publisher(**clocks, **common)
        heard = {"on_read": self.publisher.heard}
        self.feed = Feed(freshness=self.freshness, boot=lambda: world.boot, **heard, **clocks, **common)
        self.must_load = True
        self.denied: set[BoundSession] = set()

    async def turn(self) -> None:
        """What the feed's loop does once, and its healing with it."""
        try:
            if self.must_load:
                await self.feed._load()
                self.must_load = False
            await self.feed._follow()
        except StoreError as error:
            self.feed._failed(error)
            self.must_load = True

    async def heal(self) -> None:
        """Let what is being published again get there."""
        if self.feed._healing is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await asyncio.shield(self.feed._healing)

    async def drain(self) -> None:
        """What the outbox does once."""
        outbox = self.publisher._outbox
        if outbox.is_all_written:  # heard in the log, which is as durable as it gets
            outbox.done(outbox.first(len(outbox)))
            return
        with contextlib.suppress(StoreError):
            await self.publisher._write(outbox.first(PAGE))

    async def close(self) -> None:
        await self.feed.aclose()

    def dies(self, session: BoundSession) -> bool:
        digests = (session.own, session.sub or session.own)
        known = [Revocation(Kind.SID, each, cutoff, 0) for each in digests if (cutoff := self.replica.cutoff(each))]
        return any(covers(each, session) for each in known)


class Outages(RuleBasedStateMachine):
    """Two processes, five sessions at six times, and everything that can happen to the log between them."""

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.world = World()
        self.processes = [Process(self.world), Process(self.world)]
        self.asked: dict[int, int] = {}  # the latest cut-off that anybody asked for
        self.acknowledged: dict[int, tuple[int, float]] = {}  # cut-off, and when
        self.refused: list[dict[int, int]] = [{}, {}]  # by whom, and not published yet
        self.sessions: set[BoundSession] = set()
        self.lost_at: float | None = None  # when entries were lost that have not been published again
        self.run(self._settle())

    def run(self, work: Any) -> None:
        self.loop.run_until_complete(work)

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.run(self._close())
            self.loop.close()

    # What people do

    @rule(who=REPLICAS, number=NUMBERS, cutoff=TIMES)
    def log_out(self, who: int, number: int, cutoff: int) -> None:
        expires = int(self.world.wall) + MAX_AGE_S
        self.asked[number] = max(cutoff, self.asked.get(number, 0))
        try:
            self.run(self.processes[who].publisher.publish([Revocation(Kind.SID, digest(number), cutoff, expires)]))
        except StoreError:
            assert not self._takes_writes(who)  # I5
            self.refused[who][number] = max(cutoff, self.refused[who].get(number, 0))
        else:
            assert self._takes_writes(who)  # I5
            assert (digest(number), cutoff) in {(each.digest, each.cutoff) for _, each in self.world.log}  # durable
            self.acknowledged[number] = (max(cutoff, self.acknowledged.get(number, (0, 0.0))[0]), self.world.boot)
        assert (self.processes[who].replica.cutoff(digest(number)) or 0) >= cutoff  # enforced here in either case

    @rule(number=NUMBERS, login=TIMES)
    def bind(self, number: int, login: int) -> None:
        """Before its logout or after it: that makes no difference (I9)."""
        self.sessions.add(BoundSession(digest(number), None, login, login))

    # What the machinery does

    @rule(who=REPLICAS)
    def deliver(self, who: int) -> None:
        self.run(self.processes[who].turn())

    @rule(who=REPLICAS)
    def heal(self, who: int) -> None:
        self.run(self.processes[who].heal())

    @rule(who=REPLICAS)
    def drain(self, who: int) -> None:
        self.run(self.processes[who].drain())

    @rule(who=REPLICAS)
    def sweep(self, who: int) -> None:
        for _ in range(SHARDS):
            self.processes[who].replica.sweep(self.world.wall)

    # What goes wrong

    @rule(who=REPLICAS)
    def drop_connection(self, who: int) -> None:
        self.processes[who].store.drop()

    @rule(who=REPLICAS, is_cut=st.booleans())
    def cut(self, who: int, is_cut: bool) -> None:
        self.processes[who].store.is_cut = is_cut

    @rule(is_up=st.booleans())
    def stop_store(self, is_up: bool) -> None:
        self.world.is_up = is_up

    @rule(is_full=st.booleans())
    def fill_store(self, is_full: bool) -> None:
        self.world.is_full = is_full

    @rule(is_mute=st.booleans())
    def lose_answers(self, is_mute: bool) -> None:
        """What is written is written, and nobody hears of it."""
        self.world.is_mute = is_mute

    @precondition(lambda self: self.world.log)
    @rule(count=st.integers(1, 4))
    def lose_tail(self, count: int) -> None:
        """A failover: the new master has not had the last entries, and is another server."""
        del self.world.log[-count:]
        self._lost()

    @precondition(lambda self: self.world.log)
    @rule()
    def regress_ids(self) -> None:
        """And its clock is behind: the next entries get ids that were given before."""
        self.world.log.pop()
        self.world.last_id = self.world.log[-1][0] if self.world.log else 0
        self._lost()

    @rule()
    def flush(self) -> None:
        self.world.log.clear()
        self.world.last_id = self.world.added = 0
        self._lost()

    @rule(who=REPLICAS)
    def restart(self, who: int) -> None:
        """A process dies, with its outbox; where the store has lost something, the other one may be all that knows."""
        if self.lost_at is not None:
            self.acknowledged = {
                number: found for number, found in self.acknowledged.items() if self._knows(1 - who, number, found[0])
            }
        self.run(self.processes[who].close())
        self.processes[who] = Process(self.world)
        self.refused[who] = {}

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 3.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.world.boot += seconds
        self.world.wall += seconds

    @precondition(lambda self: abs(self.world.wall - 1_790_000_000.0) < 20_000)
    @rule(seconds=st.sampled_from([3600.0, -3600.0]))
    def step_wall_clock(self, seconds: float) -> None:
        self.world.wall += seconds

    # What holds at every moment

    @invariant()
    def nothing_is_ever_denied_without_a_logout(self) -> None:
        """I4, also for a session that began after the logout."""
        for process in getattr(self, "processes", ()):
            for number in range(5):
                assert (process.replica.cutoff(digest(number)) or 0) <= self.asked.get(number, 0)

    @invariant()
    def what_a_process_has_denied_it_goes_on_denying(self) -> None:
        """I3."""
        for process in getattr(self, "processes", ()):
            dead = {session for session in self.sessions if process.dies(session)}
            assert dead >= process.denied
            process.denied = dead

    @invariant()
    def who_serves_has_heard_of_every_logout_that_is_older_than_grace(self) -> None:
        """I1 and I8, unless the store has lost it and nobody has had time to publish it again."""
        for process in getattr(self, "processes", ()):
            if process.feed.state is State.BLIND or self.lost_at is not None:
                continue
            for number, (cutoff, at) in self.acknowledged.items():
                if self.world.boot - at > GRACE_S:
                    assert (process.replica.cutoff(digest(number)) or 0) >= cutoff

    @precondition(lambda self: hasattr(self, "processes"))
    @rule()
    def all_is_well_again(self) -> None:
        """I2: then both know everything that was acknowledged or waits, and so does a process born now."""
        self.world.is_up, self.world.is_full, self.world.is_mute = True, False, False
        for process in self.processes:
            process.store.is_cut = False
        self.run(self._settle())
        self.lost_at = None
        newborn = Process(self.world)
        self.run(newborn.turn())
        self.run(newborn.close())
        promised = [(number, cutoff) for number, (cutoff, _) in self.acknowledged.items()]
        promised += [each for refused in self.refused for each in refused.items()]
        self.refused = [{}, {}]
        for number, cutoff in promised:
            for process in (*self.processes, newborn):
                assert (process.replica.cutoff(digest(number)) or 0) >= cutoff
        assert all(process.feed.state is State.FRESH for process in self.processes)
        assert not any(process.publisher.waiting for process in self.processes)

    # Parts of the above

    async def _settle(self) -> None:
        for process in itertools.chain(self.processes, self.processes):
            await process.turn()  # finds out
            await process.turn()  # loads
            await process.heal()
            await process.drain()
        for process in self.processes:
            await process.turn()

    async def _close(self) -> None:
        for process in self.processes:
            await process.close()

    def _lost(self) -> None:
        """The store has lost what it had acknowledged, and whoever asks it may see that."""
        self.world.generation += 1
        self.lost_at = self.world.boot
        self.acknowledged = {
            number: found
            for number, found in self.acknowledged.items()
            if any(self._knows(who, number, found[0]) for who in (0, 1))
        }

    def _knows(self, who: int, number: int, cutoff: int) -> bool:
        return (self.processes[who].replica.cutoff(digest(number)) or 0) >= cutoff

    def _takes_writes(self, who: int) -> bool:
        return self.world.is_up and not (self.world.is_full or self.world.is_mute or self.processes[who].store.is_cut)


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "HEAL_SPREAD_S", 0.0)


class TestOutages(Outages.TestCase):  # type: ignore[misc,name-defined]
    settings = settings(max_examples=60, stateful_step_count=40)
