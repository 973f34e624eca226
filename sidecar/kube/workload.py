"""Kubernetes objects around a pod: where its template stands in each kind, and the Services that lead to it. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from sidecar.kube.outcome import Refused, quoted
from sidecar.kube.ports import AppPort

Object = dict[str, Any]
Step = str | int

_TEMPLATE: Final = ("spec", "template")
# By group: another group may have the same kinds, with another meaning.
_TEMPLATES: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("", "Pod"): (),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}


def kind_of(document: object) -> tuple[str, str]:
    """Group and kind; two empty words for what is no Kubernetes object."""
    if not isinstance(document, dict):
        return "", ""
    version, kind = document.get("apiVersion"), document.get("kind")
    if not isinstance(version, str) or not isinstance(kind, str):
        return "", ""
    return version.rpartition("/")[0], kind


def name_of(document: object) -> str:
    """KIND/NAME, for messages and for choosing."""
    metadata = _mapping(document, "metadata")
    name = metadata.get("name") or metadata.get("generateName") or "unnamed"
    return f"{kind_of(document)[1] or 'document'}/{str(name)[:253]}"


def namespace_of(document: object) -> str:
    """As written; empty means wherever it is applied."""
    namespace = _mapping(document, "metadata").get("namespace")
    return namespace if isinstance(namespace, str) else ""


def _mapping(document: object, key: str) -> dict[str, Any]:
    value = document.get(key) if isinstance(document, dict) else None
    return value if isinstance(value, dict) else {}


def objects(document: object) -> Iterator[tuple[tuple[Step, ...], Object]]:
    """The objects in a document, with their places: itself, or what a List holds."""
    if not isinstance(document, dict):
        return
    group, kind = kind_of(document)
    if group in {"", "apps", "batch"} and kind.endswith("List") and isinstance(document.get("items"), list):
        for index, item in enumerate(document["items"]):
            yield from ((("items", index, *path), each) for path, each in objects(item))
    else:
        yield (), document


def template_path(document: object) -> tuple[str, ...] | None:
    """Where the pod's template stands; None where the kind has none."""
    return _TEMPLATES.get(kind_of(document))


def at(document: Object, path: tuple[str, ...]) -> Object:
    """The mapping at a path of keys. Raises Refused where the document is not what its kind says."""
    for step in path:
        inner = document.get(step)
        if not isinstance(inner, dict):
            raise Refused("malformed", f"{'.'.join(path)} is missing; the API server would refuse it as well")
        document = inner
    return document


def put(document: Any, path: tuple[Step, ...], value: Any) -> Any:
    """A copy of the document with another value at a path."""
    if not path:
        return value
    first, *rest = path
    changed = put(document[first], tuple(rest), value)
    if isinstance(document, list):
        return [changed if index == first else each for index, each in enumerate(document)]
    return {**document, first: changed}


def pods_at_most(workload: Object, others: Iterable[Object]) -> int | None:
    """How many pods of it there may be at once in the long run, as far as these documents say; None: nobody knows.

    During a roll-out there may be one more.
    """
    if kind_of(workload) == ("apps", "DaemonSet"):
        return None  # one on each node
    counts = [_number(workload, "replicas")]
    counts += [_number(each, "maxReplicas") for each in others if _scales(each, workload)]
    return max(counts)


def _number(document: Object, key: str) -> int:
    count = _mapping(document, "spec").get(key)
    return count if isinstance(count, int) else 1


def _scales(document: Object, workload: Object) -> bool:
    if kind_of(document) != ("autoscaling", "HorizontalPodAutoscaler"):
        return False
    target = _mapping(_mapping(document, "spec"), "scaleTargetRef")
    is_it = f"{target.get('kind')}/{target.get('name')}" == name_of(workload)
    return is_it and namespace_of(document) == namespace_of(workload)


# --- Services ---


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", alias_generator=to_camel, hide_input_in_errors=True)


class _ServicePort(_Shape):
    port: int
    target_port: int | str | None = None
    protocol: str | None = None


class _ServiceSpec(_Shape):
    selector: dict[str, str] | None = None
    ports: list[_ServicePort] | None = None


class _Service(_Shape):
    spec: _ServiceSpec


@dataclass(frozen=True, slots=True)
class Behind:
    """Pods that stand behind the sidecar now."""

    namespace: str
    labels: dict[str, str]
    app: AppPort
    listen_port: int
    has_the_name: bool  # the sidecar's port has taken the name of the app's


def selects(service: Object, pods: Behind) -> bool:
    """Whether this is a Service in front of these pods."""
    if kind_of(service) != ("", "Service") or namespace_of(service) != pods.namespace:
        return False
    selector = _checked(service).selector
    return bool(selector) and (selector or {}).items() <= pods.labels.items()


def retargeted(service: Object, pods: Behind) -> Object:
    """The Service with the sidecar's port as the target, wherever it led to the app's."""
    ports = _checked(service).ports or []
    if not any(_leads_to_app(port, pods) for port in ports):
        return service
    raw = service["spec"]["ports"]
    changed = [
        {**each, "targetPort": pods.listen_port} if _leads_to_app(port, pods) else each
        for each, port in zip(raw, ports, strict=True)
    ]
    return put(service, ("spec", "ports"), changed)  # type: ignore[no-any-return]  # a Service stays one


def leads_to_sidecar(service: Object, pods: Behind) -> bool:
    """Whether some port of it ends at the sidecar."""
    by_name = pods.app.name if pods.has_the_name else None
    targets = [_target(port) for port in _checked(service).ports or ()]
    return any(target in {pods.listen_port, by_name} for target in targets)


def _leads_to_app(port: _ServicePort, pods: Behind) -> bool:
    if (port.protocol or "TCP") != "TCP":
        return False
    target = _target(port)
    return target == pods.app.number or (target == pods.app.name and not pods.has_the_name)


def _target(port: _ServicePort) -> int | str:
    """Without a targetPort it is the port itself."""
    return port.port if port.target_port is None else port.target_port


def _checked(service: Object) -> _ServiceSpec:
    try:
        return _Service.model_validate(service).spec
    except ValidationError:
        raise Refused("malformed", f"{quoted(name_of(service))} is not a valid Service; mend it") from None
