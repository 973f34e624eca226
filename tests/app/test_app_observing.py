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
from sidecar.core.paths import compile_pattern
from sidecar.core.routes import Route, Routes, Rule
from sidecar.core.verdict import ALLOW, ANONYMOUS, Identity, Policy, decide
from sidecar.gate.counts import Counts

ALICE = BoundSession(b"o" * 16, b"s" * 16, 1, 1, binder=BINDERS.index("token_endpoint"))
KNOWN = [0] * 16
PATTERN = compile_pattern("/x")


def counts() -> tuple[Counts, Rule, Rule]:
    """And two rules that count there: of `/api/*`, and the default."""
    counted = Counts()
    counted.bindings = lambda: KNOWN
    api, default = (Rule(Action.REJECT, name=name, traffic=counted.traffic(name)) for name in ("/api/*", "default"))
    return counted, api, default


def test_a_line_has_what_was_judged_since_the_line_before() -> None:
    counted, api, default = counts()
    bound = Identity((), ((b"c" * 16, ALICE),))
    unknown = Identity(unbound=(b"u" * 16,))
    counted.allowed(bound, ALLOW, default)
    before = totals(counted.collect())
    for _ in range(3):
        counted.allowed(bound, ALLOW, default)
    counted.allowed(ANONYMOUS, ALLOW, default)
    observed = decide(unknown, lambda _: None, State.FRESH, Policy(deny_unbound=True, observes=True), 0)
    counted.allowed(unknown, observed, api)
    counted.observed(observed.would_deny, api)
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
    counted, _, default = counts()
    later = BoundSession(b"o" * 16, None, 1, 1, binder=15)
    counted.allowed(Identity((), ((b"c" * 16, later),)), ALLOW, default)
    assert summary(totals(()), totals(counted.collect()))["bound"] == 1


async def test_a_line_is_written_for_each_period_also_when_nothing_happened(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="sidecar.app.observing")
    counted, *_ = counts()

    async def collect() -> Iterable[Metric]:
        return list(counted.collect())

    reporting = asyncio.create_task(report(collect, observes=lambda: True, period_s=0.01))
    async with asyncio.timeout(5):
        while len(caplog.records) < 2:
            await asyncio.sleep(0)
    reporting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reporting
    assert [record.getMessage() for record in caplog.records[:2]] == ["observed", "observed"]
    assert caplog.records[0].fields["bound"] == 0


def test_routes_of_one_pattern_are_one_route_in_the_numbers_also_after_a_reload() -> None:
    counted = Counts()
    first, second = Route(PATTERN, Rule(None, name="/x")), Route(PATTERN, Rule(Action.STRIP, name="/x"))
    for _ in range(3):
        routes = Routes([first, second], Rule(Action.REJECT)).counted(counted.traffic)
        counted.allowed(ANONYMOUS, ALLOW, routes.find(b"GET", b"/x"))
        counted.allowed(ANONYMOUS, ALLOW, routes.default)
    assert +counted._judged() == {("/x", "anonymous", "none"): 3, ("default", "anonymous", "none"): 3}
    assert len(counted._by_name) == 2
