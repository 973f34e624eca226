"""`logout-sidecar inject`: a stream of manifests in, the stream with the sidecar out. Pure; cli.py reads and writes.

All or nothing: one workload that asked and is refused, and there is no output. A stream in which nobody asks is refused
as well: a pipeline that injects nothing would be noticed by nobody. The same input gives the same output, byte for
byte.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sidecar.kube.container import pre_stop_seconds
from sidecar.kube.documents import Document, joined, read, written
from sidecar.kube.embed import Embedded, config_map
from sidecar.kube.inject import Injection, inject_template
from sidecar.kube.json_patch import difference
from sidecar.kube.outcome import Refused, Skip
from sidecar.kube.settings import ENABLED, NAMES, PREFIX, Settings
from sidecar.kube.workload import (
    Behind,
    Object,
    Step,
    at,
    kind_of,
    leads_to_sidecar,
    name_of,
    namespace_of,
    objects,
    pods_at_most,
    put,
    retargeted,
    selects,
    template_path,
)

_USUAL_GRACE_S = 30  # the default of Kubernetes
_NAMED_PORT_NOTE = "a Service finds a native sidecar's port by name from Kubernetes 1.33 on; below, use mode classic"


@dataclass(frozen=True, slots=True)
class Report:
    """What to print. With problems there is no output."""

    output: str = ""
    notes: tuple[str, ...] = ()
    problems: tuple[Refused, ...] = ()


@dataclass(slots=True)
class _Stream:
    """The documents while they change, and what there is to say."""

    file: str
    documents: list[Document]
    values: list[Any]
    behind: list[tuple[str, Behind]] = field(default_factory=list)  # with the name of the workload
    workloads: list[str] = field(default_factory=list)
    mounted: dict[str, Settings] = field(default_factory=dict)  # by namespace: the configuration that is embedded
    skips: set[Skip] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    problems: list[Refused] = field(default_factory=list)

    def where(self, index: int, name: str) -> str:
        return f"{self.file}: document {index + 1}: {name}"

    def objects(self) -> Iterator[tuple[int, tuple[Step, ...], Object]]:
        for index, value in enumerate(self.values):
            yield from ((index, path, each) for path, each in objects(value))


def transform(
    text: str,
    *,
    file: str,
    defaults: Settings,
    chosen: Iterable[str] = (),
    embedded: Embedded | None = None,
    as_patch: bool = False,
) -> Report:
    """The stream with the sidecar in every workload that asks, or that is `chosen` by KIND/NAME. Raises Refused."""
    documents = read(text, file)
    stream = _Stream(file, documents, [each.value for each in documents])
    _inject_all(stream, defaults, frozenset(chosen), embedded)
    if not stream.problems:
        _lead_services(stream)
    if stream.problems:
        return Report(problems=tuple(stream.problems))
    output = _as_patches(stream) if as_patch else _as_stream(stream, embedded)
    return Report(output, tuple(stream.notes))


# --- workloads ---


def _inject_all(stream: _Stream, defaults: Settings, chosen: frozenset[str], embedded: Embedded | None) -> None:
    for index, path, each in list(stream.objects()):
        inside = template_path(each)
        if inside is None:
            continue
        stream.workloads.append(name_of(each))
        try:
            _check_marks(each, inside)
            injection = inject_template(at(each, inside), defaults, asked=name_of(each) in chosen)
            _check_store(stream, each, injection, embedded)
        except Refused as error:
            stream.problems.append(Refused(error.reason, f"{stream.where(index, name_of(each))}: {error}"))
            continue
        if injection.skipped is None:
            stream.values[index] = put(stream.values[index], (*path, *inside), injection.template)
        _remember(stream, index, each, injection, defaults, is_chosen=name_of(each) in chosen)
        _note_end(stream, index, each, injection, embedded)
    _check_choice(stream, chosen)


def _check_marks(workload: Object, inside: tuple[str, ...]) -> None:
    """Annotations at the workload instead of its pods would be read by nobody."""
    metadata = workload.get("metadata") if inside else None
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    ours = {ENABLED, *(f"{PREFIX}{name}" for name in NAMES)}
    misplaced = sorted(ours.intersection(annotations)) if isinstance(annotations, dict) else []
    if misplaced:
        place = ".".join((*inside, "metadata.annotations"))
        raise Refused("misplaced_annotation", f"{misplaced[0]} belongs to the pods; move it to {place}")


def _check_store(stream: _Stream, workload: Object, injection: Injection, embedded: Embedded | None) -> None:
    """Pods that do not share a store do not hear each other's logouts (promise 1)."""
    uses_it = injection.settings is not None and injection.settings.config_hash is not None
    if not uses_it or embedded is None or not embedded.is_sqlite:
        return
    pods = pods_at_most(workload, [each for _, _, each in stream.objects()])
    if pods is None or pods > 1:
        count = "several pods" if pods is None else f"{pods} replicas"
        raise Refused("store_not_shared", f"{count} cannot share the SQLite in each pod; set store.url to a Redis")


