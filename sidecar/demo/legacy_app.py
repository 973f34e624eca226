"""A legacy app for the demo: it does its own OpenID Connect login and then trusts its own cookie, nothing else.

Its session cookie is opaque and lives as long as the app does. It knows nothing of back-channel logout, of a sidecar,
or of what happens at the provider after the login. The one thing that an operator changed is `token_endpoint` in its
configuration.
"""

import asyncio
import contextlib
import datetime as dt
import secrets
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import quote_plus

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from yarl import URL

from sidecar import clock
from sidecar.demo.pages import button, page
from sidecar.demo.provider_model import keep
from sidecar.errors import SidecarError

COOKIE = "JSESSIONID"
CALLBACK = "/oidc/callback"
PROVIDER_TIMEOUT_S = 10

_ROLE = "Legacy app"
_CLOCK = """
<p>A stream from the app, open since you came: <output id="clock">waiting</output></p>
<script>
const out = document.getElementById("clock"), source = new EventSource("/events");
source.onmessage = (event) => { out.textContent = event.data };
source.onerror = () => { source.close(); out.textContent += " (the stream was cut: reload the page)" };
</script>
"""


class LoginFailed(SidecarError):
    """The login at the provider came to nothing."""


@dataclass(slots=True, kw_only=True)
class _AppSession:
    """What the app keeps behind one cookie. `name` is None until the login is complete."""

    name: str | None = None
    id_token: str = field(default="", repr=False)
    state: str = field(default="", repr=False)
    nonce: str = field(default="", repr=False)
    wanted: str = "/"


