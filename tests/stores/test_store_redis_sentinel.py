"""Whom to believe when Sentinels disagree. They are stand-ins here: real ones cannot be made to disagree on purpose."""

import asyncio
from typing import Any

import pytest

from sidecar.stores.interface import StoreError
from sidecar.stores.redis_address import Host
from sidecar.stores.redis_sentinel import Sentinels

OLD, NEW = Host("10.0.0.1", 6379), Host("10.0.0.2", 6379)


class Says:
    """A Sentinel with one answer, or with one error, or with none."""

    def __init__(self, host: Host | None, *, epoch: int = 1, flags: str = "master", others: int = 2) -> None:
        state = {"ip": host.name, "port": host.port, "flags": flags} if host else {}
        state |= {"num-other-sentinels": others, "config-epoch": epoch}
        self._answer = [str(word).encode() for pair in state.items() for word in pair] if host else None
        self.asked = 0

    async def ask(self, *words: Any) -> Any:
        self.asked += 1
        await asyncio.sleep(0)
        if self._answer is None:
            await asyncio.Event().wait()  # the real one ends by its time-out
        return self._answer

    async def aclose(self) -> None:
        pass


class Fails(Says):
    async def ask(self, *words: Any) -> Any:
        raise StoreError("store_unavailable", "refused")


def sentinels(*clients: Says, min_others: int = 0) -> Sentinels:
    return Sentinels(clients, master="main", min_others=min_others, place="test")  # type: ignore[arg-type] - see above


@pytest.mark.parametrize(
    "clients",
    [
        (Says(NEW, epoch=2), Says(OLD, epoch=1), Says(OLD, epoch=1)),
        (Says(OLD, epoch=1), Says(NEW, epoch=2), Says(None)),  # one hangs, and is not waited for
        (Says(OLD, epoch=3, flags="s_down,o_down,master"), Says(NEW), Says(NEW)),
        (Fails(None), Fails(None), Says(NEW)),  # less than a majority, but all who answer
        (Says(NEW),),
    ],
)
async def test_the_latest_failover_that_is_known_to_a_majority_counts(clients):
    found = sentinels(*clients)
    async with asyncio.timeout(2):
        assert await found.locate() == NEW


@pytest.mark.parametrize(
    ("clients", "min_others", "reason"),
    [
        ((Says(OLD, flags="s_down,master"),), 0, "store_no_master"),
        ((Says(OLD, others=0),), 1, "store_no_master"),
        ((Fails(None), Fails(None)), 0, "store_unavailable"),
    ],
)
async def test_nobody_is_better_than_the_wrong_one(clients, min_others, reason):
    with pytest.raises(StoreError) as caught:
        await sentinels(*clients, min_others=min_others).locate()

    assert caught.value.reason == reason


async def test_all_who_ask_at_once_share_one_question_and_one_who_gives_up_spoils_nothing():
    client = Says(NEW)
    found = sentinels(client)
    asking = [asyncio.create_task(found.locate()) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()

    assert await asyncio.gather(*asking[1:]) == [NEW] * 4
    assert client.asked == 1
    assert await found.locate() == NEW
    assert client.asked == 2
