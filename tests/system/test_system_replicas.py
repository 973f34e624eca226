"""Two pods on one Redis-protocol server: each has an app and a sidecar; the provider tells the first one only."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench_browser import Browser, seconds_until_cut
from bench_process import wait_for
from bench_stack import Cast

ENFORCED_WITHIN_S = 0.25  # DESIGN promise 1


@pytest.fixture
def cast(redis_server: Any, tmp_path: Path) -> Cast:
    return Cast(tmp_path, replicas=2, store=redis_server.url)


@pytest.fixture
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


def status(cast: Cast, browser: Browser, replica: int) -> int:
    return browser.fetch(f"{cast.sidecars[replica].url}/api/me").status_code


def log_in(cast: Cast, browser: Browser, user: str) -> str:
    browser.log_in(f"{cast.sidecar.url}/private", user)
    return cast.provider.sessions(user)[-1]


def test_a_logout_received_by_one_is_enforced_by_the_other(cast: Cast, browser: Browser) -> None:
    with cast.running(), Browser() as other:
        uid = log_in(cast, browser, "alice")
        log_in(cast, other, "alice")
        assert [status(cast, browser, replica) for replica in (0, 1)] == [200, 200]
        assert cast.provider.end(uid) == "ok"
        answered = time.monotonic()
        assert status(cast, browser, 0) == 401
        wait_for(lambda: status(cast, browser, 1) == 401, "a refusal by the second replica", within=5)
        assert time.monotonic() - answered < ENFORCED_WITHIN_S
        assert [status(cast, other, replica) for replica in (0, 1)] == [200, 200]


def test_a_stream_through_the_other_replica_is_cut(cast: Cast, browser: Browser) -> None:
    with cast.running():
        uid = log_in(cast, browser, "alice")
        with browser.http.get(f"{cast.sidecars[1].url}/events", stream=True, timeout=5) as stream:
            ticks = stream.iter_content(chunk_size=None)
            assert next(ticks).startswith(b"data: ")
            cast.provider.end(uid)
            assert seconds_until_cut(ticks) < 1.0


def test_replicas_without_a_configured_secret_agree_on_the_one_in_the_store(cast: Cast, browser: Browser) -> None:
    for sidecar in cast.sidecars:
        del sidecar.config["store"]["secret"]
    with cast.running():
        uid = log_in(cast, browser, "alice")
        assert status(cast, browser, 1) == 200
        cast.provider.end(uid)
        wait_for(lambda: status(cast, browser, 1) == 401, "a refusal by the second replica")


def test_a_replica_born_after_the_logout_knows_of_it(cast: Cast, browser: Browser) -> None:
    with cast.running(cast.provider, *cast.apps, cast.sidecar), Browser() as other:
        uid = log_in(cast, browser, "alice")
        log_in(cast, other, "bob")
        cast.provider.end(uid)
        with cast.running(cast.sidecars[1]):
            assert status(cast, browser, 1) == 401
            assert status(cast, other, 1) == 200
