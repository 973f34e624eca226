"""A stand-in for providers that npm oidc-provider is not: Keycloak, Okta, Entra, a transmitter of security events.

One key, its discovery documents, a page with a frame for the front channel, and an app behind the sidecar that answers
everything. The browser's session is the ID token in its cookie, so nobody has to log in. What these providers send is
made as their sources and documents say, since the services themselves cannot be reached from a test.
"""

import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import requests
from bench_process import free_port
from bench_stack import Sidecar, merged
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "wiki"
CAEP = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
LOGOUT = "http://schemas.openid.net/event/backchannel-logout"


class Provider(ThreadingHTTPServer):
    """The provider's web server: discovery, keys, and a logout page that frames whoever it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.issuer = f"http://localhost:{self.server_port}"
        self.key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"}, private=True)
        self.frame = ""  # what the logout page loads
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def signed(self, claims: dict[str, Any], **header: str) -> str:
        return jwt.encode({"alg": "RS256", "kid": "one", **header}, claims, self.key)

    def id_token(self, sid: str = "s-1", sub: str = "jane", *, client: str = CLIENT, age: int = 30) -> str:
        now = int(time.time())
        return self.signed(
            {"iss": self.issuer, "aud": client, "sub": sub, "sid": sid, "iat": now - age, "exp": now + 3600}
        )

    def logout_token(self, sid: str, client: str) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": client, "sid": sid, "iat": now, "exp": now + 120, "jti": uuid.uuid4().hex}
        return self.signed({**claims, "events": {LOGOUT: {}}})

    def admin(self, action: str, **claims: Any) -> str:
        """What Keycloak POSTs to a client's Admin URL."""
        now = int(time.time())
        return self.signed(
            {"id": uuid.uuid4().hex, "expiration": now + 30, "resource": CLIENT, "action": action, **claims}, typ="JWT"
        )

    def event(self, audience: str, subject: dict[str, str]) -> str:
        claims = {"iss": self.issuer, "aud": audience, "iat": int(time.time()), "jti": uuid.uuid4().hex}
        return self.signed({**claims, "sub_id": subject, "events": {CAEP: {}}}, typ="secevent+jwt")

    def caller(self, endpoint: str) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": "0oa1", "aud": endpoint, "jti": uuid.uuid4().hex, "iat": now}
        return self.signed({**claims, "exp": now + 300}, typ="global-token-revocation+jwt")


class _Pages(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Provider

    def do_GET(self) -> None:
        issuer = self.server.issuer
        metadata = {"issuer": issuer, "jwks_uri": f"{issuer}/jwks"}
        pages = {
            "/.well-known/openid-configuration": metadata,
            "/.well-known/ssf-configuration": metadata,
            "/jwks": {"keys": [self.server.key.as_dict(private=False)]},
        }
        path = self.path.partition("?")[0]
        if path == "/logout":
            self._answer("text/html", f"<!DOCTYPE html><h1>Bye</h1><iframe src='{self.server.frame}'></iframe>")
        elif path in pages:
            self._answer("application/json", json.dumps(pages[path]))
        else:
            self._answer("text/plain", "the app")

    def _answer(self, kind: str, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: Any) -> None:
        """Silence."""


def sidecar_of(
    provider: Provider, folder: Path, *, name: str = "sidecar", store: str | None = None, **changes: Any
) -> Sidecar:
    """A sidecar before the app, with every receiver switched on. `changes`: other keys of the provider's section."""
    sections = {key: changes.pop(key) for key in ("workers",) if key in changes}
    listen = free_port()
    public = f"http://127.0.0.1:{listen}"
    config = {
        "listen": f"127.0.0.1:{listen}",
        "public_url": public,
        "upstream": {"url": f"http://127.0.0.1:{provider.server_port}"},
        "ops": {"listen": f"127.0.0.1:{free_port()}"},
        "control": {"relay_listen": f"127.0.0.1:{free_port()}"},
        "providers": [
            {
                "issuer": provider.issuer,
                "client_id": CLIENT,
                "keycloak_admin": True,
                "frontchannel": {"enabled": True},
                "logout_token": {"leeway": "0s"},
                **changes,
            }
        ],
        "receivers": {
            "security_events": [{"issuer": provider.issuer, "audiences": [f"{public}/events"]}],
            "global_token_revocation": [{"issuer": provider.issuer}],
        },
        "session": {
            "credentials": [{"cookie": "JSESSIONID"}],
            "bind": [{"from": "token", "cookie": "id_token"}],
        },
        "enforcement": {"login_url": "/login"},
        "store": {"url": store or f"sqlite:///{folder / f'{name}.db'}", "secret": {"env": "DIGEST_SECRET"}},
        "drain": {"delay": "0s", "timeout": "5s"},
    }
    return Sidecar(merged(config, sections), name=name, folder=folder)


def status(sidecar: Sidecar, **cookies: str) -> int:
    """What a request with these cookies gets: 200 from the app, 401 from the sidecar."""
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    answer = requests.get(f"{sidecar.url}/page", headers={"Cookie": cookie}, timeout=10, allow_redirects=False)
    return answer.status_code


def post(sidecar: Sidecar, path: str, body: str, **headers: str) -> requests.Response:
    """POST below the control prefix."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(f"{sidecar.url}/_sidecar/{path}", data=body, headers=named, timeout=10)
