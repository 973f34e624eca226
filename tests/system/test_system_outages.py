"""What is missing at start comes later; what must end ends in order."""

import signal
import threading
from pathlib import Path
from typing import Any

import requests
from bench_browser import Browser, is_refused
from bench_process import wait_for
from bench_stack import Cast, status_of


def test_without_the_provider_it_starts_says_so_and_recovers(tmp_path: Path) -> None:
    cast = Cast(tmp_path)
    with cast.running(cast.app, cast.sidecar):
        verbose = requests.get(f"{cast.sidecar.ops}/readyz?verbose", timeout=5).text
        assert any(line.startswith("[-]") for line in verbose.splitlines()), verbose
        token = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ." + _unsigned(cast.provider.issuer) + ".c2ln"
        refused = cast.sidecar.post_logout(b"logout_token=" + token.encode())
        assert refused.status_code == 400
        with cast.running(cast.provider), Browser() as browser:
            browser.log_in(f"{cast.sidecar.url}/private", "alice")
            assert cast.provider.end(cast.provider.sessions("alice")[0]) == "ok"
            assert is_refused(browser.probe(f"{cast.sidecar.url}/api/me"))
            cast.sidecar.wait_until(lambda: _all_well(cast), "saying that all is well", within=35)


def test_without_the_app_a_request_gets_502_and_recovers(tmp_path: Path) -> None:
    cast = Cast(tmp_path)
    with cast.running(cast.provider, cast.sidecar):
        assert status_of(cast.sidecar.url) == 502
        with cast.running(cast.app):
            assert status_of(cast.sidecar.url) == 200


def test_without_redis_it_lives_is_not_ready_and_recovers(redis_server: Any, tmp_path: Path) -> None:
    redis_server.stop()
    cast = Cast(tmp_path, store=redis_server.url)
    with cast.running(cast.provider, cast.app), cast.sidecar as sidecar:
        sidecar.wait_until(lambda: status_of(f"{sidecar.ops}/livez") == 200, "being alive")
        assert status_of(f"{sidecar.ops}/readyz") == 503
        bound = requests.get(f"{sidecar.url}/api/me", headers={"Cookie": "session=somebody"}, timeout=5)
        assert bound.status_code == 503
        assert "Retry-After" in bound.headers
        assert status_of(sidecar.url) == 200, "anonymous traffic passes"
        redis_server.start()
        assert sidecar.wait_until(sidecar.is_ready, "being ready", within=20) < 5
        with Browser() as browser:
            page = browser.log_in(f"{sidecar.url}/private", "alice")
            assert page.url == f"{sidecar.url}/private"
        assert "Traceback" not in sidecar.output()


def test_sigterm_lets_a_request_finish_and_exits_0(tmp_path: Path) -> None:
    cast = Cast(tmp_path, drain={"delay": "500ms"})
    with cast.running(cast.provider, cast.app, cast.sidecar):
        begun, answers = tmp_path / "begun", []
        url = f"{cast.sidecar.url}/api/slow?seconds=1&begun={begun}"
        client = threading.Thread(target=lambda: answers.append(requests.get(url, timeout=10)))
        client.start()
        wait_for(begun.exists, "the slow request to reach the app")
        cast.sidecar.signal(signal.SIGTERM)
        wait_for(lambda: status_of(f"{cast.sidecar.ops}/readyz") == 503, "being taken out of service", within=2)
        assert status_of(cast.sidecar.url) == 200, "until the load balancer has noticed, new requests are served"
        client.join()
        assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"done": True})]
        assert cast.sidecar.wait(within=15) == 0
        assert "Traceback" not in cast.sidecar.output()


def test_an_open_stream_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    cast = Cast(tmp_path, drain={"timeout": "1s"})
    with cast.running(), Browser() as browser:
        browser.log_in(f"{cast.sidecar.url}/private", "alice")
        with browser.http.get(f"{cast.sidecar.url}/events", stream=True, timeout=5) as stream:
            assert next(stream.iter_content(chunk_size=None)).startswith(b"data: ")
            assert cast.sidecar.terminate(within=5) == 0


def _all_well(cast: Cast) -> bool:
    return "[-]" not in requests.get(f"{cast.sidecar.ops}/readyz?verbose", timeout=5).text


def _unsigned(issuer: str) -> str:
    """The payload of a token that nobody signed."""
    import base64
    import json

    return base64.urlsafe_b64encode(json.dumps({"iss": issuer}).encode()).rstrip(b"=").decode()
