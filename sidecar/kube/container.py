"""The sidecar's own container and volumes, as plain dicts. Pure; everything in here is ours, nothing is the app's.

The container satisfies the restricted profile of the Pod Security Standards by itself, whatever the pod says. It gets
no token of the service account: it never talks to the API server.
"""

from typing import Any, Final

from sidecar.kube.settings import Settings

NAME: Final = "logout-sidecar"

_CONFIG: Final = "logout-sidecar-config"
_STATE: Final = "logout-sidecar-state"
_TMP: Final = "logout-sidecar-tmp"
_SECRET: Final = "logout-sidecar-secret-"  # noqa: S105 - the beginning of a volume's name

_CONFIG_FOLDER: Final = "/etc/logout-sidecar"
_TOKEN_FOLDER: Final = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
_USER: Final = 65_532
_READ_ONLY: Final = 0o444  # the pod's fsGroup is not ours to set, and only this container mounts the volume

_PRE_STOP_S: Final = 5
_WAIT = f"import time; time.sleep({_PRE_STOP_S})"


def sidecar_container(settings: Settings, *, app_port: int) -> dict[str, Any]:
    """The container, for `initContainers` or `containers` as the settings say."""
    container: dict[str, Any] = {
        "name": NAME,
        "image": settings.image,
        "args": ["run", "-c", f"{_CONFIG_FOLDER}/{settings.config_key}"],
        "env": [
            {"name": "APP_PORT", "value": str(app_port)},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "ports": [
            {"name": settings.port_name or "logout-http", "containerPort": settings.listen_port, "protocol": "TCP"},
            {"name": "logout-ops", "containerPort": settings.ops_port, "protocol": "TCP"},
        ],
        **_probes(settings.ops_port),
        "resources": _resources(settings),
        "securityContext": _security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": list(_mounts(settings)),
    }
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    return container | (_native() if settings.native else _classic(settings))


def sidecar_volumes(settings: Settings) -> list[dict[str, Any]]:
    """What the container mounts. The state ends with the pod: SQLite in there is for one pod that may forget."""
    return [
        {"name": _CONFIG, "configMap": {"name": settings.config, "defaultMode": _READ_ONLY}},
        {"name": _STATE, "emptyDir": {}},
        {"name": _TMP, "emptyDir": {}},
        *(
            {"name": f"{_SECRET}{index}", "secret": {"secretName": secret, "defaultMode": _READ_ONLY}}
            for index, secret in enumerate(settings.secrets)
        ),
    ]


def is_ours(container: dict[str, Any]) -> bool:
    """By its name and its volume: somebody else's container of that name has no such volume."""
    mounts = container.get("volumeMounts") or ()
    return container["name"] == NAME and any(mount["name"] == _CONFIG for mount in mounts)


def is_our_volume(name: str) -> bool:
    return name in {_CONFIG, _STATE, _TMP} or name.startswith(_SECRET)


def _native() -> dict[str, Any]:
    """No preStop: there it would run while the app is still served."""
    return {"restartPolicy": "Always"}


def _classic(settings: Settings) -> dict[str, Any]:
    """App and sidecar end at the same time: the sidecar stays until balancers have noticed."""
    match settings.pre_stop:
        case "sleep":
            return {"lifecycle": {"preStop": {"sleep": {"seconds": _PRE_STOP_S}}}}
        case "exec":  # clusters below 1.30; the image has no shell
            return {"lifecycle": {"preStop": {"exec": {"command": ["python3", "-c", _WAIT]}}}}
        case "none":
            return {}


def pre_stop_seconds(settings: Settings) -> int:
    """How long the container goes on before SIGTERM."""
    return 0 if settings.native or settings.pre_stop == "none" else _PRE_STOP_S


def _probes(ops_port: int) -> dict[str, Any]:
    """Of the sidecar alone. Start-up asks for liveness: it must not wait for providers or the store."""

    def asking(path: str) -> dict[str, Any]:
        return {"httpGet": {"path": path, "port": ops_port, "scheme": "HTTP"}}

    return {
        "startupProbe": {**asking("/livez"), "periodSeconds": 1, "failureThreshold": 60},
        "livenessProbe": {**asking("/livez"), "periodSeconds": 10, "timeoutSeconds": 5},
        "readinessProbe": {**asking("/readyz"), "periodSeconds": 5, "timeoutSeconds": 2},
    }


def _resources(settings: Settings) -> dict[str, Any]:
    requests = {"cpu": settings.cpu_request, "memory": settings.memory_request}
    limits = {"cpu": settings.cpu_limit, "memory": settings.memory_limit}
    both = {"requests": requests, "limits": limits}
    set_only = {kind: {name: each for name, each in given.items() if each} for kind, given in both.items()}
    return {kind: given for kind, given in set_only.items() if given}


def _security() -> dict[str, Any]:
    return {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "runAsGroup": _USER,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _mounts(settings: Settings) -> list[dict[str, Any]]:
    return [
        # The folder, never a subPath: that would not follow a change of the ConfigMap.
        {"name": _CONFIG, "mountPath": _CONFIG_FOLDER, "readOnly": True},
        {"name": _STATE, "mountPath": "/var/lib/logout-sidecar"},
        {"name": _TMP, "mountPath": "/tmp"},  # noqa: S108 - the pod's own
        # An empty folder where the token would be; the API server mounts none over a mount that is there.
        {"name": _TMP, "mountPath": _TOKEN_FOLDER, "subPath": "no-token", "readOnly": True},
        *(
            {"name": f"{_SECRET}{index}", "mountPath": f"/run/secrets/{secret}", "readOnly": True}
            for index, secret in enumerate(settings.secrets)
        ),
    ]
