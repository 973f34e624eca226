"""The relay's way to the provider: one request out, one bounded answer back, and which header fields go along.

No cookies, no redirects, no proxy from the environment, nothing added and nothing kept. What is asked, and what an
answer means, is for `relay.py`.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from sidecar.errors import SidecarError

MAX_ANSWER_BYTES = 1024 * 1024
TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)

# RFC 9110 section 7.6.1, and what describes the connection rather than the message.
_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect")
)
# Proxy-Authorization is for us (RFC 9110 section 11.7.2). Cookies mean nothing between two servers.
NOT_FORWARDED = _HOP_BY_HOP | {"host", "content-length", "accept-encoding", "cookie", "proxy-authorization"}
# The body arrives here decoded, so neither its length nor its encoding holds any more.
NOT_RETURNED = _HOP_BY_HOP | {"content-length", "content-encoding", "set-cookie", "proxy-authenticate"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider answered, all of it."""

    status: int
    headers: CIMultiDictProxy[str] = field(repr=False)
    body: bytes = field(repr=False)


class RelayRefused(SidecarError):
    """The relay itself answers, with an error of RFC 6749 section 5.2."""

    def __init__(self, status: int, reason: str, message: str, *, error: str | None = None) -> None:
        super().__init__(reason, message)
        self.status = status
        self.error = error or ("temporarily_unavailable" if status >= 500 else "invalid_request")


class Outbound:
    """The client side: no cookies, no redirects, no proxy from the environment, bounded in time and size."""

    def __init__(self, timeout: aiohttp.ClientTimeout) -> None:
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def lifetime(self, _app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            skip_auto_headers=(hdrs.USER_AGENT, hdrs.CONTENT_TYPE),
        ) as self._session:
            yield

    async def send(
        self, method: str, url: str, headers: CIMultiDict[str], body: bytes, tls: ssl.SSLContext | None
    ) -> Answer:
        """Send a request as it is. Raises RelayRefused when no whole answer came."""
        if self._session is None:
            raise RuntimeError("the relay has not been started")
        headers[hdrs.ACCEPT_ENCODING] = "identity"  # the size limit then counts what was sent
        try:
            async with self._session.request(
                method,
                URL(url, encoded=True),
                data=body or None,
                headers=headers,
                allow_redirects=False,
                ssl=True if tls is None else tls,
            ) as response:
                return Answer(response.status, response.headers, await _bounded(response.content))
        except TimeoutError as error:
            raise RelayRefused(504, "timeout", "the provider did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise RelayRefused(502, "unreachable", "the provider cannot be reached or broke off") from error


def passed(headers: Mapping[str, str], dropped: frozenset[str]) -> CIMultiDict[str]:
    """The headers that go on: all but `dropped` and what `Connection` nominates (RFC 9110 section 7.6.1)."""
    nominated = {name.strip().lower() for name in headers.get(hdrs.CONNECTION, "").split(",")}
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in dropped and name.lower() not in nominated
    )


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise RelayRefused(502, "too_large", f"the provider's answer has more than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)
