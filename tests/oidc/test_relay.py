"""The relay between a real client and a real token endpoint, both on loopback, with real signatures."""

import asyncio
import base64
import gzip
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from joserfc import jwt
from joserfc.jwk import ECKey
from yarl import URL

from sidecar import clock
from sidecar.bindings.logins import Logins
from sidecar.core.identity import Session
from sidecar.core.logout_token import EVENT
from sidecar.oidc import relay as module
from sidecar.oidc.fetch import client_session
from sidecar.oidc.id_token import Client, LoginReader
from sidecar.oidc.provider import ProviderKeys
from sidecar.oidc.relay import RelayedProvider, relay_app
from sidecar.oidc.relay_outbound import MAX_ANSWER_BYTES
from sidecar.oidc.source import DiscoverySource
from sidecar.oidc.verifier import Verifier

KEY = ECKey.generate_key("P-256", {"kid": "k1"})
STRANGER = ECKey.generate_key("P-256", {"kid": "k1"})
BASIC = "Basic " + base64.b64encode(b"legacy:client-secret").decode()
FORM = "application/x-www-form-urlencoded"


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    """Run an application on a loopback port; gives its URL."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


class Provider:
    """A small provider. `answer` makes the token endpoint's answer; `requests` are those that it got."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[web.BaseRequest, bytes]] = []
        self.answer: Callable[[], Awaitable[web.Response]] = self.tokens
        self.extra: dict[str, Any] = {}
        self.has_keys = True
        self.claims: dict[str, Any] = {}
        self.key = KEY

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{place:userinfo|introspection|revocation|par}", self.other)
        app.router.add_get("/.well-known/openid-configuration", self.metadata)
        app.router.add_get("/jwks", self.jwks)
        app.router.add_post("/real/token", self.token)
        return app

    @property
    def document(self) -> dict[str, Any]:
        places = {"token": "/real/token", "authorization": "/authorize", "userinfo": "/userinfo"}
        endpoints = {f"{name}_endpoint": self.url + path for name, path in places.items()}
        return (
            {"issuer": self.url, "jwks_uri": self.url + "/jwks", "scopes_supported": ["openid"]}
            | endpoints
            | self.extra
        )

    async def metadata(self, _request: web.Request) -> web.Response:
        return web.json_response(self.document)

    async def jwks(self, _request: web.Request) -> web.Response:
        if not self.has_keys:
            return web.Response(status=500)
        return web.json_response({"keys": [KEY.as_dict(private=False)]})

    async def other(self, request: web.Request) -> web.Response:
        self.requests.append((request, await request.read()))
        return web.Response(status=418, body=b'{"sub": "alice"}', headers={"WWW-Authenticate": "DPoP", "X-Op": "1"})

    async def token(self, request: web.Request) -> web.Response:
        self.requests.append((request, await request.read()))
        return await self.answer()

    async def tokens(self) -> web.Response:
        return web.json_response(self.token_answer(), headers={"Cache-Control": "no-store", "X-Request": "r-1"})

    def token_answer(self) -> dict[str, Any]:
        return {"access_token": "secret-access", "token_type": "Bearer", "id_token": self.id_token()}

    def id_token(self, **header: Any) -> str:
        now = int(clock.wall())
        base = {"iss": self.url, "aud": "legacy", "sub": "alice", "sid": "s-1", "iat": now, "exp": now + 60}
        return jwt.encode({"alg": "ES256", "kid": "k1"} | header, base | self.claims, self.key, algorithms=["ES256"])

    def answering(self, body: bytes | str, status: int = 200, **headers: str) -> None:
        async def answer() -> web.Response:
            raw = body.encode() if isinstance(body, str) else body
            return web.Response(status=status, body=raw, headers={"Content-Type": "application/json"} | headers)

        self.answer = answer


