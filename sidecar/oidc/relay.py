"""The token-endpoint relay: sees the ID token of each login without changing the app.

The app is configured with the relay's token endpoint, or with its discovery document, in place of the provider's. The
relay forwards the token request as it is, reads the ID token in the answer, tells `Joins` which session the
authorization code stands for, and only then lets the app have the answer: by the time the app can answer its browser,
the session is known.

    POST /token                               or /{name}/token with several providers
    GET  /.well-known/openid-configuration    or /{name}/.well-known/openid-configuration
    /jwks /userinfo /introspect /revoke /par  what else an app without a way to the provider needs (`_PASSED`)

Not an open relay: it listens on loopback, talks to loopback peers only, and only to what the discovery document of a
configured provider names. It adds no credentials and keeps nothing, unless somebody asks to be handed the
logins (`Keep`). `client_secret_basic`, `client_secret_post` and
PKCE pass through. `private_key_jwt`, mutual TLS and DPoP are bound to the real endpoint (`aud`, certificate, `htu`):
the app has to name its URL in the assertion, or the provider refuses and the app gets to see the provider's own error.

A code that no callback is waiting with belongs to a login that nobody could ever end. Where `refuses_unjoined` it is
not redeemed at all.
"""

import ipaddress
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import hdrs, web

from sidecar import metrics
from sidecar.core.claims import TokenError, decode_json
from sidecar.core.identity import Session
from sidecar.errors import SidecarError
from sidecar.log import event
from sidecar.oidc.discovery import WELL_KNOWN, Metadata
from sidecar.oidc.relay_outbound import NOT_FORWARDED, NOT_RETURNED, TIMEOUT, Answer, Outbound, RelayRefused, passed

MAX_REQUEST_BYTES = 64 * 1024

_logger = logging.getLogger(__name__)

# The browser goes to these; everything else in the document is for the app, which may have to take the internal way.
_FRONT_CHANNEL = frozenset(("authorization_endpoint", "end_session_endpoint", "op_policy_uri", "op_tos_uri"))
# What is passed through without being read: the member of the document, our path, the methods.
_PASSED: Final = (
    ("jwks_uri", "/jwks", ("GET",)),
    ("userinfo_endpoint", "/userinfo", ("GET", "POST")),
    ("introspection_endpoint", "/introspect", ("POST",)),
    ("revocation_endpoint", "/revoke", ("POST",)),
    ("pushed_authorization_request_endpoint", "/par", ("POST",)),
)
# By these an app could find the provider's own token endpoint (RFC 8705 section 5, RFC 8414 section 2.1).
_WAYS_AROUND: Final = frozenset(("mtls_endpoint_aliases", "signed_metadata"))


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

    def is_awaited(self, code: str) -> bool:
        """Whether a callback with this code is in flight. One that is not is counted and logged."""


