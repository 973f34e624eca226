"""One page of numbers for a pod: what is summed, what is not, and what is kept of the dead."""

import asyncio
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from sidecar.metrics import PREFIX
from sidecar.workers.line import Call, LineLost
from sidecar.workers.tally import Tally, pack


class Process:
    """One process's numbers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("requests", "Requests.", ("code",), namespace=PREFIX, registry=self.registry)
        self.seconds = Histogram("seconds", "Time.", namespace=PREFIX, registry=self.registry, buckets=(1, 2))
        self.open = Gauge("connections", "Open.", namespace=PREFIX, registry=self.registry)
        self.age = Gauge("replica_age_seconds", "Age.", namespace=PREFIX, registry=self.registry)
        self.up = Gauge("store_up", "Up.", namespace=PREFIX, registry=self.registry)
        self.enforcing = Gauge("enforcing", "Enforcing.", namespace=PREFIX, registry=self.registry)
        self.active = Gauge("revocations_active", "Live.", namespace=PREFIX, registry=self.registry)
        self.is_silent = False

    async def call(self, call: Call, payload: bytes = b"", *, timeout_s: float = 1) -> bytes:
        assert call is Call.METRICS
        if self.is_silent:
            raise LineLost("line_silent")
        return pack(self.registry.collect())


class Bench:
    def __init__(self) -> None:
        self.control, self.one, self.two = Process(), Process(), Process()
        self.lines = {1: self.one, 2: self.two}
        self.alive = {1, 2}
        self.tally = Tally(lines=lambda: self.lines, is_alive=self.alive.__contains__)  # type: ignore[arg-type, return-value]

    async def value(self, name: str, **labels: str) -> float | None:
        registry = _Page(await self.tally.pod(self.control.registry.collect()))
        text = generate_latest(registry).decode()  # type: ignore[arg-type]
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        found = [each.value for each in samples if each.name == f"{PREFIX}_{name}" and each.labels == labels]
        assert len(found) <= 1
        return found[0] if found else None


class _Page:
    def __init__(self, families: Iterable[Metric]) -> None:
        self.collect = lambda: families


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_counters_are_summed_label_by_label(bench: Bench) -> None:
    bench.one.requests.labels("200").inc(3)
    bench.two.requests.labels("200").inc(4)
    bench.two.requests.labels("404").inc(1)
    assert await bench.value("requests_total", code="200") == 7
    assert await bench.value("requests_total", code="404") == 1


async def test_histograms_are_summed_bucket_by_bucket(bench: Bench) -> None:
    bench.one.seconds.observe(0.5)
    bench.two.seconds.observe(1.5)
    bench.control.seconds.observe(5)
    found = [await bench.value("seconds_bucket", le=bound) for bound in ("1.0", "2.0", "+Inf")]
    assert found == [1, 2, 3]
    assert await bench.value("seconds_sum") == 7
    assert await bench.value("seconds_count") == 3


@pytest.mark.parametrize(
    ("gauge", "name", "expected"),
    [
        ("open", "connections", 1 + 2 + 3),
        ("age", "replica_age_seconds", 3),
        ("up", "store_up", 1),
        ("enforcing", "enforcing", 1),
    ],
)
async def test_gauges_are_summed_but_for_ages_and_what_is_up(
    bench: Bench, gauge: str, name: str, expected: float
) -> None:
    for value, process in enumerate((bench.control, bench.one, bench.two), 1):
        getattr(process, gauge).set(value)
    assert await bench.value(name) == expected


async def test_what_all_have_a_copy_of_is_counted_once(bench: Bench) -> None:
    for process in (bench.control, bench.one, bench.two):
        process.active.set(1000)
    assert await bench.value("revocations_active") == 1000


async def test_a_worker_that_does_not_answer_counts_with_its_latest_numbers(bench: Bench) -> None:
    bench.one.requests.labels("200").inc(3)
    assert await bench.value("requests_total", code="200") == 3
    bench.one.is_silent = True
    bench.two.requests.labels("200").inc(1)
    assert await bench.value("requests_total", code="200") == 4


async def test_what_a_dead_worker_counted_stays_counted_and_what_it_had_does_not(bench: Bench) -> None:
    bench.one.requests.labels("200").inc(3)
    bench.one.open.set(5)
    assert await bench.value("connections") == 5
    del bench.lines[1]
    assert await bench.value("connections") == 5  # its line is down, and it may be serving
    bench.alive.discard(1)
    for _ in range(2):  # once, however often somebody looks
        assert await bench.value("requests_total", code="200") == 3
        assert await bench.value("connections") == 0
    bench.lines[3] = Process()
    bench.lines[3].requests.labels("200").inc(1)
    assert await bench.value("requests_total", code="200") == 4


async def test_creation_times_are_not_summed(bench: Bench) -> None:
    for process in (bench.control, bench.one, bench.two):
        process.requests.labels("200").inc()
    families = await bench.tally.pod(bench.control.registry.collect())
    created = [sample.value for family in families for sample in family.samples if sample.name.endswith("_created")]
    assert created
    assert max(created) < 1e11


async def test_two_readers_at_once_see_the_same(bench: Bench) -> None:
    bench.one.requests.labels("200").inc(3)
    assert set(await asyncio.gather(*(bench.value("requests_total", code="200") for _ in range(3)))) == {3}
