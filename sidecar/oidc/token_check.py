"""Asks a provider about one token. What the answers mean is in `core/provider_check.py`.

Bounded in time and size, no redirects, no proxies, no cookies. Nothing is tried again here.
"""

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol
from urllib.parse import quote_plus

import aiohttp

from sidecar.core.claims import TokenError, decode_json
from sidecar.core.provider_check import By, Standing, judge
from sidecar.errors import SidecarError
from sidecar.oidc.discovery import Metadata

TIMEOUT: Final = aiohttp.ClientTimeout(total=5, sock_connect=2)
MAX_BODY_BYTES: Final = 256 * 1024

_ENDPOINTS: Final[Mapping[By, str]] = {
    "introspection": "introspection_endpoint",
    "userinfo": "userinfo_endpoint",
    "refresh": "token_endpoint",
}


class MetadataSource(Protocol):
    """A provider's discovery document."""

    async def metadata(self) -> Metadata:
        """The document, from a cache where possible. Raises SidecarError when it cannot be had."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of one question. `answer` may hold new tokens."""

    standing: Standing
    reason: str  # stable: `http_200`, `timeout`, ...
    answer: Mapping[str, Any] = field(default_factory=dict, repr=False)


class TokenCheck:
    """Asks one provider, as one of its clients."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        source: MetadataSource,
        *,
        by: By,
        secret: bytes | None,
        auth: Literal["basic", "post"],
        tls: ssl.SSLContext | None,
    ) -> None:
        self._session = session
        self._source = source
        self._by = by
        self._secret = secret
        self._auth = auth
        self._tls: ssl.SSLContext | bool = True if tls is None else tls

    async def ask(self, token: str, *, client_id: str, sub: str | None) -> Checked:
        """Never raises for what the provider or the network do."""
        try:
            url = (await self._source.metadata()).endpoint(_ENDPOINTS[self._by])
            method, form, headers = self._question(token, client_id)
            async with self._session.request(
                method,
                url,
                data=form,
                headers=headers | {"Accept": "application/json", "Accept-Encoding": "identity"},
                timeout=TIMEOUT,
                allow_redirects=False,
                ssl=self._tls,
            ) as response:
                answer = _members(await response.content.read(MAX_BODY_BYTES))
                standing = judge(self._by, response.status, answer, sub=sub)
                return Checked(standing, f"http_{response.status}", answer or {})
        except TimeoutError:
            return Checked(Standing.UNAVAILABLE, "timeout")
        except SidecarError as error:
            # Without such an endpoint no question will ever be answered; without metadata it may be later.
            broken = error.reason == "endpoint_missing"
            return Checked(Standing.BROKEN if broken else Standing.UNAVAILABLE, error.reason)
        except (aiohttp.ClientError, OSError, ValueError):
            return Checked(Standing.UNAVAILABLE, "unreachable")

    def _question(self, token: str, client_id: str) -> tuple[str, dict[str, str] | None, dict[str, str]]:
        if self._by == "userinfo":
            return "GET", None, {"Authorization": f"Bearer {token}"}
        if self._by == "introspection":
            form = {"token": token, "token_type_hint": "access_token"}
        else:
            form = {"grant_type": "refresh_token", "refresh_token": token}
        if self._secret is None:  # a public client (RFC 6749 section 3.2.1)
            return "POST", form | {"client_id": client_id}, {}
        secret = self._secret.decode("utf-8", "surrogateescape")
        if self._auth == "post":
            return "POST", form | {"client_id": client_id, "client_secret": secret}, {}
        pair = f"{quote_plus(client_id)}:{quote_plus(secret, errors='surrogateescape')}"  # section 2.3.1
        return "POST", form, {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def _members(body: bytes) -> Mapping[str, Any] | None:
    try:
        members = decode_json(body)
    except TokenError:
        return None
    return members if isinstance(members, dict) else None
