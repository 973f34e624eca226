"""How long others wait while 2000 connections trickle a head, a byte a second: `python -m benchmarks.slowloris`.

The sidecar gives a head ten seconds (`limits.head_timeout`) and closes; each connection is then opened anew. The answer
time of ordinary requests is measured before and meanwhile. Exits with 1 when their p99 reaches P99_MS.
"""

import argparse
import asyncio
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import uvloop

from benchmarks.report import table
from benchmarks.trial import Trial, trial

P99_MS = 50.0
_HEAD = b"GET /bytes/1024 HTTP/1.1\r\nHost: app.example.com\r\nUser-Agent: " + b"x" * 10_000
_EVERY_S, _BETWEEN_S = 1.0, 0.005
_REQUEST = "GET /bytes/1024 HTTP/1.1\r\nHost: app.example.com\r\nCookie: {}\r\n\r\n"


async def trickle(port: int, ends: Counter[str]) -> None:
    """One slow connection after the other, until cancelled."""
    await asyncio.sleep(random.random() * _EVERY_S)
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        ends["opened"] += 1
        ending = asyncio.ensure_future(reader.read(100))
        for start in range(len(_HEAD)):
            if ending.done():
                break
            writer.write(_HEAD[start : start + 1])
            await asyncio.sleep(_EVERY_S)
        ends[await _end(ending)] += 1
        writer.transport.abort()


async def _end(ending: asyncio.Future[bytes]) -> str:
    try:
        return (await ending)[9:12].decode() or "closed"
    except OSError:
        return "reset"


async def measured(port: int, cookies: str, seconds: float) -> list[float]:
    """How many milliseconds each of many ordinary requests takes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request, deadline, found = _REQUEST.format(cookies).encode(), time.monotonic() + seconds, []
    while time.monotonic() < deadline:
        began = time.monotonic()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"not a 200: {head!r}")
        await reader.readexactly(1024)
        found.append((time.monotonic() - began) * 1000)
        await asyncio.sleep(_BETWEEN_S)
    writer.close()
    return sorted(found)


async def run(place: Trial, *, connections: int, seconds: float) -> bool:
    cookies = place.cookies("patient")
    before = await measured(place.port, cookies, min(5.0, seconds))
    ends: Counter[str] = Counter()
    slow = [asyncio.ensure_future(trickle(place.port, ends)) for _ in range(connections)]
    async with asyncio.timeout(30):
        while ends["opened"] < connections:
            await asyncio.sleep(0.05)
    meanwhile = await measured(place.port, cookies, seconds)
    are_open = place.gauge("connections")
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)
    rows = [_row("before", before), _row(f"with {connections} slow connections", meanwhile)]
    print(*table(("", "requests", "p50 ms", "p99 ms", "longest ms"), rows), sep="\n")
    print(f"open in the end: {are_open:.0f}; how slow connections ended: {dict(ends)}")
    return _at(meanwhile, 0.99) < P99_MS


def _row(name: str, found: list[float]) -> list[str]:
    return [name, str(len(found)), *(f"{_at(found, part):.2f}" for part in (0.5, 0.99, 1.0))]


def _at(found: list[float], part: float) -> float:
    return found[min(len(found) - 1, int(len(found) * part))]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slowloris", description="Slow heads beside others.")
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=25)
    arguments = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="slowloris-") as name, trial(Path(name)) as place:
        good = uvloop.run(run(place, connections=arguments.connections, seconds=arguments.seconds))
    print(f"p99 {'below' if good else 'NOT below'} {P99_MS:g} ms")
    return not good


if __name__ == "__main__":
    sys.exit(main())
