"""The replica at one million live revocations: memory, look-ups, the longest pauses."""

import os
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from benchmarks.report import Section, table
from sidecar.core.identity import Kind
from sidecar.core.replica import SHARDS, Replica
from sidecar.core.revocation import Revocation

ENTRIES = 1_000_000
LOOKUPS = 200_000


def measure(_folder: Path, *, rounds: int, seconds: float) -> Section:  # noqa: ARG001 - has its own numbers
    now = int(time.time())
    digests = [os.urandom(16) for _ in range(ENTRIES)]
    replica, used = _filled(digests, now)
    rows = [
        ["memory for each, as Python counts allocations", f"{used / ENTRIES:.0f} bytes", "160 bytes"],
        ["look-up, found", f"{_lookup_ns(replica, digests[:LOOKUPS]):.0f} ns", "1 µs"],
        ["look-up, not found", f"{_lookup_ns(replica, [os.urandom(16) for _ in range(LOOKUPS)]):.0f} ns", "1 µs"],
        ["longest pause of an insert", f"{_longest(lambda: replica.apply(_new(now)), LOOKUPS) * 1000:.1f} ms", "20 ms"],
        ["longest pause of a sweep", f"{_longest(lambda: replica.sweep(now + 50_000), SHARDS) * 1000:.1f} ms", "20 ms"],
    ]
    return Section(table(("", "figure", "goal"), rows))


def _filled(digests: list[bytes], now: int) -> tuple[Replica, int]:
    """A replica of all of them, and the bytes that it took."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    replica = Replica()
    for number, digest in enumerate(digests):
        # The digest is copied, as it comes from the store: its bytes belong to the replica.
        replica.apply(Revocation(Kind.SID, bytes(bytearray(digest)), (now - number % 9999) * 1000, now + 43_200))
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return replica, used


def _new(now: int) -> Revocation:
    return Revocation(Kind.SID, os.urandom(16), now * 1000, now + 43_200)


def _lookup_ns(replica: Replica, digests: list[bytes]) -> float:
    runs = []
    for _ in range(5):
        began = time.perf_counter()
        for digest in digests:
            replica.cutoff(digest)
        runs.append((time.perf_counter() - began) / len(digests) * 1e9)
    return statistics.median(runs)


def _longest(call: Callable[[], object], times: int) -> float:
    longest = 0.0
    for _ in range(times):
        began = time.perf_counter()
        call()
        longest = max(longest, time.perf_counter() - began)
    return longest
