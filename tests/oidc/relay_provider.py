"""A provider as a process of its own, over TLS: its token endpoint checks the client in the way that it was told to.

Usage: relay_provider.py CERTIFICATE, with its key in the same file. Prints its issuer, and ends when its input does.
"""

import asyncio
import base64
import hashlib
import ssl
import sys
import time
from typing import Any

from aiohttp import web
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey

CLIENT, SECRET = "legacy", "a secret & with / odd % signs: long enough for HS256"
VERIFIER = "dBjftJeZ4CVP-mBQr0cTLvzG7mZzKgqT0aVJ8pGQyqk"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
KEY = ECKey.generate_key("P-256", {"kid": "k1"})


class Provider:
    """`issuer` is known when the socket is."""

    issuer = ""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self.metadata)
        app.router.add_get("/jwks", self.jwks)
        app.router.add_post("/token", self.token)
        app.router.add_get("/userinfo", self.userinfo)
        return app

    async def metadata(self, _request: web.Request) -> web.Response:
        places = {"jwks_uri": "/jwks", "token_endpoint": "/token", "userinfo_endpoint": "/userinfo"}
        return web.json_response({"issuer": self.issuer} | {name: self.issuer + at for name, at in places.items()})

    async def jwks(self, _request: web.Request) -> web.Response:
        return web.json_response({"keys": [KEY.as_dict(private=False)]})

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        if not self.is_client(request, form):
            return web.json_response({"error": "invalid_client"}, status=401, headers={"WWW-Authenticate": "Basic"})
        if form.get("code_challenge_method", "S256") != "S256" or not is_redeemable(form):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "sub": "alice", "sid": "s-1", "iat": now, "exp": now + 60}
        token = jwt.encode({"alg": "ES256", "kid": "k1"}, claims, KEY, algorithms=["ES256"])
        return web.json_response({"id_token": token, "access_token": "at", "token_type": "Bearer"})

    async def userinfo(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer at":
            return web.Response(status=401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        return web.json_response({"sub": "alice"})

    def is_client(self, request: web.Request, form: Any) -> bool:
        if assertion := form.get("client_assertion"):
            return self.is_assertion(str(assertion))
        if form.get("client_id") == CLIENT and form.get("client_secret") == SECRET:
            return True
        header = request.headers.get("Authorization", "")
        return header == "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()

    def is_assertion(self, assertion: str) -> bool:
        """RFC 7523 section 3: aud is the token endpoint, or the issuer."""
        try:
            claims = jwt.decode(assertion, OctKey.import_key(SECRET), algorithms=["HS256"]).claims
        except (JoseError, ValueError):
            return False
        return claims.get("sub") == CLIENT and claims.get("aud") in (f"{self.issuer}/token", self.issuer)


def is_redeemable(form: Any) -> bool:
    """PKCE where the code asks for it (RFC 7636 section 4.6)."""
    if str(form.get("code", "")).startswith("pkce-"):
        digest = hashlib.sha256(str(form.get("code_verifier", "")).encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == CHALLENGE
    return form.get("grant_type") in ("authorization_code", "refresh_token")


async def main(certificate: str) -> None:
    provider = Provider()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    runner = web.AppRunner(provider.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    provider.issuer = f"https://127.0.0.1:{runner.addresses[0][1]}"
    print(provider.issuer, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
