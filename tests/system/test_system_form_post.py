"""`form_post` with a certified provider: its hybrid and implicit logins, its own page that posts to the callback."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from bench_browser import Browser, is_refused
from bench_pages import Pages, Server
from bench_stack import CLIENT_ID, CLIENT_SECRET, Cast, Provider, Sidecar

CALLBACK = "/form-callback"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(b"v" * 43).digest()).rstrip(b"=").decode()


class App(Pages):
    """Sets a cookie at its callback."""

    def post(self) -> None:
        self.body()
        self.answer(200, b"logged in", Set_Cookie="session=logged-in; Path=/")


class Tampering(Browser):
    """Changes what the provider's page posts to the callback."""

    def __init__(self, changed: dict[str, Any]) -> None:
        super().__init__()
        self._changed = changed

    def submit(self, page: requests.Response, **fields: str) -> requests.Response:
        return super().submit(page, **fields, **(self._changed if CALLBACK in page.text else {}))


class Stage:
    """Provider and sidecar of a cast, and that app."""

    def __init__(self, folder: Path, app: Server) -> None:
        bind = [{"from": "form_post", "callback": CALLBACK}]
        credentials = [{"cookie": "session"}]
        cast = Cast(folder, session={"bind": bind, "credentials": credentials}, upstream={"url": app.url})
        self.sidecar: Sidecar = cast.sidecar
        client = {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "application_type": "native",  # the provider lets only these have http on loopback beside implicit
            "redirect_uris": [self.sidecar.url + CALLBACK],
            "response_types": ["code id_token", "id_token"],
            "grant_types": ["authorization_code", "implicit"],
            "backchannel_logout_uri": self.sidecar.logout_url,
            "backchannel_logout_session_required": True,
        }
        port = int(cast.provider.issuer.rpartition(":")[2])
        self.provider = Provider(folder=folder, port=port, clients=[client])

    def log_in(self, browser: Browser, response_type: str) -> requests.Response:
        """The answer to the callback, to which the provider's page has posted."""
        asked = {
            "client_id": CLIENT_ID,
            "redirect_uri": self.sidecar.url + CALLBACK,
            "response_type": response_type,
            "response_mode": "form_post",
            "scope": "openid",
            "state": "the state",
            "nonce": "the nonce",
        }
        if "code" in response_type:
            asked |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
        return browser.log_in(f"{self.provider.issuer}/auth?{urlencode(asked)}", "alice")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    app = Server(App)
    stage = Stage(tmp_path, app)
    with app, stage.provider, stage.sidecar:
        for part in (stage.provider, stage.sidecar):
            part.wait_until(part.is_ready, "being ready")
        yield stage


@pytest.mark.parametrize("response_type", ["code id_token", "id_token"])
def test_a_login_through_the_browser_ends_with_the_logout_at_the_provider(stage: Stage, response_type: str) -> None:
    with Browser() as browser:
        answer = stage.log_in(browser, response_type)
        assert (answer.status_code, answer.text) == (200, "logged in")
        assert browser.fetch(stage.sidecar.url).status_code == 200
        assert stage.provider.end(stage.provider.sessions("alice")[0]) == "ok"
        assert is_refused(browser.fetch(stage.sidecar.url))


@pytest.mark.parametrize("changed", [{"code": "another"}, {"id_token": "a.b.c"}, {"access_token": "x"}])
def test_what_somebody_has_put_together_is_refused(stage: Stage, changed: dict[str, Any]) -> None:
    with Tampering(changed) as browser:
        answer = stage.log_in(browser, "code id_token")
        assert (answer.status_code, answer.headers["X-Logout-Sidecar"]) == (400, "bad_token")
        assert "logged-in" not in browser.cookie_header()
