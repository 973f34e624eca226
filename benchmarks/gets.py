"""One proxied 1 KiB GET: CPU, throughput, tail, the same load for all proxies in turn.

Measured twice: as fast as it goes, where the fastest proxy never lets the other side sleep and so saves the wake-ups;
and paced, where all proxies get about the same rate. Also over TLS.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import deployment, openidc, proxies
from benchmarks.processes import LOAD_CORE, Program, missing, running
from benchmarks.report import Bar, Section, table
from benchmarks.wrk import Load, load

COLUMNS = ("", "requests/s", "against nginx", "CPU µs", "against nginx", "p99 ms", "CPU µs, paced", "against nginx")


@dataclass(frozen=True)
class Round:
    """What one proxy did in one round."""

    fast: Load
    paced: Load


def measure(folder: Path, *, rounds: int, seconds: float) -> Section:
    app = proxies.small_app(folder)
    found: dict[str, list[Round]] = {}
    with running(app, folder=folder, core=LOAD_CORE):
        for _ in range(rounds):
            for make in _peers():
                program = make(folder, app.port)
                found.setdefault(program.name, []).append(_round(program, folder, seconds))
    bars = [
        Bar(name, median(one.fast.cpu_us for one in all_of_it), name == "logout-sidecar")
        for name, all_of_it in found.items()
    ]
    return Section(_rows(found), bars)


def measure_tls(folder: Path, *, rounds: int, seconds: float) -> Section:
    """The same over TLS: one handshake for each of the connections, then kept."""
    app, pair = proxies.small_app(folder), deployment.certificate(folder)
    found: dict[str, list[Round]] = {}
    with running(app, folder=folder, core=LOAD_CORE):
        for _ in range(rounds):
            for program in (proxies.nginx(folder, app.port, tls=pair), deployment.sidecar(folder, app.port, tls=pair)):
                found.setdefault(program.name, []).append(_round(program, folder, seconds, scheme="https"))
    return Section(_rows(found))


def _peers() -> Sequence[Callable[[Path, int], Program]]:
    peers: list[Callable[[Path, int], Program]] = [proxies.nginx, deployment.sidecar, proxies.plain_aiohttp]
    if not missing("haproxy"):
        peers.append(proxies.haproxy)
    if proxies.has_apache():
        peers += [proxies.apache, openidc.apache_openidc]
    return peers


def _round(program: Program, folder: Path, seconds: float, *, scheme: str = "http") -> Round:
    with running(program, folder=folder) as group:
        sessions = openidc.log_in(folder, program.port) if "openidc" in program.name else ()
        load(group, program.port, "browser.lua", *sessions, seconds=1, scheme=scheme)  # warm: connections and caches
        fast = load(group, program.port, "browser.lua", *sessions, seconds=seconds, scheme=scheme)
        paced = load(group, program.port, "browser.lua", "paced", *sessions, seconds=seconds, scheme=scheme)
    return Round(fast, paced)


def _rows(found: dict[str, list[Round]]) -> list[str]:
    figures = {
        name: (
            median(one.fast.requests_per_second for one in all_of_it),
            median(one.fast.cpu_us for one in all_of_it),
            median(one.fast.p99_ms for one in all_of_it),
            median(one.paced.cpu_us for one in all_of_it),
        )
        for name, all_of_it in found.items()
    }
    rate, cpu, _, paced = figures["nginx"]
    return table(
        COLUMNS,
        [
            [
                name,
                *(f"{one[0]:.0f}", f"{one[0] / rate:.2f}", f"{one[1]:.1f}", f"{one[1] / cpu:.2f}"),
                *(f"{one[2]:.2f}", f"{one[3]:.1f}", f"{one[3] / paced:.2f}"),
            ]
            for name, one in sorted(figures.items(), key=lambda item: item[1][1])
        ],
    )
