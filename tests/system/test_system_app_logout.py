"""A logout in the app itself ends the provider's session, and with it that of another app; nobody changed the apps.

Certified provider, two Flask apps with Authlib behind a sidecar each, one browser that is logged in to both.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from bench_browser import NAVIGATION, Browser, is_refused
from bench_process import free_port
from bench_stack import CLIENT_ID, CLIENT_SECRET, COOKIE, App, Provider, Sidecar, configuration, merged

LOGOUT = {
    "app_paths": [{"path": "/logout", "methods": ["POST"]}],
    "after_app_logout": {"end_session": {"enabled": True}},
}
OTHER = "shop"


class Pair:
    """One app and its sidecar. Browsers share cookies between the ports of one host, so each pair has its own."""

    def __init__(self, folder: Path, *, client: str, host: str, issuer: str, **sections: Any) -> None:
        folder.mkdir()
        port, relay = free_port(), free_port()
        config = configuration(issuer=issuer, app=port, relay=relay, store=f"sqlite:///{folder / 'state.db'}")
        listen = f"{host}:{free_port()}"
        config |= {"listen": listen, "public_url": f"http://{listen}"}
        config["providers"] = [{"issuer": issuer, "client_id": client}]
        self.sidecar = Sidecar(merged(config, sections), name=client, folder=folder)
        token_url = f"http://127.0.0.1:{relay}/token"
        self.app = App(
            name=f"app-{client}", folder=folder, port=port, issuer=issuer, token_url=token_url, client_id=client
        )
        self.client = {
            "client_id": client,
            "client_secret": CLIENT_SECRET,
            "redirect_uris": [f"{self.sidecar.url}/oidc/callback"],
            "post_logout_redirect_uris": [f"{self.sidecar.url}/_sidecar/signed-out"],
            "backchannel_logout_uri": self.sidecar.logout_url,
            "backchannel_logout_session_required": True,
        }

    def who(self, browser: Browser) -> requests.Response:
        headers = {"Accept": "application/json"}
        return browser.http.get(f"{self.sidecar.url}/api/me", headers=headers, timeout=10, allow_redirects=False)


class Town:
    """The two pairs and their provider."""

    def __init__(self, folder: Path, **sections: Any) -> None:
        port = free_port()
        issuer = f"http://localhost:{port}"
        self.wiki = Pair(folder / "wiki", client=CLIENT_ID, host="127.0.0.1", issuer=issuer, **sections)
        self.shop = Pair(folder / "shop", client=OTHER, host="127.0.0.2", issuer=issuer)
        self.provider = Provider(folder=folder, port=port, clients=[self.wiki.client, self.shop.client])

    @contextlib.contextmanager
    def running(self) -> Iterator["Town"]:
        parts = (self.provider, self.wiki.app, self.shop.app, self.wiki.sidecar, self.shop.sidecar)
        with contextlib.ExitStack() as stack:
            for part in parts:
                stack.enter_context(part)
            for part in parts:
                part.wait_until(part.is_ready, "being ready")
            yield self

    def log_in(self, browser: Browser, user: str) -> None:
        """To both apps: with a form to the first, without a question to the second."""
        assert browser.log_in(f"{self.wiki.sidecar.url}/private", user).status_code == 200
        assert browser.open(f"{self.shop.sidecar.url}/private").status_code == 200
        assert [pair.who(browser).json() for pair in (self.wiki, self.shop)] == [{"user": user}] * 2


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "workers"])
def town(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Town]:
    with Town(tmp_path_factory.mktemp("town"), logout=LOGOUT, workers=request.param).running() as town:
        yield town


def log_out(town: Town, browser: Browser) -> requests.Response:
    """Press the app's own logout button; the answer, without following it."""
    url = f"{town.wiki.sidecar.url}/logout"
    return browser.http.post(url, headers=NAVIGATION, timeout=10, allow_redirects=False)


