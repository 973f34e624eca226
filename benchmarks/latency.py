"""Latency that a proxy adds: the same open-loop load straight to the app and through the proxies, in turn.

The first rate is half of the most that the sidecar can do, or less where the client and the app, which share a core,
could not keep it up: their own queue would be measured then. The second is half of that: how much of what the first
shows comes from bursts, which the client makes more of the less idle its core is.
"""

from pathlib import Path
from statistics import median

from benchmarks import deployment, proxies
from benchmarks.pacer import latencies
from benchmarks.processes import LOAD_CORE, running
from benchmarks.report import Section, table
from benchmarks.wrk import load

CONNECTIONS = 32
DIRECT = "straight to the app"
_QUEUE_MS, _TRIES = 0.5, 5  # a queue moves the median; noise moves the tail
_QUANTILES = (0.5, 0.99, 0.999)


def measure(folder: Path, *, rounds: int, seconds: float) -> Section:
    app = proxies.small_app(folder)
    lines: list[str] = []
    with running(app, folder=folder, core=LOAD_CORE):
        most = _most(folder, app.port)
        half = _bearable(app.port, most / 2)
        for rate in (half, half / 2):
            said = f"{rate:.0f} requests/s, {rate / most:.2f} of the most that the sidecar did."
            lines += [said, "", *_rows(_rounds(folder, app.port, rate, rounds=rounds, seconds=seconds)), ""]
    return Section(lines[:-1])


def _rounds(folder: Path, app: int, rate: float, *, rounds: int, seconds: float) -> dict[str, list[list[float]]]:
    found: dict[str, list[list[float]]] = {}
    for _ in range(rounds):
        found.setdefault(DIRECT, []).append(_quantiles(app, rate, seconds))
        for make in (proxies.nginx, deployment.sidecar):
            program = make(folder, app)
            with running(program, folder=folder):
                found.setdefault(program.name, []).append(_quantiles(program.port, rate, seconds))
    return found


def _most(folder: Path, app: int) -> float:
    program = deployment.sidecar(folder, app)
    with running(program, folder=folder) as group:
        load(group, program.port, "browser.lua", seconds=1)
        return load(group, program.port, "browser.lua", seconds=2).requests_per_second


def _bearable(port: int, rate: float) -> float:
    """At most this rate, less when even the way straight to the app has a queue."""
    for _ in range(_TRIES):
        if _quantiles(port, rate, 1.0)[0] < _QUEUE_MS:
            break
        rate *= 0.8
    return rate


def _quantiles(port: int, rate: float, seconds: float) -> list[float]:
    latencies(port, rate=rate, seconds=0.5, connections=CONNECTIONS)  # warm
    found = latencies(port, rate=rate, seconds=seconds, connections=CONNECTIONS)
    return [found[int(len(found) * quantile)] for quantile in _QUANTILES]


def _rows(found: dict[str, list[list[float]]]) -> list[str]:
    figures = {name: [median(column) for column in zip(*each, strict=True)] for name, each in found.items()}
    direct = figures[DIRECT]
    rows = [
        [name, *(f"{value:.2f}" for value in one), f"{one[0] - direct[0]:+.2f}", f"{one[1] - direct[1]:+.2f}"]
        for name, one in figures.items()
    ]
    return table(("", "p50 ms", "p99 ms", "p99.9 ms", "p50 added", "p99 added"), rows)
