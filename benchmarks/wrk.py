"""Load by wrk, and what it says."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import LOAD_CORE, cpu_seconds

CONNECTIONS = 32
_HERE = Path(__file__).parent
_UNIT_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Load:
    """One run of wrk against one process group."""

    requests_per_second: float
    cpu_us: float  # user and system time of the group for one request
    p99_ms: float


def load(group: int, port: int, script: str, *arguments: str, seconds: float, scheme: str = "http") -> Load:
    """Run wrk for some seconds; ends the benchmark when an answer is not 2xx."""
    before = cpu_seconds(group)
    output = _wrk(port, script, arguments, seconds, scheme)
    spent = cpu_seconds(group) - before
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"the load on port {port} saw errors:\n{output}")
    p99, unit = _found(r"99%\s+([\d.]+)(us|ms|s)", output).groups()
    return Load(
        requests_per_second=float(_found(r"Requests/sec:\s+([\d.]+)", output)[1]),
        cpu_us=spent / int(_found(r"(\d+) requests in", output)[1]) * 1e6,
        p99_ms=float(p99) * _UNIT_MS[unit],
    )


def _wrk(port: int, script: str, arguments: tuple[str, ...], seconds: float, scheme: str) -> str:
    whole = max(1, round(seconds))  # wrk knows whole seconds only
    command = ["taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{whole}s", "--latency"]
    command += ["-s", str(_HERE / script), f"{scheme}://127.0.0.1:{port}", "--", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=whole + 30).stdout


def _found(pattern: str, text: str) -> "re.Match[str]":
    match = re.search(pattern, text)
    if match is None:
        raise SystemExit(f"no {pattern} in:\n{text}")
    return match
