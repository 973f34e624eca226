"""The processes that are measured: started on loopback, pinned to one core, and always stopped."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from joserfc.jwk import RSAKey

from sidecar.core.identity import Digester, Session
from sidecar.core.revocation import of_logout
from sidecar.stores.sqlite import SqliteStore

ISSUER = "https://idp.example.com"
CLIENT = "legacy-app"
SECRET = b"a benchmark's digest secret"
HERE = Path(__file__).parent
SERVER_CORE, LOAD_CORE = "0", "1"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def process(command: Sequence[str], *, core: str, ready: int | str, log: Path) -> Iterator[int]:
    """Run `command` on one core until the block ends; `ready` is a port or a URL to wait for."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            ["taskset", "-c", core, *command], stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_ready(ready, child)
        yield child.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def wait_ready(ready: int | str, child: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise SystemExit(f"{child.args} ended with {child.returncode}")
        with contextlib.suppress(OSError):
            if isinstance(ready, int):
                socket.create_connection(("127.0.0.1", ready), 1).close()
            else:
                urllib.request.urlopen(ready, timeout=1).close()
            return
        time.sleep(0.005)
    raise SystemExit(f"not ready: {ready}")


def nginx_config(folder: Path, port: int, upstream: int | None) -> Path:
    """nginx as the app (1 KiB from memory) or as the reference proxy with the same duties."""
    body = "x" * 1024
    location = (
        f'location / {{ default_type text/html; add_header Cache-Control "no-cache"; add_header ETag "abc";'
        f' add_header X-Frame-Options DENY; return 200 "{body}"; }}'
        if upstream is None
        else """location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
          proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
          proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $host;
          proxy_set_header X-Forwarded-Port $server_port; }"""
    )
    pool = "" if upstream is None else f"upstream app {{ server 127.0.0.1:{upstream}; keepalive 256; }}"
    path = folder / f"nginx-{port}.conf"
    path.write_text(
        f"daemon off; master_process off; worker_processes 1; pid {folder}/{port}.pid; error_log stderr warn;\n"
        f"events {{ worker_connections 4096; }}\n"
        f"http {{ access_log off; keepalive_requests 10000000; {pool}\n"
        f" client_body_temp_path {folder}/b{port}; proxy_temp_path {folder}/p{port};"
        f" fastcgi_temp_path {folder}/f{port}; uwsgi_temp_path {folder}/u{port}; scgi_temp_path {folder}/s{port};\n"
        f" server {{ listen 127.0.0.1:{port} backlog=1024; {location} }} }}\n"
    )
    return path


def haproxy_config(folder: Path, port: int, upstream: int) -> Path:
    path = folder / "haproxy.cfg"
    path.write_text(
        "global\n nbthread 1\n maxconn 4096\n"
        "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
        f"frontend in\n bind 127.0.0.1:{port}\n option forwardfor\n http-request set-header X-Forwarded-Proto http\n"
        " http-request set-header X-Forwarded-Host %[req.hdr(host)]\n default_backend app\n"
        f"backend app\n http-reuse always\n server app 127.0.0.1:{upstream}\n"
    )
    return path


def sidecar_config(folder: Path, *, port: int, ops: int, upstream: int) -> Path:
    """The sidecar with what a real one has: a file store, bindings, live revocations, metrics."""
    (folder / "secret").write_bytes(SECRET)
    settings = {
        "listen": f"127.0.0.1:{port}",
        "upstream": {"url": f"http://127.0.0.1:{upstream}"},
        "ops": {"listen": f"127.0.0.1:{ops}"},
        "control": {"relay_listen": f"unix:{folder}/relay"},
        "providers": [{"issuer": ISSUER, "client_id": CLIENT, "jwks_file": str(folder / "jwks.json")}],
        "session": {
            "credentials": [{"cookie": "JSESSIONID"}],
            "bind": [{"from": "token_endpoint", "callback": "/callback"}],
        },
        "store": {"url": f"sqlite:///{folder}/state.db", "secret": {"file": str(folder / "secret")}},
        "drain": {"delay": "0s", "timeout": "1s"},
        "log": {"level": "warning"},
    }
    path = folder / "sidecar.json"
    path.write_text(json.dumps(settings))
    return path


def make_key(folder: Path) -> RSAKey:
    key = RSAKey.generate_key(2048, {"kid": "bench", "use": "sig", "alg": "RS256"}, private=True)
    (folder / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    return key


def fill_store(folder: Path, *, revocations: int, sessions: int) -> None:
    """Live revocations of other sessions, and bindings for the sessions that the load uses."""
    asyncio.run(_fill(folder / "state.db", revocations, sessions))


async def _fill(path: Path, revocations: int, sessions: int) -> None:
    digester, now = Digester(SECRET), int(time.time())
    store = SqliteStore(str(path))
    await store.open()
    store.use_key(digester.key_id)
    for start in range(0, revocations, 500):
        batch = [
            revocation
            for number in range(start, min(start + 500, revocations))
            for revocation in of_logout(
                digester, ISSUER, CLIENT, f"over-{number}", None, cutoff=now * 1000, expires=now + 43_200
            )
        ]
        await store.append(batch)
    for number in range(sessions):
        session = Session(ISSUER, CLIENT, f"sid-{number}", f"user-{number}", now * 1000)
        cookie = f"session-{number:04d}-0123456789abcdef".encode()
        await store.put_binding(digester.credential(cookie), digester.bound(session), 43_200)
    await store.aclose()


def sidecar_command(config: Path) -> list[str]:
    return [sys.executable, "-m", "sidecar", "run", "-c", str(config)]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def missing_programs() -> list[str]:
    return [name for name in ("wrk", "nginx", "taskset") if shutil.which(name) is None]
