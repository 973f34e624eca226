"""The figures of docs/performance.md, all measured side by side in one run: `make bench`.

One core serves, the other one loads it and runs the app. CPU per request is user and system time of the measured
process, divided by the requests that wrk counted; ratios between rows of one run are what counts, since the machine
differs from run to run. Measured twice: as fast as it goes, where the fastest proxy never lets the other side sleep and
so saves the wake-ups; and paced, where all proxies get about the same rate. The rows are repeated `ROUNDS` times, one
after the other, and the medians are shown.
"""

import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import RSAKey

from benchmarks import servers

ROUNDS = 5
SECONDS = 5
CONNECTIONS = 32
REVOCATIONS = 100_000
SESSIONS = 1000
TOKENS = 6000


@dataclass(frozen=True)
class Figure:
    requests_per_second: float
    cpu_microseconds: float
    p99_ms: float
    paced_cpu_microseconds: float


def main() -> int:
    if missing := servers.missing_programs():
        print(f"make bench needs {', '.join(missing)} (Debian: wrk, nginx-light, util-linux)", file=sys.stderr)
        return 1
    print(f"{platform.machine()}, Python {platform.python_version()}, {_cpu_model()}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        key = servers.make_key(folder)
        servers.fill_store(folder, revocations=REVOCATIONS, sessions=SESSIONS)
        _requests(folder)
        _logouts(folder, key)
        _start(folder)
    return 0


def _requests(folder: Path) -> None:
    app = servers.free_port()
    config = servers.nginx_config(folder, app, None)
    command = ["nginx", "-p", str(folder), "-c", str(config)]
    rows: dict[str, list[Figure]] = {}
    with servers.process(command, core=servers.LOAD_CORE, ready=app, log=folder / "app.log"):
        for _ in range(ROUNDS):
            for name, start, port, ready in _subjects(folder, app):
                with servers.process(start, core=servers.SERVER_CORE, ready=ready, log=folder / "subject.log") as pid:
                    rows.setdefault(name, []).append(_load(pid, port))
    _print_table(rows)


def _subjects(folder: Path, app: int) -> list[tuple[str, list[str], int, int | str]]:
    """Name, command, port, and what to wait for."""
    nginx, sidecar, ops, plain, haproxy = (servers.free_port() for _ in range(5))
    config = servers.nginx_config(folder, nginx, app)
    subjects = [
        ("nginx proxy_pass", ["nginx", "-p", str(folder), "-c", str(config)], nginx, nginx),
        (
            f"logout-sidecar, bound session, {REVOCATIONS} revocations",
            servers.sidecar_command(servers.sidecar_config(folder, port=sidecar, ops=ops, upstream=app)),
            sidecar,
            f"http://127.0.0.1:{ops}/readyz",
        ),
        (
            "plain aiohttp proxy",
            [sys.executable, str(servers.HERE / "plain_proxy.py"), str(plain), f"http://127.0.0.1:{app}"],
            plain,
            plain,
        ),
    ]
    if _has("haproxy"):
        subjects.insert(
            1, ("haproxy", ["haproxy", "-f", str(servers.haproxy_config(folder, haproxy, app))], haproxy, haproxy)
        )
    return subjects


def _load(pid: int, port: int) -> Figure:
    _wrk(port, "browser.lua", seconds=1)  # warm: connections, caches, bindings
    output, cpu = _measured(pid, port)
    _, paced_cpu = _measured(pid, port, "paced")
    return Figure(float(_found(r"Requests/sec:\s+([\d.]+)", output)), cpu, _p99(output), paced_cpu)


def _measured(pid: int, port: int, *arguments: str) -> tuple[str, float]:
    """What wrk said, and the CPU time of the process per request in microseconds."""
    before = servers.cpu_seconds(pid)
    output = _wrk(port, "browser.lua", *arguments, seconds=SECONDS)
    spent = servers.cpu_seconds(pid) - before
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"the load on port {port} saw errors:\n{output}")
    return output, spent / int(_found(r"(\d+) requests in", output)) * 1e6


