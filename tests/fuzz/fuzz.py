"""The wire fuzzer: `python tests/fuzz/fuzz.py --seconds 3600`, or `make fuzz SECONDS=3600`.

Rounds go on until the time is up or a rule is broken. A round that fails is made smaller, and printed: its seed, the
breaches, and the conversation as both ends saw it. Such a seed, `RUN:ROUND`, plays that round alone; what depends on
the rounds before it comes again only with the seed of the whole run.
"""

import argparse
import random
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1] / "proxy"))  # where the bench and the wires live

from fuzz_ends import Seen, Served
from fuzz_plan import Connection, Plan, planned
from fuzz_round import Outcome, play

_SHRINKS = 60  # tries
_SHOWN = 800  # bytes of one direction
_REPEATED = re.compile(rb"(\d+-\d(?:\.|\r\n))(?:\d+-\d(?:\.|\r\n))+")  # the bodies of the plan


async def search(seed: str, seconds: float) -> tuple[int, Outcome | None]:
    """Play rounds of this seed for so long; how many, and the first that failed."""
    deadline, number = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        outcome = await play(planned(f"{seed}:{number}"))
        number += 1
        if outcome.breaches:
            return number, outcome
    return number, None


async def shrunk(outcome: Outcome) -> Outcome:
    """The smallest plan that still fails, as far as some tries go. A round that depends on time may not fail again."""
    tries = 0
    while True:
        for plan in _smaller(outcome.plan):
            tries += 1
            if tries > _SHRINKS:
                return outcome
            again = await play(plan)
            if again.breaches:
                outcome = again
                break
        else:
            return outcome


def _smaller(plan: Plan) -> Iterator[Plan]:
    """One connection less, one message less, one oddity less."""
    connections = plan.connections
    for index, connection in enumerate(connections):
        if len(connections) > 1:
            yield replace(plan, connections=connections[:index] + connections[index + 1 :])
        for smaller in _smaller_connections(connection):
            yield replace(plan, connections=(*connections[:index], smaller, *connections[index + 1 :]))


def _smaller_connections(connection: Connection) -> Iterator[Connection]:
    messages = connection.messages
    for index, message in enumerate(messages):
        if len(messages) > 1:
            yield replace(connection, messages=messages[:index] + messages[index + 1 :])
        for edit in message.edits:
            fewer = tuple(other for other in message.edits if other is not edit)
            yield replace(
                connection, messages=(*messages[:index], replace(message, edits=fewer), *messages[index + 1 :])
            )
    if connection.is_slow:
        yield replace(connection, is_slow=False)


def report(outcome: Outcome) -> str:
    """Everything that somebody needs who has to find out why."""
    lines = [f"SEED={outcome.plan.seed}", *(f"  * {breach[:500]}" for breach in outcome.breaches)]
    for seen in outcome.seen:
        lines += _told_client(seen)
    for served in outcome.app.served if outcome.app else ():
        lines += _told_app(served)
    return "\n".join(lines)


def _told_client(seen: Seen) -> list[str]:
    plan = seen.connection
    leaves = f"leaves at {plan.leaves_at:.2f} by {plan.leaves_by}{', slow' if plan.is_slow else ''}"
    return [
        f"--- client {plan.number}: {leaves}; {seen.ended or 'left'} at the end",
        f"  sent     {_shown(seen.sent)}",
        f"  received {_shown(seen.received)}",
    ]


def _told_app(served: Served) -> list[str]:
    got = [f"{one.method!r} {one.target!r} {one.tag!r} {one.is_complete}" for one in served.reader.requests]
    return [f"--- app: {got}", f"  answered {_shown(served.sent)}", *(f"  plan {answer}" for answer in served.answered)]


def _shown(data: bytes | bytearray) -> str:
    whole = bytes(data)
    short = _REPEATED.sub(rb"\1...", whole)
    return repr(short[:_SHOWN]) + (f" ... {len(whole)} bytes" if len(short) > _SHOWN else "")


async def _main(arguments: argparse.Namespace) -> int:
    if ":" in arguments.seed:
        outcome = await play(planned(arguments.seed))
        print(report(outcome) if outcome.breaches else f"SEED={arguments.seed}: nothing is wrong")
        return bool(outcome.breaches)
    seed = arguments.seed or f"{random.SystemRandom().randrange(1 << 32)}"
    print(f"fuzzing for {arguments.seconds:g} s, SEED={seed}", flush=True)
    rounds, failed = await search(seed, arguments.seconds)
    print(f"{rounds} rounds")
    if failed is None:
        return 0
    print(report(failed), "\n\nmade smaller:\n", report(await shrunk(failed)), sep="\n")
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the data plane.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", default="", help="of a run, or of one round; default: another one each time")
    return uvloop.run(_main(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
