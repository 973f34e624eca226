"""The relay before a provider that is a process of its own, over TLS with a CA that only we know.

Each way in which an app proves who it is: what passes as it is, and what is bound to the provider's own address.
"""

import base64
import logging
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey
from relay_provider import CLIENT, SECRET, VERIFIER
from test_keys_provider import certificate
from test_relay import serving

from sidecar import clock
from sidecar.bindings.logins import Logins
from sidecar.oidc.fetch import client_session
from sidecar.oidc.id_token import Client, LoginReader
from sidecar.oidc.provider import ProviderKeys
from sidecar.oidc.relay import RelayedProvider, relay_app
from sidecar.oidc.source import DiscoverySource
from sidecar.oidc.verifier import Verifier


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that is its own CA, with its key."""
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def issuer(authority: Path) -> Iterator[str]:
    program = Path(__file__).parent / "relay_provider.py"
    command = [sys.executable, program, authority]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        process.wait(10)


class Bench:
    """The relay, and the app's HTTP client, which knows no other address than the relay's."""

    def __init__(self, issuer: str, relay: str, logins: Logins, app: aiohttp.ClientSession) -> None:
        self.issuer, self.relay, self.logins, self._app = issuer, relay, logins, app

    async def document(self) -> dict[str, Any]:
        async with self._app.get(f"{self.relay}/.well-known/openid-configuration") as answer:
            return await answer.json()

    async def redeem(self, code: str = "C", *, basic: bool = False, **form: str) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": "Basic " + base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()}
        asked = {"grant_type": "authorization_code", "code": code} | form
        place = (await self.document())["token_endpoint"]
        async with self._app.post(place, data=asked, headers=headers if basic else {}) as answer:
            return answer.status, await answer.json()


@pytest.fixture
async def bench(issuer: str, authority: Path) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        yield await _bench(stack, issuer, str(authority))


async def _bench(stack: AsyncExitStack, issuer: str, ca: str | None) -> Bench:
    http = await stack.enter_async_context(client_session())
    tls = ssl.create_default_context(cafile=ca)
    keys = ProviderKeys(issuer=issuer, source=DiscoverySource(session=http, issuer=issuer, tls=tls))
    reader = LoginReader(Verifier(keys=keys, algorithms=["ES256"]), Client(issuer, (CLIENT,)), clock.wall)
    logins = Logins(clock=clock.boot)
    app = relay_app([RelayedProvider("main", keys, reader, tls)], logins=logins, refuses_unjoined=True)
    relay = await stack.enter_async_context(serving(app))
    client = await stack.enter_async_context(aiohttp.ClientSession())
    return Bench(issuer, relay, logins, client)


def assertion(aud: str) -> dict[str, str]:
    now = int(time.time())
    claims = {"iss": CLIENT, "sub": CLIENT, "aud": aud, "jti": uuid.uuid4().hex, "iat": now, "exp": now + 60}
    return {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(SECRET)),
    }


POST = {"client_id": CLIENT, "client_secret": SECRET}
WAYS = [
    ("client_secret_basic", {"basic": True}, 200),
    ("client_secret_post", POST, 200),
    ("a wrong secret", POST | {"client_secret": "wrong"}, 401),
    ("PKCE", POST | {"code": "pkce-1", "code_verifier": VERIFIER}, 200),
    ("PKCE with another verifier", POST | {"code": "pkce-1", "code_verifier": VERIFIER[::-1]}, 400),
]


@pytest.mark.parametrize(("form", "status"), [way[1:] for way in WAYS], ids=[way[0] for way in WAYS])
async def test_what_the_app_shows_is_judged_by_the_provider_alone(
    bench: Bench, form: dict[str, Any], status: int
) -> None:
    login = await bench.logins.begin(form.get("code", "C"))
    got, answer = await bench.redeem(**form)
    assert got == status
    assert (login.session is not None) == (status == 200)
    assert ("id_token" in answer) == (status == 200)


@pytest.mark.parametrize(("names", "status"), [("/token", 200), ("", 200), ("the relay", 401)])
async def test_a_client_assertion_has_to_name_the_provider(
    bench: Bench, names: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An app that takes the token endpoint's address for aud has to be told the provider's: see operations.md."""
    caplog.set_level(logging.WARNING)
    await bench.logins.begin("C")
    aud = (await bench.document())["token_endpoint"] if names == "the relay" else bench.issuer + names
    got, answer = await bench.redeem(**assertion(aud))
    assert got == status
    if status == 401:
        assert answer == {"error": "invalid_client"}  # the provider's own words
        assert [record.message for record in caplog.records] == ["client_assertion_refused"]


async def test_a_refreshed_token_is_no_login(bench: Bench) -> None:
    login = await bench.logins.begin("C")
    status, answer = await bench.redeem(grant_type="refresh_token", refresh_token="r", **POST)
    assert (status, login.session) == (200, None)
    assert "id_token" in answer


async def test_an_app_that_takes_everything_from_discovery_needs_no_other_address(bench: Bench) -> None:
    document = await bench.document()
    assert document["issuer"] == bench.issuer
    for member in ("token_endpoint", "jwks_uri", "userinfo_endpoint"):
        assert document[member].startswith(bench.relay)
    async with bench._app.get(document["jwks_uri"]) as answer:
        assert [key["kid"] for key in (await answer.json())["keys"]] == ["k1"]
    for token, status in (("at", 200), ("forged", 401)):
        async with bench._app.get(
            document["userinfo_endpoint"], headers={"Authorization": f"Bearer {token}"}
        ) as answer:
            assert answer.status == status


async def test_a_provider_whose_certificate_nobody_vouches_for_is_not_asked(issuer: str) -> None:
    async with AsyncExitStack() as stack:
        bench = await _bench(stack, issuer, None)
        await bench.logins.begin("C")
        async with bench._app.post(f"{bench.relay}/token", data={"grant_type": "refresh_token"} | POST) as answer:
            assert (answer.status, (await answer.json())["error"]) == (503, "temporarily_unavailable")
