"""While nothing is enforced (`enforcement.mode: observe`): says so at the start, and every minute what would have been.

The numbers are those of `/metrics`, of the whole pod, as they grew since the line before.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from prometheus_client.metrics_core import Metric

from sidecar import log, metrics
from sidecar.config.model import Config
from sidecar.metrics import PREFIX, Measures

PERIOD_S: Final = 60.0

_logger = logging.getLogger(__name__)

Collect = Callable[[], Awaitable[Iterable[Metric]]]
Totals = dict[str, Counter[tuple[str, ...]]]  # of the counters below, by the values of their labels

_TRAFFIC: Final = f"{PREFIX}_route_requests"  # by route, coverage, binder
_WOULD_DENY: Final = f"{PREFIX}_would_deny"  # by route, reason
_KNOWN: Final = f"{PREFIX}_bindings_known"  # by binder


def measure_enforcing(config: Config) -> None:
    """The gauge, in each process; of several the lowest counts (`workers/tally.py`)."""
    metrics.enforcing.set(config.enforcement.mode == "enforce")


def say_whether_enforcing(config: Config) -> None:
    """The gauge, and a warning that nobody can overlook."""
    measure_enforcing(config)
    if config.enforcement.mode == "observe":
        log.event(_logger, logging.WARNING, "not_enforcing", mode="observe")


async def collected(*collectors: Measures) -> Iterable[Metric]:
    """What several collectors have now."""
    return [metric for collector in collectors for metric in collector.collect()]


async def report(collect: Collect, *, observes: Callable[[], bool], period_s: float = PERIOD_S) -> None:
    """One line for each period in which nothing is enforced, until it is cancelled. A reload may change that."""
    before: Totals | None = None
    while True:
        now = totals(await collect()) if observes() else None
        if before is not None and now is not None:
            log.event(_logger, logging.INFO, "observed", **summary(before, now))
        before = now
        await asyncio.sleep(period_s)


def totals(families: Iterable[Metric]) -> Totals:
    """The numbers that the report is made of."""
    found: Totals = {name: Counter() for name in (_TRAFFIC, _WOULD_DENY, _KNOWN)}
    for metric in families:
        if metric.name in found:
            for sample in metric.samples:
                labels = sample.labels
                key = tuple(labels[name] for name in ("route", "coverage", "reason", "binder") if name in labels)
                found[metric.name][key] += int(sample.value)
    return found


def summary(before: Totals, now: Totals) -> dict[str, object]:
    """The fields of one line: what was judged and what would have been denied meanwhile, and what is known now."""
    traffic, denied = now[_TRAFFIC] - before[_TRAFFIC], now[_WOULD_DENY] - before[_WOULD_DENY]
    routes: dict[str, Counter[str]] = {}
    for (route, coverage, _), number in traffic.items():
        routes.setdefault(route, Counter())[coverage] += number
    for (route, _), number in denied.items():
        routes.setdefault(route, Counter())["would_deny"] += number
    by_coverage = _by(traffic, 1)
    return {
        "bound": by_coverage["bound"],
        "unbound": by_coverage["unbound"],
        "anonymous": by_coverage["anonymous"],
        "would_deny": denied.total(),
        "reasons": dict(_by(denied, 1)),
        "binders": {binder: number for binder, number in _by(traffic, 2).items() if binder != "none"},
        "routes": {route: dict(numbers) for route, numbers in routes.items()},
        "bindings_known": {binder: number for (binder,), number in now[_KNOWN].items() if number},
    }


def _by(counts: Counter[tuple[str, ...]], place: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for key, number in counts.items():
        found[key[place]] += number
    return found
