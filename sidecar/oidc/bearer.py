"""Bearer tokens for a provider's API: from a file that somebody else renews, or from its token endpoint.

A token shows nowhere. Fetching one is bounded in time and size, one at a time however many wait for it, and kept until
shortly before it expires (RFC 6749 sections 4.4 and 5.1).
"""

import asyncio
import base64
import re
import ssl
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol
from urllib.parse import quote_plus

import aiohttp

from sidecar import clock
from sidecar.core.claims import TokenError, decode_json
from sidecar.errors import SidecarError

TIMEOUT: Final = aiohttp.ClientTimeout(total=5, sock_connect=2)
MAX_ANSWER_BYTES: Final = 64 * 1024
EARLY_S: Final = 30.0  # before its end a token is not used any more; of a short-lived one, the last tenth
DEFAULT_S: Final = 60.0  # where the provider does not say how long a token lives (RFC 6749 section 5.1)
_JUST_NOW_S: Final = 2.0
LONGEST_S: Final = 24 * 3600.0

_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 section 2.1

Reveal = Callable[[], bytes]  # may read a file


class NoBearer(SidecarError):
    """There is no token to be had. `may_pass`: trying again may help; else somebody has to change something."""

    def __init__(self, reason: str, message: str, *, may_pass: bool) -> None:
        super().__init__(reason, message)
        self.may_pass = may_pass


class Bearer(Protocol):
    """Where tokens come from."""

    async def token(self) -> str:
        """A token that should be good. Raises NoBearer."""

    def refused(self, token: str) -> bool:
        """The API did not take this one. Whether the next call of `token` gives another."""


class FileBearer:
    """A token that somebody else renews; read for each call."""

    def __init__(self, reveal: Reveal) -> None:
        self._reveal = reveal

    async def token(self) -> str:
        """What stands in the file now."""
        return _checked((await asyncio.to_thread(self._reveal)).decode("latin-1").strip())

    def refused(self, token: str) -> bool:  # noqa: ARG002 - it was read a moment ago
        """Only who writes the file can help."""
        return False


class ClientCredentials:
    """A token of the client's own (RFC 6749 section 4.4), fetched when it is needed."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: str,
        client_id: str,
        secret: Reveal,
        scope: str | None = None,
        auth: Literal["basic", "post"] = "basic",
        tls: ssl.SSLContext | None = None,
        now: Callable[[], float] = clock.boot,
    ) -> None:
        self._session = session
        self._url = url
        self._client_id = client_id
        self._secret = secret
        self._scope = scope
        self._auth = auth
        self._tls = tls
        self._now = now
        self._token: str | None = None
        self._until = self._fetched_at = 0.0
        self._fetching: asyncio.Task[str] | None = None

    def __repr__(self) -> str:
        return f"<ClientCredentials {self._url}>"

    async def token(self) -> str:
        """The token at hand, or a new one; who asks meanwhile waits for the same fetch."""
        if self._token is not None and self._now() < self._until:
            return self._token
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
            self._fetching.add_done_callback(_seen)
        return await asyncio.shield(self._fetching)  # who gives up must not take it from the others

    def refused(self, token: str) -> bool:
        """A token that was kept may have been revoked; one that was fetched for this call will not get better."""
        if self._token == token:
            self._token = None
            return self._now() - self._fetched_at > _JUST_NOW_S
        return True  # another call has thrown it away already

    async def aclose(self) -> None:
        """Stop fetching."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})

    async def _fetch(self) -> str:
        asked = self._now()
        members = await self._ask()
        kind = members.get("token_type")
        if isinstance(kind, str) and kind.lower() != "bearer":
            raise NoBearer("token_type", "the token endpoint gives tokens of another type", may_pass=False)
        token = _checked(members.get("access_token"))
        self._token, self._fetched_at = token, self._now()
        self._until = asked + _lifetime(members.get("expires_in"))
        return token

    async def _ask(self) -> dict[str, Any]:
        form = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        secret = (await asyncio.to_thread(self._secret)).decode("utf-8", "surrogateescape")
        if self._auth == "post":
            form |= {"client_id": self._client_id, "client_secret": secret}
        else:
            headers["Authorization"] = _basic(self._client_id, secret)
        try:
            async with self._session.post(
                self._url,
                data=form,
                headers=headers,
                timeout=TIMEOUT,
                allow_redirects=False,
                ssl=True if self._tls is None else self._tls,
            ) as response:
                body = await response.content.read(MAX_ANSWER_BYTES + 1)
                status = response.status
        except TimeoutError as error:
            raise NoBearer("token_timeout", "the token endpoint did not answer in time", may_pass=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoBearer("token_unreachable", "the token endpoint cannot be reached", may_pass=True) from error
        return _members(status, body)


def _members(status: int, body: bytes) -> dict[str, Any]:
    if status != 200:
        may_pass = status >= 500 or status in {408, 429}
        raise NoBearer("token_refused", f"the token endpoint answered {status}", may_pass=may_pass)
    try:
        members = decode_json(body) if len(body) <= MAX_ANSWER_BYTES else None
    except TokenError:
        members = None
    if not isinstance(members, dict):
        raise NoBearer("token_unreadable", "the token endpoint's answer is no JSON object", may_pass=False)
    return members


def _checked(token: object) -> str:
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise NoBearer("token_unusable", "this is no bearer token (RFC 6750 section 2.1)", may_pass=False)
    return token


def _lifetime(expires_in: object) -> float:
    """How long a token is used, in seconds."""
    if isinstance(expires_in, str) and re.fullmatch(r"[0-9]{1,9}", expires_in):
        expires_in = int(expires_in)  # some providers write it as text
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float) or not 0 < expires_in < 2**40:
        expires_in = DEFAULT_S
    return min(float(expires_in) - min(EARLY_S, expires_in / 10), LONGEST_S)


def _basic(client_id: str, secret: str) -> str:
    """RFC 6749 section 2.3.1: both are form-encoded first."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret, errors='surrogateescape')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _seen(fetching: "asyncio.Task[str]") -> None:
    if not fetching.cancelled():
        fetching.exception()  # whoever asked has it, and may have gone away
