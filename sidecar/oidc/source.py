"""Where a provider's keys come from: discovery, a fixed `jwks_uri`, or a file. Each load is one attempt.

A source remembers nothing but the provider's metadata. When to load, how long keys live and what to do after a failure
is decided in `provider.py`.
"""

import asyncio
import ssl
from pathlib import Path
from typing import NamedTuple, Protocol

import aiohttp

from sidecar.oidc.discovery import Metadata, discover
from sidecar.oidc.fetch import MAX_DOCUMENT_BYTES, KeysUnavailable, fetch_json, parse_document
from sidecar.oidc.jwks import KeySet, import_keys
from sidecar.oidc.provider_clock import Heard

FILE_MAX_AGE_S = 60  # a mounted secret or config map may be replaced under us
METADATA_MAX_AGE_S = 24 * 3600


class Loaded(NamedTuple):
    """Keys, possibly none, and for how many seconds their sender lets them be cached."""

    keys: KeySet
    max_age: int | None
    clock: Heard | None = None  # the provider's, where it answered itself


class Source(Protocol):
    """`metadata` stays None where there is no discovery, or none has succeeded yet."""

    @property
    def metadata(self) -> Metadata | None: ...

    async def load(self, now: float) -> Loaded:
        """Get the keys now, or raise KeysUnavailable."""


class DiscoverySource:
    """Keys at the `jwks_uri` that the issuer's metadata names."""

    def __init__(
        self,
        *,
        session: aiohttp.ClientSession,
        issuer: str,
        internal_url: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.metadata: Metadata | None = None
        self._session = session
        self._issuer = issuer
        self._internal_url = internal_url
        self._tls = tls
        self._metadata_until = 0.0

    async def load(self, now: float) -> Loaded:
        """Discover where necessary, then fetch the keys. A failed fetch makes the next load discover again."""
        metadata = self.metadata
        if metadata is None or now >= self._metadata_until:
            metadata = self.metadata = await discover(
                self._session, self._issuer, internal_url=self._internal_url, tls=self._tls
            )
        self._metadata_until = 0.0  # the keys may have moved, until this fetch shows that they have not
        fetched = await fetch_json(self._session, metadata.endpoint("jwks_uri"), self._tls)
        self._metadata_until = now + METADATA_MAX_AGE_S
        return Loaded(import_keys(fetched.document), fetched.max_age, fetched.clock)


class UrlSource:
    """Keys at a configured `jwks_uri`; there is no discovery then."""

    metadata: Metadata | None = None

    def __init__(self, *, session: aiohttp.ClientSession, jwks_uri: str, tls: ssl.SSLContext | None = None) -> None:
        self._session = session
        self._jwks_uri = jwks_uri
        self._tls = tls

    async def load(self, now: float) -> Loaded:  # noqa: ARG002 - the clock is for sources that cache
        """Fetch the keys."""
        fetched = await fetch_json(self._session, self._jwks_uri, self._tls)
        return Loaded(import_keys(fetched.document), fetched.max_age, fetched.clock)


class FileSource:
    """Keys in a `jwks_file`."""

    metadata: Metadata | None = None

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self, now: float) -> Loaded:  # noqa: ARG002 - the clock is for sources that cache
        """Read the file."""
        try:
            body = await asyncio.to_thread(_read_bounded, self._path)
        except OSError as error:
            raise KeysUnavailable("unreadable", f"{self._path}: {error.strerror}") from error
        return Loaded(import_keys(parse_document(body, str(self._path))), FILE_MAX_AGE_S)


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        body = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(body) > MAX_DOCUMENT_BYTES:
        raise KeysUnavailable("too_large", f"{path} is larger than {MAX_DOCUMENT_BYTES} bytes")
    return body
