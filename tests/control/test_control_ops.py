"""The ops listener over a real socket: liveness, readiness, metrics, and nothing else."""

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.control.ops import ops_runner


class Requests(Collector):
    """What the data plane's own counters look like."""

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily("logout_sidecar_requests", "Requests.", value=7)


class Ops:
    """The listener, with problems that a test may set."""

    def __init__(self) -> None:
        self.problems: dict[str, str | None] = {"loaded": None, "draining": None, "store": None, "keys": None}
        self.url = ""

    async def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        async with aiohttp.request(method, self.url + path) as response:
            assert response.headers["Cache-Control"] == "no-store"
            assert response.headers["Server"] == "logout-sidecar"
            return response.status, await response.text()


@pytest.fixture
async def ops() -> AsyncIterator[Ops]:
    ops = Ops()
    checks = {name: (lambda name=name: ops.problems[name]) for name in ops.problems}
    runner = ops_runner(
        gates={"loaded": checks["loaded"], "draining": checks["draining"]},
        shown={"store": checks["store"], "keys": checks["keys"]},
        collectors=[Requests()],
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ops.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield ops
    await runner.cleanup()


async def test_liveness_depends_on_nothing(ops: Ops) -> None:
    ops.problems.update(dict.fromkeys(ops.problems, "broken"))
    assert await ops.ask("/livez") == (200, "ok\n")


READINESS = [
    ({}, 200),
    ({"loaded": "never"}, 503),
    ({"draining": "SIGTERM"}, 503),
    ({"store": "down"}, 200),
    ({"keys": "never loaded"}, 200),
    ({"store": "down", "keys": "never loaded", "loaded": "never"}, 503),
]


@pytest.mark.parametrize(("problems", "status"), READINESS, ids=str)
async def test_only_the_gates_decide_readiness(ops: Ops, problems: dict[str, str], status: int) -> None:
    ops.problems.update(problems)
    assert await ops.ask("/readyz") == (status, "ok\n" if status == 200 else "not ready\n")
    assert (await ops.ask("/readyz?verbose"))[0] == status


async def test_verbose_readiness_lists_each_check(ops: Ops) -> None:
    ops.problems["store"] = "not heard for 12 s"
    assert await ops.ask("/readyz?verbose") == (
        200,
        "[+]loaded ok\n[+]draining ok\n[-]store failed: not heard for 12 s\n[+]keys ok\nreadyz check passed\n",
    )


async def test_metrics_hold_the_registry_and_the_collectors(ops: Ops) -> None:
    for _ in range(2):
        status, text = await ops.ask("/metrics")
        assert status == 200
        assert "logout_sidecar_requests_total 7.0" in text
        assert "# TYPE logout_sidecar_logout_request_duration_seconds histogram" in text


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
async def test_every_method_but_get_is_405(ops: Ops, path: str, method: str) -> None:
    assert (await ops.ask(path, method))[0] == 405


@pytest.mark.parametrize("path", ["/", "/healthz", "/livez/", "/%6civez", "/_sidecar/backchannel-logout"])
async def test_everything_else_is_404(ops: Ops, path: str) -> None:
    import yarl

    async with aiohttp.request("GET", yarl.URL(ops.url + path, encoded=True)) as response:
        assert response.status == 404
