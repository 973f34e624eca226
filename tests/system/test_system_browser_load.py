"""A real browser loads a page with all that pages have, through the sidecar, until the provider ends the session.

50 scripts, sheets, images and fonts, with lengths, chunks, ETags and compression; a WebSocket with traffic both ways;
an event stream. The same page straight from the app tells how long it takes without the sidecar.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench_process import Process, free_port, wait_for
from bench_signer import CLIENT, ISSUER, Signer
from bench_stack import HERE, Sidecar, status_of
from bench_webdriver import Chromium

COUNT, SCRIPTS, FONTS = 50, 13, 12  # as in `mixed_app.py`
SLOWER = 3.0  # times as long as without the sidecar, and half a second: a small machine that does other things as well

pytestmark = pytest.mark.timeout(120)  # a browser on a small machine takes its time to start

RESOURCES = """
return performance.getEntriesByType('resource').filter(one => one.name.includes('/assets/'))
    .map(one => [one.name, one.responseStatus, one.responseEnd]);
"""
STYLED = "return [...document.styleSheets].map(sheet => sheet.cssRules.length);"
PAINTED = "return [...document.images].map(image => image.naturalWidth);"


class Mixed(Process):
    """The app."""

    def __init__(self, *, folder: Path) -> None:
        port = free_port()
        command = [sys.executable, HERE / "apps" / "mixed_app.py", str(port)]
        super().__init__(command, name="mixed", folder=folder)
        self.url = f"http://127.0.0.1:{port}"

    def is_ready(self) -> bool:
        return status_of(f"{self.url}/bytes/1") == 200


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return Signer(tmp_path)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Mixed]:
    with Mixed(folder=tmp_path) as app:
        app.wait_until(app.is_ready, "being ready")
        yield app


@pytest.fixture
def sidecar(tmp_path: Path, signer: Signer, app: Mixed) -> Iterator[Sidecar]:
    config: dict[str, Any] = {
        "listen": f"127.0.0.1:{free_port()}",
        "upstream": {"url": app.url},
        "ops": {"listen": f"127.0.0.1:{free_port()}"},
        "control": {"relay_listen": f"127.0.0.1:{free_port()}"},
        "providers": [{"issuer": ISSUER, "client_id": CLIENT, "jwks_file": str(signer.jwks)}],
        "session": {"credentials": [{"cookie": "JSESSIONID"}], "bind": [{"from": "token", "cookie": "id_token"}]},
        "enforcement": {"action": "reject", "login_url": "/login"},
        "store": {"url": "sqlite://"},
        "drain": {"delay": "0s", "timeout": "5s"},
    }
    with Sidecar(config, name="sidecar", folder=tmp_path) as sidecar:
        sidecar.wait_until(sidecar.is_ready, "being ready")
        yield sidecar


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Chromium]:
    with Chromium(folder=tmp_path) as browser:
        yield browser


def load(browser: Chromium, url: str) -> float:
    """Open the page and wait until all of it is there; how many milliseconds its assets took."""
    browser.open(f"{url}/")
    wait_for(lambda: browser.script("return seen.fonts") == FONTS, "the fonts")
    found = browser.script(RESOURCES)
    assert len({name for name, _status, _end in found}) == COUNT
    assert {status for _name, status, _end in found} == {200}
    return float(max(end for _name, _status, end in found))


def log_in(browser: Chromium, url: str, signer: Signer, sid: str) -> None:
    browser.open(f"{url}/login?sid=app-{sid}&token={signer.id_token(sid)}")
    browser.wait_for_text("#who", "in")


def seen(browser: Chromium, name: str) -> float:
    return float(browser.script(f"return seen.{name}"))


def test_a_page_with_fifty_assets_arrives_whole_and_nearly_as_fast_as_without_the_sidecar(
    app: Mixed, sidecar: Sidecar, signer: Signer, browser: Chromium
) -> None:
    load(browser, app.url)  # warms the app and the browser up
    direct = min(load(browser, app.url) for _ in range(2))
    log_in(browser, sidecar.url, signer, "s-1")
    proxied = min(load(browser, sidecar.url) for _ in range(3))
    assert sorted(browser.script("return loaded")) == list(range(0, COUNT, 4))
    assert browser.script(STYLED) == [1] * SCRIPTS
    assert browser.script(PAINTED) == [1] * FONTS
    assert proxied < direct * SLOWER + 500
    # The second load asked with If-None-Match; what the browser shows as 200 was a 304 on the wire.
    assert sidecar.metric('logout_sidecar_http_requests_total{code="304",method="GET"}') >= COUNT // 3


def test_a_logout_cuts_socket_and_stream_within_a_second_and_the_next_page_says_so(
    sidecar: Sidecar, signer: Signer, browser: Chromium
) -> None:
    log_in(browser, sidecar.url, signer, "s-2")
    load(browser, sidecar.url)
    wait_for(lambda: seen(browser, "echoes") > 20 and seen(browser, "ticks") > 5, "traffic both ways")
    asked = time.time() * 1000
    assert sidecar.post_logout(signer.logout_body("s-2")).status_code == 200
    wait_for(lambda: bool(seen(browser, "socketClosed") and seen(browser, "streamClosed")), "the end of both", within=5)
    assert max(seen(browser, "socketClosed"), seen(browser, "streamClosed")) - asked < 1000
    assert seen(browser, "socketCode") == 1008  # policy violation, RFC 6455 section 7.4.1
    browser.open(f"{sidecar.url}/")
    browser.wait_for_text("h1", "You have been signed out")


def test_another_session_of_the_browser_goes_on(sidecar: Sidecar, signer: Signer, browser: Chromium) -> None:
    log_in(browser, sidecar.url, signer, "s-3")
    load(browser, sidecar.url)
    assert sidecar.post_logout(signer.logout_body("s-another")).status_code == 200
    echoes, ticks = seen(browser, "echoes"), seen(browser, "ticks")
    wait_for(lambda: seen(browser, "echoes") > echoes + 10 and seen(browser, "ticks") > ticks + 5, "more traffic")
    assert not seen(browser, "socketClosed")