class Bench:
    """Provider, relay and the app's HTTP client, started."""

    def __init__(self, provider: Provider, logins: Logins, app: aiohttp.ClientSession) -> None:
        self.provider = provider
        self.logins = logins
        self.app = app
        self.relay = ""

    async def exchange(self, code: str = "secret-code", **parameters: str) -> tuple[int, bytes]:
        """What the app does in its callback."""
        asked = {"grant_type": "authorization_code", "code": code, "redirect_uri": "https://app/cb"} | parameters
        async with self.app.post(self.relay + "/token", data=asked, headers={"Authorization": BASIC}) as response:
            return response.status, await response.read()


def relayed(
    provider: Provider, http: aiohttp.ClientSession, name: str = "main", internal: str | None = None
) -> RelayedProvider:
    source = DiscoverySource(session=http, issuer=provider.url, internal_url=internal)
    keys = ProviderKeys(issuer=provider.url, source=source)
    reader = LoginReader(
        Verifier(keys=keys, algorithms=["ES256"]), Client(provider.url, ("legacy",)), clock.wall, budget_s=0.3
    )
    return RelayedProvider(name, keys, reader)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        provider = Provider()
        provider.url = await stack.enter_async_context(serving(provider.app()))
        http = await stack.enter_async_context(client_session())
        app = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        bench = Bench(provider, Logins(clock=clock.boot), app)
        timeout = aiohttp.ClientTimeout(total=1)
        relay = relay_app([relayed(provider, http)], logins=bench.logins, timeout=timeout)
        bench.relay = await stack.enter_async_context(serving(relay))
        yield bench


async def test_the_login_in_flight_learns_its_session(bench: Bench) -> None:
    login = await bench.logins.begin("secret-code")
    status, body = await bench.exchange()
    assert status == 200
    assert json.loads(body)["access_token"] == "secret-access"
    session = login.session
    assert isinstance(session, Session)
    assert (session.issuer, session.client_id, session.sid, session.sub) == (
        bench.provider.url,
        "legacy",
        "s-1",
        "alice",
    )
    assert not login.failed


async def test_the_app_gets_its_answer_only_after_the_session_is_known(bench: Bench) -> None:
    seen, go_on = asyncio.Event(), asyncio.Event()

    class SlowReader:
        async def read(self, token: str) -> Session:
            seen.set()
            await go_on.wait()
            return Session(bench.provider.url, "legacy", "s-1", "alice", 1)

    async with client_session() as http:
        source = relayed(bench.provider, http).source
        async with serving(
            relay_app([RelayedProvider("main", source, SlowReader())], logins=bench.logins)
        ) as bench.relay:
            login = await bench.logins.begin("secret-code")
            exchange = asyncio.create_task(bench.exchange())
            await seen.wait()
            done, _ = await asyncio.wait({exchange}, timeout=0.1)
            assert not done
            go_on.set()
            assert (await exchange)[0] == 200
            assert login.session is not None


async def test_who_keeps_logins_has_kept_this_one_before_the_app_can_answer(bench: Bench) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    kept: list[tuple[Session, str]] = []

    async def keep(session: Session, id_token: str, answer: Mapping[str, Any]) -> None:
        kept.append((session, id_token))
        assert answer["access_token"] == "secret-access"
        begun.set()
        await go_on.wait()

    async with client_session() as http:
        app = relay_app([relayed(bench.provider, http)], logins=bench.logins, keep=keep)
        async with serving(app) as bench.relay:
            login = await bench.logins.begin("secret-code")
            exchange = asyncio.create_task(bench.exchange())
            await begun.wait()
            assert login.session is None
            go_on.set()
            answer = json.loads((await exchange)[1])
    assert kept == [(login.session, answer["id_token"])]


async def test_a_login_that_does_not_hold_is_not_kept(bench: Bench) -> None:
    kept: list[str] = []

    async def keep(_session: Session, id_token: str, _answer: Mapping[str, Any]) -> None:
        kept.append(id_token)

    bench.provider.key = STRANGER
    async with client_session() as http:
        app = relay_app([relayed(bench.provider, http)], logins=bench.logins, keep=keep)
        async with serving(app) as bench.relay:
            login = await bench.logins.begin("secret-code")
            await bench.exchange()
    assert login.failed
    assert kept == []


