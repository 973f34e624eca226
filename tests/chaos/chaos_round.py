"""One round: start a site, log people out and ask for their sessions, let the nemesis loose, and write it all down."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from chaos_history import Answer, History, Logout, Outcome
from chaos_nemesis import Lane, cuts, failover, losses, refusals, resharding, torment, torment_once
from chaos_people import Person, Session
from chaos_site import PRODUCT, Replica, Site
from chaos_stores import StorePlace, cluster, sentinel, single
from chaos_wire import Client

from sidecar import clock

CALM_S = 1.0  # before the nemesis begins
WELL_S = 3.0  # after it, before everybody must know everything
PAUSE_S = 0.008  # of a prober, between two requests
LOGOUT_EVERY_S = 0.15
RECENT = 24  # sessions that are asked for again and again
TICK_S = 0.02


@dataclass(frozen=True, slots=True)
class Mode:
    """A store, and what happens to it."""

    store: Callable[[Path, str], AbstractContextManager[StorePlace]]
    lanes: Callable[[Site], list[Lane]]
    once: bool = False  # whether the first lane can be gone through only once


MODES = {
    "losses": Mode(single, losses),
    "cuts": Mode(single, cuts),
    "refusals": Mode(partial(single, durable=True), refusals),
    "sentinel": Mode(sentinel, failover, once=True),
    "cluster": Mode(cluster, resharding),
}


async def play(
    name: str, *, seed: str, seconds: float, folder: Path, server: str = "redis", program: Sequence[str] = PRODUCT
) -> History:
    """Play one round, with this long for the nemesis."""
    mode, history = MODES[name], History(f"{name}:{seed}")
    with contextlib.ExitStack() as stack:
        store = await asyncio.to_thread(stack.enter_context, mode.store(folder, server))
        async with Site(folder, store=store, history=history, program=program) as site:
            await site.start()
            await _Round(site, history).play(mode, seconds)
    return history


class _Round:
    """The load of one round, and what it sees."""

    def __init__(self, site: Site, history: History) -> None:
        self._site = site
        self._history = history
        self._random = Random(history.seed)
        self._people = site.signer.people()
        self._sessions: list[Session] = []
        self._recent: deque[Session] = deque(maxlen=RECENT)
        self._stopped = asyncio.Event()

    async def play(self, mode: Mode, seconds: float) -> None:
        self._invite()
        async with asyncio.TaskGroup() as tasks:
            load = [self._watch(), self._log_out(), self._log_out()]
            load += [self._probe(replica) for replica in self._site.replicas]
            running = [tasks.create_task(each) for each in load]
            await asyncio.sleep(CALM_S)
            await self._torment(mode, clock.boot() + seconds)
            await self._all_serve()
            await asyncio.sleep(WELL_S)
            self._stopped.set()
            await asyncio.wait(running)
        await self._ask_for_everything([*self._site.replicas, await self._site.newborn()])

    async def _torment(self, mode: Mode, until: float) -> None:
        lanes = mode.lanes(self._site)
        ways = [torment_once if mode.once else torment, *[torment] * len(lanes)]
        async with asyncio.TaskGroup() as tasks:
            for number, (lane, way) in enumerate(zip(lanes, ways, strict=False)):
                random = Random(f"{self._history.seed}:{number}")
                tasks.create_task(way(self._site, lane, random=random, until=until))

    def _invite(self) -> Person:
        person = next(self._people)
        self._sessions += person.sessions
        self._recent += person.sessions
        return person

    async def _log_out(self) -> None:
        while not self._stopped.is_set():
            person = self._invite()
            await asyncio.sleep(LOGOUT_EVERY_S * self._random.uniform(0.5, 1.5))  # they are served for a moment
            if self._random.random() < 0.8:
                await self._end(person)

    async def _end(self, person: Person) -> None:
        replica = self._random.choice(self._site.replicas)
        body, sessions = self._site.signer.logout(person, self._random)
        life, sent = replica.life, clock.boot()
        with Client(replica.port) as client:
            answer = await client.ask(_post(body))
        status = answer[0] if answer else None
        if status is not None:
            assert status in {200, 503}, f"a logout token was refused: {answer}"
        self._history.logouts.append(Logout(sessions, life, sent, clock.boot(), status))

    async def _probe(self, replica: Replica) -> None:
        life = replica.life
        with Client(replica.port) as client:
            while not self._stopped.is_set():
                await asyncio.sleep(PAUSE_S)
                if replica.life is not life:
                    client.close()
                    life = replica.life
                sessions = self._sessions if self._random.random() < 0.2 else self._recent
                await self._ask(replica, client, self._random.choice(sessions))

    async def _ask(self, replica: Replica, client: Client, session: Session, *, is_final: bool = False) -> None:
        life, sent = replica.life, clock.boot()
        answer = await client.ask(session.request)
        if answer is not None:
            status, body = answer
            outcome = _outcome(status, body, session)
            seen = Answer(session.name, life, sent, clock.boot(), outcome, status, is_final)
            self._history.answers.append(seen)

    async def _watch(self) -> None:
        """How late this process wakes up: on a busy machine everybody else does, too."""
        while not self._stopped.is_set():
            due = clock.boot() + TICK_S
            await asyncio.sleep(TICK_S)
            self._history.delays.append((due, clock.boot() - due))

    async def _all_serve(self) -> None:
        """Wait until everybody serves again; somebody whom nobody will log out is asked for."""
        session = next(self._people).first
        for replica in self._site.replicas:
            await replica.ready()
            deadline = clock.boot() + 10
            with Client(replica.port) as client:
                while (answer := await client.ask(session.request)) != (200, session.name.encode()):
                    assert clock.boot() < deadline, f"{replica.name} serves no more ({answer}):\n{replica.tail()}"
                    await asyncio.sleep(0.02)

    async def _ask_for_everything(self, replicas: Sequence[Replica]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for replica in replicas:
                tasks.create_task(self._ask_one_for_everything(replica))

    async def _ask_one_for_everything(self, replica: Replica) -> None:
        with Client(replica.port) as client:
            for session in self._sessions:
                await self._ask(replica, client, session, is_final=True)


def summary(history: History) -> str:
    """One line of what a round has seen."""
    outcomes = [each.outcome for each in history.answers]
    counts = ", ".join(f"{outcomes.count(each)} {each.value}" for each in Outcome)
    acknowledged = sum(each.status == 200 for each in history.logouts)
    faults = ", ".join(sorted({each.name for each in history.faults}))
    return f"{acknowledged} of {len(history.logouts)} logouts acknowledged; {counts}; {faults}"


def _outcome(status: int, body: bytes, session: Session) -> Outcome:
    if status == 200 and body == session.name.encode():
        return Outcome.SERVED
    return {401: Outcome.DENIED, 503: Outcome.UNKNOWN}.get(status, Outcome.WRONG)


def _post(body: bytes) -> bytes:
    head = (
        "POST /_sidecar/backchannel-logout HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
