"""The demo's provider and legacy app, against each other and without the sidecar."""

import base64
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import yaml
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import KeySet
from yarl import URL

from sidecar.demo.browser import Browser, Page
from sidecar.demo.check import ExpectationFailed, Timeline, play
from sidecar.demo.child import ChildFailed, configuration, running_sidecar
from sidecar.demo.legacy_app import COOKIE, LegacyApp
from sidecar.demo.provider import Provider
from sidecar.demo.provider_model import KEEP, Client, Code, ProviderSession, keep, s256
from sidecar.demo.site import Site, listening, serving

SECRET = "a secret: with / and +"


@dataclasses.dataclass
class World:
    issuer: URL
    app: URL
    provider: Provider
    logouts: list[dict[str, str]]  # what arrived at the client's back-channel logout URI


@pytest.fixture
async def world() -> AsyncIterator[World]:
    provider_socket, app_socket, receiver_socket = listening(0), listening(0), listening(0)
    issuer = f"http://localhost:{provider_socket.getsockname()[1]}"
    app_url = f"http://localhost:{app_socket.getsockname()[1]}"
    receiver = f"http://localhost:{receiver_socket.getsockname()[1]}"
    client = Client(
        client_id="legacy app",
        client_secret=SECRET,
        redirect_uri=f"{app_url}/oidc/callback",
        post_logout_redirect_uri=f"{app_url}/",
        backchannel_logout_uri=f"{receiver}/logout",
    )
    provider = Provider(issuer=issuer, clients=[client])
    app = LegacyApp(
        public_url=app_url, issuer=issuer, client_id="legacy app", client_secret=SECRET, token_endpoint=None
    )
    logouts: list[dict[str, str]] = []

    async def receive(request: web.Request) -> web.Response:
        logouts.append({key: str(value) for key, value in (await request.post()).items()})
        return web.Response()

    receiver_app = web.Application()
    receiver_app.router.add_post("/logout", receive)
    async with (
        serving(provider.app(), provider_socket),
        serving(app.app(), app_socket),
        serving(receiver_app, receiver_socket),
    ):
        yield World(URL(issuer), URL(app_url), provider, logouts)


async def log_in(world: World, browser: Browser, user: str = "Alice") -> Page:
    return await browser.press(await browser.open(world.app / "private"), f"Log in as {user}")


async def test_a_user_logs_in_and_sees_the_private_page(world: World) -> None:
    async with Browser(name="one") as browser:
        page = await log_in(world, browser)
    assert (page.status, page.url) == (200, world.app / "private")
    assert "Hello Alice Adams" in page.text


async def test_the_private_page_of_a_stranger_is_a_login(world: World) -> None:
    async with Browser(name="one") as browser:
        page = await browser.open(world.app / "private")
    assert page.url.origin() == world.issuer
    assert "Log in as Bob Brown" in page.text


async def test_the_app_changes_its_cookie_at_login_and_the_old_value_is_nobody(world: World) -> None:
    async with Browser(name="one") as browser:
        page = await browser.open(world.app / "private")
        before = browser.cookies(world.app)[COOKIE]
        await browser.press(page, "Alice")
        assert browser.cookies(world.app)[COOKIE] != before
        browser.cookies(world.app)[COOKIE] = before
        assert "You are not logged in" in (await browser.open(world.app)).text


async def test_the_app_goes_on_trusting_its_cookie_after_the_provider_ended_the_session(world: World) -> None:
    async with Browser(name="one") as browser, Browser(name="administrator") as admin:
        await log_in(world, browser)
        await admin.press(await admin.open(world.issuer / "sessions"), "End this session")
        assert world.provider.sessions == []
        assert "Hello Alice" in (await browser.open(world.app / "private")).text


async def test_the_administrator_ends_one_session_and_the_logout_token_names_it(world: World) -> None:
    async with Browser(name="laptop") as laptop, Browser(name="phone") as phone, Browser(name="admin") as admin:
        await log_in(world, laptop)
        await log_in(world, phone)
        first, second = world.provider.sessions
        await admin.press(await admin.open(world.issuer / "sessions"), "End this session")
        page = await admin.open(world.issuer / "sessions")
    assert world.provider.sessions == [second]
    assert [list(fields) for fields in world.logouts] == [["logout_token"]]
    token = await verified(world, world.logouts[0]["logout_token"])
    assert token.header["typ"] == "logout+jwt"
    assert token.claims["sid"] == first.sid
    assert token.claims["sub"] == "user-alice"
    assert token.claims["events"] == {"http://schemas.openid.net/event/backchannel-logout": {}}
    assert "nonce" not in token.claims
    assert "<td>200</td>" in page.text


