"""OpenID Connect Discovery 1.0: the provider's metadata, checked, and reachable from where we are.

`internal_url` says where pods reach the provider: it replaces the issuer's URL for the discovery request, and the
issuer's origin in every endpoint that the document names. Tokens still carry the public issuer, so the issuer in the
document must be the configured one, byte by byte (Discovery section 4.3).
"""

import asyncio
import ipaddress
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

import aiohttp

from sidecar import clock
from sidecar.oidc.fetch import KeysUnavailable, fetch_json

WELL_KNOWN = "/.well-known/openid-configuration"
SSF_WELL_KNOWN = "/.well-known/ssf-configuration"
LATE_MAX_AGE_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a provider says about itself: the document as published, and its endpoints as we reach them."""

    document: Mapping[str, Any] = field(repr=False)
    endpoints: Mapping[str, str]

    def endpoint(self, name: str) -> str:
        """The URL of an endpoint, such as `token_endpoint`."""
        try:
            return self.endpoints[name]
        except KeyError:
            raise _missing(name) from None

    def for_browsers(self, name: str) -> str:
        """The same as browsers reach it: as published, on the public issuer. Raises KeysUnavailable."""
        issuer = urlsplit(self.document["issuer"])
        found = dict(_endpoints({name: self.document.get(name)}, issuer, issuer))
        if name not in found:
            raise _missing(name)
        return found[name]


def _missing(name: str) -> KeysUnavailable:
    return KeysUnavailable("endpoint_missing", f"the provider's metadata names no usable {name}")


def openid_configuration(issuer: str) -> str:
    """Where a provider's metadata is. Discovery section 4: a slash at the end is removed, then the path is appended."""
    return issuer.removesuffix("/") + WELL_KNOWN


def ssf_configuration(issuer: str) -> str:
    """Where a transmitter's metadata is: the path is put in (Shared Signals Framework 1.0, Discovery)."""
    parts = urlsplit(issuer)
    return parts._replace(path=SSF_WELL_KNOWN + parts.path.removesuffix("/")).geturl()


async def discover(
    session: aiohttp.ClientSession,
    issuer: str,
    *,
    internal_url: str | None = None,
    tls: ssl.SSLContext | None = None,
    place: Callable[[str], str] = openid_configuration,
) -> Metadata:
    """Fetch and check the metadata of an issuer. `place`: from the issuer's URL to that of its metadata."""
    fetched = await fetch_json(session, place(internal_url or issuer), tls)
    return read_metadata(fetched.document, issuer, internal_url)


class LateMetadata:
    """The metadata of a provider whose keys come from elsewhere (`jwks_uri`, `jwks_file`): for the relay alone.

    Nothing is asked until somebody needs an endpoint; the answer is kept for a day.
    """

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        issuer: str,
        internal_url: str | None,
        tls: ssl.SSLContext | None,
        now: Callable[[], float] = clock.boot,
    ) -> None:
        self._session = session
        self._issuer = issuer
        self._internal_url = internal_url
        self._tls = tls
        self._now = now
        self._known: Metadata | None = None
        self._until = 0.0
        self._asking = asyncio.Lock()

    async def metadata(self) -> Metadata:
        """What discovery says. Raises KeysUnavailable."""
        async with self._asking:
            if self._known is None or self._now() >= self._until:
                self._known = await discover(
                    self._session, self._issuer, internal_url=self._internal_url, tls=self._tls
                )
                self._until = self._now() + LATE_MAX_AGE_S
            return self._known


def read_metadata(document: object, issuer: str, internal_url: str | None) -> Metadata:
    """Check a discovery document and rewrite its endpoints."""
    if not isinstance(document, dict) or not isinstance(document.get("issuer"), str):
        raise KeysUnavailable("not_metadata", "the discovery document has no issuer")
    if document["issuer"] != issuer:
        named = document["issuer"][:200]
        raise KeysUnavailable("issuer_mismatch", f"issuer in discovery is {named!r}, you configured {issuer!r}")
    return Metadata(document, dict(_endpoints(document, urlsplit(issuer), urlsplit(internal_url or issuer))))


def _endpoints(document: Mapping[str, Any], issuer: SplitResult, reached: SplitResult) -> Iterator[tuple[str, str]]:
    for name, value in document.items():
        if name.endswith(("_endpoint", "_uri")) and isinstance(value, str):
            url = _rewritten(value, issuer, reached)
            if url is not None and (url.scheme == "https" or reached.scheme == "http" or is_loopback(url.hostname)):
                yield name, url.geturl()


def _rewritten(value: str, issuer: SplitResult, reached: SplitResult) -> SplitResult | None:
    try:
        url = urlsplit(value)
        same_origin = _origin(url) == _origin(issuer)
    except ValueError:  # a bad port or bracket
        return None
    if url.scheme not in ("http", "https") or not url.hostname:
        return None
    return url._replace(scheme=reached.scheme, netloc=reached.netloc) if same_origin else url


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    """Scheme, host and port, with the port that the scheme implies (RFC 6454 section 4)."""
    return url.scheme, url.hostname, url.port or {"http": 80, "https": 443}.get(url.scheme)


def is_loopback(host: str | None) -> bool:
    """Whether plain http to the host cannot leave the machine."""
    if host is None or host == "localhost":
        return host is not None
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