def _remember(
    stream: _Stream, index: int, workload: Object, injection: Injection, defaults: Settings, *, is_chosen: bool
) -> None:
    where = stream.where(index, name_of(workload))
    if injection.skipped is not None:
        stream.skips.add(injection.skipped)
        if is_chosen or injection.skipped is Skip.DISABLED:
            stream.notes.append(f"{where}: skipped ({injection.skipped})")
        return
    settings, app = injection.settings, injection.app
    if settings is None or app is None:  # an injection has both
        return
    labels = (injection.template.get("metadata") or {}).get("labels") or {}
    pods = Behind(namespace_of(workload), labels, app, settings.listen_port, settings.port_name is not None)
    stream.behind.append((where, pods))
    if settings.config_hash is not None and settings.config == defaults.config:
        stream.mounted[namespace_of(workload)] = settings
    stream.notes.append(f"{where}: the sidecar stands before port {app.number} of {app.container}")
    ports = f"{settings.listen_port} and {settings.ops_port}"
    stream.notes.append(f"{where}: the pod's port {app.number} is still open; allow only {ports} in a NetworkPolicy")
    if settings.native and settings.port_name is not None:
        stream.notes.append(f"{where}: {_NAMED_PORT_NOTE}")


def _note_end(stream: _Stream, index: int, workload: Object, injection: Injection, embedded: Embedded | None) -> None:
    """Kubernetes kills what still runs when the grace period is over. It begins with the end of the app."""
    settings = injection.settings
    if settings is None or settings.config_hash is None or embedded is None:
        return
    needed = math.ceil(embedded.drain_s + pre_stop_seconds(settings))
    given = injection.template["spec"].get("terminationGracePeriodSeconds")
    seconds = given if isinstance(given, int) else _USUAL_GRACE_S
    if needed > seconds:
        text = f"terminationGracePeriodSeconds is {seconds}, and the sidecar's end may take {needed} s; raise it"
        stream.notes.append(f"{stream.where(index, name_of(workload))}: {text}, or shorten drain")


def _check_choice(stream: _Stream, chosen: frozenset[str]) -> None:
    known = ", ".join(stream.workloads[:16]) or "none"
    unknown = sorted(chosen.difference(stream.workloads))
    if unknown:
        text = f"{stream.file}: --workload {unknown[0]}: not in the stream; there is: {known}"
        stream.problems.append(Refused("unknown_workload", text))
    if not stream.behind and not stream.problems and not stream.skips - {Skip.NOT_ENABLED}:
        how = f'annotate its pods with {ENABLED}: "true", or name it with --workload KIND/NAME'
        text = f"{stream.file}: no workload asks for the sidecar (workloads: {known}); {how}"
        stream.problems.append(Refused("nothing_selected", text))


# --- Services ---


def _lead_services(stream: _Stream) -> None:
    for where, pods in stream.behind:
        found = False
        for index, path, each in list(stream.objects()):
            try:
                if not selects(each, pods):
                    continue
                changed = retargeted(each, pods)
                found |= leads_to_sidecar(changed, pods)
            except Refused as error:
                stream.problems.append(Refused(error.reason, f"{stream.where(index, name_of(each))}: {error}"))
                return
            if changed is not each:
                stream.values[index] = put(stream.values[index], path, changed)
                stream.notes.append(f"{stream.where(index, name_of(each))}: targetPort is {pods.listen_port} now")
        if not found:
            target = pods.app.name if pods.has_the_name else pods.listen_port
            stream.notes.append(f"{where}: no Service in this stream leads to it; set its targetPort to {target}")


# --- output ---


def _as_stream(stream: _Stream, embedded: Embedded | None) -> str:
    texts = [
        document.text if value is document.value else written(value, before=document.text)
        for document, value in zip(stream.documents, stream.values, strict=True)
    ]
    if embedded is not None:
        maps = (config_map(settings, embedded, namespace) for namespace, settings in sorted(stream.mounted.items()))
        texts += [written(each) for each in maps]
    return joined(texts)


def _as_patches(stream: _Stream) -> str:
    """A kustomize component: what changes, and nothing of the files that it changes."""
    before = [each for document in stream.documents for _, each in objects(document.value)]
    after = [each for _, _, each in stream.objects()]
    pairs = zip(before, after, strict=True)
    patches = [_patch(old, new) for old, new in pairs if old is not new and old != new]
    component = {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", "patches": patches}
    return written(component)


def _patch(old: Object, new: Object) -> dict[str, Any]:
    group, kind = kind_of(old)
    version = str(old["apiVersion"]).rpartition("/")[2]
    target = {"group": group, "version": version, "kind": kind, "name": name_of(old).partition("/")[2]}
    if namespace_of(old):
        target["namespace"] = namespace_of(old)
    operations = list(difference(old, new))
    return {
        "target": {key: each for key, each in target.items() if each},
        "patch": written(operations).removeprefix("---\n"),
    }
