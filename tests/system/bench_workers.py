"""A pod with several workers, without provider and browser: the test signs what they would, and is the app as well."""

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from bench_process import free_port, wait_for
from bench_stack import Sidecar, merged
from joserfc import jwt
from joserfc.jwk import ECKey

ISSUER = "https://idp.example.com"
EVENT = "http://schemas.openid.net/event/backchannel-logout"
IN, OUT = (200, None), (401, "revoked")

Answer = tuple[int, str | None]  # status, and the sidecar's reason


class App(ThreadingHTTPServer):
    """Answers everything with 200. Until `free` is set, it lets requests wait. An answer to `/long` never ends."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.free = threading.Event()
        self.free.set()
        self.over = threading.Event()
        self.waiting = 0


class _Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: App

    def do_GET(self) -> None:
        if not self.server.free.is_set():
            self.server.waiting += 1
            self.server.free.wait(10)
        is_long = self.path == "/long"
        self.send_response(200)
        self.send_header("Content-Length", "1000" if is_long else "2")
        self.end_headers()
        self.wfile.write(b"ok")
        if is_long:
            self.server.over.wait(60)

    def log_message(self, *args: Any) -> None:  # type: ignore[override]
        """Silence."""


class Visit:
    """One connection of a browser."""

    def __init__(self, url: str, cookie: str) -> None:
        self._http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=8)
        self._cookie = cookie

    def get(self, path: str = "/") -> Answer:
        self._http.request("GET", path, headers={"Cookie": self._cookie, "Accept": "application/json"})
        answer = self._http.getresponse()
        answer.read()
        return answer.status, answer.getheader("X-Logout-Sidecar")

    def is_served(self) -> Answer | None:
        """The answer, or None where the connection has ended."""
        try:
            return self.get()
        except (http.client.HTTPException, OSError):
            return None

    def begin(self) -> None:
        """Ask for what never ends, and read its beginning."""
        self._http.request("GET", "/long", headers={"Cookie": self._cookie} if self._cookie else {})
        assert self._http.getresponse().read(2) == b"ok"

    def is_cut(self, within: float) -> bool:
        """Whether what was begun ends in so many seconds; nothing more comes."""
        self._http.sock.settimeout(within)
        try:
            return self._http.sock.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    def close(self) -> None:
        self._http.close()


class Pod:
    """A sidecar with workers, and the app behind it."""

    def __init__(self, folder: Path, *, workers: int, **sections: Any) -> None:
        self._visits: list[Visit] = []
        self._key = ECKey.generate_key("P-256", {"kid": "k1"})
        keys = folder / "keys.json"
        keys.write_text(json.dumps({"keys": [self._key.as_dict(private=False)]}))
        self.app = App()
        config = {
            "listen": f"127.0.0.1:{free_port()}",
            "workers": workers,
            "upstream": {"url": f"http://127.0.0.1:{self.app.server_port}"},
            "ops": {"listen": f"127.0.0.1:{free_port()}"},
            "control": {"relay_listen": f"127.0.0.1:{free_port()}"},
            "providers": [{"issuer": ISSUER, "client_id": "app", "algorithms": ["ES256"], "jwks_file": str(keys)}],
            "session": {"bind": [{"from": "token", "cookie": "id_token"}]},
            "store": {"url": f"sqlite:///{folder / 'state.db'}"},
            "drain": {"delay": "0s", "timeout": "5s"},
        }
        self.sidecar = Sidecar(merged(config, sections), name="pod", folder=folder)

    def __enter__(self) -> Self:
        threading.Thread(target=self.app.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            self.sidecar.start()
            self.sidecar.wait_until(self.sidecar.is_ready, "being ready")
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.app.free.set()
        self.app.over.set()
        for visit in self._visits:
            visit.close()
        self.sidecar.__exit__(kind, error, trace)
        self.app.shutdown()
        self.app.server_close()

    # Sessions

    def cookie(self, sid: str) -> str:
        """What the browser of a session sends."""
        claims = {"iss": ISSUER, "aud": "app", "sub": "alice", "sid": sid, "iat": int(time.time()) - 60}
        return f"id_token={self._signed(claims)}"

    def visit(self, sid: str) -> Visit:
        """A connection to come; closed with the pod."""
        self._visits.append(Visit(self.sidecar.url, self.cookie(sid)))
        return self._visits[-1]

    def visit_of_nobody(self) -> Visit:
        """A connection to come without any cookie; closed with the pod."""
        self._visits.append(Visit(self.sidecar.url, ""))
        return self._visits[-1]

    def visits(self, sid: str, count: int) -> list[Visit]:
        """Connections that are open, each with one answer behind it."""
        visits = [self.visit(sid) for _ in range(count)]
        assert {visit.get() for visit in visits} == {IN}
        return visits

    def answers(self, sid: str, count: int) -> set[Answer]:
        """What so many fresh connections are answered."""
        found = set()
        cookie = self.cookie(sid)
        for _ in range(count):
            visit = Visit(self.sidecar.url, cookie)
            found.add(visit.get())
            visit.close()
        return found

    def log_out(self, sid: str, *, timeout: float = 5) -> int:
        """The provider's POST; its status."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": "app", "iat": now, "exp": now + 60, "jti": os.urandom(8).hex()}
        token = self._signed(claims | {"sid": sid, "events": {EVENT: {}}}, typ="logout+jwt")
        connection = http.client.HTTPConnection(urlsplit(self.sidecar.url).netloc, timeout=timeout)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", "/_sidecar/backchannel-logout", urlencode({"logout_token": token}), headers)
        try:
            return connection.getresponse().status
        finally:
            connection.close()

    def _signed(self, claims: dict[str, Any], **header: str) -> str:
        return jwt.encode({"alg": "ES256", "kid": "k1"} | header, claims, self._key, algorithms=["ES256"])

    # Processes

    def takes_connections(self) -> bool:
        """Whether somebody listens."""
        host, _, port = urlsplit(self.sidecar.url).netloc.partition(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def pid_of(self, name: str) -> int:
        """The process that has this role now."""
        return int(self._starts(name)[-1]["pid"])

    def starts_of(self, name: str) -> int:
        return len(self._starts(name))

    def kill(self, name: str, number: int) -> int:
        """Send a signal to the process that has this role."""
        pid = self.pid_of(name)
        os.kill(pid, number)
        return pid

    def wait_for_start(self, name: str, count: int) -> None:
        wait_for(lambda: self.starts_of(name) == count, f"start {count} of {name}")

    def wait_until_ready(self) -> None:
        self.sidecar.wait_until(self.sidecar.is_ready, "being ready again")

    def _starts(self, name: str) -> list[dict[str, Any]]:
        lines: Sequence[dict[str, Any]] = [
            json.loads(line) for line in self.sidecar.output().splitlines() if line.startswith("{")
        ]
        starts = [line for line in lines if line["event"] in {"process_started", "process_restarted"}]
        return [line for line in starts if line["name"] == name]


def is_dead(pid: int) -> bool:
    """Whether a process has ended, collected or not."""
    try:
        return "(zombie)" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
