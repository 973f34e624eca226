"""Which browsers have a session: found by every digest that ends it, encrypted, bounded, and no others."""

from collections.abc import AsyncIterator

import pytest

from sidecar.bindings.remembered import MAX_COOKIES_BYTES, MOST, Browser, Remembered
from sidecar.bindings.sealer import Sealer
from sidecar.core.identity import BoundSession, Kind
from sidecar.core.revocation import Revocation
from sidecar.stores.interface import Store
from sidecar.stores.open import open_store

FAR = 4_000_000_000
ONE = BoundSession(b"1" * 16, b"s" * 16, 1000, 900)
TWO = BoundSession(b"2" * 16, b"s" * 16, 2000, 2000)
ALONE = BoundSession(b"3" * 16, None, 1000, 1000)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = open_store("sqlite://")
    await store.open()
    yield store
    await store.aclose()


@pytest.fixture
def remembered(store: Store) -> Remembered:
    return Remembered(store, Sealer(b"k" * 32), ttl_s=3600)


def by_sid(session: BoundSession, cutoff: int = 5000) -> Revocation:
    return Revocation(Kind.SID, session.own, cutoff, FAR)


def by_sub(cutoff: int = 5000) -> Revocation:
    return Revocation(Kind.SUB, b"s" * 16, cutoff, FAR)


async def cookies(remembered: Remembered, revocation: Revocation) -> list[bytes]:
    return [each.cookies for each in await remembered.meant_by(revocation)]


async def test_a_browser_is_found_by_its_session_and_by_its_subject(remembered: Remembered) -> None:
    await remembered.add(Browser(b"a=1", ONE))
    await remembered.add(Browser(b"a=2", TWO))
    await remembered.add(Browser(b"a=3", ALONE))
    assert await cookies(remembered, by_sid(ONE)) == [b"a=1"]
    assert await cookies(remembered, by_sub()) == [b"a=1", b"a=2"]
    assert await cookies(remembered, by_sid(ALONE)) == [b"a=3"]
    assert await remembered.meant_by(by_sid(ONE)) == [Browser(b"a=1", ONE)]


@pytest.mark.parametrize(
    ("revocation", "expected"),
    [
        (by_sid(ONE, 899), []),
        (by_sid(ONE, 900), [b"a=1"]),
        (by_sub(999), []),
        (by_sub(1000), [b"a=1"]),
        (by_sub(1999), [b"a=1"]),
        (by_sub(2000), [b"a=1", b"a=2"]),
    ],
)
async def test_a_later_login_is_not_meant(remembered: Remembered, revocation: Revocation, expected) -> None:
    await remembered.add(Browser(b"a=1", ONE))
    await remembered.add(Browser(b"a=2", TWO))
    assert await cookies(remembered, revocation) == expected


async def test_a_changed_cookie_takes_the_place_of_the_old_one(remembered: Remembered) -> None:
    await remembered.add(Browser(b"a=1", ONE))
    await remembered.add(Browser(b"a=2", ONE), instead_of=b"a=1")
    await remembered.add(Browser(b"a=2", ONE))
    assert await cookies(remembered, by_sid(ONE)) == await cookies(remembered, by_sub()) == [b"a=2"]


async def test_the_latest_browsers_are_kept_and_no_endless_cookies(remembered: Remembered) -> None:
    for number in range(MOST + 3):
        await remembered.add(Browser(b"a=%d" % number, ONE))
    await remembered.add(Browser(b"a" * (MAX_COOKIES_BYTES + 1), ONE))
    found = await cookies(remembered, by_sid(ONE))
    assert found == [b"a=%d" % number for number in range(3, MOST + 3)]


async def test_who_has_been_told_is_forgotten_and_a_later_login_is_not(remembered: Remembered) -> None:
    await remembered.add(Browser(b"a=1", ONE))
    await remembered.add(Browser(b"a=2", TWO))
    await remembered.forget(by_sub(1000))
    assert await cookies(remembered, by_sub()) == [b"a=2"]
    await remembered.forget(by_sub())
    assert await cookies(remembered, by_sub()) == []
    await remembered.forget(by_sub())


async def test_the_store_gets_nothing_in_clear_and_nothing_shows(remembered: Remembered, store: Store) -> None:
    await remembered.add(Browser(b"a=secret-cookie", ONE))
    rows = await store._in_thread(  # type: ignore[attr-defined]
        lambda: store._database._connection.execute("SELECT name, value FROM sealed").fetchall()  # type: ignore[attr-defined]
    )
    assert len(rows) == 2
    for name, value in rows:
        assert b"secret-cookie" not in value
        assert name not in {ONE.own, ONE.sub}  # where a login of the session may be kept
    assert "secret" not in repr(Browser(b"a=secret-cookie", ONE))


async def test_with_another_secret_nobody_is_found(remembered: Remembered, store: Store) -> None:
    await remembered.add(Browser(b"a=1", ONE))
    assert await Remembered(store, Sealer(b"x" * 32), ttl_s=3600).meant_by(by_sid(ONE)) == []
    changed = Remembered(store, Sealer(b"x" * 32, [b"k" * 32]), ttl_s=3600)
    assert await cookies(changed, by_sid(ONE)) == [b"a=1"]


def test_each_login_of_a_browser_has_a_name_of_its_own() -> None:
    later = BoundSession(ONE.own, ONE.sub, ONE.login_time + 1, ONE.sid_time)
    names = {Browser(*each).name for each in [(b"a=1", ONE), (b"a=2", ONE), (b"a=1", TWO), (b"a=1", later)]}
    assert len(names) == 4
    assert Browser(b"a=1", ONE).name in names
