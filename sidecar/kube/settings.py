"""The settings of one injection, and how annotations say them. Pure.

One table serves annotations and the `--set` of the command line: the same names, the same rules. Reading is strict. An
annotation under our prefix that nobody knows is a typo, and a typo must not leave a pod half protected.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from sidecar import __version__
from sidecar.config.explain import nearest
from sidecar.kube.outcome import Refused, quoted

PREFIX: Final = "logout-sidecar.io/"

ENABLED: Final = PREFIX + "enabled"  # a label as well: selectors of webhooks see labels only
STATUS: Final = PREFIX + "status"  # written by the injection
CONFIG_HASH: Final = PREFIX + "config-hash"  # written by the injection; makes a changed configuration roll out
_NOT_SETTINGS: Final = {ENABLED, STATUS, CONFIG_HASH}

RELAY_PORT: Final = 4183  # the default of control.relay_listen; on loopback, which the containers of a pod share


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an injection may be told. The defaults are those of the fronts."""

    config: str = "logout-sidecar"
    config_key: str = "sidecar.yaml"
    config_hash: str | None = None
    app_container: str | None = None
    app_port: int | str | None = None
    port_name: str | None = None  # the Service's name for the app's port, taken over by the sidecar
    native: bool = True
    image: str = f"logout-sidecar:{__version__}"
    image_pull_policy: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    listen_port: int = 4180
    ops_port: int = 4181
    secrets: tuple[str, ...] = ()
    cpu_request: str | None = "50m"
    cpu_limit: str | None = None  # a limit would stall logouts together with everything else
    memory_request: str | None = "96Mi"
    memory_limit: str | None = "256Mi"
    pre_stop: Literal["sleep", "exec", "none"] = "sleep"
    prometheus: bool = False


DEFAULTS: Final = Settings()


def configured(settings: Settings, values: Mapping[str, str]) -> Settings:
    """The settings with these values, by their names without the prefix. Raises Refused."""
    changes: dict[str, Any] = {}
    for name, text in values.items():
        reader = _READERS.get(name)
        if reader is None:
            raise Refused("unknown_annotation", f"{PREFIX}{name} is unknown; {_hint(name)}")
        value = reader(text.strip())
        if value is _WRONG:
            raise Refused("bad_annotation", f"{PREFIX}{name}: {quoted(text)} is not {_FORMS[name]}")
        changes[_FIELDS.get(name, name.replace("-", "_"))] = value
    if changes.get("config", settings.config) != settings.config:
        changes["config_hash"] = None  # it is the hash of another ConfigMap
    return replace(settings, **changes)


def annotated(settings: Settings, annotations: Mapping[str, str]) -> Settings:
    """The settings with what the annotations of a pod say. Raises Refused."""
    ours = {name for name in annotations if name.startswith(PREFIX)} - _NOT_SETTINGS
    return configured(settings, {name.removeprefix(PREFIX): annotations[name] for name in sorted(ours)})


def is_asked_for(labels: Mapping[str, str], annotations: Mapping[str, str]) -> bool | None:
    """What label and annotation say together: yes, no (which wins), or nothing. Raises Refused."""
    said = [each[ENABLED] for each in (labels, annotations) if ENABLED in each]
    for word in said:
        if word not in {"true", "false"}:
            raise Refused("bad_annotation", f'{ENABLED}: {quoted(word)} is not "true" or "false"')
    if not said:
        return None
    return "false" not in said


def _hint(name: str) -> str:
    meant = nearest(name, sorted(_READERS))
    return f"did you mean {PREFIX}{meant}?" if meant else "docs/kubernetes.md lists the annotations"


# --- one reader for each setting ---

_WRONG: Final = object()
_Reader = Callable[[str], object]

# RFC 1123 names, as Kubernetes has them for ConfigMaps and Secrets.
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_CONTAINER = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_PORT_NAME = re.compile(r"(?=.*[a-z])(?!.*--)[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?")
_KEY = re.compile(r"(?!\.\.?\Z|\.\.)[-._a-zA-Z0-9]{1,253}")
_IMAGE = re.compile(r"[a-zA-Z0-9][\w./:@-]{0,511}", re.ASCII)
_QUANTITY = re.compile(r"(?=.*[1-9])[0-9]{1,15}(\.[0-9]{1,3})?(m|k|Ki|M|Mi|G|Gi)?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


def _matching(pattern: re.Pattern[str]) -> _Reader:
    return lambda text: text if pattern.fullmatch(text) else _WRONG


def _chosen(**choices: object) -> _Reader:
    return lambda text: choices.get(text, _WRONG)


def _port(text: str) -> object:
    return int(text) if _PORT.fullmatch(text) and int(text) < 65_536 else _WRONG


def _port_or_name(text: str) -> object:
    return _matching(_PORT_NAME)(text) if _port(text) is _WRONG else _port(text)


def _quantity(text: str) -> object:
    return None if text == "none" else _matching(_QUANTITY)(text)


def _names(text: str) -> object:
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    is_list = len(set(names)) == len(names) <= 16 and all(_NAME.fullmatch(name) for name in names)
    return names if is_list else _WRONG


def _secrets(text: str) -> object:
    names = _names(text)
    # Mounted at /run/secrets/NAME: this name would lie over the token of the service account.
    return _WRONG if isinstance(names, tuple) and "kubernetes.io" in names else names


_NAMES_FORM: Final = "a list of at most 16 Secret names with commas between them"

_SETTINGS: Final[dict[str, tuple[_Reader, str]]] = {
    "config": (_matching(_NAME), "the name of a ConfigMap"),
    "config-key": (_matching(_KEY), "a key of a ConfigMap"),
    "app-container": (_matching(_CONTAINER), "the name of a container"),
    "app-port": (_port_or_name, "a port or the name of one"),
    "port-name": (_matching(_PORT_NAME), "the name of a port"),
    "mode": (_chosen(native=True, classic=False), "native or classic"),
    "image": (_matching(_IMAGE), "an image reference"),
    "image-pull-policy": (
        _chosen(Always="Always", IfNotPresent="IfNotPresent", Never="Never"),
        "Always, IfNotPresent or Never",
    ),
    "image-pull-secrets": (_names, _NAMES_FORM),
    "listen-port": (_port, "a port"),
    "ops-port": (_port, "a port"),
    "secrets": (_secrets, _NAMES_FORM),
    "cpu-request": (_quantity, 'a quantity or "none"'),
    "cpu-limit": (_quantity, 'a quantity or "none"'),
    "memory-request": (_quantity, 'a quantity or "none"'),
    "memory-limit": (_quantity, 'a quantity or "none"'),
    "pre-stop": (_chosen(sleep="sleep", exec="exec", none="none"), "sleep, exec or none"),
    "prometheus": (_chosen(true=True, false=False), '"true" or "false"'),
}
_READERS: Final = {name: reader for name, (reader, _) in _SETTINGS.items()}
_FORMS: Final = {name: form for name, (_, form) in _SETTINGS.items()}
_FIELDS: Final = {"mode": "native"}  # where the field is not called like the annotation
NAMES: Final = tuple(_SETTINGS)
