"""Look-ups: what is known without waiting, what is asked of the store, and what a flood may not do."""

import asyncio

import pytest

from sidecar import metrics
from sidecar.bindings import directory as module
from sidecar.bindings.directory import UNKNOWN, Directory
from sidecar.core.identity import BINDERS, BoundSession, Digester, Session
from sidecar.stores.interface import StoreError

TTL_S = 3600
digester = Digester(b"0123456789abcdef")


def session_of(sid: str | None = "s", sub: str | None = "alice", login_time: int = 1000) -> BoundSession:
    return digester.bound(Session("https://idp.example", "legacy", sid, sub, login_time))


ALICE = session_of()
LATER = session_of(sid="s2", login_time=2000)
COOKIE = digester.credential(b"cookie")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class MemoryStore:
    """Bindings in a dict. `open` lets reads through, `broken` makes every call fail; `reads` counts."""

    def __init__(self) -> None:
        self.bindings: dict[bytes, BoundSession] = {}
        self.open = asyncio.Event()
        self.open.set()
        self.broken = False
        self.reads = 0
        self.reading = 0
        self.most_reading = 0

    async def get_binding(self, credential: bytes) -> BoundSession | None:
        self.reads += 1
        self.reading += 1
        self.most_reading = max(self.most_reading, self.reading)
        found = self.bindings.get(credential)
        try:
            await self.open.wait()
        finally:
            self.reading -= 1
        self._check()
        return found

    async def put_binding(self, credential: bytes, session: BoundSession, ttl: int) -> None:
        await asyncio.sleep(0)
        self._check()
        assert ttl == TTL_S
        self.bindings[credential] = session

    def _check(self) -> None:
        if self.broken:
            raise StoreError("store_unavailable")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def directory(store: MemoryStore, clock: Clock) -> Directory:
    return Directory(store, ttl_s=TTL_S, clock=clock, capacity=3)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_was_never_asked_is_unknown(directory: Directory) -> None:
    assert directory.cached(COOKIE) is UNKNOWN


async def test_a_binding_is_in_the_store_before_it_is_in_the_cache(directory: Directory, store: MemoryStore) -> None:
    binding = asyncio.create_task(directory.bind(COOKIE, ALICE, binder="token"))
    await asyncio.sleep(0)
    assert directory.cached(COOKIE) is UNKNOWN
    await binding
    assert store.bindings[COOKIE] == ALICE
    assert directory.cached(COOKIE) == ALICE
    assert store.reads == 0


async def test_a_binding_that_the_store_refused_is_not_made(directory: Directory, store: MemoryStore) -> None:
    store.broken = True
    with pytest.raises(StoreError):
        await directory.bind(COOKIE, ALICE, binder="token")
    assert directory.cached(COOKIE) is UNKNOWN


async def test_bindings_are_counted_by_binder(directory: Directory) -> None:
    def bound() -> float:
        labels = {"binder": "token_endpoint"}
        return metrics.registry.get_sample_value("logout_sidecar_bindings_total", labels) or 0.0

    before = bound()
    await directory.bind(COOKIE, ALICE, binder="token_endpoint")
    assert bound() == before + 1


async def test_what_is_known_is_counted_by_the_binder_that_found_it_out(store: MemoryStore, clock: Clock) -> None:
    directory = Directory(store, ttl_s=TTL_S, clock=clock, capacity=3)
    await directory.bind(COOKIE, ALICE, binder="token_endpoint")
    found = directory.cached(COOKIE)
    assert isinstance(found, BoundSession)
    for number in range(5):  # the app changes its cookie: the binder stays, and what is forgotten counts no more
        await directory.bind(digester.credential(b"%d" % number), found, binder="rotation")
    counted = dict(zip(BINDERS, directory.count_by_binder(), strict=False))
    assert counted == dict.fromkeys(BINDERS, 0) | {"token_endpoint": 3}
    assert sum(directory.count_by_binder()) == 3


async def test_a_hit_is_read_once_and_remembered(directory: Directory, store: MemoryStore) -> None:
    store.bindings[COOKIE] = ALICE
    assert await directory.find(COOKIE) == ALICE
    assert directory.cached(COOKIE) == ALICE
    assert await directory.find(COOKIE) == ALICE
    assert store.reads == 1


