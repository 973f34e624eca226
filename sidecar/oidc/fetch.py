"""JSON documents from providers over HTTPS: bounded in size and time, no redirects, no proxies, no cookies.

A redirect is an error here (case L116): the operator named the place where the keys are, and nobody else may name
another.
"""

import ssl
from dataclasses import dataclass
from typing import Any

import aiohttp

from sidecar import clock
from sidecar.core.claims import TokenError, decode_json
from sidecar.errors import SidecarError
from sidecar.oidc.provider_clock import Heard, heard

MAX_DOCUMENT_BYTES = 512 * 1024
TIMEOUT = aiohttp.ClientTimeout(total=5, sock_connect=2, sock_read=3)
_HEADERS = {
    "Accept": "application/json, application/jwk-set+json",
    "Accept-Encoding": "identity",  # the size limit then counts what was sent
}


class KeysUnavailable(SidecarError):
    """The provider's metadata or keys cannot be had now."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A JSON document, and for how many seconds its sender lets it be cached (None: unsaid)."""

    document: Any
    max_age: int | None
    clock: Heard | None = None  # the sender's


def client_session() -> aiohttp.ClientSession:
    """The session that all providers share. `trust_env` stays off: HTTP_PROXY must not choose whom we trust."""
    return aiohttp.ClientSession(
        trust_env=False, cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit_per_host=4)
    )


async def fetch_json(session: aiohttp.ClientSession, url: str, tls: ssl.SSLContext | None) -> Fetched:
    """GET a document. Raises KeysUnavailable for every way in which that can fail."""
    try:
        async with session.get(
            url, headers=_HEADERS, timeout=TIMEOUT, allow_redirects=False, ssl=tls if tls is not None else True
        ) as response:
            if response.status != 200:
                raise KeysUnavailable("http_status", f"{url} answered {response.status}, expected 200")
            clock_of_sender = heard(response.headers, clock.boot())
            body = await _bounded_body(response, url)
            max_age = _max_age(response.headers.get("Cache-Control", ""))
    except TimeoutError as error:
        raise KeysUnavailable("timeout", f"{url} did not answer in time") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise KeysUnavailable("unreachable", f"{url}: {type(error).__name__}") from error
    return Fetched(parse_document(body, url), max_age, clock_of_sender)


def parse_document(body: bytes, source: str) -> Any:
    """The JSON value of a fetched or read document."""
    try:
        return decode_json(body)
    except TokenError as error:
        raise KeysUnavailable("not_json", f"{source} is not valid JSON") from error


async def _bounded_body(response: aiohttp.ClientResponse, url: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_DOCUMENT_BYTES:
            raise KeysUnavailable("too_large", f"{url} is larger than {MAX_DOCUMENT_BYTES} bytes")
    return bytes(body)


def _max_age(cache_control: str) -> int | None:
    """`max-age` of RFC 9111 section 5.2.2.1; `no-store` and `no-cache` mean zero."""
    for directive in cache_control.lower().split(","):
        name, _, value = directive.strip().partition("=")
        value = value.strip('"')
        if name in ("no-store", "no-cache"):
            return 0
        if name == "max-age" and value.isascii() and value.isdigit():
            return int(value[:10])
    return None
