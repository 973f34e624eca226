"""Each way to end sessions that is no logout token, with real processes: one sidecar, two sidecars, a real browser."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from bench_process import wait_for
from bench_signals import CLIENT, Provider, post, sidecar_of, status
from bench_stack import Sidecar
from bench_webdriver import Chromium

REVOCATION = "global-token-revocation"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def sidecar(provider: Provider, tmp_path: Path) -> Iterator[Sidecar]:
    with sidecar_of(provider, tmp_path) as sidecar:
        yield sidecar


def ready(sidecar: Sidecar) -> None:
    sidecar.wait_until(sidecar.is_ready, "being ready")


def frontchannel(provider: Provider, sidecar: Sidecar) -> requests.Response:
    query = {"iss": provider.issuer, "sid": "s-1"}
    return requests.get(f"{sidecar.url}/_sidecar/frontchannel-logout", params=query, timeout=10)


def event(provider: Provider, sidecar: Sidecar) -> requests.Response:
    subject = {"format": "iss_sub", "iss": provider.issuer, "sub": "jane"}
    token = provider.event(f"{sidecar.url}/events", subject)
    return post(sidecar, "events", token, Content_Type="application/secevent+jwt")


def user_of_keycloak(provider: Provider, sidecar: Sidecar) -> requests.Response:
    sessions = {"keycloakSessionIds": ["s-1"], "adapterSessionIds": ["JS"], "notBefore": 0}
    return post(sidecar, "k_logout", provider.admin("LOGOUT", **sessions), Content_Type="text/plain; charset=UTF-8")


def universal_logout(provider: Provider, sidecar: Sidecar) -> requests.Response:
    subject = {"format": "iss_sub", "iss": provider.issuer, "sub": "jane"}
    headers = {"Authorization": f"Bearer {provider.caller(f'{sidecar.url}/_sidecar/{REVOCATION}')}"}
    return post(sidecar, REVOCATION, json.dumps({"sub_id": subject}), Content_Type="application/json", **headers)


ENDS_ONE = [(frontchannel, 200), (event, 202), (user_of_keycloak, 200), (universal_logout, 204)]


@pytest.mark.parametrize(("send", "answer"), ENDS_ONE, ids=[send.__name__ for send, _ in ENDS_ONE])
def test_the_session_ends_and_another_one_lives(
    provider: Provider, sidecar: Sidecar, send: Callable[..., requests.Response], answer: int
) -> None:
    ready(sidecar)
    jane, john = provider.id_token("s-1", "jane"), provider.id_token("s-2", "john")
    assert [status(sidecar, id_token=token) for token in (jane, john)] == [200, 200]
    wait_for(lambda: send(provider, sidecar).status_code == answer, "the keys being there")
    assert [status(sidecar, id_token=token) for token in (jane, john)] == [401, 200]


@pytest.mark.parametrize("path", ["k_logout", "k_push_not_before"])
@pytest.mark.parametrize("workers", [1, 2])
def test_sign_out_all_ends_every_session_before_it_and_none_after(
    provider: Provider, tmp_path: Path, path: str, workers: int
) -> None:
    with sidecar_of(provider, tmp_path, workers=workers) as sidecar:
        ready(sidecar)
        jane, john = provider.id_token("s-1", "jane"), provider.id_token("s-2", "john")
        # The app's own cookie is bound to the session, and is all that this browser shows from now on.
        assert status(sidecar, id_token=jane, JSESSIONID="jane-s") == 200
        assert [status(sidecar, JSESSIONID="jane-s"), status(sidecar, id_token=john)] == [200, 200]
        action = {"k_logout": "LOGOUT", "k_push_not_before": "PUSH_NOT_BEFORE"}[path]
        token = provider.admin(action, notBefore=int(time.time()) - 5)
        assert post(sidecar, path, token, Content_Type="text/plain").status_code == 200
        assert [status(sidecar, JSESSIONID="jane-s"), status(sidecar, id_token=john)] == [401, 401]
        assert status(sidecar, id_token=provider.id_token("s-3", "jane", age=0)) == 200
        assert sidecar.metric(
            f'logout_sidecar_logout_messages_total{{endpoint="{path}",reason="ok",result="accepted"}}'
        )


@pytest.mark.parametrize("was_on", [True, False])
def test_sign_out_all_reaches_a_cookie_that_only_the_store_remembers(
    provider: Provider, tmp_path: Path, was_on: bool
) -> None:
    """Bound before the setting was switched on, the binding does not say whose it is."""
    sidecar = sidecar_of(provider, tmp_path, keycloak_admin=was_on)
    with sidecar:
        ready(sidecar)
        assert status(sidecar, id_token=provider.id_token(), JSESSIONID="jane-s") == 200
        sidecar.terminate()
    sidecar.config["providers"][0]["keycloak_admin"] = True
    with sidecar:
        ready(sidecar)
        assert status(sidecar, JSESSIONID="jane-s") == 200
        token = provider.admin("LOGOUT", notBefore=int(time.time()))
        assert post(sidecar, "k_logout", token, Content_Type="text/plain").status_code == 200
        assert status(sidecar, JSESSIONID="jane-s") == 401


BAD: list[tuple[str, dict[str, str], str]] = [
    ("events", {"Content-Type": "application/secevent+jwt"}, "not a token"),
    ("k_logout", {"Content-Type": "text/plain"}, "not a token"),
    ("k_push_not_before", {"Content-Type": "text/plain"}, "not a token"),
    (REVOCATION, {"Content-Type": "application/json", "Authorization": "Bearer x.y.z"}, "{}"),
]


def test_bad_input_is_a_clear_4xx_and_nothing_is_served_that_is_not_configured(
    provider: Provider, tmp_path: Path
) -> None:
    everything = sidecar_of(provider, tmp_path)
    plain = sidecar_of(provider, tmp_path, name="plain", keycloak_admin=False, frontchannel={"enabled": False})
    del plain.config["receivers"]
    with everything, plain:
        ready(everything)
        ready(plain)
        for path, headers, body in BAD:
            told = post(everything, path, body, **headers)
            assert told.status_code in (400, 401), (path, told.text)
            assert told.headers["Cache-Control"] == "no-store"
            assert set(told.json()) in ({"err", "description"}, {"error", "error_description"})
            assert post(plain, path, body, **headers).status_code == 404
        for sidecar, answer in ((everything, 400), (plain, 404)):
            told = requests.get(f"{sidecar.url}/_sidecar/frontchannel-logout?iss=x&sid=y", timeout=10)
            assert told.status_code == answer
        assert "Traceback" not in everything.tail() + plain.tail()


def test_one_public_address_receives_for_several_apps(provider: Provider, tmp_path: Path, redis_server: Any) -> None:
    """The receiver stands before one app. The other app's sidecar has no address that the provider knows."""
    receiver = sidecar_of(provider, tmp_path, store=redis_server.url, receive_for=["shop"])
    shop = sidecar_of(provider, tmp_path, name="shop", store=redis_server.url, client_id="shop")
    with receiver, shop:
        ready(receiver)
        ready(shop)
        tokens = {client: provider.id_token("s-1", client=client) for client in (CLIENT, "shop")}
        assert status(receiver, id_token=tokens[CLIENT]) == 200
        assert status(shop, id_token=tokens["shop"]) == 200

        body = f"logout_token={provider.logout_token('s-1', 'shop')}".encode()
        assert shop.post_logout(f"logout_token={provider.logout_token('s-1', CLIENT)}".encode()).status_code == 400
        assert receiver.post_logout(body).status_code == 200
        seconds = wait_for(lambda: status(shop, id_token=tokens["shop"]) == 401, "the logout in the other app")
        assert seconds < 1
        assert status(receiver, id_token=tokens[CLIENT]) == 200  # the same sid at another client

        # Everybody of the other client, and nobody of this one.
        fresh = provider.id_token("s-9", client="shop", age=0)
        assert status(shop, id_token=fresh) == 200
        token = provider.admin("LOGOUT", resource="shop", notBefore=int(time.time()))
        assert post(receiver, "k_logout", token, Content_Type="text/plain").status_code == 200
        wait_for(lambda: status(shop, id_token=fresh) == 401, "the sign-out in the other app")
        assert status(receiver, id_token=tokens[CLIENT]) == 200


