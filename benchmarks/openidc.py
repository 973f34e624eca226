"""Apache with mod_auth_openidc: the peer that checks a session of its own on every request.

The sessions are real. A provider runs while browsers, played by a script, log in at it; then both are done with, and
the load comes with the cookies that the browsers got.
"""

import asyncio
from pathlib import Path

from yarl import URL

from benchmarks import proxies
from benchmarks.processes import Program, free_port
from sidecar.demo.browser import Browser
from sidecar.demo.provider import Provider
from sidecar.demo.provider_model import Client
from sidecar.demo.site import listening, serving

SESSIONS = 50
_ISSUER_PORT = free_port()
_ISSUER = f"http://localhost:{_ISSUER_PORT}"
_SECRET = "a secret of the benchmark, long enough"


def apache_openidc(folder: Path, app: int) -> Program:
    """Apache as relying party, sessions in its shared memory as it comes."""
    port = free_port()
    directives = f"""OIDCProviderMetadataURL {_ISSUER}/.well-known/openid-configuration
OIDCClientID bench
OIDCClientSecret "{_SECRET}"
OIDCRedirectURI http://localhost:{port}/redirect_uri
OIDCCryptoPassphrase "{_SECRET}"
OIDCSessionType server-cache
OIDCCacheType shm
<Location />
 AuthType openid-connect
 Require valid-user
</Location>"""
    return proxies.apache_with(
        "Apache, mod_auth_openidc", folder, app, port, modules=("auth_openidc",), directives=directives
    )


def log_in(folder: Path, port: int) -> tuple[str, str]:
    """Arguments for `browser.lua`: the host that the sessions are for, and a file with their cookies."""
    path = folder / "openidc-cookies"
    path.write_text("\n".join(asyncio.run(_log_in(port))) + "\n")
    return f"host=localhost:{port}", str(path)


async def _log_in(port: int) -> list[str]:
    public = f"http://localhost:{port}"
    client = Client(
        client_id="bench",
        client_secret=_SECRET,
        redirect_uri=f"{public}/redirect_uri",
        post_logout_redirect_uri=public,
        backchannel_logout_uri=f"{public}/redirect_uri?logout=backchannel",
    )
    provider = Provider(issuer=_ISSUER, clients=[client])
    async with serving(provider.app(), listening(_ISSUER_PORT)):
        return [await _one(URL(public)) for _ in range(SESSIONS)]


async def _one(public: URL) -> str:
    async with Browser(name="benchmark") as browser:
        page = await browser.press(await browser.open(public / "app"), "Log in as Alice Adams")
        if page.status != 200 or page.url.origin() != public.origin():
            raise SystemExit(f"the login at mod_auth_openidc failed: {page.status} at {page.url.path}")
        session = browser.cookies(public)["mod_auth_openidc_session"]
        return f"theme=dark; mod_auth_openidc_session={session}; lang=en"