async def test_the_request_reaches_the_provider_as_the_app_wrote_it(bench: Bench) -> None:
    body = b"grant_type=authorization_code&code=a%2Fb+c&code_verifier=v~1&client_secret=s%26x&empty="
    headers = {
        "Authorization": BASIC,
        "Content-Type": FORM + ";charset=UTF-8",
        "Accept": "application/json",
        "User-Agent": "legacy/1",
        "DPoP": "proof",
        "Cookie": "jar=1",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "1",
        "Proxy-Authorization": "Basic eDp5",
    }
    login = await bench.logins.begin("a/b c")
    async with bench.app.post(bench.relay + "/token", data=body, headers=headers) as response:
        assert response.status == 200
    [(request, got)] = bench.provider.requests
    assert got == body
    kept = ("Authorization", "Content-Type", "Accept", "User-Agent", "DPoP")
    assert {name: request.headers.getall(name) for name in kept} == {name: [headers[name]] for name in kept}
    assert not {"Cookie", "X-Hop", "Proxy-Authorization"} & set(request.headers)
    assert request.headers["Host"] == bench.provider.url.removeprefix("http://")
    assert login.session is not None


async def test_nothing_is_added_to_a_request_that_says_little(bench: Bench) -> None:
    async with bench.app.post(
        bench.relay + "/token", data=b"x=1", skip_auto_headers=("User-Agent", "Content-Type")
    ) as response:
        assert response.status == 200
    [(request, _)] = bench.provider.requests
    assert set(request.headers) == {"Host", "Accept", "Accept-Encoding", "Content-Length"}


async def test_the_answer_reaches_the_app_as_the_provider_wrote_it(bench: Bench) -> None:
    body = b'{ "access_token" :"x",\n"id_token":"' + bench.provider.id_token().encode() + b'"} '
    headers = {"Set-Cookie": "op=1", "Connection": "X-Hop", "X-Hop": "1", "Cache-Control": "no-store", "Date": "then"}
    bench.provider.answering(body, **headers)
    async with bench.app.post(
        bench.relay + "/token", data={"grant_type": "authorization_code", "code": "c"}
    ) as response:
        assert await response.read() == body
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Date"] == "then"
        assert response.headers["Content-Type"] == "application/json"
        assert not {"Set-Cookie", "X-Hop"} & set(response.headers)


async def test_a_compressed_answer_is_read_and_passed_on(bench: Bench) -> None:
    login = await bench.logins.begin("secret-code")
    body = json.dumps(bench.provider.token_answer()).encode()
    bench.provider.answering(gzip.compress(body), **{"Content-Encoding": "gzip"})
    assert await bench.exchange() == (200, body)
    assert login.session is not None


@pytest.mark.parametrize("status", [302, 400, 401, 429, 500, 503])
async def test_the_providers_errors_pass_unchanged(bench: Bench, status: int) -> None:
    login = await bench.logins.begin("secret-code")
    headers = {
        "WWW-Authenticate": 'Basic realm="op"',
        "Retry-After": "7",
        "Location": bench.provider.url + "/elsewhere",
    }
    bench.provider.answering(b'{"error":"invalid_grant"}', status, **headers)
    async with bench.app.post(
        bench.relay + "/token",
        data={"grant_type": "authorization_code", "code": "secret-code"},
        allow_redirects=False,
    ) as response:
        assert (response.status, await response.read()) == (status, b'{"error":"invalid_grant"}')
        assert {name: response.headers[name] for name in headers} == headers
    assert len(bench.provider.requests) == 1
    assert (login.session, login.failed) == (None, False)


