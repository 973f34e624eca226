"""What `stores/interface.py` promises, held against every store."""

import asyncio
import time

import pytest

from sidecar import clock
from sidecar.core.identity import BoundSession, Kind
from sidecar.core.revocation import Revocation
from sidecar.stores.interface import PAGE, StoreError
from sidecar.stores.open import open_store

SOON = int(time.time()) + 3600
SESSION = BoundSession(own=b"o" * 16, sub=b"s" * 16, login_time=1_790_000_000_123, sid_time=1_790_000_000_000)


def revocation(number: int = 1, *, cutoff: int = 1_790_000_000_123, expires: int = SOON, kind: Kind = Kind.SID):
    return Revocation(kind, number.to_bytes(16), cutoff, expires)


async def snapshot(store):
    return [each async for page in store.snapshot() for each in page]


async def follow_until(store, count):
    """What `follow` brings until there are `count`, over as many calls as that takes."""
    found = []
    async with asyncio.timeout(5):
        while len(found) < count:
            found += (await store.follow()).revocations
    return found


# Log


async def test_a_new_store_has_an_empty_log(store):
    assert await snapshot(store) == []


@pytest.mark.parametrize("kind", Kind)
async def test_what_is_appended_is_in_the_snapshot_unchanged(store, kind):
    await store.append([revocation(kind=kind)])

    assert await snapshot(store) == [revocation(kind=kind)]


@pytest.mark.parametrize("cutoff", [0, 1, 2**41, 2**63 - 1])
async def test_a_cut_off_of_any_size_is_kept_exactly(store, cutoff):
    await store.append([revocation(cutoff=cutoff)])

    assert [each.cutoff for each in await snapshot(store)] == [cutoff]


async def test_an_append_of_nothing_is_nothing(store):
    await store.append([])

    assert await snapshot(store) == []


@pytest.mark.parametrize("count", [PAGE - 1, PAGE, PAGE + 1, 2 * PAGE])
async def test_the_snapshot_comes_in_pages_and_misses_none(store, count):
    expected = [revocation(number) for number in range(count)]
    await store.append(expected)

    pages = [page async for page in store.snapshot()]

    assert max(map(len, pages)) <= PAGE
    assert [each for page in pages for each in page] == expected


async def test_follow_brings_what_came_after_the_snapshot_and_nothing_twice(store):
    await store.append([revocation(1)])
    await snapshot(store)
    await store.append([revocation(2)])
    await store.append([revocation(3)])

    assert await follow_until(store, 2) == [revocation(2), revocation(3)]
    assert (await store.follow()).revocations == []


async def test_follow_of_a_quiet_log_answers_soon_and_complete(store):
    await snapshot(store)
    for _ in range(8):  # long enough for a periodic check of the log
        began = clock.boot()

        assert await store.follow() == ([], True)

        assert clock.boot() - began < 0.5


async def test_a_full_page_is_not_complete_and_the_rest_follows(store):
    await snapshot(store)
    expected = [revocation(number) for number in range(PAGE + 10)]
    await store.append(expected)

    first = await store.follow()
    second = await store.follow()

    assert not first.complete
    assert len(first.revocations) == PAGE
    assert second.complete
    assert [*first.revocations, *second.revocations] == expected


async def test_follow_wakes_at_once_for_an_own_append(store):
    await snapshot(store)
    await store.follow()
    following = asyncio.create_task(store.follow())
    await asyncio.sleep(0)
    began = clock.boot()
    await store.append([revocation()])

    assert (await following).revocations == [revocation()]
    assert clock.boot() - began < 0.2


async def test_another_process_of_the_same_store_is_followed_within_a_quarter_second(shared_place):
    ours, theirs = await shared_place.store(), await shared_place.store()
    await snapshot(ours)
    await ours.follow()
    following = asyncio.create_task(follow_until(ours, 1))
    await theirs.append([revocation()])
    began = clock.boot()

    assert await following == [revocation()]
    assert clock.boot() - began < 0.25


async def test_a_snapshot_may_be_taken_again_and_following_goes_on_from_it(store):
    await store.append([revocation(1)])
    await snapshot(store)
    await store.append([revocation(2)])

    assert await snapshot(store) == [revocation(1), revocation(2)]
    assert (await store.follow()).revocations == []


async def test_appends_at_the_same_time_are_all_kept(store):
    await asyncio.gather(*(store.append([revocation(number), revocation(number + 1000)]) for number in range(100)))

    numbers = {int.from_bytes(each.digest) for each in await snapshot(store)}
    assert numbers == {*range(100), *range(1000, 1100)}


