"""A 200 to a logout POST survives kill -9: nothing is said before it is written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench_browser import Browser, is_refused
from bench_stack import Cast, Sidecar


@pytest.fixture
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


def is_in(cast: Cast, browser: Browser) -> bool:
    return browser.probe(f"{cast.sidecar.url}/api/me").status_code == 200


def is_out(cast: Cast, browser: Browser) -> bool:
    return is_refused(browser.probe(f"{cast.sidecar.url}/api/me"))


def restart(sidecar: Sidecar) -> None:
    sidecar.start()
    sidecar.wait_until(sidecar.is_ready, "being ready again")


@pytest.mark.parametrize("secret", ["configured", "kept in the store"])
def test_a_logout_survives_kill_9_on_sqlite(tmp_path: Path, browser: Browser, secret: str) -> None:
    cast = Cast(tmp_path)
    if secret != "configured":
        del cast.sidecar.config["store"]["secret"]
    with cast.running(), Browser() as other:
        browser.log_in(f"{cast.sidecar.url}/private", "alice")
        other.log_in(f"{cast.sidecar.url}/private", "alice")
        first = cast.provider.sessions("alice")[0]
        assert cast.provider.end(first) == "ok"
        cast.sidecar.kill()
        restart(cast.sidecar)
        assert is_out(cast, browser)
        assert is_in(cast, other)


def test_a_logout_survives_kill_9_of_sidecar_and_redis(redis_server: Any, tmp_path: Path, browser: Browser) -> None:
    redis_server.restart(appendonly="yes", appendfsync="always")
    cast = Cast(tmp_path, store=redis_server.url)
    with cast.running(), Browser() as other:
        browser.log_in(f"{cast.sidecar.url}/private", "alice")
        other.log_in(f"{cast.sidecar.url}/private", "alice")
        first = cast.provider.sessions("alice")[0]
        assert cast.provider.end(first) == "ok"
        cast.sidecar.kill()
        redis_server.restart()
        restart(cast.sidecar)
        assert is_out(cast, browser)
        assert is_in(cast, other)


def test_a_logout_survives_many_kills_in_a_row(tmp_path: Path) -> None:
    """Each round adds one revocation and pulls the plug: none of the earlier ones may be lost either."""
    cast = Cast(tmp_path)
    with cast.running():
        ended: list[Browser] = []
        for round_number in range(4):
            user = f"user-{round_number}"
            browser = Browser()
            ended.append(browser)
            browser.log_in(f"{cast.sidecar.url}/private", user)
            assert cast.provider.end(cast.provider.sessions(user)[0]) == "ok"
            cast.sidecar.kill()
            restart(cast.sidecar)
            assert all(is_out(cast, one) for one in ended)
        for browser in ended:
            browser.http.close()
