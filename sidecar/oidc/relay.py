"""The token-endpoint relay: sees the ID token of each login without changing the app.

The app is configured with the relay's token endpoint, or with its discovery document, in place of the provider's. The
relay forwards the token request as it is, reads the ID token in the answer, tells `Joins` which session the
authorization code stands for, and only then lets the app have the answer: by the time the app can answer its browser,
the session is known.

    POST /token                               or /{name}/token with several providers
    GET  /.well-known/openid-configuration    or /{name}/.well-known/openid-configuration

Not an open relay: it listens on loopback, talks to loopback peers only, and only to the token endpoint of a configured
provider. It adds no credentials and keeps nothing, unless somebody asks to be handed the logins (`Keep`).
`client_secret_basic`, `client_secret_post` and PKCE pass through. `private_key_jwt`, mutual TLS and DPoP are bound to
the real endpoint (`aud`, certificate, `htu`): the app has to name its URL in the assertion, or the provider refuses and
the app gets to see the provider's own error.
"""

import ipaddress
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy

from sidecar import metrics
from sidecar.core.identity import Session
from sidecar.core.logout_token import TokenError, decode_json
from sidecar.errors import SidecarError
from sidecar.log import event
from sidecar.oidc.discovery import WELL_KNOWN, Metadata

MAX_REQUEST_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 1024 * 1024
TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)

_logger = logging.getLogger(__name__)

# RFC 9110 section 7.6.1, and what describes the connection rather than the message.
_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "expect")
)
# Proxy-Authorization is for us (RFC 9110 section 11.7.2). Cookies mean nothing between two servers.
_NOT_FORWARDED = _HOP_BY_HOP | {"host", "content-length", "accept-encoding", "cookie", "proxy-authorization"}
# The body arrives here decoded, so neither its length nor its encoding holds any more.
_NOT_RETURNED = _HOP_BY_HOP | {"content-length", "content-encoding", "set-cookie", "proxy-authenticate"}
# The browser goes to these; everything else in the document is for the app, which may have to take the internal way.
_FRONT_CHANNEL = frozenset(("authorization_endpoint", "end_session_endpoint", "op_policy_uri", "op_tos_uri"))


class MetadataSource(Protocol):
    """A provider's discovery document."""

    async def metadata(self) -> Metadata:
        """The document, from a cache where possible. Raises SidecarError when it cannot be had."""


class IdTokenReader(Protocol):
    """Validates an ID token that has just been issued."""

    async def read(self, token: str) -> Session:
        """Bounded in time; raises TokenError."""


class Joins(Protocol):
    """Where logins wait for their session: in this process (`sidecar/bindings/logins.py`) or in another.

    What is returned to be awaited is known where it is needed when it is done; SidecarError: it is not.
    """

    def complete(self, code: str, session: Session) -> bool | Awaitable[bool]:
        """The code was exchanged for this session."""

    def fail(self, code: str) -> bool | Awaitable[bool]:
        """The code was exchanged, for nobody knows what."""


