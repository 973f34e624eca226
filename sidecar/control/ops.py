"""The ops listener: `/livez`, `/readyz`, `/metrics`. GET only, no secrets, no effects.

Liveness checks nothing but that the process answers. Readiness is decided by `gates` alone: loaded once, and not
draining. What else may be wrong (store, keys) is shown with `?verbose` and takes no replica out of service: a store
that fails fails for all replicas at once.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest, registry
from prometheus_client.metrics_core import Metric

from sidecar import metrics
from sidecar.control.server import Handler, answer, error_answer, routed, runner
from sidecar.metrics import Measures

Check = Callable[[], str | None]  # what is wrong, in a few words; None when nothing is
Pod = Callable[[Iterable[Metric]], Awaitable[Iterable[Metric]]]  # the numbers of this process to those of all


def ops_runner(
    *,
    gates: Mapping[str, Check],
    shown: Mapping[str, Check],
    collectors: Iterable[Measures] = (),
    pod: Pod | None = None,
) -> web.ServerRunner:
    """The server for the ops listener. Call it inside the running loop."""

    async def livez(_request: web.BaseRequest) -> web.Response:
        return answer(200, b"ok\n")

    async def readyz(request: web.BaseRequest) -> web.Response:
        is_ready = all(check() is None for check in gates.values())
        if "verbose" in request.query:
            text = "".join(_verbose({**gates, **shown}, is_ready=is_ready))
        else:
            text = "ok\n" if is_ready else "not ready\n"
        return answer(200 if is_ready else 503, text.encode())

    own = _Collectors(metrics.registry, *collectors)

    async def scrape(_request: web.BaseRequest) -> web.Response:
        everything = own if pod is None else _Collected(await pod(own.collect()))
        response = answer(200, generate_latest(everything))
        response.headers["Content-Type"] = CONTENT_TYPE_LATEST
        return response

    return runner(routed({"/livez": _get(livez), "/readyz": _get(readyz), "/metrics": _get(scrape)}))


class _Collectors(registry.Collector):
    """Several collectors as one, without registering one replica's numbers with the process for good."""

    def __init__(self, *collectors: Measures) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        for collector in self._collectors:
            yield from collector.collect()


class _Collected(registry.Collector):
    """What was collected elsewhere."""

    def __init__(self, collected: Iterable[Metric]) -> None:
        self._collected = collected

    def collect(self) -> Iterable[Metric]:
        return self._collected


def _get(handler: Handler) -> Handler:
    async def checked(request: web.BaseRequest) -> web.StreamResponse:
        if request.method != "GET":
            return error_answer(405, "invalid_request", "use GET", allow="GET")
        return await handler(request)

    return checked


def _verbose(checks: Mapping[str, Check], *, is_ready: bool) -> Iterator[str]:
    """One line for each check, in the format that Kubernetes made familiar."""
    for name, check in checks.items():
        problem = check()
        yield f"[+]{name} ok\n" if problem is None else f"[-]{name} failed: {problem}\n"
    yield "readyz check passed\n" if is_ready else "readyz check failed\n"
