"""The figures of docs/performance.md, all measured side by side in one run.

    python -m benchmarks.run                     print them
    python -m benchmarks.run --write             put them into docs/performance.md, and draw its chart
    python -m benchmarks.run --only bodies,tls   some of the sections
    python -m benchmarks.run --rounds 1 --seconds 1   quick, to see that it works

One core serves, the other one loads it and runs the app. CPU is user and system time of the measured processes for
each request; ratios between rows of one run are what counts, since machines differ from run to run. The proxies take
turns, round after round, and the medians of the rounds are shown.
"""

import argparse
import datetime as dt
import os
import platform
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import bodies, chart, deployment, gets, idle, latency, logouts, replica, report
from benchmarks.processes import missing, use_load_core
from benchmarks.report import Section

ROOT = Path(__file__).parents[1]
ROUNDS, SECONDS = 4, 4.0
PAGE, CHART = ROOT / "docs/performance.md", ROOT / "docs/performance.svg"
SECTIONS: Mapping[str, Callable[..., Section]] = {
    "requests": gets.measure,
    "tls": gets.measure_tls,
    "latency": latency.measure,
    "bodies": bodies.measure,
    "sockets": idle.measure_sockets,
    "stalled": idle.measure_stalled,
    "logouts": logouts.measure_logouts,
    "start": logouts.measure_start,
    "replica": replica.measure,
}


def main() -> int:
    arguments = _arguments()
    if lacking := missing("wrk", "nginx", "taskset", "setpriv"):
        print(f"the benchmarks need {', '.join(lacking)} (Debian: wrk, nginx-light, util-linux)", file=sys.stderr)
        return 1
    if (os.cpu_count() or 1) < 2:
        print("the benchmarks need two cores", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # children are stopped on the way out
    use_load_core()
    found = {"machine": Section([_machine()])}
    print(*found["machine"].lines, sep="\n")
    how = _how(arguments.rounds, arguments.seconds)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Apache's child is another user
        deployment.prepare(folder)
        for section in arguments.only:
            began = time.monotonic()
            found[section] = SECTIONS[section](folder, rounds=arguments.rounds, seconds=arguments.seconds)
            print(f"\n## {section} ({time.monotonic() - began:.0f} s)\n", *found[section].lines, sep="\n", flush=True)
    if arguments.write:
        _write(found, how)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="The figures of the sidecar.")
    parser.add_argument("--only", type=_some, default=list(SECTIONS), help=f"some of: {', '.join(SECTIONS)}")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/performance.md")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each load")
    return parser.parse_args()


def _some(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return names


def _write(found: Mapping[str, Section], how: str) -> None:
    """Each section says when it was measured: a run may be of some only."""
    page = PAGE.read_text()
    for name, section in found.items():
        page = report.replaced(page, name, [*section.lines, "", how])
        if section.bars:
            CHART.write_text(_chart(section))
    PAGE.write_text(page)


def _chart(section: Section) -> str:
    return chart.bars(
        section.bars,
        title="CPU time of the proxy for one 1 KiB GET",
        note="One core, 32 kept connections, as fast as it goes, medians of one run. Less is better.",
        unit="µs",
        reference="nginx",
    )


def _how(rounds: int, seconds: float) -> str:
    trial = " A trial, too short to be quoted." if rounds < ROUNDS or seconds < SECONDS else ""
    return f"Measured on {dt.datetime.now(dt.UTC).date()}, {rounds} rounds of {seconds:g} s.{trial}"


def _machine() -> str:
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) or ["unknown processor"]
    kernel = ".".join(platform.release().split(".")[:2])
    return (
        f"The machine: {len(names)} x {names[0].strip()}, {platform.machine()}, Linux {kernel},"
        f" Python {platform.python_version()}."
    )


if __name__ == "__main__":
    sys.exit(main())
