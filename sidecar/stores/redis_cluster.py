"""Commands to a Redis Cluster: each goes to the master of its key's slot. See `redis_client.Commands`.

MOVED and ASK are followed within the time of the call, because the command was not run. Nothing else is sent twice. The
library's own cluster client is not used: it sleeps, retries, closes connections that others use, and asks for COMMAND.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from redis.crc import key_slot

from sidecar.stores.interface import StoreError
from sidecar.stores.redis_address import Host
from sidecar.stores.redis_client import Client, Redirected, raise_first

HOPS = 4  # a key that is found elsewhere more often is being moved in a circle
ASKED = 16  # nodes asked for the map at once
PAUSE_S = 0.05  # between two attempts to read the map, when nobody answers
_LOST = {"store_unavailable", "store_timeout", "store_not_master", "store_cluster_down", "store_loading"}


class _Range(NamedTuple):
    first: int
    last: int
    host: Host


class SlotMap:
    """Which node has which slot, as the first node to answer says. Shared by all clients of one cluster.

    Read again by whoever needs it after a `doubt`. A node may be behind for a moment; then it costs a redirection.
    """

    def __init__(self, seeds: Sequence[Host], *, connect: Callable[[Host], Client], place: str) -> None:
        self._seeds = seeds
        self._connect = connect
        self._place = place
        self._ranges: Sequence[_Range] = ()
        self._known: set[Host] = set(seeds)
        self._is_current = False
        self._loading: asyncio.Task[None] | None = None
        self._questions: set[asyncio.Task[Sequence[_Range]]] = set()

    async def owner(self, slot: int) -> Host:
        """Where that slot is."""
        if not self._is_current:
            await self._loaded()
        for found in self._ranges:  # as many as there are masters, unless slots were moved one by one
            if found.first <= slot <= found.last:
                return found.host
        self.doubt()
        raise StoreError("store_cluster_down", f"{self._place}: no node has the slot {slot}")

    def doubt(self) -> None:
        """The map is wrong, or may be."""
        self._is_current = False

    def has(self, host: Host) -> bool:
        """Whether it is one of the masters."""
        return any(found.host == host for found in self._ranges)

    async def aclose(self) -> None:
        """Stop asking. May be called twice."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait((self._loading,))
        if self._questions:
            await asyncio.wait(self._questions)

    async def _loaded(self) -> None:
        """All who need the map meanwhile share one answer."""
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._load())
            self._loading.add_done_callback(_note_outcome)
        await asyncio.shield(self._loading)

    async def _load(self) -> None:
        others = list(self._known - set(self._seeds))
        hosts = [*self._seeds, *random.sample(others, min(len(others), ASKED))][:ASKED]
        try:
            self._ranges = await _first_of([self._question(host) for host in hosts])
        except StoreError:
            await asyncio.sleep(PAUSE_S)
            raise
        self._known = set(self._seeds) | {found.host for found in self._ranges}
        self._is_current = True

    def _question(self, host: Host) -> "asyncio.Task[Sequence[_Range]]":
        """Never cancelled, since a connection that is given up half-made may stay open. It ends by its own time-out."""
        question = asyncio.create_task(self._ask(host))
        self._questions.add(question)
        question.add_done_callback(self._questions.discard)
        question.add_done_callback(_note_outcome)
        return question

    async def _ask(self, asked: Host) -> Sequence[_Range]:
        client = self._connect(asked)
        try:
            answer = await client.ask("CLUSTER", "SLOTS")
        finally:
            await client.aclose()
        if not answer:
            raise StoreError("store_cluster_down", f"{asked}: is in no cluster, or has no slots")
        return [_Range(first, last, _host(master, asked)) for first, last, master, *_ in answer]


