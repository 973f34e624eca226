"""Once with a real browser: log in, see the page, log out at the provider, see the signed-out page, log in again."""

from pathlib import Path

import pytest
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
