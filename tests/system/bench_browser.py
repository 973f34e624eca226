"""A person at a browser: cookies, redirects and forms over real HTTP, without a script engine.

Like real browsers, it shares cookies between the ports of one host. So the bench serves the app at 127.0.0.1 and the
provider at localhost: two sites.
"""

import re
import time
from collections.abc import Iterator
from html import unescape
from types import TracebackType
from typing import Self
from urllib.parse import urljoin

import requests

NAVIGATION = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}
_FORM = re.compile(r'<form[^>]* action="([^"]*)"')
_SUBMITS_ITSELF = "document.forms[0].submit()"
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)"')


class Browser:
    """One browser with its own cookies."""

    def __init__(self) -> None:
        self.http = requests.Session()
        self.http.trust_env = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.http.close()

    def open(self, url: str) -> requests.Response:
        """Navigate, following redirects, and the form of a page that submits itself."""
        answer = self.http.get(url, headers=NAVIGATION, timeout=15)
        return self.submit(answer) if _SUBMITS_ITSELF in answer.text else answer

    def fetch(self, url: str) -> requests.Response:
        """What a script on the page would do: no navigation, no redirects."""
        return self.http.get(url, headers={"Accept": "application/json"}, timeout=15, allow_redirects=False)

    def probe(self, url: str) -> requests.Response:
        """Ask with this browser's cookies, but keep nothing of the answer: a refusal takes the cookie away."""
        headers = {"Accept": "application/json", "Cookie": self.cookie_header()}
        return requests.get(url, headers=headers, timeout=15, allow_redirects=False)

    def submit(self, page: requests.Response, **fields: str) -> requests.Response:
        """Fill in and send the one form of the page."""
        form = _FORM.search(page.text)
        assert form is not None, f"no form at {page.url}: {page.status_code} {page.text[:500]}"
        hidden = {unescape(key): unescape(value) for key, value in _HIDDEN.findall(page.text)}
        url = urljoin(page.url, unescape(form[1]))
        answer = self.http.post(url, data=hidden | fields, headers=NAVIGATION, timeout=15)
        return self.submit(answer) if _SUBMITS_ITSELF in answer.text else answer

    def log_in(self, url: str, user: str) -> requests.Response:
        """Open a page that needs a login, and log in at the provider on the way."""
        return self.submit(self.open(url), user=user)

    def cookie_header(self, host: str = "127.0.0.1") -> str:
        """The cookies of one host, for requests that are written by hand."""
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.http.cookies if cookie.domain == host)

    def steal_cookies_from(self, other: "Browser") -> None:
        """Copy another browser's cookies, as a thief or a restored backup would."""
        for cookie in other.http.cookies:
            self.http.cookies.set_cookie(cookie)


def is_refused(answer: requests.Response) -> bool:
    """Refused by the sidecar for a logout, and not by the app for whatever reason."""
    return answer.status_code == 401 and answer.headers.get("X-Logout-Sidecar") == "revoked"


def seconds_until_cut(stream: Iterator[bytes], *, within: float = 3) -> float:
    """Read an endless stream until somebody ends it; the time that it took."""
    started = time.monotonic()
    try:
        for _ in stream:
            assert time.monotonic() - started < within, f"the stream is still open after {within} s"
    except requests.RequestException:
        pass  # cut in the middle, as an unfinished stream should be
    return time.monotonic() - started
