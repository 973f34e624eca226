"""Pods and helpers for the tests of the injection."""

import copy
from pathlib import Path
from typing import Any

import jsonpatch
import kubernetes_validate

FOLDER = Path(__file__).parent
MANIFESTS = sorted((FOLDER / "manifests").glob("*.yaml"))
MINORS = ("1.30", "1.33", "1.37")

Pod = dict[str, Any]


def spec(*containers: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A pod spec; without containers, one app that listens on 8080."""
    return {"containers": list(containers) or [container("app", 8080)], **fields}


def container(name: str, *ports: int | dict[str, Any], **fields: Any) -> dict[str, Any]:
    declared = [port if isinstance(port, dict) else {"containerPort": port} for port in ports]
    return {"name": name, "image": f"example/{name}:1", **({"ports": declared} if ports else {}), **fields}


def template(pod_spec: dict[str, Any], labels: dict[str, str] | None = None, **annotations: str) -> Pod:
    """A template that asks; annotations without prefix, with _ for -."""
    ours = {f"logout-sidecar.io/{name.replace('_', '-')}": text for name, text in annotations.items()}
    metadata = {"labels": {"app": "a"} | (labels or {}), "annotations": {"logout-sidecar.io/enabled": "true"} | ours}
    return {"metadata": metadata, "spec": pod_spec}


def pod(pod_spec: dict[str, Any], labels: dict[str, str] | None = None, **annotations: str) -> Pod:
    made = template(pod_spec, labels, **annotations)
    return {"apiVersion": "v1", "kind": "Pod", **made, "metadata": {"name": "a", **made["metadata"]}}


def valid(document: dict[str, Any], minor: str) -> None:
    """Raises where the API server of that version would complain, unknown fields included."""
    kubernetes_validate.validate(document, minor, strict=True)


def patched(document: Any, operations: list[dict[str, Any]]) -> Any:
    """By an implementation of RFC 6902 that is not ours."""
    return jsonpatch.apply_patch(copy.deepcopy(document), operations)


def ours(pod_spec: dict[str, Any]) -> dict[str, Any]:
    """The sidecar's container."""
    everything = [*(pod_spec.get("initContainers") or ()), *pod_spec["containers"]]
    (found,) = (each for each in everything if each["name"] == "logout-sidecar")
    return found


def restricted(found: dict[str, Any]) -> list[str]:
    """What breaks the restricted Pod Security Standard in one container, whatever the pod says."""
    security = found.get("securityContext", {})
    rules = {
        "runAsNonRoot": security.get("runAsNonRoot") is True,
        "runAsUser": security.get("runAsUser", 0) > 0,
        "allowPrivilegeEscalation": security.get("allowPrivilegeEscalation") is False,
        "privileged": not security.get("privileged"),
        "capabilities": security.get("capabilities") == {"drop": ["ALL"]},
        "seccompProfile": security.get("seccompProfile", {}).get("type") in {"RuntimeDefault", "Localhost"},
        "readOnlyRootFilesystem": security.get("readOnlyRootFilesystem") is True,
        "hostPort": not any(port.get("hostPort") for port in found.get("ports", ())),
        "procMount": security.get("procMount", "Default") == "Default",
        "sysctls, SELinux, Windows": not security.keys() & {"seLinuxOptions", "windowsOptions"},
    }
    return [rule for rule, holds in rules.items() if not holds]
