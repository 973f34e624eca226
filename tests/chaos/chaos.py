"""Chaos for longer: `python tests/chaos/chaos.py --minutes 60 --seed 7`, or `make chaos MINUTES=60 SEED=7`.

Round after round, mode after mode, until the time is up or a promise is broken. The seed names the faults and their
order; what they meet is up to the machine, so that a round may have to be played several times to fail again.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "contracts"))  # redis_places
sys.path.insert(0, str(Path(__file__).parents[1] / "system"))  # bench_process

from chaos_checker import report, violations
from chaos_round import MODES, play, summary
from chaos_site import GRACE_S
from chaos_stores import PROGRAMS

ROUND_S = 20.0  # of the nemesis


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", default=str(random.randrange(10**6)))
    parser.add_argument("--mode", choices=MODES, action="append", help="only these")
    options = parser.parse_args()
    if not PROGRAMS:
        print("no redis or valkey server on this machine")
        return 2
    return asyncio.run(_play_on(options.seed, options.mode or list(MODES), time.monotonic() + 60 * options.minutes))


async def _play_on(seed: str, modes: list[str], deadline: float) -> int:
    number = 0
    while time.monotonic() < deadline:
        mode = modes[number % len(modes)]
        server = list(PROGRAMS)[number // len(modes) % len(PROGRAMS)]
        with tempfile.TemporaryDirectory() as folder:
            each = f"{seed}:{number}"
            history = await play(mode, seed=each, seconds=ROUND_S, folder=Path(folder), server=server)
        print(f"{history.seed} on {server}: {summary(history)}", flush=True)
        if found := violations(history, grace=GRACE_S):
            print(report(history, found))
            return 1
        number += 1
    print(f"{number} rounds, no promise broken")
    return 0


if __name__ == "__main__":
    sys.exit(main())
