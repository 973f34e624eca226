"""What `store.confirm: all` adds to a logout: `python -m benchmarks.confirm [REPLICAS] [LOGOUTS]`.

Replicas are processes on one Redis, on loopback. One of them gets the logouts, one at a time and then eight at a time;
for each way p50 and p99 of the answer, in milliseconds.
"""

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

import aiohttp
import yaml
from joserfc import jwt
from joserfc.jwk import RSAKey

from benchmarks.processes import Program, free_port, running
from benchmarks.report import table

ISSUER, CLIENT = "https://idp.example.com", "app"
EVENT = "http://schemas.openid.net/event/backchannel-logout"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def _sidecar(folder: Path, redis: int, confirm: str) -> Program:
    public, ops, relay = free_port(), free_port(), free_port()
    settings = {
        "listen": f"127.0.0.1:{public}",
        "ops": {"listen": f"127.0.0.1:{ops}"},
        "control": {"relay_listen": f"127.0.0.1:{relay}"},
        "upstream": {"url": "http://127.0.0.1:9"},
        "providers": [{"issuer": ISSUER, "client_id": CLIENT, "jwks_file": str(folder / "jwks.json")}],
        "session": {"bind": [{"from": "token", "cookie": "id_token"}]},
        "store": {"url": f"redis://127.0.0.1:{redis}", "confirm": confirm},
        "drain": {"delay": "0s", "timeout": "1s"},
    }
    path = folder / f"{public}.yaml"
    path.write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-P", "-m", "sidecar", "run", "-c", str(path)]
    return Program(name="sidecar", command=command, port=public, ready_url=f"http://127.0.0.1:{ops}/readyz")


def _token(key: RSAKey) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": CLIENT, "iat": now, "exp": now + 600, "jti": uuid.uuid4().hex}
    claims |= {"sid": uuid.uuid4().hex, "events": {EVENT: {}}}
    return jwt.encode({"alg": "RS256", "kid": "bench"}, claims, key)


async def _durations(port: int, tokens: Sequence[str], at_once: int) -> list[float]:
    waiting, found = list(tokens), []
    url = f"http://127.0.0.1:{port}/_sidecar/backchannel-logout"

    async def work(client: aiohttp.ClientSession) -> None:
        while waiting:
            body = f"logout_token={waiting.pop()}"
            began = time.perf_counter()
            async with client.post(url, data=body, headers=FORM) as answer:
                if answer.status != 200:
                    raise SystemExit(f"{answer.status}: {await answer.text()}")
            found.append((time.perf_counter() - began) * 1000)

    async with aiohttp.ClientSession() as client:
        await asyncio.gather(*(work(client) for _ in range(at_once)))
    return found


def _measured(folder: Path, key: RSAKey, confirm: str, replicas: int, logouts: int) -> list[list[str]]:
    redis = free_port()
    command = ["redis-server", "--port", str(redis), "--save", "", "--bind", "127.0.0.1", "--dir", str(folder)]
    rows = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(running(Program(name="redis", command=command, port=redis), folder=folder, core=1))
        programs = [_sidecar(folder, redis, confirm) for _ in range(replicas)]
        for program in programs:
            stack.enter_context(running(program, folder=folder))
        for at_once in (1, 8):
            tokens = [_token(key) for _ in range(logouts)]
            cuts = quantiles(asyncio.run(_durations(programs[0].port, tokens, at_once)), n=100)
            rows.append([f"confirm: {confirm}, {at_once} at a time", f"{cuts[49]:.2f}", f"{cuts[98]:.2f}"])
    return rows


def main(replicas: int = 3, logouts: int = 500) -> None:
    """Print the table."""
    if shutil.which("redis-server") is None:
        raise SystemExit("redis-server is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key = RSAKey.generate_key(2048, {"kid": "bench"}, private=True)
        (folder / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
        rows = [row for confirm in ("local", "all") for row in _measured(folder, key, confirm, replicas, logouts)]
    print(*table((f"logout POST, {replicas} replicas", "p50 ms", "p99 ms"), rows), sep="\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
