"""Two pods on one Redis-protocol server: each has an app and a sidecar; the provider tells the first one only."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from bench_browser import NAVIGATION, Browser, is_refused, seconds_until_cut
from bench_process import wait_for
from bench_stack import Cast

ENFORCED_WITHIN_S = 0.25  # promise 1


@pytest.fixture
def cast(redis_server: Any, tmp_path: Path) -> Cast:
    return Cast(tmp_path, replicas=2, store=redis_server.url)


@pytest.fixture
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


def is_in(cast: Cast, browser: Browser, replica: int) -> bool:
    return browser.probe(f"{cast.sidecars[replica].url}/api/me").status_code == 200


def is_out(cast: Cast, browser: Browser, replica: int) -> bool:
    return is_refused(browser.probe(f"{cast.sidecars[replica].url}/api/me"))


def log_in(cast: Cast, browser: Browser, user: str) -> str:
    browser.log_in(f"{cast.sidecar.url}/private", user)
    return cast.provider.sessions(user)[-1]


def test_a_logout_received_by_one_is_enforced_by_the_other(cast: Cast, browser: Browser) -> None:
    with cast.running(), Browser() as other:
        uid = log_in(cast, browser, "alice")
        log_in(cast, other, "alice")
        assert is_in(cast, browser, 0)
        assert is_in(cast, browser, 1)
        assert cast.provider.end(uid) == "ok"
        seconds = wait_for(lambda: is_out(cast, browser, 1), "a refusal by the second replica", within=5)
        assert seconds < ENFORCED_WITHIN_S
        assert is_out(cast, browser, 0)
        assert is_in(cast, other, 0)
        assert is_in(cast, other, 1)


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
        assert is_in(cast, browser, 1)
        cast.provider.end(uid)
        wait_for(lambda: is_out(cast, browser, 1), "a refusal by the second replica")


def test_a_replica_born_after_the_logout_knows_of_it(cast: Cast, browser: Browser) -> None:
    with cast.running(cast.provider, *cast.apps, cast.sidecar), Browser() as other:
        uid = log_in(cast, browser, "alice")
        log_in(cast, other, "bob")
        cast.provider.end(uid)
        with cast.running(cast.sidecars[1]):
            assert is_out(cast, browser, 1)
            assert is_in(cast, other, 1)


def test_a_logout_in_the_app_counts_in_the_other_pod_and_a_pod_reads_the_state_of_another(
    redis_server: Any, tmp_path: Path, browser: Browser
) -> None:
    after = {"app_paths": ["/logout"], "after_app_logout": {"end_session": {"enabled": True}}}
    cast = Cast(tmp_path, replicas=2, store=redis_server.url, logout=after)
    with cast.running():
        log_in(cast, browser, "bob")
        stolen = browser.cookie_header()
        answer = browser.http.post(f"{cast.sidecar.url}/logout", headers=NAVIGATION, timeout=10, allow_redirects=False)
        state = parse_qs(urlsplit(answer.headers["Location"]).query)["state"][0]
        url = f"{cast.sidecars[1].url}/api/me"
        took = wait_for(
            lambda: is_refused(requests.get(url, headers={"Cookie": stolen}, timeout=5)), "the end in the other pod"
        )
        assert took < 4 * ENFORCED_WITHIN_S  # a request takes its time as well
        back = requests.get(
            f"{cast.sidecars[1].url}/_sidecar/signed-out", params={"state": state}, timeout=5, allow_redirects=False
        )
        assert (back.status_code, back.headers["Location"]) == (303, f"{cast.sidecars[1].config['public_url']}/")


def test_the_app_is_told_by_one_of_the_pods_that_share_a_redis(
    redis_server: Any, tmp_path: Path, browser: Browser
) -> None:
    notify = {"notify_app": {"path": "/logout"}}
    cast = Cast(tmp_path, replicas=2, store=redis_server.url, on_revoked=notify)
    name = 'logout_sidecar_app_notifications_total{result="ok"}'
    with cast.running():
        uid = log_in(cast, browser, "carol")
        cookies = browser.cookie_header()
        assert is_in(cast, browser, 1)
        assert cast.provider.end(uid) == "ok"

        def is_told() -> bool:
            told = requests.get(f"{cast.app.url}/api/me", headers={"Cookie": cookies}, timeout=5).json()
            return told == {"user": None}

        wait_for(is_told, "the end of the session in the app")
        assert sum(sidecar.metric(name) for sidecar in cast.sidecars) == 1
