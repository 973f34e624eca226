"""Once with a real browser: log in, see the page, log out at the provider, see the signed-out page, log in again."""

from pathlib import Path

import pytest
from bench_certificates import Authority
from bench_stack import Cast
from bench_webdriver import Chromium


@pytest.mark.timeout(120)  # a browser on a small machine takes its time to start
def test_a_person_with_a_real_browser_is_logged_out(tmp_path: Path) -> None:
    cast = Cast(tmp_path)
    with cast.running(), Chromium(folder=tmp_path) as browser:
        private = f"{cast.sidecar.url}/private"
        browser.open(private)
        browser.type("#user", "alice")
        browser.click("#login")
        browser.wait_for_text("#who", "alice")
        assert browser.url == private

        browser.open(f"{cast.provider.issuer}/session/end")
        browser.click("#confirm")
        browser.wait_for_text("#done", "Logged out")
        browser.open(private)
        browser.wait_for_text("h1", "You have been signed out")
        assert browser.script("return document.documentElement.lang") == "en"
        assert browser.script("return performance.getEntriesByType('resource').length") == 0

        browser.click("a[href='/login']")
        browser.type("#user", "alice")
        browser.click("#login")
        browser.wait_for_text("#who", "alice")


@pytest.mark.timeout(120)
def test_a_real_browser_keeps_the_voucher_and_sends_it_back(tmp_path: Path) -> None:
    """With https its name has the prefix, which browsers take only from a Set-Cookie that keeps every promise of it."""
    certificate, key = Authority(tmp_path).issue(tmp_path)
    cast = Cast(tmp_path, session={"unbound": "deny"}, tls={"certificate": certificate, "key": key})
    url = f"https://{cast.sidecar.config['listen']}"
    cast.sidecar.config["public_url"] = url
    with cast.running(), Chromium(folder=tmp_path, trusts_all=True) as browser:
        browser.open(f"{url}/login")  # the app begins its anonymous session and sends the browser to the provider
        assert browser.url.startswith(cast.provider.issuer)
        browser.open(url)
        browser.wait_for_text("#who", "nobody")
        assert browser.script("return document.cookie") == ""
        unknown = 'logout_sidecar_requests_by_coverage_total{coverage="unbound"}'
        assert cast.sidecar.metric(unknown) >= 1  # it did come with the cookie that nobody knows
        assert cast.sidecar.metric('logout_sidecar_auth_decisions_total{decision="unbound_credential"}') == 0
