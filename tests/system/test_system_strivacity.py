"""A logout in the app ends the session at a Strivacity tenant: a stand-in for its API, everything else as it is.

The tenant answers the deletion by a back-channel logout of its own, while browser and API call are still open.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from bench_browser import NAVIGATION, Browser, is_refused
from bench_process import wait_for
from bench_stack import Cast
from strivacity_standin import Strivacity


class Every:
    """A set of sessions that holds every one, and notes which were ended."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def __contains__(self, session: str) -> bool:
        return True

    def discard(self, session: str) -> None:
        self.ended.append(session)


@pytest.fixture(scope="module")
def tenant() -> Iterator[Strivacity]:
    with Strivacity() as tenant:
        yield tenant


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "workers"])
def cast(
    tmp_path_factory: pytest.TempPathFactory, tenant: Strivacity, request: pytest.FixtureRequest
) -> Iterator[Cast]:
    folder = tmp_path_factory.mktemp("strivacity")
    token: Path = folder / "token"
    token.write_text("good\n")
    api = {"base_url": tenant.url, "identity_store": "customers", "token": {"file": str(token)}, "timeout": "1s"}
    logout = {"app_paths": ["/logout"], "after_app_logout": {"strivacity": api}}
    cast = Cast(folder, logout=logout, workers=request.param)
    with cast.running():
        yield cast


@pytest.fixture
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


def log_in(cast: Cast, browser: Browser, user: str) -> str:
    assert browser.log_in(f"{cast.sidecar.url}/private", user).status_code == 200
    return cast.provider.sessions(user)[-1]


def log_out(cast: Cast, browser: Browser) -> requests.Response:
    url = f"{cast.sidecar.url}/logout"
    return browser.http.post(url, headers=NAVIGATION, timeout=15, allow_redirects=False)


def test_the_providers_own_logout_arrives_while_everything_is_open(
    cast: Cast, browser: Browser, tenant: Strivacity
) -> None:
    uid = log_in(cast, browser, "alice")
    tenant.sessions = {"alice": Every()}  # type: ignore[dict-item]
    outcomes: list[str] = []
    tenant.on_end = lambda _account, _session: outcomes.append(cast.provider.end(uid))
    stolen = browser.cookie_header()
    answer = log_out(cast, browser)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert outcomes == ["ok"]
    assert is_refused(requests.get(f"{cast.sidecar.url}/api/me", headers={"Cookie": stolen}, timeout=5))


def test_the_session_there_is_the_one_of_this_login(cast: Cast, browser: Browser, tenant: Strivacity) -> None:
    log_in(cast, browser, "bob")
    sessions = Every()
    tenant.sessions, tenant.on_end = {"bob": sessions}, lambda _account, _session: None  # type: ignore[dict-item]
    log_out(cast, browser)
    (sid,) = sessions.ended
    browser.submit(browser.open(f"{cast.provider.issuer}/session/end"), logout="yes")
    wait_for(lambda: f'"account":"bob","sid":"{sid}"' in cast.provider.output(), "the provider's own word for it")


def test_an_api_that_hangs_holds_nobody_up_for_longer_than_configured(
    cast: Cast, browser: Browser, tenant: Strivacity
) -> None:
    log_in(cast, browser, "carol")
    tenant.sessions = {"carol": Every()}  # type: ignore[dict-item]
    tenant.hold.clear()
    began = time.monotonic()
    assert log_out(cast, browser).status_code == 302
    assert time.monotonic() - began < 4.0
    tenant.hold.set()
    wait_for(lambda: tenant.sessions["carol"].ended, "the end of the session")  # type: ignore[attr-defined]


def test_an_api_that_refuses_is_an_alarm_and_the_user_is_out_all_the_same(
    cast: Cast, browser: Browser, tenant: Strivacity
) -> None:
    log_in(cast, browser, "dora")
    tenant.tokens = {"good": {"read:account"}}
    stolen = browser.cookie_header()
    try:
        assert log_out(cast, browser).status_code == 302
    finally:
        tenant.tokens = {"good": {"write:account"}}
    assert is_refused(requests.get(f"{cast.sidecar.url}/api/me", headers={"Cookie": stolen}, timeout=5))
    wanted = 'the API policy lacks \\"write\\" on \\"account\\"'
    wait_for(lambda: wanted in cast.sidecar.output(), "the advice in the log")  # lines are written in the background
    assert cast.sidecar.metric('logout_sidecar_provider_logouts_total{outcome="forbidden"}') == 1
    for text in ("dora", "Traceback"):
        assert text not in cast.sidecar.output()