def test_the_apps_own_logout_ends_the_other_apps_session_as_well(town: Town) -> None:
    with Browser() as browser, Browser() as somebody:
        town.log_in(browser, "alice")
        town.log_in(somebody, "alice")
        stolen = browser.cookie_header("127.0.0.2")

        question = browser.http.post(f"{town.wiki.sidecar.url}/logout", headers=NAVIGATION, timeout=10)
        assert question.url.startswith(f"{town.provider.issuer}/session/end?id_token_hint=")
        home = browser.submit(question, logout="yes")

        assert (home.url, home.status_code) == (f"{town.wiki.sidecar.url}/", 200)
        assert "<p id='who'>nobody</p>" in home.text
        assert town.wiki.who(browser).json() == {"user": None}  # by the app: the browser has no session to refuse
        other = requests.get(f"{town.shop.sidecar.url}/api/me", headers={"Cookie": stolen}, timeout=5)
        assert is_refused(other)
        assert town.wiki.who(somebody).json() == town.shop.who(somebody).json() == {"user": "alice"}


def test_the_provider_gets_what_the_specification_asks_for(town: Town) -> None:
    with Browser() as browser:
        town.log_in(browser, "bob")
        answer = log_out(town, browser)
    asked = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert answer.status_code == 303
    assert asked["client_id"] == [CLIENT_ID]
    assert asked["post_logout_redirect_uri"] == [f"{town.wiki.sidecar.url}/_sidecar/signed-out"]
    assert set(asked) == {"id_token_hint", "client_id", "post_logout_redirect_uri", "state"}
    assert COOKIE not in browser.cookie_header()


def test_a_thief_has_nothing_left_when_the_user_has_logged_out_in_the_app(town: Town) -> None:
    with Browser() as browser:
        town.log_in(browser, "carol")
        stolen = browser.cookie_header()
        log_out(town, browser)
    assert is_refused(requests.get(f"{town.wiki.sidecar.url}/api/me", headers={"Cookie": stolen}, timeout=5))


def test_a_script_that_logs_out_gets_the_apps_own_answer(town: Town) -> None:
    with Browser() as browser:
        town.log_in(browser, "dora")
        headers = {"Accept": "application/json", "Sec-Fetch-Mode": "cors"}
        url = f"{town.wiki.sidecar.url}/logout"
        answer = browser.http.post(url, headers=headers, timeout=10, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (302, "/")
        assert town.shop.who(browser).json() == {"user": "dora"}


def test_a_user_who_changes_their_mind_at_the_provider_is_out_of_this_app_only(town: Town) -> None:
    with Browser() as browser:
        town.log_in(browser, "emil")
        question = browser.http.post(f"{town.wiki.sidecar.url}/logout", headers=NAVIGATION, timeout=10)
        home = browser.submit(question)
        assert home.url == f"{town.wiki.sidecar.url}/"
        assert town.shop.who(browser).json() == {"user": "emil"}


def test_the_state_leads_nowhere_else(town: Town) -> None:
    for state in ("https://evil.example/", "x" * 100):
        url = f"{town.wiki.sidecar.url}/_sidecar/signed-out"
        answer = requests.get(url, params={"state": state}, timeout=5, allow_redirects=False)
        assert (answer.status_code, "Location" in answer.headers) == (400, False)


def test_nothing_of_it_is_in_the_log_or_readable_in_the_store(town: Town) -> None:
    with Browser() as browser:
        town.log_in(browser, "frederica")
        token = parse_qs(urlsplit(log_out(town, browser).headers["Location"]).query)["id_token_hint"][0]
    folder = town.wiki.sidecar.path.parent
    kept = b"".join(path.read_bytes() for path in folder.glob("state.db*"))
    for text in (b"frederica", token.encode(), token.split(".")[1].encode()):
        assert text not in kept
    for text in ("frederica", token, "Traceback"):
        assert text not in town.wiki.sidecar.output()
