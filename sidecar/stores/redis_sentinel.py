"""Where the master is, asked of the Sentinels before each new connection.

All Sentinels are asked at once, and a majority of valid answers decides: the one of the latest failover. One that hangs
or was cut off neither delays a connection nor sends it to a master of yesterday. Whoever is found is asked for its role
as well (`redis_client.py`), since for a moment after a failover even a majority may be wrong.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from sidecar.stores.interface import StoreError
from sidecar.stores.redis_address import Host
from sidecar.stores.redis_client import Client

TIMEOUT_S = 0.2
_DOWN = {"s_down", "o_down", "disconnected"}


class Sentinels:
    """Asks the Sentinels for one master. Needs `+sentinel|master` there."""

    def __init__(self, clients: Sequence[Client], *, master: str, min_others: int, place: str) -> None:
        self._clients = clients
        self._master = master
        self._min_others = min_others
        self._place = place
        self._asking: asyncio.Task[Host] | None = None
        self._questions: set[asyncio.Task[tuple[int, Host]]] = set()

    async def locate(self) -> Host:
        """Where the master is now; StoreError when nobody can say. All who ask meanwhile share one answer."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_all())
            self._asking.add_done_callback(_note_outcome)
        return await asyncio.shield(self._asking)

    async def aclose(self) -> None:
        """Close all connections. May be called twice."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait((self._asking,))
        if self._questions:
            await asyncio.wait(self._questions)
        for client in self._clients:
            await client.aclose()

    async def _ask_all(self) -> Host:
        return await self._majority([self._question(client) for client in self._clients])

    def _question(self, client: Client) -> "asyncio.Task[tuple[int, Host]]":
        """Never cancelled, since that would cost the connection. It ends by its own time-out."""
        question = asyncio.create_task(self._ask(client))
        self._questions.add(question)
        question.add_done_callback(self._questions.discard)
        question.add_done_callback(_note_outcome)
        return question

    async def _majority(self, questions: Sequence[asyncio.Task[tuple[int, Host]]]) -> Host:
        found: list[tuple[int, Host]] = []
        failed: StoreError | None = None
        for question in asyncio.as_completed(questions):
            try:
                found.append(await question)
            except StoreError as error:
                failed = error
            if 2 * len(found) > len(questions):
                break
        if not found:
            raise failed or StoreError("store_no_master", f"{self._place}: no Sentinel")
        return max(found, key=lambda answer: answer[0])[1]

    async def _ask(self, client: Client) -> tuple[int, Host]:
        """What one Sentinel says: the epoch of its knowledge, and where the master is."""
        words = iter(await client.ask("SENTINEL", "MASTER", self._master))
        state = {name.decode(): value.decode() for name, value in zip(words, words, strict=True)}
        if _DOWN & set(state["flags"].split(",")):
            raise StoreError("store_no_master", f"{self._place}: the master is down, and no other has been chosen")
        if int(state["num-other-sentinels"]) < self._min_others:
            raise StoreError("store_no_master", f"{self._place}: a Sentinel sees too few others")
        return int(state["config-epoch"]), Host(state["ip"], int(state["port"]))


def _note_outcome(task: "asyncio.Task[Any]") -> None:
    """Every caller may have given up by now: then nobody else asks, and asyncio would complain at some later time."""
    if not task.cancelled():
        task.exception()