@pytest.mark.parametrize(
    "parameters",
    [
        {"grant_type": "refresh_token", "refresh_token": "r"},
        {"grant_type": "client_credentials"},
        {"grant_type": "Authorization_Code"},
        {"grant_type": ""},
    ],
)
async def test_only_an_authorization_code_begins_a_session(bench: Bench, parameters: dict[str, str]) -> None:
    login = await bench.logins.begin("secret-code")
    assert (await bench.exchange(**parameters))[0] == 200
    assert (login.session, login.failed) == (None, False)


async def test_a_token_request_in_json_is_joined_too(bench: Bench) -> None:
    login = await bench.logins.begin("secret-code")
    asked = {"grant_type": "authorization_code", "code": "secret-code"}
    async with bench.app.post(bench.relay + "/token", json=asked) as response:
        assert response.status == 200
    assert login.session is not None


async def test_an_answer_without_id_token_is_no_login_and_no_failure(bench: Bench) -> None:
    login = await bench.logins.begin("secret-code")
    bench.provider.answering('{"access_token":"x"}')
    assert (await bench.exchange())[0] == 200
    assert (login.session, login.failed) == (None, False)


def signed_by_a_stranger(provider: Provider) -> None:
    provider.key = STRANGER


def without_keys(provider: Provider) -> None:
    provider.has_keys = False


def with_claims(**claims: Any) -> Callable[[Provider], None]:
    return lambda provider: provider.claims.update(claims)


def with_body(body: bytes) -> Callable[[Provider], None]:
    return lambda provider: provider.answering(body)


UNVERIFIED = {
    "stranger's signature": signed_by_a_stranger,
    "keys cannot be had": without_keys,
    "another client's": with_claims(aud="other"),
    "another issuer's": with_claims(iss="https://other.example"),
    "expired": with_claims(exp=1),
    "azp": with_claims(azp="other"),
    "logout token": with_claims(events={EVENT: {}}),
    "no JSON": with_body(b"<html>"),
    "no object": with_body(b"[]"),
    "twice": with_body(b'{"id_token":"a","id_token":"b"}'),
    "no string": with_body(b'{"id_token":5}'),
    "no token": with_body(b'{"id_token":"abc"}'),
    "empty token": with_body(b'{"id_token":""}'),
    "deep": with_body(b'{"id_token":' + b"[" * 100_000),
}


@pytest.mark.parametrize("arrange", UNVERIFIED.values(), ids=UNVERIFIED.keys())
async def test_what_cannot_be_verified_fails_the_login_while_the_app_gets_its_answer(
    bench: Bench, arrange: Callable[[Provider], None]
) -> None:
    arrange(bench.provider)
    login = await bench.logins.begin("secret-code")
    status, _ = await bench.exchange()
    assert status == 200
    assert (login.session, login.failed) == (None, True)


async def test_discovery_names_the_relay_for_tokens_and_the_provider_for_the_rest(bench: Bench) -> None:
    async with bench.app.get(
        bench.relay + "/.well-known/openid-configuration", headers={"Host": "evil.example"}
    ) as response:
        document = await response.json()
    ours = {"token_endpoint": "/token", "userinfo_endpoint": "/userinfo", "jwks_uri": "/jwks"}
    assert document == bench.provider.document | {name: bench.relay + path for name, path in ours.items()}


async def test_discovery_names_no_way_around_the_relay(bench: Bench) -> None:
    bench.provider.extra = {
        "mtls_endpoint_aliases": {"token_endpoint": bench.provider.url + "/mtls"},
        "signed_metadata": "a.b.c",
    }
    async with bench.app.get(bench.relay + "/.well-known/openid-configuration") as response:
        document = await response.json()
    assert not bench.provider.extra.keys() & document.keys()


