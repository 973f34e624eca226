"""Logout tokens as fast as they go, and how long a start takes."""

import json
import time
import uuid
from pathlib import Path
from statistics import median

from joserfc import jwt
from joserfc.jwk import RSAKey

from benchmarks import deployment
from benchmarks.processes import free_port, running
from benchmarks.report import Section, table
from benchmarks.wrk import CONNECTIONS, load

TOKENS_PER_SECOND = 4000  # more than are used up, so that none comes twice
STARTS = 5


def measure_logouts(folder: Path, *, rounds: int, seconds: float) -> Section:
    key = RSAKey.import_key(json.loads((folder / "key.json").read_text()))
    program, tokens, found = deployment.sidecar(folder, free_port()), folder / "tokens", []
    brief = max(1, seconds // 2)  # signing the tokens takes longer than using them
    with running(program, folder=folder) as group:
        for _ in range(rounds):
            tokens.write_text("".join(f"{_logout_token(key)}\n" for _ in range(int(brief * TOKENS_PER_SECOND))))
            found.append(load(group, program.port, "logout.lua", str(tokens), seconds=brief))
    row = [
        f"logout POST, RS256, SQLite with `synchronous=FULL`, {CONNECTIONS} connections",
        f"{median(one.requests_per_second for one in found):.0f}",
        f"{median(one.cpu_us for one in found):.0f}",
        f"{median(one.p99_ms for one in found):.1f}",
    ]
    return Section(table(("", "per second", "CPU µs", "p99 ms"), [row]))


def _logout_token(key: RSAKey) -> str:
    now = int(time.time())
    claims = {
        "iss": deployment.ISSUER,
        "aud": deployment.CLIENT,
        "iat": now,
        "exp": now + 3600,
        "jti": str(uuid.uuid4()),
        "sub": str(uuid.uuid4()),
        "sid": str(uuid.uuid4()),
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    }
    return jwt.encode({"alg": "RS256", "kid": "bench", "typ": "logout+jwt"}, claims, key)


def measure_start(folder: Path, *, rounds: int, seconds: float) -> Section:  # noqa: ARG001 - has its own number
    durations = []
    for _ in range(STARTS):
        program = deployment.sidecar(folder, free_port())
        began = time.monotonic()
        with running(program, folder=folder):
            durations.append(time.monotonic() - began)
    text = f"start to ready, {deployment.REVOCATIONS} revocations in SQLite"
    return Section(table(("", "seconds"), [[text, f"{median(durations):.2f}"]]))
