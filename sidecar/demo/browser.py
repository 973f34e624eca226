"""What the demo's check uses in place of a person at a browser: it follows redirects, keeps cookies, presses buttons.

Cookies are kept by hand and by origin, so that several browsers can be played in one process and nothing that the
sites set is interpreted away.
"""

import re
from dataclasses import dataclass
from html import unescape
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

_HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)">')
_FORM = re.compile(r'<form method="post" action="([^"]*)">(.*?)</form>', re.DOTALL)
_MAX_REDIRECTS = 10
# What a browser sends when a person opens a page; the sidecar answers such requests with pages.
_NAVIGATION = {"Accept": "text/html,*/*;q=0.8", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


@dataclass(frozen=True, slots=True)
class Page:
    """Where a navigation ended."""

    url: URL
    status: int
    text: str


class Browser:
    """One person's browser; close it with `async with`."""

    def __init__(self, *, name: str) -> None:
        self._http = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": name},
            timeout=aiohttp.ClientTimeout(total=15),
        )
        self._cookies: dict[URL, dict[str, str]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    def cookies(self, url: URL) -> dict[str, str]:
        """The cookies that this browser has for the site of `url`."""
        return self._cookies.setdefault(url.origin(), {})

    async def open(self, url: URL) -> Page:
        """Navigate, following redirects."""
        return await self._navigate("GET", url, None)

    async def press(self, page: Page, label: str) -> Page:
        """Press the button with this label."""
        for action, content in _FORM.findall(page.text):
            if label in content:
                fields = {unescape(key): unescape(value) for key, value in _HIDDEN.findall(content)}
                return await self._navigate("POST", page.url.join(URL(unescape(action))), fields)
        raise LookupError(f"no button {label!r} on {page.url.origin()}{page.url.path}")

    async def stream(self, url: URL) -> aiohttp.ClientResponse:
        """Open a stream that stays open; the caller reads and closes it."""
        return await self._http.get(url, headers=self._cookie_header(url), timeout=aiohttp.ClientTimeout(total=None))

    async def _navigate(self, method: str, url: URL, fields: dict[str, str] | None) -> Page:
        for _ in range(_MAX_REDIRECTS):
            headers = _NAVIGATION | self._cookie_header(url)
            async with self._http.request(method, url, data=fields, headers=headers, allow_redirects=False) as response:
                self._keep(url, response)
                if response.status not in {302, 303}:
                    return Page(url, response.status, await response.text())
                method, url, fields = "GET", url.join(URL(response.headers["Location"])), None
        raise LookupError(f"more than {_MAX_REDIRECTS} redirects, last to {url.origin()}{url.path}")

    def _cookie_header(self, url: URL) -> dict[str, str]:
        pairs = "; ".join(f"{name}={value}" for name, value in self.cookies(url).items())
        return {"Cookie": pairs} if pairs else {}

    def _keep(self, url: URL, response: aiohttp.ClientResponse) -> None:
        kept = self.cookies(url)
        for name, morsel in response.cookies.items():
            if morsel["max-age"] == "0" or morsel.value == "" or "1970" in morsel["expires"]:
                kept.pop(name, None)
            else:
                kept[name] = morsel.value