class ClusterClient:
    """One role's connections to a cluster. With `home` all commands go where that key lives, else by their first key.

    A role with a home keeps to one node: after its slot has moved, connections of before are not used again.
    """

    def __init__(
        self,
        slots: SlotMap,
        *,
        connect: Callable[[Host], Client],
        place: str,
        timeout_s: float,
        home: str | None = None,
    ) -> None:
        self._slots = slots
        self._connect = connect
        self._place = place
        self._deadline_s = 2 * timeout_s  # over all hops
        self._home = None if home is None else key_slot(home.encode())
        self._nodes: dict[Host, Client] = {}
        self._retiring: dict[asyncio.Task[None], Client] = {}
        self._retired_connects = 0

    @property
    def connects(self) -> int:
        """How many connections were ever made."""
        return self._retired_connects + sum(node.connects for node in self._nodes.values())

    async def ask(self, *words: Any) -> Any:
        """Run one command."""

        async def on(node: Client, is_asking: bool) -> Any:  # noqa: FBT001 - one of two ways to send
            if not is_asking:
                return await node.ask(*words)
            answers = await node.ask_all(("ASKING",), words, transaction=False)
            raise_first(answers)
            return answers[1]

        return await self._routed(self._slot(words), on)

    async def ask_all(self, *commands: Sequence[Any], transaction: bool) -> list[Any]:
        """Run several commands, whose keys share one slot, in one round trip."""

        async def on(node: Client, is_asking: bool) -> list[Any]:  # noqa: FBT001 - see above
            if is_asking:  # some keys are here and some there; it takes as long as moving them
                raise StoreError("store_moved", f"{self._place}: the keys are being moved to another node")
            return await node.ask_all(*commands, transaction=transaction)

        return list(await self._routed(self._slot(commands[0]), on))

    def leave(self) -> None:
        """Look for the masters anew: no connection of before is used for another command."""
        self._slots.doubt()
        for node in self._nodes.values():
            node.leave()

    async def aclose(self) -> None:
        """Close all connections. May be called twice."""
        for task in list(self._retiring):
            task.cancel()
        for node in (*self._nodes.values(), *self._retiring.values()):
            await node.aclose()

    def _slot(self, words: Sequence[Any]) -> int:
        if self._home is not None:
            return self._home
        key = words[1]
        return key_slot(key.encode() if isinstance(key, str) else key)

    async def _routed(self, slot: int, on: Callable[[Client, bool], Awaitable[Any]]) -> Any:
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._follow_redirections(slot, on)
        except TimeoutError:
            self._slots.doubt()
            raise StoreError("store_timeout", f"{self._place}: no answer in time") from None

    async def _follow_redirections(self, slot: int, on: Callable[[Client, bool], Awaitable[Any]]) -> Any:
        host, is_asking = await self._slots.owner(slot), False
        for _ in range(HOPS):
            try:
                return await on(self._node(host), is_asking)
            except Redirected as redirected:
                host, is_asking = redirected.host, redirected.is_asking
                if not is_asking:
                    self._slots.doubt()
            except StoreError as error:
                if error.reason in _LOST:
                    self._slots.doubt()
                raise
        raise StoreError("store_moved", f"{self._place}: redirected too often")

    def _node(self, host: Host) -> Client:
        if host not in self._nodes:
            for other in [each for each in self._nodes if self._home is not None or not self._slots.has(each)]:
                self._retire(self._nodes.pop(other))
            self._nodes[host] = self._connect(host)
        return self._nodes[host]

    def _retire(self, node: Client) -> None:
        self._retired_connects += node.connects
        task = asyncio.create_task(self._close_later(node))
        self._retiring[task] = node
        task.add_done_callback(lambda task: self._retiring.pop(task, None))

    async def _close_later(self, node: Client) -> None:
        await asyncio.sleep(2 * self._deadline_s)  # by then its last command has ended
        await node.aclose()


async def _first_of(questions: Sequence[asyncio.Task[Sequence[_Range]]]) -> Sequence[_Range]:
    """The first answer; the last error when there is none."""
    failed: StoreError | None = None
    for question in asyncio.as_completed(questions):
        try:
            return await question
        except StoreError as error:
            failed = error
    raise failed or StoreError("store_cluster_down", "no node to ask")


def _host(master: Sequence[Any], asked: Host) -> Host:
    """A node that does not know its own address is where it was asked."""
    name = bytes(master[0] or b"").decode()
    return Host(name if name and name != "?" else asked.name, int(master[1]))


def _note_outcome(task: "asyncio.Task[Any]") -> None:
    """Every caller may have given up by now: then nobody else asks, and asyncio would complain at some later time."""
    if not task.cancelled():
        task.exception()
