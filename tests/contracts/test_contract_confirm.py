"""`store.confirm: all` with real processes: when the provider saw 200, nobody serves the session any more."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from joserfc import jwt
from joserfc.jwk import RSAKey
from redis_places import wait_until

ISSUER, CLIENT = "https://idp.example.com", "app"
EVENT = "http://schemas.openid.net/event/backchannel-logout"
LEASE_S = (1 + 0.5) * 1.01 + 1.5  # of the settings below


class Provider:
    """Only a key."""

    def __init__(self, folder: Path) -> None:
        self._key = RSAKey.generate_key(2048, {"kid": "one"}, private=True)
        self.jwks = folder / "jwks.json"
        self.jwks.write_text(json.dumps({"keys": [self._key.as_dict(private=False)]}))

    def id_token(self, sid: str) -> str:
        return self._signed({"sub": "alice", "sid": sid})

    def logout(self, sid: str) -> dict[str, str]:
        return {"logout_token": self._signed({"sid": sid, "jti": uuid.uuid4().hex, "events": {EVENT: {}}})}

    def _signed(self, claims: dict[str, Any]) -> str:
        now = int(time.time())
        names = {"iss": ISSUER, "aud": CLIENT, "iat": now, "exp": now + 300}
        return jwt.encode({"alg": "RS256", "kid": "one"}, names | claims, self._key)


class Sidecar:
    """One replica, as a process."""

    def __init__(self, folder: Path, name: str, settings: dict[str, Any], ports: list[int]) -> None:
        self.url, self._ops = f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
        listeners = {"listen": f"127.0.0.1:{ports[0]}", "ops": {"listen": f"127.0.0.1:{ports[1]}"}}
        listeners |= {"control": {"relay_listen": f"127.0.0.1:{ports[2]}"}, "drain": {"delay": "0s", "timeout": "1s"}}
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(settings | listeners))
        with (folder / f"{name}.log").open("wb") as output:
            command = [sys.executable, "-P", "-m", "sidecar", "run", "-c", path]
            self.process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)

    def is_ready(self) -> bool:
        try:
            return requests.get(f"{self._ops}/readyz", timeout=2).status_code == 200
        except requests.ConnectionError:
            return False

    def get(self, token: str) -> int:
        return requests.get(f"{self.url}/", cookies={"id_token": token}, timeout=10).status_code

    def post(self, body: dict[str, str]) -> requests.Response:
        return requests.post(f"{self.url}/_sidecar/backchannel-logout", data=body, timeout=5)

    def end(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Hello(http.server.BaseHTTPRequestHandler):
    """The app."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Nothing."""


@pytest.fixture
def app() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def provider(tmp_path: Path) -> Provider:
    return Provider(tmp_path)


@pytest.fixture
def start_sidecars(
    tmp_path: Path, app: int, provider: Provider, start_redis: Any, free_port: Callable[[], int]
) -> Iterator[Callable[..., list[Sidecar]]]:
    """A function that starts so many on one Redis, and waits until they are ready."""
    started: list[Sidecar] = []
    settings = {
        "upstream": {"url": f"http://127.0.0.1:{app}"},
        "providers": [{"issuer": ISSUER, "client_id": CLIENT, "jwks_file": str(provider.jwks)}],
        "session": {"bind": [{"from": "token", "cookie": "id_token"}]},
        "store": {"url": start_redis("redis").url, "fresh": "500ms", "grace": "500ms", "confirm": "all"},
    }

    def start(count: int, **more: Any) -> list[Sidecar]:
        for number in range(count):
            ports = [free_port() for _ in range(3)]
            started.append(Sidecar(tmp_path, f"sidecar-{number}", settings | more, ports))
        for sidecar in started:
            wait_until(sidecar.is_ready)
        return started

    yield start
    for sidecar in started:
        sidecar.end()


@pytest.mark.timeout(40)  # two processes start, and a lease runs out
def test_after_the_200_a_replica_that_was_stopped_never_serves_the_session(start_sidecars, provider):
    one, other = start_sidecars(2)
    token = provider.id_token("s-1")
    assert (one.get(token), other.get(token)) == (200, 200)

    stopped = time.monotonic()
    os.killpg(other.process.pid, signal.SIGSTOP)
    first = one.post(provider.logout("s-1"))
    assert first.status_code == 400
    assert first.json()["error_description"].startswith("logout_unconfirmed")
    assert one.get(token) == 401  # enforced here all the same

    wait_until(lambda: one.post(provider.logout("s-1")).status_code == 200)
    assert LEASE_S - 1.5 < time.monotonic() - stopped < LEASE_S + 3

    os.killpg(other.process.pid, signal.SIGCONT)
    seen = [other.get(token) for _ in range(200)]
    assert 200 not in seen
    wait_until(lambda: other.get(token) == 401)


@pytest.mark.timeout(40)
def test_with_all_replicas_well_a_200_means_that_each_refuses(start_sidecars, provider):
    one, other = start_sidecars(2)
    for number in range(10):
        token = provider.id_token(f"s-{number}")
        assert other.get(token) == 200
        assert one.post(provider.logout(f"s-{number}")).status_code == 200
        assert other.get(token) == 401


@pytest.mark.timeout(60)
def test_a_pod_with_workers_confirms_for_all_of_them(start_sidecars, provider):
    one, other = start_sidecars(2, workers=2)
    for number in range(10):
        token = provider.id_token(f"s-{number}")
        assert other.get(token) == 200
        wait_until(lambda number=number: one.post(provider.logout(f"s-{number}")).status_code == 200)
        assert {other.get(token) for _ in range(8)} == {401}
