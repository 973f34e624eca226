"""The injection: a pod spec in, a pod spec with the sidecar out. Pure; the input is never changed.

Idempotent: what has been injected comes out as it is. What is not the sidecar's own stays equal, with two exceptions
that the operator asks for. By `port-name` the app's port loses its name to the sidecar; by `image-pull-secrets` the
pod's list of these grows.

Guarantee: the result enforces, or there is no result. Whatever would leave a way past the sidecar inside the pod, or
would not run, raises Refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.kube import shape
from sidecar.kube.container import NAME, is_our_volume, is_ours, sidecar_container, sidecar_volumes
from sidecar.kube.outcome import Refused, Skip, quoted
from sidecar.kube.ports import AppPort, check_ports, find_app, without_name
from sidecar.kube.settings import CONFIG_HASH, PREFIX, STATUS, Settings, annotated, is_asked_for

PodSpec = dict[str, Any]


def inject(pod_spec: PodSpec, settings: Settings) -> PodSpec:
    """The spec with the sidecar. Raises Refused, whose text says what to do."""
    shape.check({"spec": pod_spec})
    if is_injected(pod_spec):
        return pod_spec
    _refuse_unfit(pod_spec, settings)
    app = app_of(pod_spec, settings)
    check_ports(_lasting(pod_spec), app, settings)
    ours = sidecar_container(settings, app_port=app.number)
    changed = {**pod_spec, "volumes": [*(pod_spec.get("volumes") or ()), *sidecar_volumes(settings)]}
    if settings.image_pull_secrets:
        changed["imagePullSecrets"] = _with_names(pod_spec.get("imagePullSecrets") or [], settings.image_pull_secrets)
    if settings.port_name is not None:
        changed["containers"] = [_renamed(each, app, settings.port_name) for each in pod_spec["containers"]]
    if settings.native:
        changed["initContainers"] = _placed(ours, pod_spec.get("initContainers") or [])
    else:
        changed["containers"] = [*changed["containers"], ours]  # last: the first one is who `kubectl logs` means
    return changed


def app_of(pod_spec: PodSpec, settings: Settings) -> AppPort:
    """The app's port. Raises Refused."""
    return find_app(pod_spec.get("containers") or [], settings)


def is_injected(pod_spec: PodSpec) -> bool:
    return any(is_ours(each) for each in _all(pod_spec))


def _all(pod_spec: PodSpec) -> list[dict[str, Any]]:
    return [*(pod_spec.get("initContainers") or ()), *(pod_spec.get("containers") or ())]


def _is_native(container: dict[str, Any]) -> bool:
    return container.get("restartPolicy") == "Always"


def _lasting(pod_spec: PodSpec) -> list[dict[str, Any]]:
    """Containers that run beside the app. An init container's ports are free again when the app starts."""
    return [*filter(_is_native, pod_spec.get("initContainers") or ()), *(pod_spec.get("containers") or ())]


def _placed(ours: dict[str, Any], others: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Behind the last native sidecar that is there already, else first (decision 017).

    Kubernetes starts in this order and ends in reverse. Behind a mesh's proxy, the network is there when we start and
    still there while we drain. Without one we come before an init container that redirects the network to a proxy
    which does not run yet: our start-up probe would never get through.
    """
    after = max((index + 1 for index, each in enumerate(others) if _is_native(each)), default=0)
    return [*others[:after], ours, *others[after:]]


def _with_names(there: list[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The pod's list is everybody's: the kubelet tries each for each image."""
    known = {each.get("name") for each in there}
    return [*there, *({"name": name} for name in names if name not in known)]


def _renamed(container: dict[str, Any], app: AppPort, port_name: str) -> dict[str, Any]:
    return without_name(container, port_name, app.number) if container["name"] == app.container else container


def _refuse_unfit(spec: PodSpec, settings: Settings) -> None:
    if not spec.get("containers"):
        raise Refused("no_containers", "the pod has no containers; is this the right document?")
    if _is_windows(spec):
        raise Refused("windows", "the sidecar does not run on Windows nodes; take the label and annotations away")
    if spec.get("hostNetwork"):
        text = "hostNetwork opens the app's port and the sidecar's relay on the node; set it to false"
        raise Refused("host_network", text)
    if spec.get("shareProcessNamespace"):
        text = "shareProcessNamespace lets the app look into the sidecar's process; set it to false"
        raise Refused("shared_processes", text)
    if not settings.native and spec.get("restartPolicy") in {"Never", "OnFailure"}:
        raise Refused("never_ends", f"a classic sidecar keeps a Job from ending; set {PREFIX}mode: native")
    taken = [each["name"] for each in _all(spec) if each["name"] == NAME]
    taken += [each["name"] for each in spec.get("volumes") or () if is_our_volume(each["name"])]
    if taken:
        raise Refused("name_taken", f"{quoted(taken[0])} is there already and is not the sidecar's; rename it")


def _is_windows(spec: PodSpec) -> bool:
    selected = (spec.get("nodeSelector") or {}).get("kubernetes.io/os")
    return "windows" in {(spec.get("os") or {}).get("name"), selected}


@dataclass(frozen=True, slots=True)
class Injection:
    """What became of a pod template."""

    template: shape.Template
    skipped: Skip | None = None  # why the template is the one that came in
    settings: Settings | None = None
    app: AppPort | None = None


def inject_template(template: shape.Template, defaults: Settings, *, asked: bool = False) -> Injection:
    """The template of a pod (`metadata` and `spec`) with the sidecar, if it asks for it, or its operator did.

    Raises Refused.
    """
    shape.check_metadata(template)
    metadata = template.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    wanted = is_asked_for(metadata.get("labels") or {}, annotations)
    if wanted is False:
        return Injection(template, Skip.DISABLED)
    if not wanted and not asked:
        return Injection(template, Skip.NOT_ENABLED)
    shape.check(template)
    settings = annotated(defaults, annotations)
    spec = template["spec"]
    if is_injected(spec):
        return Injection(template, _recognised(annotations))
    changed = inject(spec, settings)
    metadata = {**metadata, "annotations": {**annotations, **_marks(settings, annotations)}}
    return Injection({**template, "metadata": metadata, "spec": changed}, None, settings, app_of(spec, settings))


def _recognised(annotations: dict[str, str]) -> Skip:
    """A container like ours that we did not put there is not known to protect anything."""
    if annotations.get(STATUS) != "injected":
        what = f"a container {NAME} is there, without the annotation {STATUS}: injected"
        raise Refused("name_taken", f"{what}; add it, or remove the container")
    return Skip.ALREADY_INJECTED


def _marks(settings: Settings, annotations: dict[str, str]) -> dict[str, str]:
    marks = {STATUS: "injected"}
    if settings.config_hash is not None:
        marks[CONFIG_HASH] = settings.config_hash
    if settings.prometheus:
        scraping = {"scrape": "true", "port": str(settings.ops_port), "path": "/metrics"}
        if not any(f"prometheus.io/{name}" in annotations for name in scraping):  # the app's own come first
            marks |= {f"prometheus.io/{name}": value for name, value in scraping.items()}
    return marks
