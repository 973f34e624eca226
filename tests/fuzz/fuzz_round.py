"""One round: a data plane of its own, all planned clients, the app; then the rules, and whether all is quiet."""

import asyncio
import contextlib
import gc
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench_plane import Stage, session, stage
from fuzz_ends import App, Client, Seen
from fuzz_plan import DEAD, DOOMED, LIVE, Answer, Connection, Plan
from fuzz_rules import breaches, sure_of
from wire import ask, until

_QUIET_WITHIN = 4.0  # more than a lingering connection and a half-closed client are given
_HELD_EACH = 400_000  # of a connection, on average at most: what is read at once (256 KiB) and the high-water marks
_LOOKS = 0.02
_KERNEL_TAKES = 50_000  # for clients, so that what they do not read is held back in the sidecar


@dataclass
class Outcome:
    """What came of a plan. `breaches` is empty when all is well."""

    plan: Plan
    breaches: list[str]
    seen: list[Seen] = field(default_factory=list)
    app: App | None = None


class _Errors(logging.Handler):
    """What was logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"logged: {logging.Formatter().format(record)}")


@contextlib.contextmanager
def _watched_log() -> Iterator[list[str]]:
    handler = _Errors()
    logging.getLogger().addHandler(handler)
    try:
        yield handler.texts
    finally:
        logging.getLogger().removeHandler(handler)


async def play(plan: Plan) -> Outcome:
    """Play a plan on a data plane of its own and see what was wrong."""
    with _watched_log() as logged:
        async with stage(pool={"max_connections": plan.most}, sends=_KERNEL_TAKES) as opened:
            await _prepare(opened, plan)
            outcome = await _play(opened, plan)
            outcome.breaches += await _works(opened)
            gc.collect(0)  # a task whose fault nobody has looked at tells the loop when it is collected
            outcome.breaches += [f"the loop was told: {fault}" for fault in opened.faults]
            opened.faults.clear()
        outcome.breaches += logged
    return outcome


async def _prepare(opened: Stage, plan: Plan) -> None:
    await opened.bind(LIVE.decode(), session("live"))
    await opened.bind(DEAD.decode(), session("dead"))
    await opened.logout("dead")
    for connection in plan.connections:
        await opened.bind(f"{DOOMED.decode()}-{connection.number}", session(f"doomed-{connection.number}"))


async def _play(opened: Stage, plan: Plan) -> Outcome:
    async def log_out(connection: Connection) -> None:
        await opened.logout(f"doomed-{connection.number}")

    tunnels = {message.tag: len(message.tunnel) for each in plan.connections for message in each.messages}
    app = App(opened._app.sock, plan.answers, tunnels)
    clients = [
        Client(each, sure=sure_of(each, plan), whole=is_whole(each, plan), log_out=log_out) for each in plan.connections
    ]
    held: list[int] = []
    before = asyncio.all_tasks()
    beside = [asyncio.ensure_future(work) for work in (app.accept(), _look(opened, held))]
    await asyncio.gather(*(client.run(opened.address) for client in clients))
    await app.leave()
    found = await _left_over(opened, before | set(beside))
    await _end(beside)
    seen = [client.seen for client in clients]
    found += breaches(app, seen, plan)
    if (most := max(held, default=0)) > _HELD_EACH * len(clients):
        found.append(f"{most} bytes were held for {len(clients)} clients")
    return Outcome(plan, found, seen, app)


async def _end(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def is_whole(connection: Connection, plan: Plan) -> bool:
    """Whether the client has nothing more to expect once it has its answers."""
    return connection.is_honest and sure_of(connection, plan) == len(connection.messages)


async def _look(opened: Stage, held: list[int]) -> None:
    while True:
        await asyncio.sleep(_LOOKS)
        held.append(opened.buffered())


async def _left_over(opened: Stage, before: set[asyncio.Task[object]]) -> list[str]:
    """Once both ends are gone nothing of their exchanges is left."""

    def is_quiet() -> bool:
        tasks = asyncio.all_tasks() - before - {asyncio.current_task()}
        return opened.is_quiet() and not tasks and not opened.pool.counts[2] and not opened.stats.tunnels

    try:
        await until(is_quiet, _QUIET_WITHIN)
    except AssertionError:
        counts = f"{list(opened.plane.connections)}, in flight {opened.stats.in_flight}, pool {opened.pool.counts}"
        return [f"left over: {counts}, streams {len(opened.live)}, {asyncio.all_tasks() - before}"]
    return []


async def _works(opened: Stage) -> list[str]:
    """An ordinary request is served, and one of a dead session is not."""
    app = App(opened._app.sock, {b"after": Answer(b"after", size=100)}, {})
    accepting = asyncio.ensure_future(app.accept())
    try:
        client = await opened.client(ask("GET / HTTP/1.1", "X-Id: after", "Cookie: JSESSIONID=live"))
        served = await client.answer()
        await client.send(ask("GET / HTTP/1.1", "X-Id: after", "Cookie: JSESSIONID=dead"))
        refused = await client.answer()
    except (AssertionError, OSError, TimeoutError) as error:
        return [f"an ordinary request fails afterwards: {error!r}"]
    finally:
        await _end([accepting])
        await app.leave()
    is_good = (served.status, len(served.body), refused.status) == (200, 100, 401)
    return [] if is_good else [f"afterwards: {served.status}, {len(served.body)} bytes, then {refused.status}"]
