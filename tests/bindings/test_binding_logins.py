"""The join of callback and token request. Every order is forced: no test waits for time to pass."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from sidecar import metrics
from sidecar.bindings.logins import Login, LoginRefused, Logins
from sidecar.core.identity import Session

ALICE = Session("https://idp.example", "legacy", "sid-alice", "alice", 1_767_000_000_000)
MALLORY = Session("https://idp.example", "legacy", "sid-mallory", "mallory", 1_767_000_000_000)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def logins(clock: Clock) -> Logins:
    return Logins(clock=clock, capacity=3, waiting=2, wait_s=30.0)


def count(outcome: str) -> float:
    return metrics.registry.get_sample_value("logout_sidecar_logins_total", {"outcome": outcome}) or 0.0


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_callback_learns_whom_the_relay_saw(logins: Logins) -> None:
    login = await logins.begin("code")
    assert login.session is None
    assert logins.complete("code", ALICE)
    assert (login.session, login.failed) == (ALICE, False)


async def test_codes_are_kept_apart(logins: Logins) -> None:
    alice, mallory = await logins.begin("a"), await logins.begin("b")
    logins.complete("b", MALLORY)
    logins.complete("a", ALICE)
    assert (alice.session, mallory.session) == (ALICE, MALLORY)


async def test_an_answer_that_could_not_be_verified_marks_the_login(logins: Logins) -> None:
    login = await logins.begin("code")
    before = count("unverified")
    assert logins.fail("code")
    assert (login.session, login.failed) == (None, True)
    assert count("unverified") == before + 1


async def test_a_failed_login_stays_failed_when_the_app_tries_again(logins: Logins) -> None:
    login = await logins.begin("code")
    logins.fail("code")
    logins.complete("code", ALICE)
    assert login.failed


async def test_one_code_for_two_people_is_believed_for_neither(logins: Logins) -> None:
    login = await logins.begin("code")
    logins.complete("code", ALICE)
    logins.complete("code", ALICE)
    assert not login.failed
    logins.complete("code", MALLORY)
    assert login.failed


async def test_a_second_callback_with_the_code_waits_and_never_shares_the_exchange(logins: Logins) -> None:
    # The victim's browser was sent to the callback with the code of a stranger whose own callback is in flight.
    stranger = await logins.begin("code")
    victim = asyncio.create_task(logins.begin("code"))
    await settle()
    assert not victim.done()
    logins.complete("code", MALLORY)
    assert stranger.session == MALLORY
    stranger.end()
    assert (await victim).session is None


async def test_the_victim_first_and_the_stranger_second_are_kept_apart_too(logins: Logins) -> None:
    victim = await logins.begin("code")
    stranger = asyncio.create_task(logins.begin("code"))
    await settle()
    victim.end()  # the app refused the callback: the state was not the victim's
    logins_of_stranger = await stranger
    logins.complete("code", MALLORY)
    assert (victim.session, logins_of_stranger.session) == (None, MALLORY)


async def test_whoever_came_first_goes_on_first(logins: Logins) -> None:
    order: list[str] = []

    async def callback(name: str) -> Login:
        login = await logins.begin("code")
        order.append(name)
        return login

    first = await callback("first")
    second = asyncio.create_task(callback("second"))
    await settle()
    third = asyncio.create_task(callback("third"))
    await settle()
    first.end()
    await settle()
    assert order == ["first", "second"]
    (await second).end()
    (await third).end()
    assert order == ["first", "second", "third"]


async def test_ending_twice_does_not_let_two_go_on(logins: Logins) -> None:
    first = await logins.begin("code")
    waiting = [asyncio.create_task(logins.begin("code")) for _ in range(2)]
    await settle()
    first.end()
    first.end()
    await settle()
    assert [task.done() for task in waiting] == [True, False]
    first.end()
    await settle()
    assert [task.done() for task in waiting] == [True, False]
    waiting[0].result().end()
    (await waiting[1]).end()


async def test_a_callback_that_is_gone_while_waiting_leaves_its_turn_to_the_next(logins: Logins) -> None:
    first = await logins.begin("code")
    gone, next_one = (asyncio.create_task(logins.begin("code")) for _ in range(2))
    await settle()
    gone.cancel()
    first.end()
    login = await next_one
    logins.complete("code", ALICE)
    assert login.session == ALICE


async def test_a_callback_that_goes_away_in_the_moment_of_its_turn_passes_it_on(logins: Logins) -> None:
    first = await logins.begin("code")
    gone, next_one = (asyncio.create_task(logins.begin("code")) for _ in range(2))
    await settle()
    first.end()
    gone.cancel()
    (await next_one).end()
    assert len(logins._flights) == 0


async def test_the_last_one_who_goes_away_in_the_moment_of_its_turn_leaves_nothing_behind(logins: Logins) -> None:
    first = await logins.begin("code")
    gone = asyncio.create_task(logins.begin("code"))
    await settle()
    first.end()
    gone.cancel()
    await settle()
    assert len(logins._flights) == 0


async def test_an_exchange_between_two_turns_joins_neither(logins: Logins) -> None:
    first = await logins.begin("code")
    second = asyncio.create_task(logins.begin("code"))
    await settle()
    first.end()
    assert not logins.complete("code", ALICE)
    assert (first.session, (await second).session) == (None, None)


async def test_more_waiting_callbacks_than_allowed_are_refused(logins: Logins) -> None:
    first = await logins.begin("code")
    waiting = [asyncio.create_task(logins.begin("code")) for _ in range(2)]
    await settle()
    with pytest.raises(LoginRefused) as caught:
        await logins.begin("code")
    assert caught.value.reason == "login_in_flight"
    first.end()
    for task in waiting:
        (await task).end()


async def test_waiting_ends_in_a_refusal_and_not_in_a_second_flight(clock: Clock) -> None:
    logins = Logins(clock=clock, wait_s=0.0)
    login = await logins.begin("code")
    with pytest.raises(LoginRefused) as caught:
        await logins.begin("code")
    assert caught.value.reason == "login_in_flight"
    logins.complete("code", ALICE)
    assert login.session == ALICE


async def test_more_codes_in_flight_than_allowed_are_refused(logins: Logins) -> None:
    held = [await logins.begin(str(n)) for n in range(3)]
    with pytest.raises(LoginRefused) as caught:
        await logins.begin("one more")
    assert caught.value.reason == "too_many_logins"
    held[0].end()
    await logins.begin("one more")


async def test_nothing_is_kept_of_callbacks_that_have_ended(logins: Logins) -> None:
    for code in ("a", "b", "c", "d", "e"):
        (await logins.begin(code)).end()
    first = await logins.begin("f")
    waiting = asyncio.create_task(logins.begin("f"))
    await settle()
    first.end()
    (await waiting).end()
    assert len(logins._flights) == 0


@pytest.mark.parametrize("signal", [lambda logins: logins.complete("code", ALICE), lambda logins: logins.fail("code")])
@pytest.mark.parametrize("already_ended", [False, True])
async def test_an_exchange_without_its_callback_is_counted_and_joins_nothing(
    logins: Logins, signal: Callable[[Logins], bool], already_ended: bool
) -> None:
    other = await logins.begin("other code")
    if already_ended:
        (await logins.begin("code")).end()
    before = count("unjoined")
    assert not signal(logins)
    assert count("unjoined") == before + 1
    assert (other.session, other.failed) == (None, False)


async def test_an_exchange_that_came_too_early_is_not_kept_for_a_later_callback(logins: Logins) -> None:
    logins.complete("code", MALLORY)
    assert (await logins.begin("code")).session is None


async def test_unjoined_logins_make_one_line_a_minute(
    logins: Logins, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    logins.complete("code", ALICE)
    for _ in range(5):
        logins.complete("code", ALICE)
    clock.now += 59.9
    logins.complete("code", ALICE)
    assert [record.message for record in caplog.records] == ["login_unjoined"]
    clock.now += 0.1
    logins.complete("code", ALICE)
    assert [record.fields["count"] for record in caplog.records] == [1, 7]


async def test_neither_codes_nor_people_show_in_repr_or_log(logins: Logins, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    login = await logins.begin("secret-code")
    logins.complete("secret-code", ALICE)
    logins.complete("secret-code-2", ALICE)
    shown = repr(login) + repr(logins) + repr(vars(logins)) + "".join(str(vars(record)) for record in caplog.records)
    assert "secret" not in shown
    assert "alice" not in shown


@pytest.mark.parametrize("code", ["", "\ud800", "ü" * 100_000, "a\x00b"])
async def test_any_text_is_a_code(logins: Logins, code: str) -> None:
    login = await logins.begin(code)
    logins.complete(code, ALICE)
    assert login.session == ALICE


async def test_random_orders_never_give_one_exchange_to_two_callbacks(clock: Clock) -> None:
    """Forty callbacks with one code; the app exchanges in some. Each exchange reaches exactly the one in flight."""
    logins = Logins(clock=clock, waiting=40)

    async def callback(number: int, exchange: bool, pause: Callable[[], Awaitable[None]]) -> None:
        login = await logins.begin("code")
        await pause()
        if exchange:
            mine = Session("https://idp.example", "legacy", f"sid-{number}", None, number)
            logins.complete("code", mine)
            assert login.session == mine
        await pause()
        assert (login.session is not None) == exchange
        login.end()

    await asyncio.gather(*(callback(number, number % 3 == 0, settle) for number in range(40)))
    assert len(logins._flights) == 0
