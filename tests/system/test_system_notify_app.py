"""A logout at the provider ends the session inside the app as well: the app forgets it, and nobody changed the app."""

from collections.abc import Iterator

import pytest
import requests
from bench_browser import Browser, is_refused
from bench_process import wait_for
from bench_stack import Cast


@pytest.fixture(scope="module", params=[1, 2], ids=["one process", "workers"])
def cast(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Cast]:
    notify = {"notify_app": {"path": "/logout", "status": [302]}}
    cast = Cast(tmp_path_factory.mktemp("notify"), on_revoked=notify, workers=request.param)
    with cast.running():
        yield cast


def in_the_app(cast: Cast, cookies: str) -> str | None:
    """Whom the app itself takes somebody for, past the sidecar."""
    user: str | None = requests.get(f"{cast.app.url}/api/me", headers={"Cookie": cookies}, timeout=5).json()["user"]
    return user


def told(cast: Cast) -> int:
    """How often the app was told. Asked afterwards only: a request beside its logout would save the session anew."""
    return cast.sidecar.output().count('"event": "app_notified"')


def log_in(cast: Cast, browser: Browser, user: str) -> str:
    assert browser.log_in(f"{cast.sidecar.url}/private", user).status_code == 200
    return browser.cookie_header()


def test_the_app_forgets_the_session_that_the_provider_ended_and_no_other(cast: Cast) -> None:
    with Browser() as browser, Browser() as phone:
        cookies, others = log_in(cast, browser, "alice"), log_in(cast, phone, "alice")
        first, before = cast.provider.sessions("alice")[0], told(cast)
        assert cast.provider.end(first) == "ok"
        assert is_refused(browser.probe(f"{cast.sidecar.url}/api/me"))
        wait_for(lambda: told(cast) == before + 1, "the app being told")
        assert in_the_app(cast, cookies) is None
        assert in_the_app(cast, others) == "alice"
    assert cast.sidecar.metric('logout_sidecar_app_notifications_total{result="ok"}') == 1
    assert "Traceback" not in cast.sidecar.output()


def test_after_a_restart_the_cookies_are_still_known(cast: Cast) -> None:
    with Browser() as browser:
        cookies = log_in(cast, browser, "bob")
    cast.sidecar.kill()
    cast.sidecar.start()
    cast.sidecar.wait_until(cast.sidecar.is_ready, "being ready")
    before = told(cast)
    assert cast.provider.end(cast.provider.sessions("bob")[0]) == "ok"
    wait_for(lambda: told(cast) == before + 1, "the app being told")
    assert in_the_app(cast, cookies) is None


def test_no_cookie_is_readable_in_the_store_or_in_the_log(cast: Cast) -> None:
    with Browser() as browser:
        value = log_in(cast, browser, "carol").partition("=")[2]
    kept = b"".join(path.read_bytes() for path in cast.sidecar.path.parent.glob("state.db*"))
    assert value.encode() not in kept
    assert value not in cast.sidecar.output()