# A login, its ID token and the whole answer, for who has to keep something of it. Never raises.
Keep = Callable[[Session, str, Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RelayedProvider:
    """One provider behind the relay. `name` is its place in the path when there are several."""

    name: str
    source: MetadataSource
    reader: IdTokenReader
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: CIMultiDictProxy[str] = field(repr=False)
    body: bytes = field(repr=False)


class _Refused(SidecarError):
    """The relay itself answers, with an error of RFC 6749 section 5.2."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.status = status


def relay_app(
    providers: Sequence[RelayedProvider],
    *,
    logins: Joins,
    keep: Keep | None = None,
    timeout: aiohttp.ClientTimeout = TIMEOUT,
) -> web.Application:
    """The relay as an aiohttp application; the caller binds it to loopback."""
    app = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[_guard])
    outbound = _Outbound(timeout)
    app.cleanup_ctx.append(outbound.lifetime)
    for provider in providers:
        prefix = "" if len(providers) == 1 else f"/{provider.name}"
        route = _Route(provider, f"{prefix}/token", logins, outbound, keep)
        app.router.add_post(route.path, route.token)
        app.router.add_get(prefix + WELL_KNOWN, route.discovery)
    return app


class _Outbound:
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

    async def post(self, url: str, headers: CIMultiDict[str], body: bytes, tls: ssl.SSLContext | None) -> _Answer:
        """Send a token request. Raises _Refused when no whole answer came."""
        if self._session is None:
            raise RuntimeError("the relay has not been started")
        headers[hdrs.ACCEPT_ENCODING] = "identity"  # the size limit then counts what was sent
        try:
            async with self._session.post(
                url, data=body, headers=headers, allow_redirects=False, ssl=True if tls is None else tls
            ) as response:
                return _Answer(response.status, response.headers, await _bounded(response.content))
        except TimeoutError as error:
            raise _Refused(504, "timeout", "the provider did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise _Refused(502, "unreachable", "the provider cannot be reached or broke off") from error


class _Route:
    """The two resources of one provider."""

    def __init__(
        self, provider: RelayedProvider, path: str, logins: Joins, outbound: _Outbound, keep: Keep | None
    ) -> None:
        self.path = path
        self._keep = keep
        self._provider = provider
        self._logins = logins
        self._outbound = outbound
        self._has_hinted = False

    async def token(self, request: web.Request) -> web.Response:
        """Forward a token request; join its login before the app sees the answer."""
        body = await _request_body(request)
        asked = _parameters(request.content_type, body)
        url = (await self._provider.source.metadata()).endpoint("token_endpoint")
        answer = await self._outbound.post(url, _passed(request.headers, _NOT_FORWARDED), body, self._provider.tls)
        if 200 <= answer.status < 300:
            await self._join(asked, answer)
        else:
            self._note_refusal(asked, answer.status)
        return web.Response(status=answer.status, body=answer.body, headers=_passed(answer.headers, _NOT_RETURNED))

    async def discovery(self, request: web.Request) -> web.Response:
        """The provider's document, with our token endpoint."""
        metadata = await self._provider.source.metadata()
        reachable = {name: url for name, url in metadata.endpoints.items() if name not in _FRONT_CHANNEL}
        document = {**metadata.document, **reachable, "token_endpoint": _own_origin(request) + self.path}
        return web.json_response(document)

    async def _join(self, asked: Mapping[str, object], answer: _Answer) -> None:
        # Only a code begins a session. A refreshed ID token never changes the login time (DESIGN section 5).
        code = asked.get("code")
        if asked.get("grant_type") != "authorization_code" or not isinstance(code, str):
            metrics.logins.labels("other_grant").inc()
            return
        try:
            members = _members(answer.body)
            token = _id_token(members)
            if token is None:  # OAuth without OpenID Connect: there is no session to know
                metrics.logins.labels("no_id_token").inc()
                event(_logger, logging.WARNING, "login_without_id_token", provider=self._provider.name)
                return
            session = await self._provider.reader.read(token)
        except TokenError as error:
            # The app may accept what we could not verify, so its login must not reach the browser.
            event(_logger, logging.WARNING, "login_unverified", provider=self._provider.name, reason=error.reason)
            await _known(self._logins.fail(code))
            return
        if self._keep is not None:  # before the app can answer: its user may log out with the next request
            await self._keep(session, token, members)
        await _known(self._logins.complete(code, session))

    def _note_refusal(self, asked: Mapping[str, object], status: int) -> None:
        metrics.logins.labels("refused").inc()
        if "client_assertion" in asked and not self._has_hinted:  # the likeliest mistake here, and hard to guess
            self._has_hinted = True
            hint = "the assertion's aud must be the provider's token endpoint, not the relay's"
            event(_logger, logging.WARNING, "client_assertion_refused", provider=self._provider.name, hint=hint)
        event(_logger, logging.DEBUG, "token_request_refused", provider=self._provider.name, status=status)


async def _known(joined: bool | Awaitable[bool]) -> None:  # noqa: FBT001 - what `Joins` returns
    """The app gets no answer before the callback knows of its login: it would pass as none, and no logout reach it."""
    if isinstance(joined, bool):
        return
    try:
        await joined
    except SidecarError as error:
        raise _Refused(503, error.reason, "the callback cannot be told of its login now") from error


@web.middleware
async def _guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Loopback peers only; our own errors as RFC 6749 section 5.2 has them; nothing is cached (section 5.1)."""
    if not _is_local(request):
        return _problem(403, "access_denied", "the relay serves its own pod only")
    try:
        return await handler(request)
    except _Refused as error:
        return _problem(error.status, error.reason, str(error))
    except web.HTTPRequestEntityTooLarge:
        return _problem(413, "invalid_request", f"a token request has at most {MAX_REQUEST_BYTES} bytes")
    except SidecarError as error:  # no metadata
        event(_logger, logging.WARNING, "relay_unavailable", reason=error.reason)
        return _problem(503, error.reason, "the provider's metadata cannot be had now")


def _problem(status: int, reason: str, message: str) -> web.Response:
    code = "temporarily_unavailable" if status >= 500 else "invalid_request"
    return web.json_response(
        {"error": code, "error_description": f"logout-sidecar relay: {message} ({reason})"},
        status=status,
        headers={hdrs.CACHE_CONTROL: "no-store"},
    )


def _is_local(request: web.Request) -> bool:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    # A Unix socket has no address; the permissions of its folder say who may connect.
    return not isinstance(peer, tuple) or ipaddress.ip_address(peer[0]).is_loopback


def _own_origin(request: web.Request) -> str:
    """Where the app has reached us: from the socket, because a Host header can say anything."""
    local = request.transport.get_extra_info("sockname") if request.transport else None
    if not isinstance(local, tuple):
        raise _Refused(404, "no_address", "a relay on a Unix socket has no discovery document")
    host = f"[{local[0]}]" if ":" in local[0] else local[0]
    return f"http://{host}:{local[1]}"


async def _request_body(request: web.Request) -> bytes:
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise _Refused(415, "invalid_request", "a token request is not compressed")
    return await request.read()


def _parameters(content_type: str, body: bytes) -> dict[str, object]:
    """The parameters of a token request; a name that stands twice is refused (RFC 6749 section 3.2)."""
    try:
        if content_type == "application/json":  # not in RFC 6749, but some providers take it
            members = decode_json(body)
            return members if isinstance(members, dict) else {}
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=256)
    except (ValueError, TokenError) as error:
        raise _Refused(400, "invalid_request", "the token request cannot be read") from error
    parameters: dict[str, object] = dict(pairs)
    if len(parameters) != len(pairs):
        raise _Refused(400, "invalid_request", "a parameter stands twice")
    return parameters


def _passed(headers: Mapping[str, str], dropped: frozenset[str]) -> CIMultiDict[str]:
    """The headers that go on: all but `dropped` and what `Connection` nominates (RFC 9110 section 7.6.1)."""
    nominated = {name.strip().lower() for name in headers.get(hdrs.CONNECTION, "").split(",")}
    return CIMultiDict(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in dropped and name.lower() not in nominated
    )


def _members(body: bytes) -> dict[str, Any]:
    answer: Any = decode_json(body)
    if not isinstance(answer, dict):
        raise TokenError("malformed", "the token answer is not a JSON object")
    return answer


def _id_token(answer: Mapping[str, Any]) -> str | None:
    token = answer.get("id_token")
    if token is not None and not isinstance(token, str):
        raise TokenError("malformed", "id_token is not a string")
    return token


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise _Refused(502, "too_large", f"the provider's answer has more than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)