async def test_a_miss_is_remembered_for_one_second(directory: Directory, store: MemoryStore, clock: Clock) -> None:
    assert await directory.find(COOKIE) is None
    clock.now += 0.999
    assert directory.cached(COOKIE) is None
    clock.now += 0.001
    assert directory.cached(COOKIE) is UNKNOWN
    store.bindings[COOKIE] = ALICE
    assert await directory.find(COOKIE) == ALICE


async def test_a_binding_made_here_ends_a_remembered_miss(directory: Directory) -> None:
    assert await directory.find(COOKIE) is None
    await directory.bind(COOKIE, ALICE, binder="token")
    assert directory.cached(COOKIE) == ALICE


async def test_a_miss_does_not_come_back_when_the_binding_has_made_room(directory: Directory) -> None:
    assert await directory.find(COOKIE) is None
    await directory.bind(COOKIE, ALICE, binder="token")
    for number in range(3):
        await directory.bind(digester.credential(b"%d" % number), ALICE, binder="token")
    assert directory.cached(COOKIE) is UNKNOWN


async def test_an_unknown_credential_and_no_store_is_an_error_and_not_a_miss(
    directory: Directory, store: MemoryStore
) -> None:
    store.broken = True
    with pytest.raises(StoreError):
        await directory.find(COOKIE)
    assert directory.cached(COOKIE) is UNKNOWN


async def test_all_who_ask_at_the_same_time_share_one_read(directory: Directory, store: MemoryStore) -> None:
    store.bindings[COOKIE] = ALICE
    store.open.clear()
    asking = [asyncio.create_task(directory.find(COOKIE)) for _ in range(20)]
    await settle()
    store.open.set()
    assert await asyncio.gather(*asking) == [ALICE] * 20
    assert store.reads == 1


async def test_one_who_goes_away_does_not_take_the_answer_from_the_others(
    directory: Directory, store: MemoryStore
) -> None:
    store.bindings[COOKIE] = ALICE
    store.open.clear()
    first, second = (asyncio.create_task(directory.find(COOKIE)) for _ in range(2))
    await settle()
    first.cancel()
    store.open.set()
    assert await second == ALICE


async def test_a_read_that_fails_after_all_have_gone_is_not_a_stray_error(
    directory: Directory, store: MemoryStore
) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    store.open.clear()
    asking = asyncio.create_task(directory.find(COOKIE))
    await settle()
    asking.cancel()
    store.broken = True
    store.open.set()
    await settle()
    del asking
    assert complaints == []


async def test_a_read_that_began_before_a_binding_does_not_overwrite_it(
    directory: Directory, store: MemoryStore
) -> None:
    store.bindings[COOKIE] = ALICE
    store.open.clear()
    asking = asyncio.create_task(directory.find(COOKIE))
    await settle()
    await directory.bind(COOKIE, LATER, binder="token")
    store.open.set()
    assert await asking == LATER
    assert directory.cached(COOKIE) == LATER


async def test_a_miss_that_was_read_before_a_binding_does_not_hide_it(directory: Directory, store: MemoryStore) -> None:
    store.open.clear()
    asking = asyncio.create_task(directory.find(COOKIE))
    await settle()
    await directory.bind(COOKIE, ALICE, binder="token")
    store.open.set()
    assert await asking == ALICE
    assert directory.cached(COOKIE) == ALICE


async def test_a_later_login_elsewhere_is_noticed_after_a_minute_without_making_a_request_wait(
    directory: Directory, store: MemoryStore, clock: Clock
) -> None:
    await directory.bind(COOKIE, ALICE, binder="token")
    store.bindings[COOKIE] = LATER
    clock.now += 59.9
    assert directory.cached(COOKIE) == ALICE
    assert store.reads == 0
    clock.now += 0.1
    assert directory.cached(COOKIE) == ALICE
    assert directory.cached(COOKIE) == ALICE  # the second asker starts no second read
    assert await directory.find(COOKIE, max_age_s=1.0) == LATER
    assert directory.cached(COOKIE) == LATER
    assert store.reads == 1


