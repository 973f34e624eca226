"""Small HTTP servers in the test's own process, for apps and providers of which a test wants to see everything."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Server(ThreadingHTTPServer):
    """Serves until the block ends. `stage` is whatever the pages want to know."""

    daemon_threads = True

    def __init__(self, pages: type["Pages"], stage: Any = None) -> None:
        super().__init__(("127.0.0.1", 0), pages)
        self.stage = stage

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()


class Pages(BaseHTTPRequestHandler):
    """Answers with a length, on connections that stay open."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.get()

    def do_POST(self) -> None:
        self.post()

    def get(self) -> None:
        self.answer(200, b"welcome")

    def post(self) -> None:
        self.answer(405)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """`Set_Cookie` for `Set-Cookie`."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:  # type: ignore[override]
        """Silence."""
