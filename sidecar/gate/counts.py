"""What the gate counts: verdicts, and how many of the requests it knew, rule by rule; in plain integers.

An exporter for prometheus-client, read when somebody scrapes, so that a request pays for one integer addition
(`core/routes.Traffic`). It decides nothing. A route is named as the operator wrote it, never as a client did.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from sidecar.core.identity import BINDERS
from sidecar.core.routes import Rule, Traffic
from sidecar.core.verdict import ANONYMOUS, Allow, Identity
from sidecar.metrics import PREFIX

NO_BINDER = "none"  # of what nobody is logged in with


class Counts:
    """Verdicts of one process."""

    def __init__(self) -> None:
        self.decisions: Counter[str] = Counter()  # everything but plain `allow`: the reason of the denial, for example
        self.bindings: Callable[[], Sequence[int]] = tuple  # known in this process, by the binder's place in BINDERS
        self._by_name: defaultdict[str, Traffic] = defaultdict(Traffic)
        self._not_plain = 0  # judged requests that are in `decisions`

    def traffic(self, name: str) -> Traffic:
        """The counters of all rules of this name, those of an earlier configuration included."""
        return self._by_name[name]

    def allowed(self, identity: Identity, verdict: Allow, rule: Rule) -> None:
        """A request that goes to the app."""
        _count(identity, rule)
        if verdict.is_failing_open or verdict.would_deny:
            self._not_plain += 1
            self.decisions["failed_open" if verdict.is_failing_open else "observed"] += 1

    def denied(self, identity: Identity, decision: str, rule: Rule) -> None:
        """A request that does not, or not as it is."""
        _count(identity, rule)
        self._not_plain += 1
        self.decisions[decision] += 1

    def observed(self, reason: str, rule: Rule) -> None:
        """What would not have gone to the app, or not to the client."""
        rule.traffic.would_deny[reason] += 1

    @property
    def coverage(self) -> Counter[str]:
        """Judged requests by what was known of them: bound, unbound or anonymous."""
        coverage: Counter[str] = Counter()
        for (_, kind, _), number in self._judged().items():
            coverage[kind] += number
        return coverage

    def collect(self) -> Iterator[Metric]:
        """Read by prometheus-client at each scrape."""
        coverage = self.coverage
        decisions = Counter({"allow": coverage.total() - self._not_plain}) + self.decisions
        yield _family("auth_decisions", "Verdicts, by decision.", ("decision",), _labelled(decisions))
        text = "Judged requests, by what was known of them."
        yield _family("requests_by_coverage", text, ("coverage",), _labelled(coverage))
        text = "Judged requests, by the route that they fell under and by how their session was learned."
        yield _family("route_requests", text, ("route", "coverage", "binder"), self._judged())
        text = "Requests and answers that would have been denied, had anything been enforced."
        yield _family("would_deny", text, ("route", "reason"), self._would_deny())
        known = GaugeMetricFamily(
            f"{PREFIX}_bindings_known", "Credentials in memory whose session is known.", labels=("binder",)
        )
        for binder, number in _by_binder(self.bindings()).items():
            known.add_metric((binder,), number)
        yield known

    def _judged(self) -> Counter[tuple[str, ...]]:
        """By route, coverage and binder."""
        counts: Counter[tuple[str, ...]] = Counter()
        for name, traffic in self._by_name.items():
            counts[name, "anonymous", NO_BINDER] = traffic.anonymous
            counts[name, "unbound", NO_BINDER] = traffic.unbound
            for binder, number in _by_binder(traffic.bound).items():
                counts[name, "bound", binder] = number
        return counts

    def _would_deny(self) -> dict[tuple[str, ...], int]:
        each = self._by_name.items()
        return {(name, why): number for name, traffic in each for why, number in traffic.would_deny.items()}


def _count(identity: Identity, rule: Rule) -> None:
    session = identity.first_session()
    if session is not None:
        rule.traffic.bound[session.binder] += 1
    elif identity is ANONYMOUS:
        rule.traffic.anonymous += 1
    else:
        rule.traffic.unbound += 1


def _by_binder(numbers: Sequence[int]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for place, number in enumerate(numbers):
        if number:
            counts[BINDERS[place] if place < len(BINDERS) else BINDERS[0]] += number  # of a later release
    return counts


def _labelled(counts: Counter[str]) -> dict[tuple[str, ...], int]:
    return {(value,): number for value, number in counts.items()}


def _family(
    name: str, text: str, labels: Sequence[str], counts: "Counter[tuple[str, ...]] | dict[tuple[str, ...], int]"
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=labels)
    for values, number in counts.items():
        family.add_metric(values, number)
    return family
