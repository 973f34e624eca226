"""One `/metrics` for the pod: the numbers of the control process and of all workers, added up.

Counters and histograms are summed, and those of workers that are gone are kept: a sum that fell would look like a
restart, and a rate over it like a flood. Gauges are summed as well, but for ages and timestamps (the highest counts)
and for what is up or not (the lowest). What every process has a copy of, the control process tells alone.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from sidecar.errors import SidecarError
from sidecar.metrics import PREFIX
from sidecar.workers.line import Call, Line

ASK_S: Final = 0.5
_GROWING: Final = frozenset(("counter", "histogram"))
_OF_CONTROL: Final = frozenset(f"{PREFIX}_{name}" for name in ("revocations_active", "revocations_applied"))
_LOWEST: Final = frozenset((f"{PREFIX}_store_up", f"{PREFIX}_enforcing"))
_HIGHEST: Final = frozenset((f"{PREFIX}_build_info",))

Combine = Callable[[float, float], float]
Key = tuple[str, tuple[tuple[str, str], ...]]  # sample name and labels


class Family:
    """One metric with its samples, in a form that can be added to."""

    __slots__ = ("documentation", "name", "samples", "type")

    def __init__(self, name: str, documentation: str, kind: str) -> None:
        self.name = name
        self.documentation = documentation
        self.type = kind
        self.samples: dict[Key, float] = {}

    def add(self, other: "Family") -> None:
        """Take in the same metric of another process."""
        for key, value in other.samples.items():
            known = self.samples.get(key)
            self.samples[key] = value if known is None else _combine(self, key[0])(known, value)


Families = dict[str, Family]


def _combine(family: Family, sample: str) -> Combine:
    if sample.endswith("_created") or family.name in _LOWEST:
        return min
    if family.type == "gauge" and (family.name.endswith("_seconds") or family.name in _HIGHEST):
        return max
    return float.__add__


def taken(metrics: Iterable[Metric]) -> Families:
    """The families of this process."""
    families = {}
    for metric in metrics:
        families[metric.name] = family = Family(metric.name, metric.documentation, metric.type)
        for sample in metric.samples:
            family.samples[sample.name, tuple(sorted(sample.labels.items()))] = float(sample.value)
    return families


def given(families: Families) -> Iterator[Metric]:
    """The same for prometheus-client."""
    for family in families.values():
        metric = Metric(family.name, family.documentation, family.type)
        metric.samples = [Sample(name, dict(labels), value) for (name, labels), value in family.samples.items()]
        yield metric


def pack(metrics: Iterable[Metric]) -> bytes:
    """METRICS: the families of a worker."""
    rows = [
        (each.name, each.documentation, each.type, [(*key, value) for key, value in each.samples.items()])
        for each in taken(metrics).values()
    ]
    return json.dumps(rows).encode()


def unpack(payload: bytes) -> Families:
    """What `pack` made."""
    families = {}
    for name, documentation, kind, samples in json.loads(payload):
        families[name] = family = Family(name, documentation, kind)
        family.samples = {(sample, tuple(map(tuple, labels))): value for sample, labels, value in samples}
    return families


class Tally:
    """Adds up. `lines` and `is_alive` are by pid."""

    def __init__(self, *, lines: Callable[[], Mapping[int, Line]], is_alive: Callable[[int], bool]) -> None:
        self._lines = lines
        self._is_alive = is_alive
        self._latest: dict[int, Families] = {}
        self._departed: Families = {}

    async def pod(self, own: Iterable[Metric]) -> list[Metric]:
        """The numbers of the whole pod. A worker that does not answer counts with its latest ones."""
        lines = self._lines()
        await asyncio.gather(*(self._ask(pid, line) for pid, line in lines.items()))
        for pid in [pid for pid in self._latest if pid not in lines and not self._is_alive(pid)]:
            _add(self._departed, self._latest.pop(pid), only=_GROWING)
        total = taken(own)
        for families in (self._departed, *self._latest.values()):
            _add(total, families)
            await asyncio.sleep(0)  # logouts go on between two workers
        return list(given(total))

    async def _ask(self, pid: int, line: Line) -> None:
        try:
            self._latest[pid] = unpack(await line.call(Call.METRICS, timeout_s=ASK_S))
        except SidecarError:
            return  # gone or busy; `/readyz?verbose` says which


def _add(total: Families, families: Families, only: frozenset[str] | None = None) -> None:
    for family in families.values():
        if family.name in _OF_CONTROL or (only is not None and family.type not in only):
            continue
        if family.name not in total:
            total[family.name] = Family(family.name, family.documentation, family.type)
        total[family.name].add(family)