async def test_with_an_internal_url_the_app_goes_inside_and_the_browser_outside() -> None:
    provider, public = Provider(), "https://login.example"
    async with serving(provider.app()) as inside, client_session() as http, aiohttp.ClientSession() as app:
        provider.url = public
        provider.extra = {"end_session_endpoint": public + "/logout"}
        routes = relay_app([relayed(provider, http, internal=inside)], logins=Logins(clock=clock.boot))
        async with serving(routes) as relay:
            async with app.get(relay + "/.well-known/openid-configuration") as response:
                document = await response.json()
            async with app.post(relay + "/token", data={"grant_type": "refresh_token"}) as response:
                assert response.status == 200
    ours = {"token_endpoint": "/token", "userinfo_endpoint": "/userinfo", "jwks_uri": "/jwks"}
    assert document == provider.document | {name: relay + path for name, path in ours.items()}
    assert document["authorization_endpoint"].startswith(public)
    assert len(provider.requests) == 1


async def test_several_providers_have_a_path_each() -> None:
    one, two, logins = Provider(), Provider(), Logins(clock=clock.boot)
    async with (
        serving(one.app()) as one.url,
        serving(two.app()) as two.url,
        client_session() as http,
        aiohttp.ClientSession() as app,
        serving(relay_app([relayed(one, http, "one"), relayed(two, http, "two")], logins=logins)) as relay,
    ):
        login = await logins.begin("c")
        async with app.post(relay + "/two/token", data={"grant_type": "authorization_code", "code": "c"}) as response:
            assert response.status == 200
        assert login.session is not None
        assert login.session.issuer == two.url
        assert (len(one.requests), len(two.requests)) == (0, 1)
        async with app.get(relay + "/one/.well-known/openid-configuration") as response:
            assert (await response.json())["token_endpoint"] == relay + "/one/token"
        async with app.post(relay + "/token", data={}) as response:
            assert response.status == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/token", 405),
        ("PUT", "/token", 405),
        ("POST", "/.well-known/openid-configuration", 405),
        ("POST", "/", 404),
        ("POST", "/token/", 404),
        ("POST", "/real/token", 404),
        ("PUT", "/userinfo", 405),
        ("HEAD", "/jwks", 405),
        ("POST", "/jwks", 405),
        ("POST", "/introspect", 404),  # the document names none
        ("POST", "/revoke", 404),
        ("POST", "/par", 404),
        ("GET", "/authorize", 404),
        ("GET", "/http://example.com/", 404),
    ],
)
async def test_there_is_nothing_else_to_reach(bench: Bench, method: str, path: str, status: int) -> None:
    async with bench.app.request(method, bench.relay + path) as response:
        assert response.status == status
    assert bench.provider.requests == []


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"grant_type=a&grant_type=b", {"Content-Type": FORM}, 400),
        (b"code=a&code=a&grant_type=authorization_code", {"Content-Type": FORM}, 400),
        (b"code=\xff", {"Content-Type": FORM}, 400),
        (b"a=&" * 300, {"Content-Type": FORM}, 400),
        (b'{"code":"a","code":"b"}', {"Content-Type": "application/json"}, 400),
        (b"{", {"Content-Type": "application/json"}, 400),
        (gzip.compress(b"code=a"), {"Content-Type": FORM, "Content-Encoding": "gzip"}, 415),
        (b"x" * (64 * 1024 + 1), {"Content-Type": FORM}, 413),
    ],
)
async def test_a_request_that_can_be_read_in_two_ways_or_is_too_large_goes_nowhere(
    bench: Bench, body: bytes, headers: dict[str, str], status: int
) -> None:
    async with bench.app.post(bench.relay + "/token", data=body, headers=headers) as response:
        assert response.status == status
        assert (await response.json())["error"] == "invalid_request"
        assert response.headers["Cache-Control"] == "no-store"
    assert bench.provider.requests == []


async def test_a_request_of_the_largest_size_passes(bench: Bench) -> None:
    body = b"x=".ljust(64 * 1024, b"x")
    async with bench.app.post(bench.relay + "/token", data=body, headers={"Content-Type": FORM}) as response:
        assert response.status == 200
    assert bench.provider.requests[0][1] == body


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_an_endless_answer_is_cut_off(bench: Bench, encoding: str) -> None:
    login = await bench.logins.begin("secret-code")
    body = b" " * (MAX_ANSWER_BYTES + 1)
    sent = gzip.compress(body) if encoding == "gzip" else body
    bench.provider.answering(sent, **{"Content-Encoding": encoding})
    status, answer = await bench.exchange()
    assert (status, json.loads(answer)["error"]) == (502, "temporarily_unavailable")
    assert (login.session, login.failed) == (None, False)


