"""A small OpenID provider with back-channel logout, for the demo and its check.

It speaks the authorization code flow (with PKCE where the client wants it), RP-initiated logout and back-channel
logout as a real provider does. It is not one: everybody may log in as Alice or Bob, everybody is the administrator,
and nothing survives the process.
"""

import asyncio
import secrets
from collections.abc import Sequence

import aiohttp
from aiohttp import web
from multidict import MultiMapping
from yarl import URL

from sidecar import clock
from sidecar.demo import provider_pages as pages
from sidecar.demo.forms import basic_credentials, read_form
from sidecar.demo.provider_model import USERS, Client, Code, Delivery, ProviderSession, keep
from sidecar.demo.provider_tokens import ALGORITHM, TokenSigner

COOKIE = "demo_provider_session"
CODE_LIFETIME_S = 60
ACCESS_LIFETIME_S = 300
DELIVERY_TIMEOUT_S = 5

_NO_STORE = {"Cache-Control": "no-store"}


class Provider:
    """The provider: `app()` serves it, `sessions` and `deliveries` show what happened, `end` ends a session."""

    def __init__(self, *, issuer: str, clients: Sequence[Client]) -> None:
        self._issuer = issuer
        self._clients = {client.client_id: client for client in clients}
        self._signer = TokenSigner(issuer=issuer)
        self._sessions: dict[str, ProviderSession] = {}
        self._codes: dict[str, Code] = {}
        self._access: dict[str, tuple[ProviderSession, float]] = {}
        self._deliveries: dict[str, Delivery] = {}

    @property
    def sessions(self) -> list[ProviderSession]:
        """Who is logged in, oldest first."""
        return list(self._sessions.values())

    @property
    def deliveries(self) -> list[Delivery]:
        """The logout tokens sent, oldest first."""
        return list(self._deliveries.values())

    def app(self) -> web.Application:
        """The provider as a web application."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/", self._home),
                web.get("/.well-known/openid-configuration", self._discovery),
                web.get("/jwks", self._jwks),
                web.get("/authorize", self._authorize),
                web.post("/login", self._login),
                web.post("/token", self._token),
                web.get("/userinfo", self._userinfo),
                web.get("/logout", self._logout),
                web.post("/logout", self._logout),
                web.get("/sessions", self._list),
                web.post("/sessions/end", self._end_one),
            ]
        )
        return app

    async def end(self, session: ProviderSession) -> list[Delivery]:
        """End one session: forget it, then tell every client that knows of it."""
        if self._sessions.pop(session.cookie, None) is None:
            return []
        clients = [self._clients[client_id] for client_id in sorted(session.clients)]
        deliveries = await asyncio.gather(*(self._deliver(session, client) for client in clients))
        for delivery in deliveries:
            keep(self._deliveries, secrets.token_hex(8), delivery)
        return deliveries

    # What the provider says about itself

    async def _home(self, _request: web.Request) -> web.Response:
        return pages.home()

    async def _discovery(self, _request: web.Request) -> web.Response:
        """OpenID Connect Discovery 1.0 section 3, Back-Channel Logout 1.0 section 2.1."""
        metadata = {
            "issuer": self._issuer,
            "authorization_endpoint": f"{self._issuer}/authorize",
            "token_endpoint": f"{self._issuer}/token",
            "userinfo_endpoint": f"{self._issuer}/userinfo",
            "jwks_uri": f"{self._issuer}/jwks",
            "end_session_endpoint": f"{self._issuer}/logout",
            "scopes_supported": ["openid", "profile"],
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "code_challenge_methods_supported": ["S256"],
            "backchannel_logout_supported": True,
            "backchannel_logout_session_supported": True,
        }
        return web.json_response(metadata)

    async def _jwks(self, _request: web.Request) -> web.Response:
        return web.json_response(self._signer.jwks())

    # Login: RFC 6749 section 4.1, OpenID Connect Core 1.0 section 3.1

    async def _authorize(self, request: web.Request) -> web.Response:
        query = request.query
        client = self._clients.get(query.get("client_id", ""))
        if client is None or query.get("redirect_uri") != client.redirect_uri:
            # RFC 6749 section 4.1.2.1: nobody is sent to an address that was not registered.
            return pages.message("Unknown client", "Client or redirect address are not registered here.", status=400)
        session = self._session(request)
        if error := _authorize_error(query, logged_in=session is not None):
            raise _back(client.redirect_uri, query, error=error)
        if session is None or query.get("prompt") == "login":
            return pages.login(request.query_string)
        raise _back(client.redirect_uri, query, code=self._issue_code(session, client, query))

    def _issue_code(self, session: ProviderSession, client: Client, query: MultiMapping[str]) -> str:
        session.clients.add(client.client_id)
        code = Code(
            session=session,
            client_id=client.client_id,
            redirect_uri=client.redirect_uri,
            nonce=query.get("nonce", ""),
            challenge=query.get("code_challenge", ""),
            expires=clock.wall() + CODE_LIFETIME_S,
        )
        value = secrets.token_urlsafe(24)
        keep(self._codes, value, code)
        return value

    async def _login(self, request: web.Request) -> web.Response:
        form = await read_form(request)
        user = form.get("user", "")
        if user not in USERS:
            return pages.message("Nobody of that name", "Go back and choose.", status=400)
        session = ProviderSession(
            cookie=secrets.token_urlsafe(24),
            sid=secrets.token_urlsafe(12),
            user=user,
            browser=request.headers.get("User-Agent", "")[:80],
            started=clock.wall(),
        )
        keep(self._sessions, session.cookie, session)
        # The way back is always our own /authorize, whatever the form says: no open redirect.
        back = web.HTTPSeeOther(URL("/authorize").with_query(form.get("request", "")).without_query_params("prompt"))
        back.set_cookie(COOKIE, session.cookie, httponly=True, samesite="Lax")
        raise back

    async def _token(self, request: web.Request) -> web.Response:
        form = await read_form(request)
        client = self._authenticated(request, form)
        if client is None:
            return _oauth_error(401, "invalid_client")
        if form.get("grant_type") != "authorization_code":
            return _oauth_error(400, "unsupported_grant_type")
        code = self._codes.pop(form.get("code", ""), None)  # good for one use, RFC 6749 section 4.1.2
        now = clock.wall()
        if code is None or not code.fits(client, form, now) or not self._is_live(code.session):
            return _oauth_error(400, "invalid_grant")
        return web.json_response(self._tokens(code, now), headers=_NO_STORE)

    def _tokens(self, code: Code, now: float) -> dict[str, object]:
        access = secrets.token_urlsafe(24)
        keep(self._access, access, (code.session, now + ACCESS_LIFETIME_S))
        id_token = self._signer.id_token(
            client_id=code.client_id,
            sub=code.session.sub,
            sid=code.session.sid,
            nonce=code.nonce,
            auth_time=int(code.session.started),
            now=int(now),
        )
        return {"access_token": access, "token_type": "Bearer", "expires_in": ACCESS_LIFETIME_S, "id_token": id_token}

    def _authenticated(self, request: web.Request, form: dict[str, str]) -> Client | None:
        client_id, secret = basic_credentials(request) or (form.get("client_id", ""), form.get("client_secret", ""))
        client = self._clients.get(client_id)
        if client is None or not secrets.compare_digest(client.client_secret.encode(), secret.encode()):
            return None
        return client

    async def _userinfo(self, request: web.Request) -> web.Response:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        session, expires = self._access.get(token, (None, 0.0))
        if scheme.lower() != "bearer" or session is None or clock.wall() >= expires or not self._is_live(session):
            return _oauth_error(401, "invalid_token", scheme="Bearer")  # RFC 6750 section 3
        claims = {"sub": session.sub, "preferred_username": session.user, "name": session.name}
        return web.json_response(claims, headers=_NO_STORE)

    # Logout: RP-Initiated Logout 1.0, Back-Channel Logout 1.0

    async def _logout(self, request: web.Request) -> web.Response:
        fields = await read_form(request) if request.method == "POST" else dict(request.query)
        client_id, sid = self._signer.hint(fields.get("id_token_hint", "")) or (fields.get("client_id", ""), None)
        session = self._session(request)
        if session is not None:
            # SameSite=Lax keeps the cookie out of other sites' POSTs: a confirmation comes from our own page.
            confirmed = request.method == "POST" and "confirmed" in fields
            if not confirmed and sid != session.sid:
                return pages.confirm_logout(session, fields)  # RP-Initiated Logout 1.0 section 2: ask
            await self.end(session)
        return self._logged_out(fields, self._clients.get(client_id))

    def _logged_out(self, fields: dict[str, str], client: Client | None) -> web.Response:
        wanted = fields.get("post_logout_redirect_uri")
        if client is None or wanted != client.post_logout_redirect_uri:
            return pages.message("Logged out", "In this browser you are logged out here and at every app.")
        state = {"state": fields["state"]} if "state" in fields else {}
        raise web.HTTPSeeOther(URL(wanted).update_query(state))

    async def _list(self, _request: web.Request) -> web.Response:
        return pages.sessions(self.sessions, self.deliveries[::-1], now=clock.wall())

    async def _end_one(self, request: web.Request) -> web.Response:
        sid = (await read_form(request)).get("sid")
        for session in self.sessions:
            if session.sid == sid:
                await self.end(session)
        raise web.HTTPSeeOther("/sessions")

    async def _deliver(self, session: ProviderSession, client: Client) -> Delivery:
        """POST one logout token (Back-Channel Logout 1.0 section 2.5)."""
        now = int(clock.wall())
        token = self._signer.logout_token(client_id=client.client_id, sub=session.sub, sid=session.sid, now=now)
        started = clock.boot()
        outcome = await _post(client.backchannel_logout_uri, logout_token=token)
        milliseconds = (clock.boot() - started) * 1000
        return Delivery(name=session.name, client_id=client.client_id, outcome=outcome, milliseconds=milliseconds)

    def _session(self, request: web.Request) -> ProviderSession | None:
        return self._sessions.get(request.cookies.get(COOKIE, ""))

    def _is_live(self, session: ProviderSession) -> bool:
        return session.cookie in self._sessions


async def _post(url: str, **fields: str) -> str:
    timeout = aiohttp.ClientTimeout(total=DELIVERY_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.post(url, data=fields, allow_redirects=False) as response,
        ):
            return str(response.status)
    except (aiohttp.ClientError, TimeoutError) as error:
        return type(error).__name__


def _authorize_error(query: MultiMapping[str], *, logged_in: bool) -> str | None:
    if query.get("response_type") != "code":
        return "unsupported_response_type"
    if "openid" not in query.get("scope", "").split():
        return "invalid_scope"
    if "code_challenge" in query and query.get("code_challenge_method") != "S256":
        return "invalid_request"  # RFC 7636 section 4.4.1; `plain` protects nobody
    if query.get("prompt") == "none" and not logged_in:
        return "login_required"
    return None


def _back(redirect_uri: str, query: MultiMapping[str], **answer: str) -> web.HTTPFound:
    state = {"state": query["state"]} if "state" in query else {}
    return web.HTTPFound(URL(redirect_uri).update_query(answer | state))


def _oauth_error(status: int, code: str, *, scheme: str = "Basic") -> web.Response:
    headers = _NO_STORE | ({"WWW-Authenticate": scheme} if status == 401 else {})
    return web.json_response({"error": code}, status=status, headers=headers)
