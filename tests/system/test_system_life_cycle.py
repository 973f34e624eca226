"""The life of a pod: the app restarts beside a running sidecar, anything may start first, the end comes in time."""

import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from bench_browser import Browser, is_refused
from bench_process import wait_for
from bench_stack import Cast, Process, status_of
from bench_workers import IN, OUT, Answer, Pod

ORDERS = [
    ("sidecar", "app", "provider"),  # native: before the app; the provider is being moved
    ("app", "sidecar", "provider"),  # classic: whichever is first
    ("sidecar", "provider", "app"),
    ("provider", "app", "sidecar"),  # the sidecar's image had to be fetched
]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_it_does_not_matter_who_starts_first(tmp_path: Path, order: tuple[str, ...]) -> None:
    cast = Cast(tmp_path)
    parts: dict[str, Process] = {"sidecar": cast.sidecar, "app": cast.app, "provider": cast.provider}
    with contextlib.ExitStack() as stack:
        for name in order:
            stack.enter_context(parts[name])
            parts[name].wait_until(parts[name].is_ready, "being ready, whoever is missing")
        with Browser() as browser:
            browser.log_in(f"{cast.sidecar.url}/private", "alice")
            assert browser.probe(f"{cast.sidecar.url}/api/me").status_code == 200
            assert cast.provider.end(cast.provider.sessions("alice")[0]) == "ok"
            assert is_refused(browser.probe(f"{cast.sidecar.url}/api/me"))


def test_an_app_that_restarts_is_found_again_by_the_same_sidecar(tmp_path: Path) -> None:
    """Another restart behind it, kill -9 and SIGTERM: the sidecar stays ready, and what it knows of sessions stays."""
    cast = Cast(tmp_path)
    with cast.running(), Browser() as browser, Browser() as other:
        for each in (browser, other):
            each.log_in(f"{cast.sidecar.url}/private", "alice")
        mine = f"{cast.sidecar.url}/api/me"
        for end in (cast.app.kill, cast.app.terminate):
            end()
            answer = browser.probe(mine)
            assert (answer.status_code, answer.headers["X-Logout-Sidecar"]) == (502, "upstream_unreachable")
            assert status_of(f"{cast.sidecar.ops}/readyz") == status_of(f"{cast.sidecar.ops}/livez") == 200
            cast.app.start()
            cast.app.wait_until(lambda: status_of(cast.sidecar.url) == 200, "being served through the sidecar")
            assert browser.probe(mine).status_code == 200
        cast.app.kill()
        assert cast.provider.end(cast.provider.sessions("alice")[0]) == "ok"  # while there is no app
        cast.app.start()
        cast.app.wait_until(lambda: status_of(cast.sidecar.url) == 200, "being served through the sidecar")
        assert is_refused(browser.probe(mine))
        assert other.probe(mine).status_code == 200


def test_a_store_that_goes_away_takes_no_pod_out_of_service(start_redis: Callable[..., Any], tmp_path: Path) -> None:
    """Ready after one full load, and then whatever the store does: it fails for all pods at once."""
    redis = start_redis("redis")
    cast = Cast(tmp_path, store=redis.url)
    cast.sidecar.config["store"] |= {"fresh": "1s", "grace": "1500ms"}
    with cast.running(), Browser() as browser:
        browser.log_in(f"{cast.sidecar.url}/private", "alice")
        mine = f"{cast.sidecar.url}/api/me"
        redis.stop()
        ready: list[int] = []

        def is_blind() -> bool:
            ready.append(status_of(f"{cast.sidecar.ops}/readyz"))
            return browser.probe(mine).status_code == 503

        cast.sidecar.wait_until(is_blind, "refusing bound sessions")
        assert set(ready) == {200}
        assert status_of(f"{cast.sidecar.ops}/readyz") == status_of(f"{cast.sidecar.ops}/livez") == 200
        assert status_of(cast.sidecar.url) == 200  # anonymous traffic passes
        redis.start()
        cast.sidecar.wait_until(lambda: browser.probe(mine).status_code == 200, "serving again")


# The end

DELAY_S, TIMEOUT_S = 0.5, 1.5
SPARE_S = 5  # what the chart has to spare in terminationGracePeriodSeconds; a second of it is for what is cut


@pytest.fixture(params=[1, 2])
def pod(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pod]:
    drain = {"delay": f"{DELAY_S}s", "timeout": f"{TIMEOUT_S}s"}
    with Pod(tmp_path, workers=request.param, drain=drain) as pod:
        yield pod


def test_an_app_that_never_answers_does_not_hold_up_the_end(pod: Pod) -> None:
    """A request, a stream in the middle, a client that says nothing: SIGTERM, and it is over within the drain."""
    visits = [pod.visit("s-1") for _ in range(2)]
    answers: list[Answer | None] = []
    visits[1].begin()
    pod.app.free.clear()
    waiting = threading.Thread(target=lambda: answers.append(visits[0].is_served()))
    waiting.start()
    host, _, port = pod.sidecar.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))):
        wait_for(lambda: pod.app.waiting == 1, "a request at the app")
        started = time.monotonic()
        pod.sidecar.signal(signal.SIGTERM)
        wait_for(lambda: not pod.sidecar.is_ready(), "not being ready")
        assert pod.sidecar.wait(within=DELAY_S + TIMEOUT_S + SPARE_S) == 0
        assert time.monotonic() - started >= DELAY_S + TIMEOUT_S  # and they were given the time that they have
    waiting.join()
    assert answers == [(503, "draining")]


def test_a_logout_during_the_drain_counts_for_what_still_runs(pod: Pod) -> None:
    visit, other = pod.visit("s-1"), pod.visit("s-2")
    answers: dict[str, Answer | None] = {}
    pod.app.free.clear()
    threads = [
        threading.Thread(target=lambda sid=sid, each=each: answers.update({sid: each.is_served()}))
        for sid, each in (("s-1", visit), ("s-2", other))
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: pod.app.waiting == 2, "requests at the app")
    pod.sidecar.signal(signal.SIGTERM)
    wait_for(lambda: not pod.sidecar.is_ready(), "not being ready")
    assert pod.log_out("s-1") == 200
    pod.app.free.set()
    for thread in threads:
        thread.join()
    assert answers == {"s-1": OUT, "s-2": IN}
    assert pod.sidecar.wait() == 0


def test_a_sidecar_that_was_killed_comes_back_beside_a_running_app(tmp_path: Path) -> None:
    cast = Cast(tmp_path)
    with cast.running(), Browser() as browser:
        browser.log_in(f"{cast.sidecar.url}/private", "alice")
        cast.sidecar.kill()
        cast.sidecar.start()
        cast.sidecar.wait_until(cast.sidecar.is_ready, "being ready again")
        assert browser.probe(f"{cast.sidecar.url}/api/me").status_code == 200
        assert requests.get(cast.app.url, timeout=5).status_code == 200  # which noticed nothing
        assert cast.provider.end(cast.provider.sessions("alice")[0]) == "ok"
        assert is_refused(browser.probe(f"{cast.sidecar.url}/api/me"))
