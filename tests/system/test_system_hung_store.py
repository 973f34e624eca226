"""A Redis that hangs: who is known is served as before, and nobody waits for long."""

import http.client
import statistics
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench_workers import IN, Pod

REQUESTS = 200
ADDED_S = 0.05  # at p99, to requests whose binding is cached


def seconds_of(pod: Pod, cookie: str, *, pause_s: float = 0.0) -> list[float]:
    """How long each of many requests took on one connection; all are served."""
    took = []
    connection = http.client.HTTPConnection(urlsplit(pod.sidecar.url).netloc, timeout=8)
    for _ in range(REQUESTS):
        began = time.monotonic()
        connection.request("GET", "/", headers={"Cookie": cookie})
        answer = connection.getresponse()
        answer.read()
        took.append(time.monotonic() - began)
        assert (answer.status, answer.getheader("X-Logout-Sidecar")) == IN
        time.sleep(pause_s)
    connection.close()
    return took


def p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


def test_a_redis_that_hangs_slows_nobody_whose_binding_is_known(redis_server: Any, tmp_path: Path) -> None:
    session = {"credentials": [{"cookie": "JSESSIONID"}], "bind": [{"from": "token", "cookie": "id_token"}]}
    store = {"url": redis_server.url, "fresh": "1s", "grace": "60s"}
    with Pod(tmp_path, workers=1, session=session, store=store) as pod:
        assert pod.answers("s-1", 1) == {IN}
        seconds_of(pod, f"{pod.cookie('s-1')}; JSESSIONID=known")  # travels with a proven session: bound to it
        before = p99(seconds_of(pod, "JSESSIONID=known"))
        redis_server.suspend()
        hung = p99(seconds_of(pod, "JSESSIONID=known", pause_s=0.015))  # three seconds: every time-out strikes

        assert hung < before + ADDED_S
        began = time.monotonic()
        assert pod.log_out("s-2") != 200
        assert time.monotonic() - began < 1.2  # within a second, store hung or not
        redis_server.resume()