async def test_the_apps_own_logout_ends_both_sessions_and_comes_back(world: World) -> None:
    async with Browser(name="one") as browser:
        await log_in(world, browser)
        page = await browser.press(await browser.open(world.app), "Log out")
    assert page.url == world.app / ""
    assert "You are not logged in" in page.text
    assert world.provider.sessions == []
    assert len(world.logouts) == 1


async def test_a_logout_at_the_provider_without_a_hint_asks_first(world: World) -> None:
    async with Browser(name="one") as browser:
        await log_in(world, browser)
        page = await browser.open(world.issuer / "logout")
        assert len(world.provider.sessions) == 1
        assert "Logged out" in (await browser.press(page, "Log out")).text
    assert world.provider.sessions == []


async def test_a_provider_session_that_no_app_used_is_ended_without_a_logout_token(world: World) -> None:
    async with aiohttp.ClientSession() as http:
        await http.post(world.issuer / "login", data={"user": "bob", "request": ""}, allow_redirects=False)
    assert await world.provider.end(world.provider.sessions[0]) == []
    assert world.logouts == []


@pytest.mark.parametrize(
    ("change", "status", "where"),
    [
        ({"client_id": "another"}, 400, None),
        ({"redirect_uri": "http://attacker.example/"}, 400, None),
        ({"response_type": "token"}, 302, "error=unsupported_response_type"),
        ({"scope": "profile"}, 302, "error=invalid_scope"),
        ({"code_challenge": "x", "code_challenge_method": "plain"}, 302, "error=invalid_request"),
        ({"prompt": "none"}, 302, "error=login_required"),
        ({}, 200, None),
    ],
)
async def test_an_authorization_request_is_checked(
    world: World, change: dict[str, str], status: int, where: str | None
) -> None:
    query = authorization_request(world) | change
    async with aiohttp.ClientSession() as http:
        answer = await http.get((world.issuer / "authorize").with_query(query), allow_redirects=False)
    assert answer.status == status
    location = answer.headers.get("Location", "")
    assert (where is None and not location) or (where and where in location and "state=s1" in location)


@pytest.mark.parametrize(
    ("change", "basic", "status", "error"),
    [
        ({}, True, 200, None),
        ({"client_id": "legacy app", "client_secret": SECRET}, False, 200, None),
        ({"client_id": "legacy app", "client_secret": "wrong"}, False, 401, "invalid_client"),
        ({}, False, 401, "invalid_client"),
        ({"grant_type": "password"}, True, 400, "unsupported_grant_type"),
        ({"code": "made up"}, True, 400, "invalid_grant"),
        ({"redirect_uri": "http://localhost/other"}, True, 400, "invalid_grant"),
        ({"code_verifier": "wrong"}, True, 400, "invalid_grant"),
    ],
)
async def test_the_token_endpoint_gives_tokens_only_to_the_right_client_with_the_right_code(
    world: World, change: dict[str, str], basic: bool, status: int, error: str | None
) -> None:
    code = await fresh_code(world, verifier="verifier")
    form = token_request(world, code) | {"code_verifier": "verifier"} | change
    headers = {"Authorization": aiohttp.encode_basic_auth("legacy+app", "a+secret%3A+with+%2F+and+%2B")}
    async with (
        aiohttp.ClientSession() as http,
        http.post(world.issuer / "token", data=form, headers=headers if basic else {}) as answer,
    ):
        assert answer.status == status
        body = await answer.json()
    assert body.get("error") == error
    assert ("id_token" in body) == (error is None)


