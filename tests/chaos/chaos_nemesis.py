"""The nemesis: what it can do to a site, and in which company.

Within a lane one trouble follows the other; lanes run side by side. A mode never kills a replica that may be the only
one to know what the store has just lost: that loss is real, and documented.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from chaos_site import Replica, Site
from chaos_stores import LOG

from sidecar import clock

Step = Callable[[], Awaitable[Any]]


async def nothing() -> None:
    """For troubles that are over as soon as they have happened."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that goes wrong, and how it is mended again."""

    name: str
    apply: Step
    mend: Step = nothing
    hold: tuple[float, float] = (0.0, 0.0)
    loses: bool = False
    refuses: bool = False
    mends_fully_at_once: bool = True  # whether what it lost can be published again from the moment of mending


Lane = Sequence[Trouble]


def command(server: Any, *words: str | int) -> Step:
    return partial(asyncio.to_thread, server.command, *words)


def call(function: Callable[..., Any], *args: Any, **options: Any) -> Step:
    """A step in a thread of its own: servers are started and killed by functions that wait."""
    return partial(asyncio.to_thread, function, *args, **options)


def at_once(function: Callable[..., Any], *args: Any) -> Step:
    async def step() -> None:
        function(*args)

    return step


def losses(site: Site) -> list[Lane]:
    """The store forgets, while links are cut."""
    server = site.store.server
    forgets: list[Trouble] = [
        Trouble("kill -9, empty restart", call(server.kill), call(server.start), (0.1, 1.5), loses=True),
        Trouble("FLUSHALL", command(server, "FLUSHALL"), loses=True),
        Trouble("DEL of the log", command(server, "DEL", LOG), loses=True),
    ]
    return [forgets, [*cuts_of_links(site), *stops_of_replicas(site), clients_killed(site)]]


def cuts(site: Site) -> list[Lane]:
    """Nothing is lost, and nobody hears anybody."""
    server = site.store.server
    hangs = Trouble("SIGSTOP of Redis", call(server.suspend), call(server.resume), (0.3, 2.2))
    return [[hangs, clients_killed(site)], [*cuts_of_links(site), *stops_of_replicas(site)]]


def refusals(site: Site) -> list[Lane]:
    """The store takes no writes, or is killed and keeps what it had; replicas die and are born."""
    server = site.store.server
    full = command(server, "CONFIG", "SET", "maxmemory", 1)
    copy = command(server, "REPLICAOF", "127.0.0.1", 1)
    refuses: list[Trouble] = [
        Trouble("OOM", full, command(server, "CONFIG", "SET", "maxmemory", 0), (0.3, 1.5), refuses=True),
        Trouble("READONLY", copy, command(server, "REPLICAOF", "NO", "ONE"), (0.3, 2.0), refuses=True),
        Trouble("kill -9, restart with AOF", call(server.kill), call(server.start), (0.1, 1.5), refuses=True),
    ]
    return [refuses, births(site)]


def failover(site: Site) -> list[Lane]:
    """One failover that loses the tail: the copy gets nothing any more, then the master dies."""
    master, copy = site.store.master, site.store.copy

    async def lose_tail() -> None:
        await asyncio.to_thread(copy.command, "CONFIG", "SET", "masterauth", "wrong")
        await asyncio.to_thread(master.command, "CLIENT", "KILL", "TYPE", "replica")
        await asyncio.sleep(1.0)  # logouts go on, and only the master has them
        await asyncio.to_thread(master.kill)

    async def promoted() -> None:
        while (await asyncio.to_thread(copy.command, "ROLE"))[0] != b"master":
            await asyncio.sleep(0.05)

    return [[Trouble("failover that loses the tail", lose_tail, promoted, loses=True)], stops_of_replicas(site)]


def resharding(site: Site) -> list[Lane]:
    """The log moves to another master, and a copy takes over without asking anybody."""
    cluster = site.store.cluster
    assert cluster is not None

    async def takeover() -> None:
        await asyncio.to_thread(cluster.replica().command, "CLUSTER", "FAILOVER", "TAKEOVER")

    moves = [Trouble("takeover", takeover, loses=True), Trouble("slot moves", call(cluster.move_log))]
    return [moves, stops_of_replicas(site)]


def cuts_of_links(site: Site) -> list[Trouble]:
    return [trouble for replica in site.replicas for trouble in _cuts_of_link(replica)]


def _cuts_of_link(replica: Replica) -> list[Trouble]:
    link = replica.link
    assert link is not None
    ways = {"blackhole": ("up", "down"), "nothing to Redis": ("up",), "nothing from Redis": ("down",)}
    restore, hold = at_once(link.restore), (0.3, 2.2)
    holding = [Trouble(f"{name}, {replica.name}", at_once(link.cut, *way), restore, hold) for name, way in ways.items()]
    return [*holding, Trouble(f"reset, {replica.name}", at_once(link.reset), restore, hold)]


def stops_of_replicas(site: Site) -> list[Trouble]:
    return [
        Trouble(
            f"SIGSTOP, {replica.name}",
            at_once(replica.signal, signal.SIGSTOP),
            at_once(replica.signal, signal.SIGCONT),
            (0.3, 2.2),
        )
        for replica in site.replicas
    ]


def clients_killed(site: Site) -> Trouble:
    return Trouble("CLIENT KILL", command(site.store.server, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))


def births(site: Site) -> list[Trouble]:
    """A replica dies, and one is born in its place; some are born without a way to the store."""
    return [trouble for replica in site.replicas for trouble in (_birth(replica), _birth_cut_off(replica))]


def _birth(replica: Replica) -> Trouble:
    async def reborn() -> None:
        replica.start()
        await replica.ready()

    return Trouble(f"kill -9 and birth, {replica.name}", at_once(replica.kill), reborn, (0.0, 0.5))


def _birth_cut_off(replica: Replica) -> Trouble:
    link = replica.link
    assert link is not None

    async def reborn_alone() -> None:
        replica.kill()
        link.cut("up", "down")
        replica.start(is_cut_off=True)

    async def connected() -> None:
        replica.life.could_know = clock.boot()
        link.restore()
        await replica.ready()

    return Trouble(f"birth without a store, {replica.name}", reborn_alone, connected, (1.5, 2.5))


async def torment(site: Site, lane: Lane, *, random: Random, until: float) -> None:
    """Trouble after trouble of one lane, every one of them mended."""
    while clock.boot() < until:
        trouble = random.choice(lane)
        fault = site.fault(trouble.name, loses=trouble.loses, refuses=trouble.refuses)
        await trouble.apply()
        fault.applied = clock.boot()
        await asyncio.sleep(random.uniform(*trouble.hold))
        fault.mending = clock.boot()
        await trouble.mend()
        fault.ended = clock.boot()
        await asyncio.sleep(random.uniform(0.1, 0.8))


async def torment_once(site: Site, lane: Lane, *, random: Random, until: float) -> None:
    """Each trouble of a lane once, in order; for what cannot be done twice."""
    del until
    for trouble in lane:
        await torment(site, [trouble], random=random, until=clock.boot() + 0.001)