# A login, its ID token and the whole answer, for who has to keep something of it. Never raises.
Keep = Callable[[Session, str, Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RelayedProvider:
    """One provider behind the relay. `name` is its place in the path when there are several."""

    name: str
    source: MetadataSource
    reader: IdTokenReader
    tls: ssl.SSLContext | None = None


def relay_app(
    providers: Sequence[RelayedProvider],
    *,
    logins: Joins,
    refuses_unjoined: Callable[[], bool] = lambda: False,
    keep: Keep | None = None,
    timeout: aiohttp.ClientTimeout = TIMEOUT,
) -> web.Application:
    """The relay as an aiohttp application; the caller binds it to loopback."""
    app = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[_guard])
    outbound = Outbound(timeout)
    app.cleanup_ctx.append(outbound.lifetime)
    for provider in providers:
        prefix = "" if len(providers) == 1 else f"/{provider.name}"
        relayed = _Relayed(provider, prefix, logins, outbound, refuses_unjoined=refuses_unjoined, keep=keep)
        app.router.add_post(f"{prefix}/token", relayed.token)
        app.router.add_get(prefix + WELL_KNOWN, relayed.discovery)
        for member, path, methods in _PASSED:
            for method in methods:
                app.router.add_route(method, prefix + path, partial(relayed.pass_through, member))
    return app


class _Relayed:
    """The resources of one provider, below `prefix`."""

    def __init__(
        self,
        provider: RelayedProvider,
        prefix: str,
        logins: Joins,
        outbound: Outbound,
        *,
        refuses_unjoined: Callable[[], bool],
        keep: Keep | None,
    ) -> None:
        self._keep = keep
        self._provider = provider
        self._prefix = prefix
        self._logins = logins
        self._outbound = outbound
        self._refuses_unjoined = refuses_unjoined
        self._has_hinted = False

    async def token(self, request: web.Request) -> web.Response:
        """Forward a token request; join its login before the app sees the answer."""
        body = await _request_body(request)
        asked = _parameters(request.content_type, body)
        code = _code_of(asked)
        if code is not None and self._refuses_unjoined() and not self._logins.is_awaited(code):
            raise _unjoined()
        url = (await self._provider.source.metadata()).endpoint("token_endpoint")
        answer = await self._ask(request, url, body)
        if not 200 <= answer.status < 300:
            self._note_refusal(asked, answer.status)
        elif code is None:
            # Only a code begins a session. A refreshed ID token never changes the login time.
            metrics.logins.labels("other_grant").inc()
        elif not await self._join(code, answer) and self._refuses_unjoined():
            raise _unjoined()  # the callback has ended meanwhile
        return _as_answered(answer)

    async def discovery(self, request: web.Request) -> web.Response:
        """The provider's document, with our own addresses for what goes through here."""
        metadata, ours = await self._provider.source.metadata(), _own_origin(request) + self._prefix
        document = {name: value for name, value in metadata.document.items() if name not in _WAYS_AROUND}
        document |= {name: url for name, url in metadata.endpoints.items() if name not in _FRONT_CHANNEL}
        document |= {member: ours + path for member, path, _ in _PASSED if member in metadata.endpoints}
        return web.json_response(document | {"token_endpoint": f"{ours}/token"})

    async def pass_through(self, member: str, request: web.Request) -> web.Response:
        """Forward what says nothing about a login."""
        url = (await self._provider.source.metadata()).endpoints.get(member)
        if url is None:
            raise RelayRefused(404, "endpoint_missing", f"the provider's metadata names no usable {member}")
        if query := request.rel_url.raw_query_string:
            url += ("&" if "?" in url else "?") + query
        return _as_answered(await self._ask(request, url, await _request_body(request)))

    async def _ask(self, request: web.Request, url: str, body: bytes) -> Answer:
        headers = passed(request.headers, NOT_FORWARDED)
        return await self._outbound.send(request.method, url, headers, body, self._provider.tls)

    async def _join(self, code: str, answer: Answer) -> bool:
        """Tell the callback whom its code stands for. False when there is none any more."""
        try:
            members = _members(answer.body)
            token = _id_token(members)
            if token is None:  # OAuth without OpenID Connect: there is no session to know
                metrics.logins.labels("no_id_token").inc()
                event(_logger, logging.WARNING, "login_without_id_token", provider=self._provider.name)
                return True
            session = await self._provider.reader.read(token)
        except TokenError as error:
            # The app may accept what we could not verify, so its login must not reach the browser.
            event(_logger, logging.WARNING, "login_unverified", provider=self._provider.name, reason=error.reason)
            return await _known(self._logins.fail(code))
        if self._keep is not None:  # before the app can answer: its user may log out with the next request
            await self._keep(session, token, members)
        return await _known(self._logins.complete(code, session))

    def _note_refusal(self, asked: Mapping[str, object], status: int) -> None:
        metrics.logins.labels("refused").inc()
        if "client_assertion" in asked and not self._has_hinted:  # the likeliest mistake here, and hard to guess
            self._has_hinted = True
            hint = "the assertion's aud must be the provider's token endpoint, not the relay's"
            event(_logger, logging.WARNING, "client_assertion_refused", provider=self._provider.name, hint=hint)
        event(_logger, logging.DEBUG, "token_request_refused", provider=self._provider.name, status=status)


async def _known(joined: bool | Awaitable[bool]) -> bool:  # noqa: FBT001 - what `Joins` returns
    """The app gets no answer before the callback knows of its login: it would pass as none, and no logout reach it."""
    if isinstance(joined, bool):
        return joined
    try:
        return await joined
    except SidecarError as error:
        raise RelayRefused(503, error.reason, "the callback cannot be told of its login now") from error


@web.middleware
async def _guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Loopback peers only; our own errors as RFC 6749 section 5.2 has them; nothing is cached (section 5.1)."""
    if not _is_local(request):
        return _problem(RelayRefused(403, "access_denied", "the relay serves its own pod only"))
    try:
        return await handler(request)
    except RelayRefused as error:
        return _problem(error)
    except web.HTTPRequestEntityTooLarge:
        return _problem(RelayRefused(413, "too_large", f"a request has at most {MAX_REQUEST_BYTES} bytes"))
    except SidecarError as error:  # no metadata
        event(_logger, logging.WARNING, "relay_unavailable", reason=error.reason)
        return _problem(RelayRefused(503, error.reason, "the provider's metadata cannot be had now"))


def _problem(refused: RelayRefused) -> web.Response:
    return web.json_response(
        {"error": refused.error, "error_description": f"logout-sidecar relay: {refused} ({refused.reason})"},
        status=refused.status,
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
        raise RelayRefused(404, "no_address", "a relay on a Unix socket has no discovery document")
    host = f"[{local[0]}]" if ":" in local[0] else local[0]
    return f"http://{host}:{local[1]}"


async def _request_body(request: web.Request) -> bytes:
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
        raise RelayRefused(415, "invalid_request", "a request to the relay is not compressed")
    return await request.read()


def _parameters(content_type: str, body: bytes) -> dict[str, object]:
    """The parameters of a token request; a name that stands twice is refused (RFC 6749 section 3.2)."""
    try:
        if content_type == "application/json":  # not in RFC 6749, but some providers take it
            members = decode_json(body)
            return members if isinstance(members, dict) else {}
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=256)
    except (ValueError, TokenError) as error:
        raise RelayRefused(400, "invalid_request", "the token request cannot be read") from error
    parameters: dict[str, object] = dict(pairs)
    if len(parameters) != len(pairs):
        raise RelayRefused(400, "invalid_request", "a parameter stands twice")
    return parameters


def _code_of(asked: Mapping[str, object]) -> str | None:
    code = asked.get("code")
    return code if asked.get("grant_type") == "authorization_code" and isinstance(code, str) else None


def _unjoined() -> RelayRefused:
    what = "no callback with this code is waiting: see `callback` and `unjoined` in session.bind"
    return RelayRefused(400, "login_unjoined", what, error="invalid_grant")  # RFC 6749 section 5.2


def _as_answered(answer: Answer) -> web.Response:
    return web.Response(status=answer.status, body=answer.body, headers=passed(answer.headers, NOT_RETURNED))


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
