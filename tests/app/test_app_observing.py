"""The line that says, once a minute, what would have been denied."""

import asyncio
import contextlib
from collections.abc import Iterable

import pytest
from prometheus_client.metrics_core import Metric

from sidecar.app.observing import report, summary, totals
from sidecar.core.denial import Action
from sidecar.core.freshness import State
from sidecar.core.identity import BINDERS, BoundSession
from sidecar.core.routes import Routes, Rule
from sidecar.core.verdict import ALLOW, ANONYMOUS, Identity, Policy, decide
from sidecar.gate.counts import Counts

API, DEFAULT = Rule(Action.REJECT, name="/api/*"), Rule(Action.REJECT)
ALICE = BoundSession(b"o" * 16, b"s" * 16, 1, 1, binder=BINDERS.index("token_endpoint"))
KNOWN = [0] * 16


def counts() -> Counts:
    counted = Counts()
    counted.watch([API, DEFAULT])
    counted.bindings = lambda: KNOWN
    return counted


@pytest.fixture(autouse=True)
def _fresh() -> None:
    for rule in (API, DEFAULT):
        rule.traffic.__init__()  # type: ignore[misc] - as new


def test_a_line_has_what_was_judged_since_the_line_before() -> None:
    counted = counts()
    bound = Identity((), ((b"c" * 16, ALICE),))
    unknown = Identity(unbound=(b"u" * 16,))
    counted.allowed(bound, ALLOW, DEFAULT)
    before = totals(counted.collect())
    for _ in range(3):
        counted.allowed(bound, ALLOW, DEFAULT)
    counted.allowed(ANONYMOUS, ALLOW, DEFAULT)
    observed = decide(unknown, lambda _: None, State.FRESH, Policy(deny_unbound=True, observes=True), 0)
    counted.allowed(unknown, observed, API)
    counted.observed(observed.would_deny, API)
    KNOWN[2] = 7
    assert summary(before, totals(counted.collect())) == {
        "bound": 3,
        "unbound": 1,
        "anonymous": 1,
        "would_deny": 1,
        "reasons": {"unbound_credential": 1},
        "binders": {"token_endpoint": 3},
        "routes": {"default": {"bound": 3, "anonymous": 1}, "/api/*": {"unbound": 1, "would_deny": 1}},
        "bindings_known": {"token_endpoint": 7},
    }


def test_a_binder_of_a_later_release_breaks_nothing() -> None:
    counted = counts()
    later = BoundSession(b"o" * 16, None, 1, 1, binder=15)
    counted.allowed(Identity((), ((b"c" * 16, later),)), ALLOW, DEFAULT)
    assert summary(totals(()), totals(counted.collect()))["bound"] == 1


async def test_a_line_is_written_for_each_period_also_when_nothing_happened(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="sidecar.app.observing")
    counted = counts()

    async def collect() -> Iterable[Metric]:
        return list(counted.collect())

    reporting = asyncio.create_task(report(collect, period_s=0.01))
    async with asyncio.timeout(5):
        while len(caplog.records) < 2:
            await asyncio.sleep(0)
    reporting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reporting
    assert [record.getMessage() for record in caplog.records[:2]] == ["observed", "observed"]
    assert caplog.records[0].fields["bound"] == 0


def test_routes_of_one_pattern_are_one_route_in_the_numbers() -> None:
    first, second = Rule(Action.REJECT, name="/x"), Rule(Action.STRIP, name="/x")
    counted = Counts()
    counted.watch(Routes([], first).rules)
    counted.watch([second])
    for rule in (first, second):
        counted.allowed(ANONYMOUS, ALLOW, rule)
    assert counted._traffic()["/x", "anonymous", "none"] == 2
