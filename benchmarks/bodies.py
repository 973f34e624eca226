"""Large bodies through the proxies: MB/s, CPU of the proxy, its memory. 1 MiB and 100 MiB, down and up.

Client and app share the other core and copy nothing, so that the proxy is the slower side. nginx is measured as it
comes, where it keeps what the other side is too slow for in temporary files, and with both kinds of buffering off and
larger buffers, which is what the sidecar does.
"""

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import deployment, proxies, wire
from benchmarks.processes import LOAD_CORE, Program, cpu_seconds, forget_peak, free_port, peak_rss_kib, rss_kib, running
from benchmarks.report import Section, table

MIB = 1024 * 1024
SIZES = (MIB, 100 * MIB)
CONNECTIONS = 4
REFERENCE = "nginx, unbuffered, 64 KiB"
_GIB = 1024 * MIB


@dataclass(frozen=True)
class Transfer:
    megabytes_per_second: float
    cpu_per_gib: float
    peak_mib: float  # resident memory above that before the first body


def measure(folder: Path, *, rounds: int, seconds: float) -> Section:
    port = free_port()
    app = Program(name="app", command=[sys.executable, "-m", "benchmarks.body_app", str(port)], port=port)
    found: dict[tuple[str, int], dict[str, list[Transfer]]] = {}
    with running(app, folder=folder, core=LOAD_CORE):
        for _ in range(rounds):
            for make in (proxies.nginx, _unbuffered, deployment.sidecar):
                for load, name, one in _all_of(make(folder, port), folder, seconds / 2):
                    found.setdefault(load, {}).setdefault(name, []).append(one)
    return Section(_rows(found))


def _unbuffered(folder: Path, app: int) -> Program:
    return proxies.nginx(folder, app, buffering=False)


def _all_of(program: Program, folder: Path, seconds: float) -> Iterator[tuple[tuple[str, int], str, Transfer]]:
    with running(program, folder=folder) as group:
        for direction, transfer in (("download", wire.download), ("upload", wire.upload)):
            for size in SIZES:
                yield (direction, size), program.name, _transfer(group, program.port, transfer, size, seconds)


def _transfer(group: int, port: int, transfer: Callable[[int, int, float], int], size: int, seconds: float) -> Transfer:
    transfer(port, size, 0)  # one, to be warm
    forget_peak(group)
    before, cpu, began = rss_kib(group), cpu_seconds(group), time.monotonic()
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        until = began + seconds
        total = sum(threads.map(lambda _: transfer(port, size, until), range(CONNECTIONS)))
    elapsed, spent = time.monotonic() - began, cpu_seconds(group) - cpu
    return Transfer(total / elapsed / 1e6, spent / total * _GIB, (peak_rss_kib(group) - before) / 1024)


def _rows(found: dict[tuple[str, int], dict[str, list[Transfer]]]) -> list[str]:
    columns = ("", "MB/s", "against unbuffered nginx", "CPU s/GiB", "against unbuffered nginx", "RSS grows by MiB")
    rows = []
    for (direction, size), by_name in found.items():
        figures = {
            name: (
                median(one.megabytes_per_second for one in all_of_it),
                median(one.cpu_per_gib for one in all_of_it),
                max(one.peak_mib for one in all_of_it),
            )
            for name, all_of_it in by_name.items()
        }
        speed, cpu, _ = figures[REFERENCE]  # the faster of the two
        rows += [
            [
                f"{direction} {size // MIB} MiB, {name}",
                *(f"{one[0]:.0f}", f"{one[0] / speed:.2f}", f"{one[1]:.2f}", f"{one[1] / cpu:.2f}", f"{one[2]:.1f}"),
            ]
            for name, one in figures.items()
        ]
    return table(columns, rows)