async def test_an_append_that_is_given_up_takes_nothing_from_its_neighbours(store):
    appends = [asyncio.create_task(store.append([revocation(number)])) for number in range(10)]
    await asyncio.sleep(0)
    appends[3].cancel()
    outcomes = await asyncio.gather(*appends, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes if outcome is not None] == [asyncio.CancelledError]
    kept = await snapshot(store)
    assert {revocation(number) for number in range(10) if number != 3} <= set(kept)


async def test_duplicates_are_kept_and_harmless(store):
    await store.append([revocation()])
    await store.append([revocation()])

    assert set(await snapshot(store)) == {revocation()}


async def test_entries_under_another_key_are_delivered_and_complained_about_once(store, caplog):
    store.use_key(7)
    await store.append([revocation(1), revocation(2)])
    store.use_key(8)

    assert len(await snapshot(store)) == 2
    assert [record.getMessage() for record in caplog.records] == ["digest_key_foreign"]


async def test_entries_under_the_own_key_are_no_matter_of_complaint(store, caplog):
    store.use_key(7)
    await store.append([revocation()])

    assert await snapshot(store) == [revocation()]
    assert not caplog.records


# Prune


async def test_pruning_drops_the_expired_end_of_the_log_and_nothing_live(store):
    old = [revocation(number, expires=1000) for number in range(2500)]
    live = [revocation(number) for number in range(5000, 5010)]
    await store.append(old)
    await store.append(live)

    await store.prune()

    left = await snapshot(store)
    assert left[-10:] == live
    assert len(left) - len(live) < 200  # a stream is trimmed by whole nodes


async def test_pruning_an_empty_or_wholly_live_log_changes_nothing(store):
    await store.prune()
    await store.append([revocation()])
    await store.prune()

    assert await snapshot(store) == [revocation()]


async def test_a_wholly_expired_log_can_be_pruned_and_written_to_again(store):
    await store.append([revocation(number, expires=1000) for number in range(300)])
    await snapshot(store)
    await store.prune()
    await store.append([revocation(9999)])

    assert await follow_until(store, 1) == [revocation(9999)]
    assert (await snapshot(store))[-1] == revocation(9999)


async def test_a_live_entry_is_never_pruned_however_many_expired_ones_come_after(store):
    await store.append([revocation(1)])
    await store.append([revocation(number, expires=1000) for number in range(2, 1500)])

    await store.prune()

    assert (await snapshot(store))[0] == revocation(1)


async def test_pruning_does_not_disturb_following(store):
    await store.append([revocation(number, expires=1000) for number in range(1000)])
    await store.append([revocation(5000)])
    await snapshot(store)
    await store.prune()
    await store.append([revocation(5001)])

    assert await follow_until(store, 1) == [revocation(5001)]
    for _ in range(6):  # through the next periodic check
        assert (await store.follow()).complete


# Bindings


@pytest.mark.parametrize("sub", [None, b"s" * 16, bytes(16)], ids=["without sub", "with sub", "sub of zeros"])
async def test_a_binding_is_returned_as_it_was_put(store, sub):
    session = BoundSession(own=b"o" * 16, sub=sub, login_time=1_790_000_000_123, sid_time=-1)
    await store.put_binding(b"c" * 16, session, 3600)

    assert await store.get_binding(b"c" * 16) == session


async def test_a_binding_says_whose_it_is_where_it_was_told(store):
    session = BoundSession(b"o" * 16, None, 1, 2, parties=(b"p" * 16, b"q" * 16))
    await store.put_binding(b"c" * 16, session, 3600)

    found = await store.get_binding(b"c" * 16)
    assert (found, found.parties) == (session, (b"p" * 16,))


async def test_an_unknown_credential_has_no_binding(store):
    await store.put_binding(b"c" * 16, SESSION, 3600)

    assert await store.get_binding(b"d" * 16) is None


async def test_a_binding_is_replaced_by_the_next(store):
    await store.put_binding(b"c" * 16, BoundSession(b"x" * 16, None, 1, 1), 3600)
    await store.put_binding(b"c" * 16, SESSION, 3600)

    assert await store.get_binding(b"c" * 16) == SESSION


async def test_a_binding_ends_with_its_time(store):
    await store.put_binding(b"c" * 16, SESSION, 1)
    assert await store.get_binding(b"c" * 16) == SESSION

    async with asyncio.timeout(5):
        while await store.get_binding(b"c" * 16) is not None:
            await asyncio.sleep(0.05)