def test_people_see_the_operators_page_in_their_language_and_front_ends_a_hint(
    provider: Provider, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html lang='{{lang}}'><h1>ACME: {{title}}</h1>{{#login}}<a href='{{login_url}}'>x</a>{{/login}}")
    sidecar = sidecar_of(provider, tmp_path)
    sidecar.config["enforcement"] |= {"page": str(page), "clear_site_data": ["storage"]}
    with sidecar:
        ready(sidecar)
        token = provider.id_token()
        assert frontchannel(provider, sidecar).status_code == 200
        headers = {"Cookie": f"id_token={token}", "Accept-Language": "de-CH,de;q=0.9,en;q=0.5"}
        shown = requests.get(f"{sidecar.url}/page", headers=headers | {"Accept": "text/html"}, timeout=10)
        assert shown.status_code == 401
        assert "<html lang='de'><h1>ACME: Sie wurden abgemeldet</h1><a href='/login'>" in shown.content.decode()
        assert shown.headers["Clear-Site-Data"] == '"storage"'
        fetched = requests.get(f"{sidecar.url}/page", headers=headers | {"Sec-Fetch-Mode": "cors"}, timeout=10)
        assert fetched.headers["X-Logout-Sidecar"] == "revoked"
        assert fetched.headers["X-Logout-Sidecar-Login"] == fetched.json()["login_url"] == "/login"
        assert fetched.json()["title"] == "Sie wurden abgemeldet"


@pytest.mark.timeout(120)  # a browser on a small machine takes its time to start
def test_a_real_browser_is_logged_out_by_a_frame_in_the_providers_page(
    provider: Provider, sidecar: Sidecar, tmp_path: Path
) -> None:
    ready(sidecar)
    with Chromium(folder=tmp_path) as browser:
        provider.frame = f"{sidecar.url}/_sidecar/frontchannel-logout?iss={provider.issuer}&sid=made-up"
        browser.open(f"http://127.0.0.1:{provider.server_port}/logout")
        assert browser.in_frame("return document.title") != "Signed out"  # somebody else's page may not show ours

        browser.open(f"{sidecar.url}/page")
        browser.script(f"document.cookie = 'id_token={provider.id_token()}; path=/'")
        browser.open(f"{provider.issuer}/logout")
        assert browser.in_frame("return document.title") == "Signed out"
        browser.open(f"{sidecar.url}/page")
        browser.wait_for_text("body", "the app")  # a made-up sid ended nothing
        assert "id_token" in browser.script("return document.cookie")

        provider.frame = provider.frame.replace("made-up", "s-1")
        browser.open(f"{provider.issuer}/logout")
        assert browser.in_frame("return document.title") == "Signed out"
        browser.open(f"{sidecar.url}/page")
        browser.wait_for_text("h1", "You have been signed out")
