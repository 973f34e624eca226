"""Every binder in the whole process, alone and with several workers: login, logout at the provider, refused.

The provider is a key and a token endpoint, the app logs in whatever comes to its callback and redeems codes in
the moment of the callback, as apps do.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
from bench_pages import Pages, Server
from bench_process import free_port, wait_for
from bench_signer import CLIENT, Signer
from bench_stack import Sidecar

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CONNECTIONS = 24


class ProviderPages(Pages):
    def get(self) -> None:
        stage = self.server.stage
        if self.path == "/jwks":
            self.answer(200, stage.signer.jwks.read_bytes())
            return
        url = self.server.url
        document = {"issuer": url, "jwks_uri": f"{url}/jwks", "token_endpoint": f"{url}/token"}
        self.answer(200, json.dumps(document).encode())

    def post(self) -> None:
        sid = parse_qs(self.body().decode())["code"][0].partition("-")[2]
        self.answer(200, json.dumps({"id_token": self.server.stage.id_token(sid)}).encode())


class AppPages(Pages):
    """`state` is the value of the cookie that a callback sets. What stands in it the app believes."""

    def get(self) -> None:
        self.serve(parse_qs(urlsplit(self.path).query))

    def post(self) -> None:
        body = self.body()
        self.server.stage.bodies.append(body)
        self.serve(parse_qs(body.decode()))

    def serve(self, parameters: dict[str, list[str]]) -> None:
        if not self.path.endswith("-callback") and "-callback?" not in self.path:
            self.answer(200, b"welcome")
            return
        if self.path.startswith("/relay"):
            asked = {"grant_type": "authorization_code", "code": parameters["code"][0]}
            answer = requests.post(f"{self.server.stage.sidecar.relay}/token", data=asked, timeout=5)
            assert answer.status_code == 200, answer.text
        self.answer(302, Location="/", Set_Cookie=f"session={parameters['state'][0]}; Path=/")


class Stage:
    """Provider, app and sidecar."""

    def __init__(self, folder: Path, *, workers: int) -> None:
        self.bodies: list[bytes] = []
        self.signer = Signer(folder)
        self.provider, self.app = Server(ProviderPages, self), Server(AppPages, self)
        config = {
            "listen": f"127.0.0.1:{free_port()}",
            "workers": workers,
            "upstream": {"url": self.app.url},
            "ops": {"listen": f"127.0.0.1:{free_port()}"},
            "control": {"relay_listen": f"127.0.0.1:{free_port()}"},
            "providers": [{"issuer": self.provider.url, "client_id": CLIENT}],
            "session": {
                "credentials": [{"cookie": "session"}],
                "bind": [
                    {"from": "token_endpoint", "callback": "/relay-callback"},
                    {"from": "form_post", "callback": "/form-callback"},
                    {"from": "keycloak_code", "callback": "/keycloak-callback"},
                    {"from": "header", "sid": "X-Oidc-Sid", "sub": "X-Oidc-Sub"},
                ],
            },
            "store": {"url": f"sqlite:///{folder / 'state.db'}"},
            "drain": {"delay": "0s", "timeout": "5s"},
        }
        self.sidecar = Sidecar(config, name="binders", folder=folder)

    def id_token(self, sid: str) -> str:
        return self.signer.id_token(sid, issuer=self.provider.url)

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> requests.Response:
        """On a connection of its own, so that any worker may get it."""
        url = self.sidecar.url + path
        return requests.request(method, url, data=body or None, headers=headers, timeout=8, allow_redirects=False)

    def statuses(self, **headers: str) -> set[int]:
        return {self.ask("GET", "/", **headers).status_code for _ in range(CONNECTIONS)}

    def log_out(self, sid: str) -> None:
        body = self.signer.logout_body(sid, issuer=self.provider.url)
        assert self.sidecar.post_logout(body).status_code == 200


@pytest.fixture(scope="module", params=[1, 2], ids=["alone", "two workers"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    opened = Stage(tmp_path_factory.mktemp("binders"), workers=request.param)
    with opened.provider, opened.app, opened.sidecar:
        opened.sidecar.wait_until(opened.sidecar.is_ready, "being ready")
        yield opened


def logins(stage: Stage, sid: str) -> dict[str, tuple[str, str, str]]:
    """Method, path and body of a callback, by name; the app sets a cookie of that name."""
    form = urlencode({"state": "form", "id_token": stage.id_token(sid)})
    return {
        "relay": ("GET", f"/relay-callback?state=relay&code=c1-{sid}", ""),
        "posted": ("POST", "/relay-callback", f"state=posted&code=c2-{sid}"),
        "form": ("POST", "/form-callback", form),
        "keycloak": ("GET", f"/keycloak-callback?state=keycloak&code=a.{sid}.c", ""),
        "posted_code": ("POST", "/keycloak-callback", f"state=posted_code&code=a.{sid}.c"),
    }


@pytest.mark.parametrize("name", ["relay", "posted", "form", "keycloak", "posted_code"])
def test_a_login_ends_in_every_process_with_its_logout(stage: Stage, name: str) -> None:
    sid = f"sid_{name}"
    method, path, body = logins(stage, sid)[name]
    answer = stage.ask(method, path, body, **(FORM if body else {}))
    assert (answer.status_code, answer.headers.get("Set-Cookie")) == (302, f"session={name}; Path=/")
    assert not body or stage.bodies[-1] == body.encode()
    assert stage.statuses(Cookie=f"session={name}") == {200}
    stage.log_out(sid)
    assert stage.statuses(Cookie=f"session={name}") == {401}


def test_a_session_that_the_proxy_in_front_names_ends_in_every_process_with_its_logout(stage: Stage) -> None:
    named = {"X-Oidc-Sid": "sid_header", "X-Oidc-Sub": "alice"}
    assert stage.statuses(**named) == {200}
    stage.log_out("sid_header")
    assert stage.statuses(**named) == {401}


def test_a_forged_token_reaches_nobody(stage: Stage) -> None:
    count = len(stage.bodies)
    forged = stage.id_token("sid_forged")[:-8] + "AAAAAAAA"
    answer = stage.ask("POST", "/form-callback", urlencode({"state": "forged", "id_token": forged}), **FORM)
    assert (answer.status_code, answer.headers["X-Logout-Sidecar"]) == (400, "bad_token")
    assert len(stage.bodies) == count


def test_a_code_that_came_to_no_callback_is_not_redeemed(stage: Stage) -> None:
    asked = {"grant_type": "authorization_code", "code": "c3-sid"}
    answer = requests.post(f"{stage.sidecar.relay}/token", data=asked, timeout=5)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_a_login_by_keycloaks_code_after_a_logout_lives_as_soon_as_the_providers_clock_shows_it(stage: Stage) -> None:
    stage.log_out("sid_again")

    def is_served() -> bool:
        value = f"again{len(stage.bodies)}"
        stage.ask("POST", "/keycloak-callback", f"state={value}&code=a.sid_again.c")
        return stage.ask("GET", "/", Cookie=f"session={value}").status_code == 200

    assert not is_served()  # in the same second: nobody can say which was first
    assert wait_for(is_served, "a later login with the same sid") < 5


def test_no_token_and_no_code_is_in_the_log(stage: Stage) -> None:
    said = stage.sidecar.output()
    for secret in ("id_token", "sid_form", "c1-sid", "a.sid_keycloak"):
        assert secret not in said
