"""Mixed load on one sidecar process while its memory and descriptors are watched: `make soak MINUTES=10`.

People who log in, browse, upload and are logged out; clients that break off, read slowly, talk nonsense; WebSockets and
event streams. The client is bounded: a fixed number of each, one thing at a time. Prints a table and exits with 1 when

- resident memory grows by more than `GROWTH_MIB_MINUTE` over the last two thirds of the run (before it begins the
  bounded caches are filled; what may grow is the revocations of the run itself, which stay until they expire),
- descriptors, connections or requests are left once the load has ended,
- anything that the load has a right to did not happen, or the sidecar logged an error.

The allocator takes about two minutes to come to rest: less than six minutes tell little about memory.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.processes import rss_kib
from benchmarks.report import table
from benchmarks.soak_load import Load
from benchmarks.trial import Trial, trial

GROWTH_MIB_MINUTE = 1.0
_EVERY_S = 3.0
_SETTLE_S = 20.0  # for what lingers, and for idle connections to the app
_SPARE_DESCRIPTORS = 6  # connections of the store and of the control plane come and go
_GAUGES = ("connections", "tunnels", "http_requests_in_flight", "upstream_connections_busy")


@dataclass(frozen=True)
class Sample:
    """The sidecar at one moment."""

    at: float  # seconds since the beginning
    rss_mib: float
    descriptors: int
    gauges: tuple[int, ...]


async def soak(place: Trial, *, seconds: float) -> bool:
    load = Load(place)
    await load.fill()
    base = await _settled(place, time.monotonic())
    began, samples = time.monotonic(), [base]
    running = load.start()
    while time.monotonic() - began < seconds:
        await asyncio.sleep(_EVERY_S)
        samples.append(await _sample(place, began))
    await load.stop(running)
    after = await _settled(place, began, base.descriptors)
    _print(samples, after, load.counts)
    faults = [*_faults(samples, base, after), *load.faults, *_logged(place.log)]
    print(*(f"NOT GOOD: {fault}" for fault in faults[:20]), sep="\n")
    return not faults


async def _sample(place: Trial, began: float) -> Sample:
    gauges = [int(await asyncio.to_thread(place.gauge, name)) for name in _GAUGES]
    return Sample(time.monotonic() - began, rss_kib(place.group) / 1024, descriptors(place.group), tuple(gauges))


async def _settled(place: Trial, began: float, base: int | None = None) -> Sample:
    """The sidecar when it has come to rest, or as it is after a while."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        after = await _sample(place, began)
        if not _left_over(base or after.descriptors, after) or time.monotonic() > deadline:
            return after
        await asyncio.sleep(0.5)


def descriptors(group: int) -> int:
    """Open descriptors of a process group."""
    return sum(len(list(folder.iterdir())) for folder in _folders(group))


def _folders(group: int) -> Iterator[Path]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            is_member = int(path.read_text().rpartition(")")[2].split()[2]) == group
        except OSError:
            continue  # it has just ended
        if is_member:
            yield path.parent / "fd"


def slope(samples: list[Sample]) -> float:
    """MiB a minute: least squares over the last two thirds."""
    rest = samples[len(samples) // 3 :]
    middle = sum(one.at for one in rest) / len(rest)
    spread = sum((one.at - middle) ** 2 for one in rest)
    return 60 * sum((one.at - middle) * one.rss_mib for one in rest) / spread if spread else 0.0


def _left_over(base: int, after: Sample) -> list[str]:
    left = [f"{count} {name}" for name, count in zip(_GAUGES, after.gauges, strict=True) if count]
    if after.descriptors > base + _SPARE_DESCRIPTORS:
        left.append(f"{after.descriptors - base} descriptors")
    return left


def _faults(samples: list[Sample], base: Sample, after: Sample) -> Iterator[str]:
    if slope(samples) > GROWTH_MIB_MINUTE:
        yield f"memory grows by {slope(samples):.2f} MiB a minute, more than {GROWTH_MIB_MINUTE:g}"
    yield from (f"{what} left after the load" for what in _left_over(base.descriptors, after))


def _logged(log: Path) -> Iterator[str]:
    for line in log.read_text(errors="replace").splitlines():
        if '"level": "error"' in line or "Traceback" in line or "Warning:" in line:
            yield f"logged: {line[:300]}"


def _print(samples: list[Sample], after: Sample, counts: Counter[str]) -> None:
    step = max(1, len(samples) // 20)
    rows = [_row(f"{one.at:.0f} s", one) for one in samples[::step]]
    print(*table(("", "RSS MiB", "descriptors", *_GAUGES), [*rows, _row("after the load", after)]), sep="\n")
    print(f"slope over the last two thirds: {slope(samples):+.2f} MiB a minute (bound {GROWTH_MIB_MINUTE:g})")
    print("load:", ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))


def _row(name: str, one: Sample) -> list[str]:
    return [name, f"{one.rss_mib:.1f}", str(one.descriptors), *map(str, one.gauges)]


@contextmanager
def _place() -> Iterator[Trial]:
    with tempfile.TemporaryDirectory(prefix="soak-") as name, trial(Path(name)) as place:
        yield place


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Mixed load, watched.")
    parser.add_argument("--minutes", type=float, default=10)
    with _place() as place:
        good = uvloop.run(soak(place, seconds=parser.parse_args().minutes * 60))
    print("flat" if good else "NOT flat")
    return not good


if __name__ == "__main__":
    sys.exit(main())
