"""A headless Chromium, driven through chromedriver over plain HTTP (W3C WebDriver)."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests
from bench_process import Process, free_port, wait_for
from bench_stack import program, status_of

# No sandbox: in a container that runs as root Chromium has none. The rest keeps it from talking to anybody else.
_ARGUMENTS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key that the specification gives an element reference


class Chromium:
    """One browser window with an empty profile."""

    def __init__(self, *, folder: Path, trusts_all: bool = False) -> None:
        """`trusts_all`: certificates of an authority that only the test knows."""
        self._trusts_all = trusts_all
        self._profile = folder / "profile"
        self._binary = program("chromium")
        port = free_port()
        self._driver = Process([program("chromedriver"), f"--port={port}"], name="chromedriver", folder=folder)
        self._base = f"http://127.0.0.1:{port}"
        self._session = ""

    def __enter__(self) -> Self:
        self._driver.__enter__()
        try:
            self._driver.wait_until(lambda: status_of(f"{self._base}/status") == 200, "being ready")
            arguments = [*_ARGUMENTS, f"--user-data-dir={self._profile}"]
            options = {"args": arguments, "binary": self._binary}
            always = {"browserName": "chrome", "acceptInsecureCerts": self._trusts_all, "goog:chromeOptions": options}
            wanted = {"capabilities": {"alwaysMatch": always}}
            self._session = f"{self._base}/session/{self._call('POST', f'{self._base}/session', wanted)['sessionId']}"
        except BaseException:
            self._driver.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            print(f"--- Chromium is at {self.url}\n{self.source[:2000]}")
        try:
            self._call("DELETE", self._session)  # closes every window; killing the driver would leave them behind
        finally:
            self._driver.__exit__(kind, error, trace)

    @property
    def url(self) -> str:
        return str(self._call("GET", f"{self._session}/url"))

    @property
    def source(self) -> str:
        return str(self._call("GET", f"{self._session}/source"))

    def open(self, url: str) -> None:
        self._call("POST", f"{self._session}/url", {"url": url})

    def type(self, selector: str, text: str) -> None:
        self._call("POST", f"{self._find(selector)}/value", {"text": text})

    def click(self, selector: str) -> None:
        self._call("POST", f"{self._find(selector)}/click", {})

    def text(self, selector: str) -> str:
        return str(self._call("GET", f"{self._find(selector)}/text"))

    def script(self, body: str) -> Any:
        """Run a function body in the page."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": body, "args": []})

    def wait_for_text(self, selector: str, text: str, *, within: float = 10) -> None:
        """Wait until an element of the page says this; pages come and go meanwhile."""

        def says() -> bool:
            try:
                return text in self.text(selector)
            except LookupError:
                return False

        wait_for(says, f"{text!r} in {selector}", within=within)

    def _find(self, selector: str) -> str:
        found = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        return f"{self._session}/element/{found[_ELEMENT]}"

    def _call(self, method: str, url: str, body: dict[str, Any] | None = None) -> Any:
        answer = requests.request(method, url, json=body, timeout=30)
        value = answer.json()["value"]
        if answer.status_code != 200:
            raise LookupError(f"{value['error']}: {value['message'].splitlines()[0]}")
        return value