async def test_a_binding_that_was_idle_for_long_is_read_before_it_is_believed(
    directory: Directory, store: MemoryStore, clock: Clock
) -> None:
    await directory.bind(COOKIE, ALICE, binder="token")
    store.bindings[COOKIE] = LATER
    clock.now += 120
    assert directory.cached(COOKIE) is UNKNOWN
    assert await directory.find(COOKIE) == LATER


async def test_a_store_that_is_known_to_be_away_is_not_waited_for_when_the_binding_is_known(
    store: MemoryStore, clock: Clock
) -> None:
    directory = Directory(store, ttl_s=TTL_S, clock=clock, is_store_well=lambda: False)
    await directory.bind(COOKIE, ALICE, binder="token")
    clock.now += 1200
    assert directory.cached(COOKIE) == ALICE
    assert store.reads == 0


async def test_a_store_that_hangs_makes_nobody_wait_whose_binding_is_in_use(
    directory: Directory, store: MemoryStore, clock: Clock
) -> None:
    await directory.bind(COOKIE, ALICE, binder="token")
    store.open.clear()
    clock.now += 60
    for _ in range(100):
        assert directory.cached(COOKIE) == ALICE
        await asyncio.sleep(0)
    assert store.reads == 1
    await directory.aclose()


async def test_a_later_login_elsewhere_is_noticed_at_once_by_who_asks_for_it(
    directory: Directory, store: MemoryStore, clock: Clock
) -> None:
    await directory.bind(COOKIE, ALICE, binder="token")
    store.bindings[COOKIE] = LATER
    clock.now += 1.0
    assert await directory.find(COOKIE) == ALICE
    assert await directory.find(COOKIE, max_age_s=1.0) == LATER


async def test_asking_again_before_a_denial_reads_at_most_once_a_second(
    directory: Directory, store: MemoryStore, clock: Clock
) -> None:
    await directory.bind(COOKIE, ALICE, binder="token")
    for _ in range(10):
        await directory.find(COOKIE, max_age_s=1.0)
    assert store.reads == 0
    clock.now += 1.0
    for _ in range(10):
        await directory.find(COOKIE, max_age_s=1.0)
    assert store.reads == 1


@pytest.mark.parametrize("lost", ["store away", "store flushed"])
async def test_a_store_that_is_away_or_was_flushed_does_not_undo_what_is_known(
    directory: Directory, store: MemoryStore, clock: Clock, lost: str
) -> None:
    await directory.bind(COOKIE, ALICE, binder="token")
    store.broken = lost == "store away"
    store.bindings.clear()
    clock.now += 60
    for _ in range(5):
        assert await directory.find(COOKIE) == ALICE
    assert directory.cached(COOKIE) == ALICE
    assert store.reads == 1


async def test_a_binding_older_than_any_session_is_forgotten_with_the_store(
    directory: Directory, store: MemoryStore, clock: Clock
) -> None:
    await directory.bind(COOKIE, ALICE, binder="token")
    store.bindings.clear()
    clock.now += TTL_S
    assert await directory.find(COOKIE) is None
    assert list(directory.credentials_of(ALICE.own)) == []


async def test_the_least_recently_used_binding_makes_room(directory: Directory, store: MemoryStore) -> None:
    a, b, c, d = (digester.credential(name) for name in (b"a", b"b", b"c", b"d"))
    for credential in (a, b, c):
        await directory.bind(credential, ALICE, binder="token")
    directory.cached(a)
    await directory.bind(d, ALICE, binder="token")
    assert directory.cached(b) is UNKNOWN
    assert directory.cached(a) == directory.cached(c) == directory.cached(d) == ALICE
    assert await directory.find(b) == ALICE
    assert set(directory.credentials_of(ALICE.own)) == {b, c, d}  # the comparison above asked for a first


