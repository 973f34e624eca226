"""What an operator may choose, with the real provider and app: redirect, strip, the relay's discovery document."""

from pathlib import Path

from bench_browser import NAVIGATION, Browser, is_refused
from bench_stack import Cast


def test_redirect_leads_a_person_to_a_new_login_and_tells_a_program(tmp_path: Path) -> None:
    cast = Cast(tmp_path, enforcement={"action": "redirect"})
    with cast.running(), Browser() as browser:
        browser.log_in(f"{cast.sidecar.url}/private", "alice")
        cast.provider.end(cast.provider.sessions("alice")[0])
        assert is_refused(browser.probe(f"{cast.sidecar.url}/api/me"))
        answer = browser.http.get(f"{cast.sidecar.url}/private", headers=NAVIGATION, timeout=5, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (302, "/login")
        page = browser.log_in(f"{cast.sidecar.url}/private", "alice")
        assert page.url == f"{cast.sidecar.url}/private"
        assert "alice" in page.text


def test_strip_makes_the_app_see_a_stranger(tmp_path: Path) -> None:
    cast = Cast(tmp_path, enforcement={"action": "strip"})
    with cast.running(), Browser() as browser:
        browser.log_in(f"{cast.sidecar.url}/private", "alice")
        cast.provider.end(cast.provider.sessions("alice")[0])
        answer = browser.fetch(f"{cast.sidecar.url}/api/me")
        assert (answer.status_code, answer.json()) == (401, {"user": None})  # the app's own words
        assert "nobody" in browser.open(cast.sidecar.url).text
        page = browser.log_in(f"{cast.sidecar.url}/private", "alice")
        assert "alice" in page.text


def test_an_app_that_takes_only_an_issuer_uses_the_relays_discovery_document(tmp_path: Path) -> None:
    cast = Cast(tmp_path)
    del cast.app.env["FLASK_OIDC_ACCESS_TOKEN_URL"]
    cast.app.env["FLASK_OIDC_SERVER_METADATA_URL"] = f"{cast.sidecar.relay}/.well-known/openid-configuration"
    with cast.running(), Browser() as browser:
        assert browser.log_in(f"{cast.sidecar.url}/private", "alice").url == f"{cast.sidecar.url}/private"
        assert cast.provider.end(cast.provider.sessions("alice")[0]) == "ok"
        assert is_refused(browser.probe(f"{cast.sidecar.url}/api/me"))
