"""A sidecar in front of the mixed app of the tests, for runs that watch how it behaves rather than what it costs.

Sessions are made here: whoever has the key signs ID tokens for logins and logout tokens for logouts.
"""

import contextlib
import json
import sys
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import RSAKey

from benchmarks.processes import LOAD_CORE, Program, free_port, running

ISSUER, CLIENT = "https://idp.example.com", "legacy-app"
_APP = Path(__file__).parents[1] / "tests/system/apps/mixed_app.py"
_EVENT = "http://schemas.openid.net/event/backchannel-logout"


@dataclass(frozen=True)
class Trial:
    """A running sidecar. `group` is its process group, `log` what it writes."""

    port: int
    ops: int
    group: int
    log: Path
    key: RSAKey

    def cookies(self, sid: str) -> str:
        """What the browser of a session sends; the first such request makes its binding."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": CLIENT, "sub": f"user of {sid}", "sid": sid, "iat": now, "exp": now + 3600}
        return f"JSESSIONID=app-{sid}; id_token={self._signed(claims)}"

    def logout_request(self, sid: str) -> bytes:
        """The provider's POST that ends a session."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": CLIENT, "sid": sid, "iat": now, "exp": now + 120, "jti": uuid.uuid4().hex}
        body = urllib.parse.urlencode({"logout_token": self._signed(claims | {"events": {_EVENT: {}}})})
        head = f"POST /_sidecar/backchannel-logout HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        return f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}".encode()

    def gauge(self, name: str) -> float:
        """One value of /metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ops}/metrics", timeout=10) as page:
            text = page.read().decode()
        return next(
            (float(line.split()[1]) for line in text.splitlines() if line.startswith(f"logout_sidecar_{name} ")), 0.0
        )

    def _signed(self, claims: dict[str, object]) -> str:
        return jwt.encode({"alg": "RS256", "kid": "trial"}, claims, self.key)


@contextlib.contextmanager
def trial(folder: Path) -> Iterator[Trial]:
    """Start the app and the sidecar; both end with the block."""
    key = RSAKey.generate_key(2048, {"kid": "trial", "use": "sig", "alg": "RS256"}, private=True)
    (folder / "jwks.json").write_text(json.dumps({"keys": [key.as_dict(private=False)]}))
    app, port, ops = free_port(), free_port(), free_port()
    settings = folder / "sidecar.json"
    settings.write_text(json.dumps(_settings(folder, app=app, port=port, ops=ops)))
    command = [sys.executable, "-P", "-m", "sidecar", "run", "-c", str(settings)]
    sidecar = Program(name="sidecar", command=command, port=port, ready_url=f"http://127.0.0.1:{ops}/readyz")
    behind = Program(name="app", command=[sys.executable, str(_APP), str(app)], port=app)
    with running(behind, folder=folder, core=LOAD_CORE), running(sidecar, folder=folder) as group:
        yield Trial(port, ops, group, folder / f"{port}.log", key)


def _settings(folder: Path, *, app: int, port: int, ops: int) -> dict[str, object]:
    return {
        "listen": f"127.0.0.1:{port}",
        "upstream": {"url": f"http://127.0.0.1:{app}"},
        "ops": {"listen": f"127.0.0.1:{ops}"},
        "control": {"relay_listen": f"unix:{folder}/relay"},
        "providers": [{"issuer": ISSUER, "client_id": CLIENT, "jwks_file": str(folder / "jwks.json")}],
        "session": {"credentials": [{"cookie": "JSESSIONID"}], "bind": [{"from": "token", "cookie": "id_token"}]},
        "store": {"url": f"sqlite:///{folder}/state.db"},
        "drain": {"delay": "0s", "timeout": "1s"},
    }