async def test_an_answer_of_the_largest_size_passes(bench: Bench) -> None:
    bench.provider.answering(b'{"a":1}'.ljust(MAX_ANSWER_BYTES))
    status, answer = await bench.exchange()
    assert (status, len(answer)) == (200, MAX_ANSWER_BYTES)


async def test_a_provider_that_does_not_answer_is_a_504(bench: Bench) -> None:
    never = asyncio.Event()

    async def hang() -> web.Response:
        await never.wait()
        return web.Response()

    bench.provider.answer = hang
    assert (await bench.exchange())[0] == 504
    never.set()


async def test_a_provider_that_breaks_off_is_a_502(bench: Bench) -> None:
    async def break_off() -> web.Response:
        transport = bench.provider.requests[-1][0].transport
        assert transport is not None
        transport.abort()
        return web.Response()

    bench.provider.answer = break_off
    assert (await bench.exchange())[0] == 502


async def test_without_metadata_the_relay_says_503(free_port: Callable[[], int]) -> None:
    provider = Provider()
    provider.url = f"http://127.0.0.1:{free_port()}"
    async with (
        client_session() as http,
        aiohttp.ClientSession() as app,
        serving(relay_app([relayed(provider, http)], logins=Logins(clock=clock.boot))) as relay,
    ):
        for method, path in (("POST", "/token"), ("GET", "/.well-known/openid-configuration")):
            async with app.request(method, relay + path) as response:
                assert response.status == 503
                assert (await response.json())["error"] == "temporarily_unavailable"


async def test_a_proxy_in_the_environment_sees_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await bench.exchange())[0] == 200


async def test_a_peer_on_a_unix_socket_is_local_but_gets_no_discovery(bench: Bench, tmp_path: Any) -> None:
    path = str(tmp_path / "relay.sock")
    async with client_session() as http:
        runner = web.AppRunner(relay_app([relayed(bench.provider, http)], logins=bench.logins))
        await runner.setup()
        await web.UnixSite(runner, path).start()
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as app:
            async with app.post("http://relay/token", data={"grant_type": "refresh_token"}) as response:
                assert response.status == 200
            async with app.get("http://relay/.well-known/openid-configuration") as response:
                assert response.status == 404
        await runner.cleanup()


class Wire(asyncio.Transport):
    """A transport that only knows its peer."""

    def __init__(self, peer: object) -> None:
        super().__init__({"peername": peer})


@pytest.mark.parametrize(
    ("peer", "is_local"),
    [
        (("127.0.0.1", 5), True),
        (("127.9.9.9", 5), True),
        (("::1", 5, 0, 0), True),
        ("", True),
        (("10.0.0.1", 5), False),
        (("2001:db8::1", 5, 0, 0), False),
        (("fe80::1%eth0", 5, 0, 2), False),
        (("::ffff:10.0.0.1", 5, 0, 0), False),
    ],
)
async def test_only_peers_in_the_pod_are_served(peer: object, *, is_local: bool) -> None:
    request = make_mocked_request("POST", "/token", transport=Wire(peer))

    async def handler(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=200)

    response = await module._guard(request, handler)
    assert response.status == (200 if is_local else 403)


async def test_a_refused_client_assertion_is_explained_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    bench.provider.answering(b'{"error":"invalid_client"}', 401)
    for _ in range(3):
        assert await bench.exchange(client_assertion="secret-assertion") == (401, b'{"error":"invalid_client"}')
    assert [record.message for record in caplog.records] == ["client_assertion_refused"]


