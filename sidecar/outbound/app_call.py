"""The app's own logout, called for a user whose session is over: straight to the app, with the browser's cookies.

It looks to the app like the browser that is behind the proxy: the public host, the cookies, an Origin and a Referer of
its own site. Where the app wants a CSRF token, one of its pages is fetched first. Bounded in time and size, no
redirects, no proxies, no cookies but those.
"""

import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

import aiohttp
from yarl import URL

from sidecar.core.csrf import Csrf

MAX_PAGE_BYTES: Final = 512 * 1024


@dataclass(frozen=True, slots=True)
class LogoutCall:
    """How the app is logged out of. Empty `statuses`: any 2xx or 3xx."""

    method: str
    path: str
    statuses: frozenset[int] = frozenset()
    csrf: Csrf | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it. `reason` is stable: `ok`, `timeout`, `http_500` ..."""

    reason: str
    may_pass: bool = False

    @property
    def is_done(self) -> bool:
        """Whether the app has taken it."""
        return self.reason == "ok"


class AppCall:
    """Calls one app. `origin` is the app's as browsers see it, None where nobody said."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        call: LogoutCall,
        *,
        url: str,
        origin: str | None,
        timeout_s: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._session = session
        self._call = call
        self._url = url
        self._origin = origin
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._tls: ssl.SSLContext | bool = True if tls is None else tls

    async def log_out(self, cookies: bytes) -> Told:
        """Call the app's logout with these cookies. Never raises for what the app or the network do."""
        if not cookies.isascii():  # there would be two ways to write them
            return Told("cookies_unusable")
        try:
            return await self._log_out(_pairs(cookies))
        except TimeoutError:
            return Told("timeout", may_pass=True)
        except (aiohttp.ClientError, OSError, ValueError):
            return Told("unreachable", may_pass=True)

    async def _log_out(self, cookies: dict[str, str]) -> Told:
        call, form, headers = self._call, dict[str, str](), dict[str, str]()
        if call.csrf is not None:
            token = await self._csrf_token(call.csrf, cookies)
            if isinstance(token, Told):
                return token
            if call.csrf.header is not None:
                headers[call.csrf.header] = token
            if call.csrf.field is not None:
                form[call.csrf.field] = token
        if call.method not in {"GET", "HEAD"}:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        status, _, _ = await self._ask(call.method, call.path, cookies, headers, urlencode(form).encode())
        return _judged(status, call.statuses)

    async def _csrf_token(self, csrf: Csrf, cookies: dict[str, str]) -> str | Told:
        status, page, lines = await self._ask("GET", csrf.path, cookies, {}, b"")
        if status != 200:
            return Told(f"csrf_http_{status}", may_pass=status >= 500)
        cookies.update(_set(lines))  # the token often belongs to one of these
        return csrf.token(page, cookies.items()) or Told("csrf_missing")

    async def _ask(
        self, method: str, path: str, cookies: dict[str, str], headers: dict[str, str], body: bytes
    ) -> tuple[int, str, list[str]]:
        sent = self._like_a_browser(path) | headers
        sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        async with self._session.request(
            method,
            URL(self._url + path, encoded=True),
            headers=sent,
            data=body or None,
            timeout=self._timeout,
            allow_redirects=False,
            ssl=self._tls,
        ) as response:
            page = await response.content.read(MAX_PAGE_BYTES)
            return response.status, page.decode("utf-8", "replace"), response.headers.getall("Set-Cookie", [])

    def _like_a_browser(self, path: str) -> dict[str, str]:
        headers = {"Accept": "text/html", "Accept-Encoding": "identity", "User-Agent": "logout-sidecar"}
        if self._origin is None:
            return headers
        site = urlsplit(self._origin)
        return headers | {
            "Host": site.netloc,
            "X-Forwarded-Host": site.netloc,
            "X-Forwarded-Proto": site.scheme,
            "Origin": self._origin,  # frameworks compare these with the host (Django, Rails, Spring)
            "Referer": self._origin + path,
        }


def _judged(status: int, statuses: frozenset[int]) -> Told:
    if status in statuses if statuses else 200 <= status < 400:
        return Told("ok")
    return Told(f"http_{status}", may_pass=status >= 500 or status in {408, 429})


def _pairs(cookies: bytes) -> dict[str, str]:
    pairs = (pair.strip().partition("=") for pair in cookies.decode("latin-1").split(";"))
    return {name: value for name, equals, value in pairs if equals}


def _set(lines: Iterable[str]) -> dict[str, str]:
    return _pairs("; ".join(line.partition(";")[0] for line in lines).encode("latin-1", "replace"))
