"""The way of a roll-out, with the real provider and app: observe, enforce, then refuse what nobody knows."""

from pathlib import Path
from typing import Any

import pytest
import requests
from bench_browser import Browser, is_refused
from bench_stack import COOKIE, Cast

VOUCHER = "logout-sidecar-voucher"  # public_url is http on loopback here, so without prefix


def is_unknown(answer: requests.Response) -> bool:
    """Refused because nobody knows the cookie."""
    return answer.status_code == 401 and answer.headers.get("X-Logout-Sidecar") == "unbound_credential"


def names(browser: Browser) -> set[str]:
    """The names of this browser's cookies for the app."""
    return {cookie.name for cookie in browser.http.cookies if cookie.domain == "127.0.0.1"}


@pytest.mark.parametrize("workers", [1, 2])
def test_with_deny_people_log_in_and_out_and_a_planted_cookie_is_refused(tmp_path: Path, workers: int) -> None:
    cast = Cast(tmp_path, session={"unbound": "deny"}, workers=workers)
    with cast.running(), Browser() as browser, Browser() as stranger:
        form = browser.open(f"{cast.sidecar.url}/private")  # the provider's; the app has begun its anonymous session
        assert names(browser) == {COOKIE, VOUCHER}
        browser.submit(form, user="alice")
        assert "alice" in browser.open(f"{cast.sidecar.url}/private").text
        assert names(browser) == {COOKIE}

        # Whoever has only the number of a session that this deployment never gave out is nobody.
        stranger.http.cookies.set(COOKIE, "made-up", domain="127.0.0.1")
        assert is_unknown(stranger.probe(f"{cast.sidecar.url}/api/me"))
        assert stranger.fetch(f"{cast.sidecar.url}/").status_code == 401  # and loses the cookie by this answer
        assert "alice" not in stranger.log_in(f"{cast.sidecar.url}/private", "bob").text

        assert cast.provider.end(cast.provider.sessions("alice")[0]) == "ok"
        assert is_refused(browser.probe(f"{cast.sidecar.url}/api/me"))
        browser.open(f"{cast.sidecar.url}/private")
        assert "alice" in browser.log_in(f"{cast.sidecar.url}/private", "alice").text


def test_with_deny_and_redirect_an_unknown_cookie_leads_straight_to_the_login(tmp_path: Path) -> None:
    cast = Cast(tmp_path, session={"unbound": "deny"}, enforcement={"action": "redirect"})
    with cast.running(), Browser() as browser:
        browser.http.cookies.set(COOKIE, "from-before", domain="127.0.0.1", path="/")
        page = browser.log_in(f"{cast.sidecar.url}/private", "alice")
        assert page.url == f"{cast.sidecar.url}/private"
        assert "alice" in page.text


def test_a_login_that_went_past_the_relay_lives_no_longer_than_a_visit(tmp_path: Path) -> None:
    """Nobody knows it, so `deny` ends it when its voucher grows old; a known one goes on."""
    cast = Cast(tmp_path, session={"unbound": "deny", "voucher": {"max_age": "60s"}})
    del cast.app.env["FLASK_OIDC_ACCESS_TOKEN_URL"]
    with cast.running(), Browser() as browser:
        browser.log_in(f"{cast.sidecar.url}/private", "alice")
        assert names(browser) == {COOKIE, VOUCHER}
        assert browser.probe(f"{cast.sidecar.url}/api/me").status_code == 200
        browser.http.cookies.clear("127.0.0.1", "/", VOUCHER)  # as the browser does after a minute
        assert is_unknown(browser.probe(f"{cast.sidecar.url}/api/me"))


@pytest.mark.parametrize("workers", [1, 2])
def test_observing_denies_nothing_and_enforcing_finds_all_that_was_recorded(tmp_path: Path, workers: int) -> None:
    cast = Cast(tmp_path, enforcement={"mode": "observe"}, session={"unbound": "deny"}, workers=workers)
    sidecar = cast.sidecar
    with cast.running(), Browser() as browser, Browser() as stranger:
        browser.log_in(f"{sidecar.url}/private", "alice")
        assert cast.provider.end(cast.provider.sessions("alice")[0]) == "ok"
        assert browser.probe(f"{sidecar.url}/api/me").json() == {"user": "alice"}
        stranger.http.cookies.set(COOKIE, "made-up", domain="127.0.0.1")
        assert stranger.probe(f"{sidecar.url}/api/me").json() == {"user": None}

        assert sidecar.metric("logout_sidecar_enforcing") == 0
        assert would_deny(sidecar, "revoked") == 1
        assert would_deny(sidecar, "unbound_credential") == 1
        assert sidecar.metric(traffic("bound", "token_endpoint")) >= 1
        assert sidecar.metric(traffic("unbound", "none")) >= 1
        assert sidecar.metric('logout_sidecar_bindings_known{binder="token_endpoint"}') >= 1
        assert sidecar.output().count('"event": "not_enforcing"') == 1
        assert workers == 1 or sidecar.threads() == 1  # a supervisor with another thread may miss a signal

        sidecar.terminate()
        sidecar.config["enforcement"]["mode"] = "enforce"
        sidecar.start()
        sidecar.wait_until(sidecar.is_ready, "being ready")
        assert sidecar.metric("logout_sidecar_enforcing") == 1
        assert is_refused(browser.probe(f"{sidecar.url}/api/me"))
        assert is_unknown(stranger.probe(f"{sidecar.url}/api/me"))


def test_a_login_that_nobody_can_learn_works_while_observing(tmp_path: Path) -> None:
    """`callback` is wrong: the relay would refuse the code, because no callback is waiting with it."""
    bind = [{"from": "token_endpoint", "callback": "/somewhere/else"}]
    cast = Cast(tmp_path, enforcement={"mode": "observe"}, session={"bind": bind})
    with cast.running(), Browser() as browser:
        assert "alice" in browser.log_in(f"{cast.sidecar.url}/private", "alice").text
        assert cast.sidecar.metric('logout_sidecar_logins_total{outcome="unjoined"}') == 1


def would_deny(sidecar: Any, reason: str) -> float:
    return float(sidecar.metric(f'logout_sidecar_would_deny_total{{reason="{reason}",route="default"}}'))


def traffic(coverage: str, binder: str) -> str:
    labels = f'binder="{binder}",coverage="{coverage}",route="default"'
    return f"logout_sidecar_route_requests_total{{{labels}}}"
