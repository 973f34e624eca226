"""What the gate counts: verdicts, and how many of the requests it knew; in plain integers.

An exporter for prometheus-client, read when somebody scrapes, so that a request pays for one integer addition. It
decides nothing.
"""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.core.verdict import ANONYMOUS, Allow, Identity
from sidecar.metrics import PREFIX


class Counts(Collector):
    """Verdicts of one process."""

    def __init__(self) -> None:
        self.decisions: Counter[str] = Counter()  # everything but plain `allow`: the reason of the denial, for example
        self.denied_coverage: Counter[str] = Counter()
        self.allowed_bound = self.allowed_unbound = self.allowed_anonymous = 0

    def allowed(self, identity: Identity, verdict: Allow) -> None:
        """A request that goes to the app."""
        if verdict.is_failing_open:
            self.decisions["failed_open"] += 1
            self.denied_coverage[_coverage(identity)] += 1
        elif identity is ANONYMOUS:
            self.allowed_anonymous += 1
        elif identity.bound or identity.sessions:
            self.allowed_bound += 1
        else:
            self.allowed_unbound += 1

    def denied(self, identity: Identity, decision: str) -> None:
        """A request that does not, or not as it is."""
        self.decisions[decision] += 1
        self.denied_coverage[_coverage(identity)] += 1

    @property
    def coverage(self) -> Counter[str]:
        """Allowed requests by what was known of them: bound, unbound or anonymous."""
        return Counter(bound=self.allowed_bound, unbound=self.allowed_unbound, anonymous=self.allowed_anonymous)

    def collect(self) -> Iterator[Metric]:
        """Read by prometheus-client at each scrape."""
        allowed = self.coverage
        decisions = Counter({"allow": allowed.total()}) + self.decisions
        yield _family("auth_decisions", "Verdicts, by decision.", "decision", decisions)
        coverage = allowed + self.denied_coverage
        yield _family("requests_by_coverage", "Judged requests, by what was known of them.", "coverage", coverage)


def _coverage(identity: Identity) -> str:
    return "bound" if identity.all_sessions() else "unbound"


def _family(name: str, text: str, label: str, counts: Counter[str]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"{PREFIX}_{name}", text, labels=(label,))
    for value, number in counts.items():
        family.add_metric((value,), number)
    return family
