"""The bench itself: the Flask app and the certified provider work together without any sidecar.

What is asserted here is the world as it was before: the app logs in by itself, and a logout at the provider does not
reach it. If these fail, the bench is broken and nothing else in this folder means anything.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bench_browser import Browser
from bench_process import free_port
from bench_stack import App, Cast


@pytest.fixture(scope="module")
def cast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    cast = Cast(tmp_path_factory.mktemp("alone"))
    app = cast.app
    del app.env["FLASK_OIDC_ACCESS_TOKEN_URL"]
    with cast.running(cast.provider, app):
        yield cast


def test_the_app_logs_a_user_in_by_itself(cast: Cast) -> None:
    with Browser() as browser:
        page = browser.log_in(f"{cast.app.url}/private", "alice")
        assert (page.status_code, page.url) == (200, f"{cast.app.url}/private")
        assert "<p id='who'>alice</p>" in page.text
        assert browser.fetch(f"{cast.app.url}/api/me").json() == {"user": "alice"}


def test_the_app_does_not_notice_a_logout_at_the_provider(cast: Cast) -> None:
    with Browser() as browser:
        browser.log_in(f"{cast.app.url}/private", "bob")
        (uid,) = cast.provider.sessions("bob")
        # Nobody listens at the registered address: there is no sidecar yet.
        assert "fetch failed" in cast.provider.end(uid)
        assert browser.open(f"{cast.app.url}/private").status_code == 200


def test_a_second_login_in_the_same_browser_needs_no_password(cast: Cast) -> None:
    with Browser() as browser:
        browser.log_in(f"{cast.app.url}/private", "carol")
        browser.http.cookies.clear(domain="127.0.0.1")
        page = browser.open(f"{cast.app.url}/private")
    assert "carol" in page.text
    assert len(cast.provider.sessions("carol")) == 1


def test_a_logout_at_the_provider_in_the_users_own_browser_ends_the_providers_session(cast: Cast) -> None:
    with Browser() as browser:
        browser.log_in(f"{cast.app.url}/private", "dave")
        page = browser.open(f"{cast.provider.issuer}/session/end")
        browser.submit(page, logout="yes")
        browser.http.cookies.clear(domain="127.0.0.1")
        assert browser.open(f"{cast.app.url}/private").url.startswith(f"{cast.provider.issuer}/interaction/")


def test_two_instances_of_the_app_share_their_sessions(cast: Cast, tmp_path: Path) -> None:
    other = App(name="app-b", folder=tmp_path, port=free_port(), issuer=cast.provider.issuer, token_url=None)
    other.env["FLASK_SESSION_FOLDER"] = cast.app.env["FLASK_SESSION_FOLDER"]
    with Browser() as browser, cast.running(other):
        browser.log_in(f"{cast.app.url}/private", "erin")
        assert browser.fetch(f"{other.url}/api/me").json() == {"user": "erin"}
