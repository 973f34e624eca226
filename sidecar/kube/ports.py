"""Which container is the app, which of its ports browsers use, and how the sidecar takes the place of that port. Pure.

Nothing is guessed: a port that could belong to two containers is refused, with the annotation that would decide it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sidecar.kube.outcome import Refused, quoted
from sidecar.kube.settings import PREFIX, RELAY_PORT, Settings

Container = dict[str, Any]
Port = dict[str, Any]

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HOOKS = ("postStart", "preStop")
_ACTIONS = ("httpGet", "tcpSocket")  # a gRPC probe has a number only


@dataclass(frozen=True, slots=True)
class AppPort:
    """The port of the app that the sidecar stands in front of."""

    container: str
    number: int
    name: str | None = None


def find_app(containers: list[Container], settings: Settings) -> AppPort:
    """The annotated container, else the one that owns the port. Raises Refused."""
    candidates = _candidates(containers, settings.app_container)
    wanted = settings.port_name if settings.app_port is None else settings.app_port
    declared = [(each, port) for each in candidates for port in _tcp_ports(each)]
    matching = [(each, port) for each, port in declared if wanted is None or wanted in _names_of(port)]
    if len(matching) > 1:
        owners = ", ".join(f"{quoted(each['name'])} {port['containerPort']}" for each, port in matching[:8])
        text = f"several ports could be the app's ({owners}); set {PREFIX}app-container or {PREFIX}app-port"
        raise Refused("app_ambiguous", text)
    if matching:
        container, port = matching[0]
        _require_name(port, settings)
        return AppPort(container["name"], port["containerPort"], port.get("name"))
    if isinstance(wanted, int) and len(candidates) == 1 and settings.port_name is None:
        return AppPort(candidates[0]["name"], wanted)  # a port need not be declared to be open
    text = f"no container declares the port {quoted(wanted)}" if wanted else "no container declares a TCP port"
    raise Refused("app_port_unknown", f"{text}; set {PREFIX}app-port to a number, or mend {PREFIX}port-name")


def _candidates(containers: list[Container], name: str | None) -> list[Container]:
    if name is None:
        return containers
    found = [each for each in containers if each["name"] == name]
    if not found:
        known = ", ".join(quoted(each["name"]) for each in containers[:8])
        raise Refused("app_container_unknown", f"{PREFIX}app-container: there is no {quoted(name)}, only {known}")
    return found


def _require_name(port: Port, settings: Settings) -> None:
    if settings.port_name not in {None, port.get("name")}:
        text = f"{PREFIX}port-name: the app's port {port['containerPort']} is not called {quoted(settings.port_name)}"
        raise Refused("port_name_unknown", text)


def _tcp_ports(container: Container) -> Iterator[Port]:
    return (port for port in container.get("ports") or () if (port.get("protocol") or "TCP") == "TCP")


def _names_of(port: Port) -> tuple[object, object]:
    return port["containerPort"], port.get("name")


def check_ports(containers: list[Container], app: AppPort, settings: Settings) -> None:
    """No port of the sidecar is taken, and no way leads past it that the pod itself opens. Raises Refused."""
    ours = [settings.listen_port, settings.ops_port, RELAY_PORT]
    if len(set(ours)) < len(ours):
        raise Refused("port_clash", f"{PREFIX}listen-port and {PREFIX}ops-port: the sidecar's ports must differ")
    taken = [(each["name"], port) for each in containers for port in _tcp_ports(each)]
    for owner, port in [*taken, (app.container, {"containerPort": app.number})]:
        if port["containerPort"] in ours:
            text = f"{quoted(owner)} listens on {port['containerPort']}, which the sidecar needs"
            raise Refused("port_clash", f"{text}; set {PREFIX}listen-port or {PREFIX}ops-port, and the configuration")
    for owner, port in taken:
        is_app = (owner, port["containerPort"]) == (app.container, app.number)
        if is_app and port.get("hostPort"):
            raise Refused("host_port", f"hostPort {port['hostPort']} leads past the sidecar; remove it")
        if not is_app and settings.port_name is not None and port.get("name") == settings.port_name:
            text = f"{quoted(owner)} has a port {quoted(settings.port_name)} too; a Service would find either"
            raise Refused("port_clash", f"{text}; leave {PREFIX}port-name out and change the Service")


def without_name(container: Container, name: str, number: int) -> Container:
    """The app's container when the sidecar has taken the name of its port.

    Names resolve within the container, so whatever uses the name gets the number first.
    """
    changed = {**container, **{probe: _numbered(container[probe], name, number) for probe in _present(container)}}
    if isinstance(container.get("lifecycle"), dict):
        hooks = container["lifecycle"]
        numbered = {hook: _numbered(hooks[hook], name, number) for hook in _HOOKS if hooks.get(hook)}
        changed["lifecycle"] = {**hooks, **numbered}
    changed["ports"] = [_nameless(port) if port.get("name") == name else port for port in container["ports"]]
    return changed


def _present(container: Container) -> Iterator[str]:
    return (probe for probe in _PROBES if container.get(probe))


def _numbered(handler: dict[str, Any], name: str, number: int) -> dict[str, Any]:
    """A probe or a hook that names the port by its number."""
    actions = {kind: handler[kind] for kind in _ACTIONS if handler.get(kind)}
    by_name = {kind: {**action, "port": number} for kind, action in actions.items() if action.get("port") == name}
    return {**handler, **by_name}


def _nameless(port: Port) -> Port:
    return {key: value for key, value in port.items() if key != "name"}
