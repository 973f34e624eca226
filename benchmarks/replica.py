"""The replica at one million live revocations: memory, look-ups, the longest pauses. `python -m benchmarks.replica`."""

import os
import statistics
import time
import tracemalloc

from sidecar.core.identity import Kind
from sidecar.core.replica import SHARDS, Replica
from sidecar.core.revocation import Revocation

ENTRIES = 1_000_000
LOOKUPS = 200_000


def main() -> None:
    now = int(time.time())
    digests = [os.urandom(16) for _ in range(ENTRIES)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    replica = Replica()
    for number, digest in enumerate(digests):
        # The digest is copied, as it comes from the store: its bytes belong to the replica.
        replica.apply(Revocation(Kind.SID, bytes(bytearray(digest)), (now - number % 9999) * 1000, now + 43_200))
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    print(f"{used / ENTRIES:.0f} bytes each")
    print(f"hit {_lookup_ns(replica, digests[:LOOKUPS]):.0f} ns, miss ", end="")
    print(f"{_lookup_ns(replica, [os.urandom(16) for _ in range(LOOKUPS)]):.0f} ns")
    print(f"longest insert {_longest(lambda: replica.apply(_new(now)), LOOKUPS) * 1000:.1f} ms", end=", ")
    print(f"longest sweep of a shard {_longest(lambda: replica.sweep(now + 50_000), SHARDS) * 1000:.1f} ms")


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


def _longest(call: object, times: int) -> float:
    longest = 0.0
    for _ in range(times):
        began = time.perf_counter()
        call()  # type: ignore[operator]  # a callable, whatever it returns
        longest = max(longest, time.perf_counter() - began)
    return longest


if __name__ == "__main__":
    main()