async def test_a_flood_of_made_up_cookies_evicts_no_binding(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MISS_CAPACITY", 10)
    await directory.bind(COOKIE, ALICE, binder="token")
    for number in range(100):
        assert await directory.find(digester.credential(b"%d" % number)) is None
    assert directory.cached(COOKIE) == ALICE
    assert len(directory._misses) == 10


async def test_a_flood_of_made_up_cookies_does_not_overload_the_store(directory: Directory, store: MemoryStore) -> None:
    store.open.clear()
    flood = [
        asyncio.create_task(directory.find(digester.credential(b"%d" % number)))
        for number in range(module.READS_WAITING + 5)
    ]
    await settle()
    refused = [task for task in flood if task.done()]
    assert [task.exception().reason for task in refused] == ["store_busy"] * 5
    store.open.set()
    await asyncio.wait(flood)
    assert store.most_reading == module.READS_AT_ONCE
    assert len(directory._reads) == 0


async def test_a_known_binding_is_served_through_a_flood(
    directory: Directory, store: MemoryStore, clock: Clock
) -> None:
    await directory.bind(COOKIE, ALICE, binder="token")
    store.open.clear()
    flood = [
        asyncio.create_task(directory.find(digester.credential(b"%d" % number)))
        for number in range(module.READS_WAITING)
    ]
    await settle()
    clock.now += 60
    assert await directory.find(COOKIE) == ALICE
    store.open.set()
    await asyncio.wait(flood)


async def test_the_credentials_of_a_session_and_of_a_subject_are_found(directory: Directory) -> None:
    a, b, c = (digester.credential(name) for name in (b"a", b"b", b"c"))
    await directory.bind(a, ALICE, binder="token")
    await directory.bind(b, ALICE, binder="token")
    await directory.bind(c, LATER, binder="token")
    assert ALICE.sub is not None
    assert set(directory.credentials_of(ALICE.own)) == {a, b}
    assert set(directory.credentials_of(LATER.own)) == {c}
    assert set(directory.credentials_of(ALICE.sub)) == {a, b, c}
    await directory.bind(b, LATER, binder="token")
    assert set(directory.credentials_of(ALICE.own)) == {a}
    await directory.bind(a, LATER, binder="token")
    assert set(directory.credentials_of(ALICE.own)) == set()
    assert set(directory.credentials_of(LATER.own)) == {a, b, c}


async def test_the_bindings_of_a_session_are_found_however_idle_they_are(directory: Directory, clock: Clock) -> None:
    await directory.bind(COOKIE, ALICE, binder="token")
    clock.now += 3000
    assert directory.cached(COOKIE) is UNKNOWN
    assert list(directory.bindings_of(ALICE.own)) == [(COOKIE, ALICE)]
    assert list(directory.bindings_of(LATER.own)) == []


async def test_a_session_without_sub_has_credentials_too(directory: Directory) -> None:
    hydra = session_of(sub=None)
    await directory.bind(COOKIE, hydra, binder="token")
    assert list(directory.credentials_of(hydra.own)) == [COOKIE]


async def test_nothing_is_kept_of_forgotten_bindings(store: MemoryStore, clock: Clock) -> None:
    directory = Directory(store, ttl_s=TTL_S, clock=clock, capacity=1)
    for number in range(50):
        await directory.bind(digester.credential(b"%d" % number), session_of(sid=str(number % 7)), binder="token")
    last = digester.credential(b"49")
    assert list(directory._known) == [last]
    assert [group in (last, {last}) for group in directory._by_session._groups.values()] == [True, True]


async def test_closing_ends_the_reads_under_way(directory: Directory, store: MemoryStore) -> None:
    store.open.clear()
    asking = asyncio.create_task(directory.find(COOKIE))
    await settle()
    await directory.aclose()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert store.reading == 0


async def test_nobody_waits_long_behind_a_flood_while_the_store_hangs(clock: Clock) -> None:
    store = MemoryStore()
    store.open.clear()
    directory = Directory(store, ttl_s=TTL_S, clock=clock, read_s=0.05)
    async with asyncio.timeout(2):
        flood = [directory.find(number.to_bytes(16)) for number in range(module.READS_WAITING)]
        answers = await asyncio.gather(*flood, return_exceptions=True)
    assert {getattr(answer, "reason", None) for answer in answers} == {"store_busy"}
    store.open.set()
    assert await directory.find(COOKIE) is None  # and the places are free again