@pytest.mark.parametrize("verifies", [True, False])
async def test_no_secret_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture, *, verifies: bool) -> None:
    caplog.set_level(logging.DEBUG)
    bench.provider.claims = {"sub": "secret-sub", "sid": "secret-sid", "aud": "legacy" if verifies else "other"}
    login = await bench.logins.begin("secret-code")
    await bench.exchange()
    assert login.failed == (not verifies)
    bench.provider.answering(b'{"error":"secret-error"}', 400)
    await bench.exchange(client_secret="client-secret")
    logged = [str(vars(record)) for record in caplog.records if record.name.startswith("sidecar")]
    assert logged
    for secret in ("secret", BASIC, bench.provider.id_token()[:20]):
        assert secret not in "".join(logged)


# -- what passes through -------------------------------------------------------------------------------------------

OTHERS = {
    "introspection_endpoint": "/introspection",
    "revocation_endpoint": "/revocation",
    "pushed_authorization_request_endpoint": "/par",
}


@pytest.mark.parametrize(
    ("method", "path", "place"),
    [
        ("GET", "/userinfo?schema=openid&x=%2B+", "/userinfo?schema=openid&x=%2B+"),
        ("POST", "/userinfo", "/userinfo"),
        ("POST", "/introspect", "/introspection"),
        ("POST", "/revoke", "/revocation"),
        ("POST", "/par", "/par"),
    ],
)
async def test_what_an_app_needs_beside_tokens_passes_as_it_is(
    bench: Bench, method: str, path: str, place: str
) -> None:
    bench.provider.extra = {name: bench.provider.url + where for name, where in OTHERS.items()}
    body = b"token=secret" if method == "POST" else b""
    headers = {"Authorization": "Bearer secret-access", "Content-Type": FORM, "Cookie": "jar=1"}
    url = URL(bench.relay + path, encoded=True)
    async with bench.app.request(method, url, data=body or None, headers=headers) as response:
        assert (response.status, await response.read()) == (418, b'{"sub": "alice"}')
        assert (response.headers["WWW-Authenticate"], response.headers["X-Op"]) == ("DPoP", "1")
    [(request, got)] = bench.provider.requests
    assert (request.method, request.raw_path, got) == (method, place, body)
    assert request.headers["Authorization"] == "Bearer secret-access"
    assert "Cookie" not in request.headers


async def test_the_keys_pass_through(bench: Bench) -> None:
    async with bench.app.get(bench.relay + "/jwks") as response:
        assert await response.json() == {"keys": [KEY.as_dict(private=False)]}


# -- codes that no callback is waiting with ------------------------------------------------------------------------


@pytest.fixture
async def strict(bench: Bench) -> AsyncIterator[Bench]:
    async with client_session() as http:
        app = relay_app([relayed(bench.provider, http)], logins=bench.logins, refuses_unjoined=lambda: True)
        async with serving(app) as bench.relay:
            yield bench


async def test_a_code_of_no_callback_is_not_redeemed(strict: Bench, caplog: pytest.LogCaptureFixture) -> None:
    status, body = await strict.exchange()
    assert (status, json.loads(body)["error"]) == (400, "invalid_grant")
    assert "login_unjoined" in json.loads(body)["error_description"]
    assert strict.provider.requests == []
    assert strict.logins.strays == 0  # nobody was logged in: other callbacks need not doubt
    assert [record.message for record in caplog.records] == ["login_unjoined"]


async def test_an_answer_that_comes_when_its_callback_has_ended_is_not_given_out(strict: Bench) -> None:
    login = await strict.logins.begin("secret-code")

    async def late() -> web.Response:
        login.end()
        return await strict.provider.tokens()

    strict.provider.answer = late
    status, body = await strict.exchange()
    assert (status, json.loads(body)["error"]) == (400, "invalid_grant")
    assert b"secret-access" not in body
    assert strict.logins.strays == 1


async def test_a_waiting_callback_and_other_grants_pass(strict: Bench) -> None:
    await strict.logins.begin("secret-code")
    assert (await strict.exchange())[0] == 200
    assert (await strict.exchange(grant_type="refresh_token"))[0] == 200
