"""A stand-in for Strivacity's Admin API that follows its published definition: paths, answers, error bodies.

The service itself cannot be reached from a test. What is not published (what a session's `id` looks like, whether the
deletion of one session sends a back-channel logout) is up to the test: `on_end`.
"""

import base64
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote

WRITE = "write:account"


class Strivacity:
    """One tenant on loopback, in threads of its own."""

    def __init__(self, *, store: str = "customers") -> None:
        self.store = store
        self.sessions: dict[str, set[str]] = {}  # by account
        self.tokens: dict[str, set[str]] = {"good": {WRITE}}  # and what each may do
        self.clients = {"sidecar": "client secret"}
        self.lifetime: Any = 3600  # of a token
        self.faults: list[int] = []  # statuses that come first
        self.hold = threading.Event()  # cleared: answers wait
        self.hold.set()
        self.on_end: Callable[[str, str], None] = lambda _account, _session: None
        self.calls: list[tuple[str, str]] = []  # method and raw path
        self.fetches: list[dict[str, list[str]]] = []
        self.issued = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def token_url(self) -> str:
        return f"{self.url}/oauth2/token"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def delete(self, path: str, authorization: str) -> tuple[int, bytes]:
        """`DELETE /admin/api/v1/identityStores/{name}/accounts/{account}/sessions/{session}`."""
        if self.faults:
            return problem(self.faults.pop(0), "internalServerError", path)
        rights = self.tokens.get(authorization.removeprefix("Bearer "))
        if not authorization.startswith("Bearer ") or rights is None:
            return problem(401, "unauthorized", path)
        if WRITE not in rights:
            return problem(403, "forbidden", path)
        parts = [unquote(part) for part in path.split("/")]
        if len(parts) != 10 or parts[:5] != ["", "admin", "api", "v1", "identityStores"] or parts[5] != self.store:
            return problem(404, "notFound", path)
        account, session = parts[7], parts[9]
        if (parts[6], parts[8]) != ("accounts", "sessions") or session not in self.sessions.get(account, set()):
            return problem(404, "notFound", path)
        self.sessions[account].discard(session)
        self.on_end(account, session)
        return 204, b""

    def issue(self, form: dict[str, list[str]], authorization: str) -> tuple[int, bytes]:
        """The token endpoint: client credentials."""
        self.fetches.append(form)
        if self.faults:
            return self.faults.pop(0), b"{}"
        if authorization.startswith("Basic "):
            name, _, secret = base64.b64decode(authorization[6:]).decode().partition(":")
            name, secret = unquote(name.replace("+", " ")), unquote(secret.replace("+", " "))
        else:
            name, secret = form.get("client_id", [""])[0], form.get("client_secret", [""])[0]
        if self.clients.get(name) != secret or form.get("grant_type") != ["client_credentials"]:
            return 401, b'{"error": "invalid_client"}'
        self.issued += 1
        token = f"issued-{self.issued}"
        self.tokens[token] = {WRITE}
        answer = {"access_token": token, "token_type": "bearer", "expires_in": self.lifetime}
        return 200, json.dumps({name: value for name, value in answer.items() if value is not None}).encode()


def problem(status: int, key: str, path: str) -> tuple[int, bytes]:
    """The body `ProblemJson`, with all of its members; some name a person, as they may."""
    body = {
        "status": status,
        "title": f"Title of {key}",
        "detail": f"detail for alice@example.com at {path}",
        "errorKey": key,
        "message": f"error.{key}",
        "entityName": "account",
        "params": ["alice@example.com"],
        "path": path,
        "fieldErrors": [{"objectName": "account", "field": "id", "message": "alice@example.com is wrong"}],
    }
    return status, json.dumps(body).encode()


def _handler(tenant: Strivacity) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_DELETE(self) -> None:
            tenant.calls.append(("DELETE", self.path))
            tenant.hold.wait(20)
            self._answer(*tenant.delete(self.path, self.headers.get("Authorization", "")))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            tenant.hold.wait(20)
            self._answer(*tenant.issue(parse_qs(body), self.headers.get("Authorization", "")))

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/problem+json" if status >= 400 else "application/json")
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            """Silence."""

    return Handler
