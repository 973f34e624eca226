"""kill -9: whatever `append` or `put_binding` returned for is there afterwards.

A child appends and prints each number after the call has returned; the parent kills it (or the server) without warning
and reads. Power loss cannot be shown this way; that commits are synchronous is a test of its own.
"""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from sidecar.stores.open import open_store

CHILD = """
import asyncio, sys
from sidecar.core.identity import BoundSession, Kind
from sidecar.core.revocation import Revocation
from sidecar.stores.open import open_store

async def main():
    store = open_store(sys.argv[1])
    await store.open()
    for number in range(1_000_000):
        digest = number.to_bytes(16)
        await store.append([Revocation(Kind.SID, digest, number, 2**31)])
        await store.put_binding(digest, BoundSession(digest, None, number, number), 3600)
        print(number, flush=True)

asyncio.run(main())
"""


def acknowledged_before(url: str, kill, folder: Path) -> int:
    """Let a child write for a while, kill, and return the last number that was acknowledged."""
    output = folder / "acknowledged"
    with output.open("wb") as stdout:
        child = subprocess.Popen([sys.executable, "-c", CHILD, url], stdout=stdout, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 20
    while output.stat().st_size < 300:
        assert child.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    kill(child)
    child.kill()
    child.wait()
    return int(output.read_bytes().rpartition(b"\n")[0].split()[-1])


async def kept(url: str, last: int) -> tuple[set[int], bool]:
    store = open_store(url)
    await store.open()
    numbers = {int.from_bytes(each.digest) async for page in store.snapshot() for each in page}
    binding = await store.get_binding(last.to_bytes(16))
    await store.aclose()
    return numbers, binding is not None


@pytest.mark.parametrize("attempt", range(3))
async def test_sqlite_keeps_what_it_acknowledged_when_the_process_is_killed(tmp_path, attempt):
    url = f"sqlite:///{tmp_path}/state.db"
    last = acknowledged_before(url, lambda child: child.kill(), tmp_path)

    numbers, bound = await kept(url, last)

    assert last > 50
    assert set(range(last + 1)) <= numbers
    assert bound


@pytest.mark.parametrize("program", ["redis", "valkey"])
async def test_redis_with_synchronous_persistence_keeps_what_it_acknowledged_when_killed(
    start_redis, tmp_path, program
):
    server = start_redis(program, appendonly="yes", appendfsync="always")
    last = acknowledged_before(server.url, lambda child: server.kill(), tmp_path)
    server.start()

    numbers, bound = await kept(server.url, last)

    assert last > 50
    assert set(range(last + 1)) <= numbers
    assert bound