class LegacyApp:
    """The app: a home page, a private page with a live clock, login and logout."""

    def __init__(
        self, *, public_url: str, issuer: str, client_id: str, client_secret: str, token_endpoint: str | None
    ) -> None:
        self._public_url = public_url
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._token_endpoint = token_endpoint  # None: the provider's own, as before the sidecar came
        self._sessions: dict[str, _AppSession] = {}

    def app(self) -> web.Application:
        """The app as a web application."""
        app = web.Application(middlewares=[_login_failures])
        app.add_routes(
            [
                web.get("/", self._home),
                web.get("/private", self._private),
                web.get("/events", self._events),
                web.get("/login", self._login),
                web.get(CALLBACK, self._callback),
                web.post("/logout", self._logout),
            ]
        )
        return app

    async def _home(self, request: web.Request) -> web.Response:
        name = self._session(request).name
        if name is None:
            body = '<p>You are not logged in.</p><p><a href="/login">Log in</a></p>'
        else:
            body = f"<p>You are logged in as {escape(name)}.</p>"
            body += f'<p><a href="/private">Private page</a></p>{button(action="/logout", label="Log out", fields={})}'
        return page(role=_ROLE, title="Welcome", body=body)

    async def _private(self, request: web.Request) -> web.Response:
        name = self._session(request).name
        if name is None:
            raise web.HTTPFound("/login?wanted=/private")
        body = f'<p>Only {escape(name)} sees this page.</p>{_CLOCK}<p><a href="/">Home</a></p>'
        return page(role=_ROLE, title=f"Hello {name}", body=body)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: the time, for as long as the browser listens."""
        if self._session(request).name is None:
            raise web.HTTPUnauthorized
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionResetError):  # whoever listened is gone, by choice or because it was cut
            while True:
                now = dt.datetime.fromtimestamp(clock.wall(), dt.UTC)
                await response.write(f"data: {now:%H:%M:%S} UTC\n\n".encode())
                await asyncio.sleep(0.5)
        return response

    # Login: OpenID Connect Core 1.0 section 3.1

    async def _login(self, request: web.Request) -> web.Response:
        session = _AppSession(state=secrets.token_urlsafe(16), nonce=secrets.token_urlsafe(16))
        session.wanted = "/private" if request.query.get("wanted") == "/private" else "/"
        metadata = await self._metadata()
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": "openid profile",
            "state": session.state,
            "nonce": session.nonce,
        }
        raise self._remember(session, URL(metadata["authorization_endpoint"]).update_query(query))

    async def _callback(self, request: web.Request) -> web.Response:
        before = self._session(request)
        code, state = request.query.get("code"), request.query.get("state", "")
        if not before.state or not secrets.compare_digest(before.state.encode(), state.encode()) or code is None:
            raise LoginFailed("not_started", "The login was not started in this browser, or the provider refused it.")
        id_token, name = await self._redeem(code, before.nonce)
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)
        # A new cookie value at login, against session fixation, as Java application servers do.
        raise self._remember(_AppSession(name=name, id_token=id_token), URL(before.wanted))

    async def _redeem(self, code: str, nonce: str) -> tuple[str, str]:
        """Exchange the code for the ID token, and the user's name."""
        metadata = await self._metadata()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self._redirect_uri}
        # RFC 6749 section 2.3.1: both parts are form-encoded before they go into the header.
        credentials = aiohttp.encode_basic_auth(quote_plus(self._client_id), quote_plus(self._client_secret))
        try:
            tokens = await _fetch(
                "POST",
                self._token_endpoint or metadata["token_endpoint"],
                data=form,
                headers={"Authorization": credentials},
            )
            keys = KeySet.import_key_set({"keys": (await _fetch("GET", metadata["jwks_uri"]))["keys"]})
            claims = jwt.decode(tokens["id_token"], keys, algorithms=["RS256"]).claims
            bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
            user = await _fetch("GET", metadata["userinfo_endpoint"], headers=bearer)
        except (JoseError, KeyError, ValueError) as error:
            raise LoginFailed("bad_tokens", "The provider's answer makes no sense.") from error
        # OpenID Connect Core 1.0 sections 3.1.3.7 and 5.3.2
        expected = (self._issuer, self._client_id, nonce, claims.get("sub"))
        if (claims.get("iss"), claims.get("aud"), claims.get("nonce"), user.get("sub")) != expected:
            raise LoginFailed("wrong_tokens", "The provider's answer is meant for somebody else.")
        return tokens["id_token"], str(user["name"])

    async def _metadata(self) -> dict[str, Any]:
        return await _fetch("GET", f"{self._issuer}/.well-known/openid-configuration")

    async def _logout(self, request: web.Request) -> web.Response:
        """The app's own logout, which takes the user to the provider's (RP-Initiated Logout 1.0 section 2)."""
        session = self._sessions.pop(request.cookies.get(COOKIE, ""), None)
        if session is None:
            raise web.HTTPSeeOther("/")
        metadata = await self._metadata()
        query = {"id_token_hint": session.id_token, "post_logout_redirect_uri": f"{self._public_url}/"}
        response = web.HTTPSeeOther(URL(metadata["end_session_endpoint"]).update_query(query))
        response.del_cookie(COOKIE)
        raise response

    @property
    def _redirect_uri(self) -> str:
        return self._public_url + CALLBACK

    def _session(self, request: web.Request) -> _AppSession:
        """The session of this cookie; an empty one for strangers."""
        return self._sessions.get(request.cookies.get(COOKIE, ""), _AppSession())

    def _remember(self, session: _AppSession, then: URL) -> web.HTTPFound:
        cookie = secrets.token_hex(16)
        keep(self._sessions, cookie, session)
        response = web.HTTPFound(then)
        response.set_cookie(COOKIE, cookie, httponly=True, samesite="Lax")
        return response


async def _fetch(
    method: str, url: str, *, data: dict[str, str] | None = None, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """One JSON document; LoginFailed when there is none."""
    timeout = aiohttp.ClientTimeout(total=PROVIDER_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.request(method, url, data=data, headers=headers, allow_redirects=False) as response,
        ):
            document = await response.json() if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise LoginFailed("provider_unreachable", "The provider cannot be reached.") from error
    if not isinstance(document, dict):
        raise LoginFailed("provider_refused", "The provider refused.")
    return document


@web.middleware
async def _login_failures(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except LoginFailed as error:
        body = f'<p>{escape(str(error))}</p><p><a href="/login">Try again</a></p>'
        return page(role=_ROLE, title="Login failed", body=body, status=400)
