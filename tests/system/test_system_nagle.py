"""An app that writes head and body apart, and sends the second only when the first is acknowledged."""

import contextlib
import http.client
import http.server
import json
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench_process import Process, free_port, wait_for

REQUESTS = 30
DELAYED_ACK_S = 0.04  # Linux, on a connection that it has seen answering


class TwoWrites(http.server.BaseHTTPRequestHandler):
    """Python's own server: TCP_NODELAY is off."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"body")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """Quiet."""


@pytest.fixture
def app() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), TwoWrites)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_app_with_nagles_algorithm_is_not_made_to_wait_for_acknowledgements(app: int, tmp_path: Path) -> None:
    public = free_port()
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {
                "listen": f"127.0.0.1:{public}",
                "upstream": {"url": f"http://127.0.0.1:{app}"},
                "ops": {"listen": f"127.0.0.1:{free_port()}"},
                "control": {"relay_listen": f"127.0.0.1:{free_port()}"},
                "providers": [{"issuer": f"http://127.0.0.1:{free_port()}", "client_id": "app"}],
                "session": {
                    "credentials": [{"cookie": "SID"}],
                    "bind": [{"from": "token_endpoint", "callback": "/callback"}],
                },
                "store": {"url": "sqlite://"},
            }
        )
    )
    with Process([sys.executable, "-P", "-m", "sidecar", "run", "-c", config], name="sidecar", folder=tmp_path):
        wait_for(lambda: _is_open(public), "the sidecar listens")
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", public, timeout=10)) as client:
            durations = [_seconds(client) for _ in range(REQUESTS)]
    # The first segments of a connection are acknowledged at once by every Linux; look at the last ones.
    assert statistics.median(durations[REQUESTS // 2 :]) < DELAYED_ACK_S * 0.75


def _seconds(client: http.client.HTTPConnection) -> float:
    began = time.monotonic()
    client.request("GET", "/")
    assert client.getresponse().read() == b"body"
    return time.monotonic() - began


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
