"""The cast of the test bench, each a real process: provider (npm oidc-provider), Flask app, sidecar.

`Cast` chooses all ports beforehand, so that each part can be told the others' addresses and the parts can be started
in any order. Nothing runs until a test says `with`.
"""

import contextlib
import copy
import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from bench_process import Process, free_port

HERE = Path(__file__).parent
CLIENT_ID, CLIENT_SECRET = "wiki", "made up for tests"
COOKIE = "session"


def program(name: str) -> str:
    """Where a program is; without it the test is skipped, and the line names the program."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@functools.cache
def install_packages(folder: Path) -> None:
    """`npm ci` beside this lock file, once per checkout and lock file."""
    done, lock = folder / "node_modules" / ".package-lock.json", folder / "package-lock.json"
    if done.exists() and done.stat().st_mtime >= lock.stat().st_mtime:
        return
    command = [program("npm"), "ci", "--no-audit", "--no-fund"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50, check=False)
    assert result.returncode == 0, f"npm ci failed:\n{result.stdout}{result.stderr}"
    done.touch()


def status_of(url: str) -> int:
    """The status of a GET now; 0 when nobody answers."""
    try:
        return requests.get(url, timeout=5).status_code
    except requests.RequestException:
        return 0


class Provider(Process):
    """The identity provider."""

    def __init__(self, *, folder: Path, port: int, clients: list[dict[str, Any]]) -> None:
        command = [program("node"), HERE / "idp" / "provider.js", str(port), json.dumps(clients)]
        super().__init__(command, name="provider", folder=folder)
        self.issuer = f"http://localhost:{port}"

    def start(self) -> None:
        install_packages(HERE / "idp")
        super().start()

    def is_ready(self) -> bool:
        return status_of(f"{self.issuer}/.well-known/openid-configuration") == 200

    def sessions(self, account: str) -> list[str]:
        """The sessions of one user, oldest first."""
        every = requests.get(f"{self.issuer}/admin/sessions", timeout=5).json()
        return [session["uid"] for session in every if session["account"] == account]

    def end(self, uid: str) -> str:
        """End one session as the administrator; returns what became of the logout token."""
        result = requests.post(f"{self.issuer}/admin/sessions/{uid}/end", timeout=5).json()
        assert result["found"], "the provider does not know this session"
        return str(result["clients"][CLIENT_ID])


class App(Process):
    """The Flask app. `token_url` is all that an operator changes when the sidecar comes."""

    def __init__(
        self, *, name: str, folder: Path, port: int, issuer: str, token_url: str | None, client_id: str = CLIENT_ID
    ) -> None:
        sessions = folder / "app-sessions"
        sessions.mkdir(exist_ok=True)
        env = {
            "FLASK_SESSION_FOLDER": str(sessions),
            "FLASK_OIDC_CLIENT_ID": client_id,
            "FLASK_OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "FLASK_OIDC_SERVER_METADATA_URL": f"{issuer}/.well-known/openid-configuration",
        }
        if token_url is not None:
            env["FLASK_OIDC_ACCESS_TOKEN_URL"] = token_url
        super().__init__([sys.executable, HERE / "apps" / "flask_app.py", str(port)], name=name, folder=folder, env=env)
        self.url = f"http://127.0.0.1:{port}"

    def is_ready(self) -> bool:
        return status_of(self.url) == 200


class Sidecar(Process):
    """`logout-sidecar run` with a configuration file of its own."""

    def __init__(self, config: dict[str, Any], *, name: str, folder: Path) -> None:
        self.config = config
        self.path = folder / f"{name}.yaml"
        env = {"DIGEST_SECRET": "at least sixteen bytes, made up for tests"}
        command = [sys.executable, "-P", "-m", "sidecar", "run", "-c", self.path]
        super().__init__(command, name=name, folder=folder, env=env)
        self.url = f"http://{config['listen']}"
        self.ops = f"http://{config['ops']['listen']}"
        self.relay = f"http://{config['control']['relay_listen']}"
        self.logout_url = f"{self.url}/_sidecar/backchannel-logout"

    def start(self) -> None:
        self.path.write_text(yaml.safe_dump(self.config))
        super().start()

    def is_ready(self) -> bool:
        return status_of(f"{self.ops}/readyz") == 200

    def metric(self, name: str) -> float:
        """One value of /metrics, written with its labels."""
        for line in requests.get(f"{self.ops}/metrics", timeout=5).text.splitlines():
            if line.rpartition(" ")[0] == name:
                return float(line.rpartition(" ")[2])
        return 0.0

    def post_logout(self, body: bytes, **headers: str) -> requests.Response:
        """POST anything to the logout endpoint."""
        content = {"Content-Type": "application/x-www-form-urlencoded"} | headers
        return requests.post(self.logout_url, data=body, headers=content, timeout=10)


class Cast:
    """One provider, and as many pairs of app and sidecar as wanted. The provider tells the first sidecar."""

    def __init__(self, folder: Path, *, replicas: int = 1, store: str | None = None, **sections: Any) -> None:
        provider_port = free_port()
        issuer = f"http://localhost:{provider_port}"
        self.apps: list[App] = []
        self.sidecars: list[Sidecar] = []
        for number in range(replicas):
            app_port, relay = free_port(), free_port()
            config = configuration(
                issuer=issuer, app=app_port, relay=relay, store=store or f"sqlite:///{folder / 'state.db'}"
            )
            self.sidecars.append(Sidecar(merged(config, sections), name=f"sidecar-{number}", folder=folder))
            token_url = f"http://127.0.0.1:{relay}/token"
            app = App(name=f"app-{number}", folder=folder, port=app_port, issuer=issuer, token_url=token_url)
            self.apps.append(app)
        redirect_uris = [f"{place.url}/oidc/callback" for place in (*self.sidecars, *self.apps)]
        registered = client(
            redirect_uris,
            logout_uri=self.sidecar.logout_url,
            post_logout_redirect_uris=[f"{sidecar.url}/" for sidecar in self.sidecars],
        )
        self.provider = Provider(folder=folder, port=provider_port, clients=[registered])

    @property
    def app(self) -> App:
        return self.apps[0]

    @property
    def sidecar(self) -> Sidecar:
        return self.sidecars[0]

    @contextlib.contextmanager
    def running(self, *parts: Process) -> Iterator["Cast"]:
        """Start these parts (all of them without arguments), wait until they are ready, stop them afterwards."""
        with started(*(parts or (self.provider, *self.apps, *self.sidecars))):
            yield self


@contextlib.contextmanager
def started(*parts: Process) -> Iterator[None]:
    """Start these parts, wait until they are ready, stop them afterwards."""
    with contextlib.ExitStack() as stack:
        for part in parts:
            stack.enter_context(part)
        for part in parts:
            part.wait_until(part.is_ready, "being ready", within=40)
        yield


def client(redirect_uris: Sequence[str], *, logout_uri: str, **metadata: Any) -> dict[str, Any]:
    """What is registered at the provider."""
    return {
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "redirect_uris": list(redirect_uris),
        "backchannel_logout_uri": logout_uri,
        "backchannel_logout_session_required": True,
        **metadata,
    }


def configuration(*, issuer: str, app: int, relay: int, store: str) -> dict[str, Any]:
    """What an operator writes for this app."""
    listen = free_port()
    return {
        "listen": f"127.0.0.1:{listen}",
        "public_url": f"http://127.0.0.1:{listen}",
        "upstream": {"url": f"http://127.0.0.1:{app}"},
        "ops": {"listen": f"127.0.0.1:{free_port()}"},
        "control": {"relay_listen": f"127.0.0.1:{relay}"},
        "providers": [{"issuer": issuer, "client_id": CLIENT_ID}],
        "session": {
            "credentials": [{"cookie": COOKIE}],
            "bind": [{"from": "token_endpoint", "callback": "/oidc/callback"}],
        },
        "enforcement": {"action": "reject", "login_url": "/login"},
        "store": {"url": store, "secret": {"env": "DIGEST_SECRET"}},
        "drain": {"delay": "0s", "timeout": "5s"},
    }


def merged(config: dict[str, Any], sections: dict[str, Any]) -> dict[str, Any]:
    """The configuration with some keys of some sections replaced."""
    whole = copy.deepcopy(config)
    for section, keys in sections.items():
        whole[section] = {**whole.get(section, {}), **keys} if isinstance(keys, dict) else keys
    return whole