def _logouts(folder: Path, key: RSAKey) -> None:
    tokens = folder / "tokens"
    tokens.write_text("\n".join(_logout_token(key) for _ in range(TOKENS)) + "\n")
    port, ops = servers.free_port(), servers.free_port()
    config = servers.sidecar_config(folder, port=port, ops=ops, upstream=servers.free_port())
    with servers.process(
        servers.sidecar_command(config),
        core=servers.SERVER_CORE,
        ready=f"http://127.0.0.1:{ops}/readyz",
        log=folder / "logout.log",
    ) as pid:
        before = servers.cpu_seconds(pid)
        output = _wrk(port, "logout.lua", str(tokens), seconds=SECONDS)
        spent = servers.cpu_seconds(pid) - before
    if "Non-2xx" in output:
        raise SystemExit(f"logouts were refused:\n{output}")
    requests = int(_found(r"(\d+) requests in", output))
    rate = float(_found(r"Requests/sec:\s+([\d.]+)", output))
    print(
        f"\nlogout POST, RS256, SQLite: {rate:.0f}/s, {spent / requests * 1e6:.0f} us CPU,"
        f" p99 {_found(r'p99_ms=([0-9.]+)', output)} ms with {CONNECTIONS} connections"
    )


def _start(folder: Path) -> None:
    durations = []
    for _ in range(5):
        port, ops = servers.free_port(), servers.free_port()
        config = servers.sidecar_config(folder, port=port, ops=ops, upstream=servers.free_port())
        began = time.monotonic()
        with servers.process(
            servers.sidecar_command(config),
            core=servers.SERVER_CORE,
            ready=f"http://127.0.0.1:{ops}/readyz",
            log=folder / "start.log",
        ):
            durations.append(time.monotonic() - began)
    print(
        f"start to ready with {REVOCATIONS} revocations in SQLite: {statistics.median(durations):.2f} s (median of 5)"
    )


def _logout_token(key: RSAKey) -> str:
    now = int(time.time())
    claims = {
        "iss": servers.ISSUER,
        "aud": servers.CLIENT,
        "iat": now,
        "exp": now + 3600,
        "jti": str(uuid.uuid4()),
        "sub": str(uuid.uuid4()),
        "sid": str(uuid.uuid4()),
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    }
    return jwt.encode({"alg": "RS256", "kid": "bench", "typ": "logout+jwt"}, claims, key)


def _print_table(rows: dict[str, list[Figure]]) -> None:
    reference = _median(rows["nginx proxy_pass"])
    columns = ("requests/s", "CPU us", "against nginx", "p99 ms", "CPU us, paced", "against nginx")
    print(f"| 1 KiB GET, keep-alive, browser headers | {' | '.join(columns)} |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, figures in rows.items():
        middle = _median(figures)
        print(
            f"| {name} | {middle.requests_per_second:.0f} | {middle.cpu_microseconds:.1f} "
            f"| {middle.cpu_microseconds / reference.cpu_microseconds:.2f} | {middle.p99_ms:.2f} "
            f"| {middle.paced_cpu_microseconds:.1f} "
            f"| {middle.paced_cpu_microseconds / reference.paced_cpu_microseconds:.2f} |"
        )


def _median(figures: list[Figure]) -> Figure:
    return Figure(
        statistics.median(figure.requests_per_second for figure in figures),
        statistics.median(figure.cpu_microseconds for figure in figures),
        statistics.median(figure.p99_ms for figure in figures),
        statistics.median(figure.paced_cpu_microseconds for figure in figures),
    )


def _wrk(port: int, script: str, *arguments: str, seconds: int) -> str:
    command = ["taskset", "-c", servers.LOAD_CORE, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    command += ["-s", str(servers.HERE / script), f"http://127.0.0.1:{port}", "--", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30).stdout


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"no {pattern} in:\n{text}")
    return match[1]


def _p99(output: str) -> float:
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", output).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def _has(program: str) -> bool:
    return subprocess.run(["which", program], capture_output=True, check=False).returncode == 0


def _cpu_model() -> str:
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{len(names)} x {names[0]}" if names else "unknown processor"


if __name__ == "__main__":
    sys.exit(main())