async def test_a_code_works_once_and_the_tokens_hold_what_was_asked(world: World) -> None:
    form = token_request(world, await fresh_code(world)) | {"client_id": "legacy app", "client_secret": SECRET}
    async with aiohttp.ClientSession() as http:
        first = await http.post(world.issuer / "token", data=form)
        second = await http.post(world.issuer / "token", data=form)
        body = await first.json()
        bearer = {"Authorization": f"Bearer {body['access_token']}"}
        user = await (await http.get(world.issuer / "userinfo", headers=bearer)).json()
        await world.provider.end(world.provider.sessions[0])
        refused = await http.get(world.issuer / "userinfo", headers=bearer)
    assert (first.status, second.status, refused.status) == (200, 400, 401)
    claims = (await verified(world, body["id_token"])).claims
    assert (claims["iss"], claims["aud"], claims["nonce"]) == (str(world.issuer), "legacy app", "n1")
    assert claims["sid"]
    assert user == {"sub": claims["sub"], "preferred_username": "bob", "name": "Bob Brown"}


async def test_a_code_of_an_ended_session_is_worth_nothing(world: World) -> None:
    form = token_request(world, await fresh_code(world)) | {"client_id": "legacy app", "client_secret": SECRET}
    await world.provider.end(world.provider.sessions[0])
    async with aiohttp.ClientSession() as http:
        assert (await http.post(world.issuer / "token", data=form)).status == 400


@pytest.mark.parametrize("query", [{"code": "c", "state": "s"}, {"code": "c", "state": ""}, {"code": "c"}, {}])
async def test_a_callback_that_this_browser_did_not_start_is_refused(world: World, query: dict[str, str]) -> None:
    async with Browser(name="one") as browser:
        page = await browser.open((world.app / "oidc/callback").with_query(query))
    assert (page.status, "was not started in this browser" in page.text) == (400, True)


async def test_a_login_that_was_asked_for_again_is_asked_once(world: World) -> None:
    query = authorization_request(world) | {"prompt": "login"}
    async with Browser(name="one") as browser:
        await log_in(world, browser)
        page = await browser.open((world.issuer / "authorize").with_query(query))
        assert page.url.path == "/authorize"
        assert (await browser.press(page, "Log in as Bob")).url.path == "/oidc/callback"


@pytest.mark.parametrize(("now", "fits"), [(99, True), (100, False), (101, False)])
def test_a_code_is_good_until_it_expires(now: float, fits: bool) -> None:
    session = ProviderSession(cookie="c", sid="s", user="bob", browser="", started=0)
    code = Code(session=session, client_id="a", redirect_uri="u", nonce="", challenge="", expires=100)
    client = Client(
        client_id="a", client_secret="", redirect_uri="u", post_logout_redirect_uri="", backchannel_logout_uri=""
    )
    assert code.fits(client, {"redirect_uri": "u"}, now) is fits


async def test_a_provider_that_is_gone_fails_the_login_with_a_page() -> None:
    listener = listening(0)
    app = LegacyApp(
        public_url="http://localhost",
        issuer="http://127.0.0.1:9",
        client_id="a",
        client_secret="b",
        token_endpoint=None,
    )
    url = URL(f"http://127.0.0.1:{listener.getsockname()[1]}")
    async with serving(app.app(), listener), Browser(name="one") as browser:
        page = await browser.open(url / "login")
    assert (page.status, "cannot be reached" in page.text) == (400, True)


async def test_the_stream_of_events_goes_on_and_is_closed_to_strangers(world: World) -> None:
    async with Browser(name="one") as browser, Browser(name="stranger") as stranger:
        await log_in(world, browser)
        stream = await browser.stream(world.app / "events")
        lines = [await stream.content.readline() for _ in range(3)]
        stream.close()
        refused = await stranger.stream(world.app / "events")
        refused.close()
    assert lines[0].startswith(b"data: ")
    assert lines[2].startswith(b"data: ")
    assert refused.status == 401


async def test_text_from_outside_is_escaped_on_pages(world: World) -> None:
    async with Browser(name="<script>alert(1)</script>") as browser, Browser(name="admin") as admin:
        await log_in(world, browser)
        page = await admin.open(world.issuer / "sessions")
    assert "&lt;script&gt;alert" in page.text
    assert "<script>" not in page.text


