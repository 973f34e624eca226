"""A login whose callback is in one process and whose relay in another: the rules of one process hold for all."""

import asyncio
import math

import pytest
from bench_line import Bench, Control, Worker, until

from sidecar.bindings.logins import Login, LoginRefused
from sidecar.core.identity import Session
from sidecar.workers.line import LineLost

ALICE = Session("https://idp.example", "legacy", "sid-alice", "alice", 1_767_000_000_000)
MALLORY = Session("https://idp.example", "legacy", None, "mallory", 1_767_000_000_000, 1_766_000_000_000)


@pytest.fixture
async def pod(bench: Bench) -> tuple[Control, Worker, Worker]:
    control, one, two = await bench.control(), bench.worker(0), bench.worker(1)
    await until(lambda: len(control.hub.lines) == 2)
    return control, one, two


Pod = tuple[Control, Worker, Worker]


async def test_what_the_relay_saw_is_known_to_the_callback_when_the_relay_goes_on(pod: Pod) -> None:
    control, one, _ = pod
    login = await one.logins.begin("code")
    assert await control.logins.complete("code", ALICE)
    assert (login.session, login.failed) == (ALICE, False)


async def test_every_part_of_a_session_arrives(pod: Pod) -> None:
    control, _, two = pod
    login = await two.logins.begin("code \udcff")
    assert await control.logins.complete("code \udcff", MALLORY)
    assert login.session == MALLORY


async def test_what_could_not_be_verified_is_known_as_well(pod: Pod) -> None:
    control, one, _ = pod
    login = await one.logins.begin("code")
    assert await control.logins.fail("code")
    assert login.failed


async def test_codes_and_workers_are_kept_apart(pod: Pod) -> None:
    control, one, two = pod
    first, second = await one.logins.begin("a"), await two.logins.begin("b")
    assert await control.logins.complete("b", MALLORY)
    assert (first.session, second.session) == (None, MALLORY)
    assert [worker.logins.strays for worker in (one, two)] == [1, 1]


@pytest.mark.parametrize("is_same_worker", [True, False])
async def test_one_callback_of_a_code_goes_on_at_a_time_in_the_whole_pod(pod: Pod, is_same_worker: bool) -> None:
    control, one, two = pod
    login = await one.logins.begin("code")
    waiting = asyncio.create_task((one if is_same_worker else two).logins.begin("code"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.05)
    assert await control.logins.complete("code", MALLORY)
    login.end()
    other = await waiting
    assert (login.session, other.session) == (MALLORY, None)
    assert await control.logins.complete("code", ALICE)
    assert other.session == ALICE


async def test_a_callback_that_gives_up_waiting_takes_no_turn(pod: Pod) -> None:
    control, one, two = pod
    login = await one.logins.begin("code")
    waiting = asyncio.create_task(two.logins.begin("code"))
    await until(lambda: len(control.logins._begun) == 2)
    waiting.cancel()
    await until(lambda: len(control.logins._begun) == 1)
    login.end()
    await until(lambda: not control.logins._begun)
    assert await control.logins.complete("code", ALICE) is False
    assert not control.turns._flights


async def test_who_cannot_wait_is_refused_with_the_reason(bench: Bench) -> None:
    control = await bench.control()
    control.turns._wait_s = 0.05
    one, two = bench.worker(0), bench.worker(1)
    await one.logins.begin("code")
    with pytest.raises(LoginRefused) as caught:
        await two.logins.begin("code")
    assert caught.value.reason == "login_in_flight"


async def test_a_callback_of_any_worker_is_one_that_waits(pod: Pod) -> None:
    control, _, two = pod
    assert not control.logins.is_awaited("code")
    login = await two.logins.begin("code")
    assert control.logins.is_awaited("code")
    login.end()
    await until(lambda: not control.logins._begun)
    assert not control.logins.is_awaited("code")
    assert control.turns.strays == 0


async def test_a_worker_that_dies_ends_its_callbacks(pod: Pod) -> None:
    control, one, two = pod
    await one.logins.begin("code")
    waiting = asyncio.create_task(two.logins.begin("code"))
    await until(lambda: len(control.logins._begun) == 2)
    await one.cut()
    assert isinstance(await waiting, Login)
    assert await control.logins.fail("elsewhere") is False  # nobody asks the dead


async def test_a_code_that_no_callback_is_known_for_is_told_to_every_worker(pod: Pod) -> None:
    control, one, two = pod
    before = [one.logins.strays, two.logins.strays]
    assert await control.logins.complete("elsewhere", ALICE) is False
    assert await control.logins.fail("elsewhere") is False
    assert [one.logins.strays, two.logins.strays] == [before[0] + 2, before[1] + 2]
    assert control.turns.strays == 2


async def test_a_callback_that_has_just_ended_makes_its_code_one_of_nobody(pod: Pod) -> None:
    control, one, two = pod
    login = await one.logins.begin("code")
    before = two.logins.strays
    one.logins._give_back = lambda code: None  # the word of its end is late
    login.end()
    assert await control.logins.complete("code", ALICE) is False
    assert two.logins.strays == before + 1


async def test_what_the_worker_does_not_confirm_the_relay_does_not_release(pod: Pod) -> None:
    control, one, _ = pod
    login = await one.logins.begin("code")
    await one.cut()
    control.logins._holders[control.logins._digest("code")] = _Silent()
    with pytest.raises(LineLost):
        await control.logins.complete("code", ALICE)
    assert login.session is None


class _Silent:
    async def call(self, *args: object, **kwargs: object) -> bytes:
        raise LineLost("line_silent")


async def test_without_a_line_no_login_is_taken_for_none(pod: Pod) -> None:
    _, one, _ = pod
    before = one.logins.strays
    await one.cut()
    assert math.isnan(one.logins.strays)  # differs from whatever a callback has noted, before or during the outage
    one.logins.came()
    assert one.logins.strays not in (before, math.nan)
    one.logins._line = _Silent()
    with pytest.raises(LoginRefused) as caught:
        await one.logins.begin("code")
    assert caught.value.reason == "login_unavailable"
    assert not one.logins._flights


async def test_a_stray_is_seen_however_often_the_worker_has_counted_one_itself(pod: Pod) -> None:
    control, one, _ = pod
    seen = [one.logins.strays]
    one.logins.complete("gone", ALICE)
    seen.append(one.logins.strays)
    await control.logins.fail("elsewhere")
    seen.append(one.logins.strays)
    assert len(set(seen)) == 3