async def test_a_binding_can_be_read_elsewhere_when_put_returns(shared_place):
    ours, theirs = await shared_place.store(), await shared_place.store()
    await ours.put_binding(b"c" * 16, SESSION, 3600)

    assert await theirs.get_binding(b"c" * 16) == SESSION


# Sealed values and claims


@pytest.mark.parametrize("value", [b"x", bytes(range(256)) * 40], ids=["short", "long, with every byte"])
async def test_a_sealed_value_is_returned_as_it_was_put(store, value):
    await store.put_sealed(b"n" * 16, value, 3600)

    assert await store.get_sealed(b"n" * 16) == value


async def test_an_unknown_name_has_no_sealed_value_and_a_binding_is_none(store):
    await store.put_sealed(b"n" * 16, b"value", 3600)
    await store.put_binding(b"c" * 16, SESSION, 3600)

    assert await store.get_sealed(b"m" * 16) is None
    assert await store.get_sealed(b"c" * 16) is None


async def test_a_sealed_value_is_replaced_by_the_next_and_gone_when_deleted(store):
    await store.put_sealed(b"n" * 16, b"old", 3600)
    await store.put_sealed(b"n" * 16, b"new", 3600)
    assert await store.get_sealed(b"n" * 16) == b"new"

    await store.delete_sealed(b"n" * 16)
    await store.delete_sealed(b"n" * 16)
    assert await store.get_sealed(b"n" * 16) is None


async def test_a_sealed_value_ends_with_its_time(store):
    await store.put_sealed(b"n" * 16, b"value", 1)
    assert await store.get_sealed(b"n" * 16) == b"value"

    async with asyncio.timeout(5):
        while await store.get_sealed(b"n" * 16) is not None:
            await asyncio.sleep(0.05)


async def test_of_all_who_claim_at_once_one_is_the_first(shared_place):
    stores = [await shared_place.store() for _ in range(2)]
    for store in stores:
        await store.get_sealed(b"n" * 16)  # connected

    won = await asyncio.gather(*(store.claim(b"n" * 16, 3600) for store in stores for _ in range(3)))

    assert won.count(True) == 1


async def test_a_claim_can_be_made_again_when_its_time_is_over_and_others_are_others(store):
    assert await store.claim(b"n" * 16, 1)
    assert not await store.claim(b"n" * 16, 1)
    assert await store.claim(b"m" * 16, 3600)

    async with asyncio.timeout(5):
        while not await store.claim(b"n" * 16, 3600):
            await asyncio.sleep(0.05)
    assert not await store.claim(b"n" * 16, 3600)


# Secret and life


async def test_no_secret_is_kept_before_one_is_asked_for(store):
    assert await store.kept_secret() is None
    secret = await store.secret()
    assert await store.kept_secret() == secret


async def test_the_secret_is_made_once_and_has_32_bytes(store):
    secret = await store.secret()

    assert len(secret) == 32
    assert await store.secret() == secret


async def test_when_a_secret_was_superseded_is_noted_once_and_forgotten_when_it_is_used_again(store):
    assert await store.superseded(1000) is None  # it keeps none
    await store.secret()

    assert await store.superseded(2000) == 2000
    assert await store.superseded(3000) == 2000

    await store.secret()
    assert await store.superseded(4000) == 4000


async def test_two_processes_that_ask_at_once_get_the_same_secret(shared_place):
    stores = [await shared_place.store() for _ in range(4)]

    assert len(set(await asyncio.gather(*(store.secret() for store in stores)))) == 1


async def test_everything_is_still_there_for_the_next_process(shared_place):
    first = await shared_place.store()
    secret = await first.secret()
    await first.append([revocation()])
    await first.put_binding(b"c" * 16, SESSION, 3600)
    await first.aclose()

    second = await shared_place.store()

    assert await second.secret() == secret
    assert await snapshot(second) == [revocation()]
    assert await second.get_binding(b"c" * 16) == SESSION


async def test_opening_twice_is_as_opening_once(store):
    await store.append([revocation()])
    await store.open()

    assert await snapshot(store) == [revocation()]


async def test_closing_twice_or_before_opening_is_allowed(place):
    await open_store(place.url).aclose()
    store = await place.store()
    await store.aclose()
    await store.aclose()


@pytest.mark.parametrize("place", ["sqlite-file", "sqlite-memory"], indirect=True)
async def test_a_closed_store_says_so(store):
    await store.aclose()

    with pytest.raises(StoreError) as caught:
        await store.append([revocation()])
    assert caught.value.reason == "store_closed"


async def test_nothing_that_is_kept_shows_in_the_repr(store):
    secret = await store.secret()

    assert secret.hex() not in repr(store)