async def test_a_logout_token_that_nobody_takes_is_reported_with_the_kind_of_failure() -> None:
    client = Client(
        client_id="c",
        client_secret="s",
        redirect_uri="http://localhost/cb",
        post_logout_redirect_uri="http://localhost/",
        backchannel_logout_uri="http://127.0.0.1:9/logout",
    )
    provider = Provider(issuer="http://localhost", clients=[client])
    listener = listening(0)
    url = URL(f"http://127.0.0.1:{listener.getsockname()[1]}")
    async with serving(provider.app(), listener), aiohttp.ClientSession() as http:
        await http.post(url / "login", data={"user": "bob", "request": ""}, allow_redirects=False)
        provider.sessions[0].clients.add("c")
        (delivery,) = await provider.end(provider.sessions[0])
    assert delivery.outcome == "ClientConnectorError"


def test_only_the_newest_entries_are_kept() -> None:
    kept: dict[int, int] = {}
    for number in range(KEEP + 3):
        keep(kept, number, number)
    assert (len(kept), min(kept)) == (KEEP, 3)


def test_a_taken_port_gives_way_to_a_free_one() -> None:
    with listening(0) as first, listening(first.getsockname()[1]) as second:
        assert first.getsockname() != second.getsockname()


async def test_the_check_fails_without_a_sidecar_and_says_at_which_step(world: World) -> None:
    """The app is reached directly: everything works, up to the first request after the logout."""
    site = Site(
        public=world.app,
        direct=world.app,
        ops=world.app,
        issuer=world.issuer,
        provider=world.provider,
        sidecar_ended=pytest.fail,
    )
    lines: list[str] = []
    with pytest.raises(ExpectationFailed, match="the laptop's next request is refused: the ended session is not"):
        await play(site, say=lines.append)
    assert lines[-1].startswith("the administrator ends the laptop's session")


async def test_a_failed_step_is_named() -> None:
    lines: list[str] = []
    timeline = Timeline(say=lines.append)
    async with timeline.step("something good"):
        pass
    with pytest.raises(ExpectationFailed, match="something bad: TimeoutError"):
        async with timeline.step("something bad"):
            raise TimeoutError
    assert [line.split("  ")[0] for line in lines] == ["step", "something good"]
    assert len({len(line) for line in lines}) == 1


async def test_a_sidecar_that_does_not_start_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    shown: list[str] = []
    with pytest.raises(ChildFailed, match="ended with exit code"):
        async with running_sidecar(
            "listen: [nonsense", folder=tmp_path, ready_url="http://127.0.0.1:9/readyz", show=shown.append
        ):
            pytest.fail("it started")
    assert shown


def test_the_configuration_names_the_app_the_provider_and_the_store() -> None:
    text = configuration(
        listen=1,
        ops=2,
        relay=3,
        app=4,
        issuer="http://localhost:5",
        client_id="c",
        folder=Path("/x"),
    )
    document = yaml.safe_load(text)
    assert document["store"] == {"url": "sqlite:////x/state.db"}
    assert document["upstream"] == {"url": "http://127.0.0.1:4"}


def authorization_request(world: World) -> dict[str, str]:
    return {
        "response_type": "code",
        "client_id": "legacy app",
        "redirect_uri": str(world.app / "oidc/callback"),
        "scope": "openid",
        "state": "s1",
        "nonce": "n1",
    }


async def fresh_code(world: World, *, verifier: str | None = None) -> str:
    """A code for Bob, by hand."""
    query = authorization_request(world)
    if verifier is not None:
        query |= {"code_challenge": s256(verifier), "code_challenge_method": "S256"}
    request = URL("/").with_query(query).raw_query_string
    async with aiohttp.ClientSession() as http:  # keeps the provider's cookie
        form = {"user": "bob", "request": request}
        login = await http.post(world.issuer / "login", data=form, allow_redirects=False)
        answer = await http.get(world.issuer.join(URL(login.headers["Location"])), allow_redirects=False)
    return URL(answer.headers["Location"]).query["code"]


def token_request(world: World, code: str) -> dict[str, str]:
    redirect_uri = authorization_request(world)["redirect_uri"]
    return {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}


async def verified(world: World, token: str) -> jwt.Token:
    async with aiohttp.ClientSession() as http, http.get(world.issuer / "jwks") as answer:
        keys = await answer.json()
    assert "d" not in keys["keys"][0]  # the private half stays at home
    assert json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))["alg"] == "RS256"
    return jwt.decode(token, KeySet.import_key_set(keys), algorithms=["RS256"])
