"""From one process to the others: `python -m benchmarks.propagation --replicas 3 --logouts 200`.

Real sidecars on one real Redis. Each logout is posted to the first; the others are asked for its session again and
again, on one connection each, until they refuse it. Two times are taken: from the 200 to the refusal (what a provider
may rely on), and from an XADD of our own to the refusal (what the log takes, without the endpoint). The time between
two questions, about 0.3 ms, is part of both. Run it on a machine that does nothing else.
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

from joserfc import jwt
from joserfc.jwk import ECKey

from benchmarks.processes import Program, free_port, running
from benchmarks.report import table
from sidecar.core.identity import Digester
from sidecar.core.revocation import of_logout
from sidecar.stores.open import open_store

ISSUER, CLIENT, SECRET = "https://idp.example.com", "legacy-app", "a benchmark's digest secret"
PAUSE_S = 0.05  # between two logouts: each is followed alone


class Connection:
    """A keep-alive connection to one sidecar."""

    def __init__(self, ends: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._reader, self._writer = ends

    async def status(self, request: bytes) -> int:
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        await self._reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0))
        return int(head[9:12])

    async def refused_at(self, request: bytes) -> float:
        """Ask until the session is refused; when that was."""
        while await self.status(request) != 401:
            pass
        return time.monotonic()

    def close(self) -> None:
        self._writer.transport.abort()


class Provider:
    """Signs sessions and logouts."""

    def __init__(self, folder: Path) -> None:
        self._key = ECKey.generate_key("P-256", {"kid": "bench", "use": "sig", "alg": "ES256"}, private=True)
        (folder / "jwks.json").write_text(json.dumps({"keys": [self._key.as_dict(private=False)]}))

    def session(self, sid: str) -> bytes:
        """A request of this session."""
        return b"GET / HTTP/1.1\r\nHost: app\r\nCookie: id_token=" + self._sign(sid, 10) + b"\r\n\r\n"

    def logout(self, sid: str) -> bytes:
        event = {"http://schemas.openid.net/event/backchannel-logout": {}}
        body = b"logout_token=" + self._sign(sid, 0, events=event)
        head = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
        return b"POST /_sidecar/backchannel-logout HTTP/1.1\r\nHost: app\r\n" + head.encode() + body

    def _sign(self, sid: str, ago: int, **claims: object) -> bytes:
        now = int(time.time())
        whole = {"iss": ISSUER, "aud": CLIENT, "iat": now - ago, "exp": now + 100, "jti": sid, "sid": sid, **claims}
        return jwt.encode({"alg": "ES256", "kid": "bench"}, whole, self._key, algorithms=["ES256"]).encode()


def sidecar(folder: Path, app: int, redis: int) -> Program:
    port, ops = free_port(), free_port()
    provider = {"issuer": ISSUER, "client_id": CLIENT, "algorithms": ["ES256"], "jwks_file": f"{folder}/jwks.json"}
    settings = {
        "listen": f"127.0.0.1:{port}",
        "upstream": {"url": f"http://127.0.0.1:{app}"},
        "ops": {"listen": f"127.0.0.1:{ops}"},
        "control": {"relay_listen": f"unix:{folder}/relay-{port}"},
        "providers": [provider],
        "session": {"bind": [{"from": "token", "cookie": "id_token"}]},
        "store": {"url": f"redis://127.0.0.1:{redis}/0", "secret": {"file": str(folder / "secret")}},
        "drain": {"delay": "0s", "timeout": "1s"},
        "log": {"level": "warning"},
    }
    path = folder / f"sidecar-{port}.json"
    path.write_text(json.dumps(settings))
    command = [sys.executable, "-P", "-m", "sidecar", "run", "-c", str(path)]
    return Program(name="logout-sidecar", command=command, port=port, ready_url=f"http://127.0.0.1:{ops}/readyz")


def redis_server(folder: Path) -> Program:
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise SystemExit("needs redis-server or valkey-server")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    return Program(name="redis", command=command, port=port)


async def answer_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The app."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


async def measure(ports: Sequence[int], redis: int, provider: Provider, logouts: int) -> dict[str, list[float]]:
    """The seconds that each way took, for each of the other sidecars."""
    first, *others = [Connection(await asyncio.open_connection("127.0.0.1", port)) for port in ports]
    digester, store = Digester(SECRET.encode()), open_store(f"redis://127.0.0.1:{redis}/0")
    await store.open()
    store.use_key(digester.key_id)
    found: dict[str, list[float]] = {"200 to the provider, enforced elsewhere": [], "XADD, enforced": []}

    async def over_http(sid: str) -> float:
        assert await first.status(provider.logout(sid)) == 200
        return time.monotonic()

    async def over_log(sid: str) -> float:
        now = time.time()
        expires = int(now) + 3600
        sent = time.monotonic()
        await store.append(
            list(of_logout(digester, ISSUER, CLIENT, sid, None, cutoff=int(now * 1000), expires=expires))
        )
        return sent

    for number in range(logouts):
        for way, end in zip(found, (over_http, over_log), strict=True):
            sid = f"{end.__name__}-{number}"
            request = provider.session(sid)
            assert [await each.status(request) for each in others] == [200] * len(others)
            waiting = [asyncio.create_task(each.refused_at(request)) for each in others]
            began = await end(sid)
            # The refusal may come before the 200: the log is faster than the answer.
            found[way] += [max(0.0, await each - began) for each in waiting]
            await asyncio.sleep(PAUSE_S)
    for each in (first, *others):
        each.close()
    await store.aclose()
    return found


async def run(folder: Path, replicas: int, logouts: int) -> dict[str, list[float]]:
    provider = Provider(folder)
    (folder / "secret").write_text(SECRET)
    app = await asyncio.start_server(answer_ok, "127.0.0.1", 0)
    redis = redis_server(folder)
    programs = [sidecar(folder, app.sockets[0].getsockname()[1], redis.port) for _ in range(replicas)]
    with contextlib.ExitStack() as stack:
        for program in (redis, *programs):
            stack.enter_context(running(program, folder=folder))
        found = await measure([program.port for program in programs], redis.port, provider, logouts)
    app.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--logouts", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(run(Path(folder), max(2, options.replicas), max(2, options.logouts)))
    rows = [
        [way, str(len(times)), *(f"{value * 1000:.2f}" for value in (median(times), quantiles(times, n=100)[98]))]
        for way, times in found.items()
    ]
    print("\n".join(table(("", "times", "p50 ms", "p99 ms"), rows)))


if __name__ == "__main__":
    main()
