"""What the data plane counts of its traffic, in plain integers, and how it is exported; verdicts: `gate/counts.py`.

An exporter for prometheus-client: the numbers are read when somebody scrapes, so that a request pays for a few integer
additions and nothing else.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from sidecar.metrics import PREFIX
from sidecar.proxy.limits import TICK

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FADE = 0.5 ** (TICK / 10)
_SHORTEST = _BUCKETS[0]
_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"))


class Stats:
    """Counts of one process."""

    def __init__(self) -> None:
        self.requests: dict[tuple[bytes, int], int] = {}  # by method and status; 499: the client went away
        self.refusals: Counter[str] = Counter()  # why a client's HTTP was refused
        self.upstream_errors: Counter[str] = Counter()
        self.upstream_retries = 0
        self.loop_lag = 0.0
        self.in_flight = 0
        self.tunnels = 0
        self.connections: Callable[[], int] = int
        self.buffered: Callable[[], int] = int
        self.pool: Callable[[], tuple[int, int, int]] = lambda: (0, 0, 0)
        self._buckets, self._first_byte = _empty(), _empty()
        self._seconds = self._first_byte_seconds = 0.0

    def count(self, method: bytes, status: int, seconds: float, first_byte: float) -> None:
        """One finished request; `first_byte`: seconds until the app's answer began, negative where it did not."""
        self.in_flight -= 1
        try:
            self.requests[method, status] += 1
        except KeyError:
            self._count_other(method, status)
        self._buckets[0 if seconds <= _SHORTEST else bisect_left(_BUCKETS, seconds)] += 1
        self._seconds += seconds
        if first_byte >= 0:
            self._first_byte[0 if first_byte <= _SHORTEST else bisect_left(_BUCKETS, first_byte)] += 1
            self._first_byte_seconds += first_byte

    def _count_other(self, method: bytes, status: int) -> None:
        """The first of its kind, or a method that somebody has made up: those get no label of their own."""
        kind = (method if method in _METHODS else b"_OTHER", status)
        self.requests[kind] = self.requests.get(kind, 0) + 1

    def loop_was_late(self, seconds: float) -> None:
        """The sweep woke up late by so much. A peak fades by half in ten seconds, so that a scrape can meet it."""
        self.loop_lag = max(seconds, self.loop_lag * _FADE)

    def collect(self) -> Iterator[Metric]:
        """Read by prometheus-client at each scrape."""
        requests = CounterMetricFamily(
            f"{PREFIX}_http_requests", "Requests answered, by method and status code.", labels=("method", "code")
        )
        for (method, status), number in self.requests.items():
            requests.add_metric((method.decode("latin-1"), str(status)), number)
        yield requests
        yield _histogram(
            "http_request_duration_seconds",
            "From the end of the request head to the end of the response.",
            self._buckets,
            self._seconds,
        )
        yield _histogram(
            "upstream_first_byte_seconds",
            "From the request head sent to the app to its response head.",
            self._first_byte,
            self._first_byte_seconds,
        )
        yield _counter("http_refusals", "Requests refused as malformed, by reason.", "reason", self.refusals)
        yield _counter("upstream_errors", "Failed exchanges with the app, by reason.", "reason", self.upstream_errors)
        retries = CounterMetricFamily(f"{PREFIX}_upstream_retries", "Requests that were sent to the app once more.")
        retries.add_metric((), self.upstream_retries)
        yield retries
        busy, idle, waiting = self.pool()
        yield _gauge("http_requests_in_flight", "Requests being handled now.", self.in_flight)
        yield _gauge("connections", "Open client connections.", self.connections())
        yield _gauge("buffered_bytes", "Bytes read and not yet passed on.", self.buffered())
        yield _gauge("event_loop_lag_seconds", "How late the event loop was lately, at worst.", self.loop_lag)
        yield _gauge("tunnels", "Open WebSocket tunnels.", self.tunnels)
        yield _gauge("upstream_connections_busy", "Connections to the app in use.", busy)
        yield _gauge("upstream_connections_idle", "Connections to the app waiting for use.", idle)
        yield _gauge("upstream_queue", "Requests waiting for a connection to the app.", waiting)


def _empty() -> list[int]:
    return [0] * (len(_BUCKETS) + 1)


def _histogram(name: str, text: str, counts: list[int], seconds: float) -> HistogramMetricFamily:
    total, buckets = 0, []
    for bound, number in zip((*map(str, _BUCKETS), "+Inf"), counts, strict=True):
        total += number
        buckets.append((bound, total))
    family = HistogramMetricFamily(f"{PREFIX}_{name}", text)
    family.add_metric((), buckets, seconds)
    return family


def _counter(name: str, text: str, label: str, counts: Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=(label,))
    for value, number in counts.items():
        family.add_metric((value,), number)
    return family


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value)
