"""The sidecar's configuration on its way into a cluster: validated here, where a person reads the errors.

The ConfigMap keeps its name; a hash stands at the pods, so that a change rolls them out and a pod that restarts in
between finds a configuration. What running sidecars take over by themselves is left out of the hash. Secrets are files
in the pod, so their absence here is no error.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sidecar.config.address import TcpAddress
from sidecar.config.load import load_all
from sidecar.config.model import Config
from sidecar.config.problem import ConfigErrors, Problem
from sidecar.config.reload import lasting
from sidecar.config.source import read_file
from sidecar.kube.outcome import Refused
from sidecar.kube.settings import CONFIG_HASH, Settings

_FORGETS = "the store is SQLite in an emptyDir: what was revoked is forgotten when the pod is replaced"
_CUT_S = 1.0  # for what is left when the drain is over
_LOOPBACK = ("127.", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Embedded:
    """The text of a valid configuration, and what the injection has to know of it."""

    text: str
    notes: tuple[str, ...] = ()
    listen_port: int | None = None  # None: the secrets are elsewhere, so only the text could be checked
    ops_port: int | None = None
    is_sqlite: bool = False
    drain_s: float = 0.0  # what the sidecar may take after SIGTERM
    lasting: str | None = None  # what a running sidecar does not take over; None: nothing is known of that

    @property
    def digest(self) -> str:
        """Another one means that the pods have to be made anew."""
        return hashlib.sha256((self.text if self.lasting is None else self.lasting).encode()).hexdigest()[:16]


def embedded(file: str, environ: Mapping[str, str] = os.environ) -> Embedded:  # noqa: TID251 - the command line's own
    """The configuration in a file. Raises ConfigErrors and Refused."""
    text = read_file(file)
    try:
        # The pod gets APP_PORT from the injection; any port does for the check.
        loaded = load_all(file, {"APP_PORT": "8080", **environ})
    except ConfigErrors as errors:
        elsewhere = [problem for problem in errors.problems if _is_of_a_secret(problem)]
        if len(elsewhere) < len(errors.problems):
            raise
        return Embedded(text, tuple(f"{each.headline()} (here; the pod looks again)" for each in elsewhere))
    return _known(file, text, loaded.config, tuple(f"warning: {each.headline()}" for each in loaded.warnings))


def _is_of_a_secret(problem: Problem) -> bool:
    """Only secrets have these two keys below them (config/secret.py)."""
    return problem.path.endswith((".file", ".env"))


def _known(file: str, text: str, config: Config, notes: tuple[str, ...]) -> Embedded:
    listen, ops = config.listen, config.ops.listen
    if not isinstance(listen, TcpAddress) or listen.port == 0 or listen.host.startswith(_LOOPBACK):
        raise Refused("not_reachable", f"{file}: listen: a Service needs a port on the pod's address; use 0.0.0.0:4180")
    if not isinstance(ops, TcpAddress) or ops.port == 0 or ops.host.startswith(_LOOPBACK):
        raise Refused("not_reachable", f"{file}: ops.listen: the kubelet's probes must reach it; use 0.0.0.0:4181")
    is_sqlite = config.store.url.kind == "sqlite"
    return Embedded(
        text,
        (*notes, *([_FORGETS] if is_sqlite else [])),
        listen_port=listen.port,
        ops_port=ops.port,
        is_sqlite=is_sqlite,
        drain_s=config.drain.delay + config.drain.timeout + _CUT_S,
        lasting=lasting(text, config) if config.reload.poll is not None else None,
    )


def applied(settings: Settings, configuration: Embedded) -> Settings:
    """The defaults that go with the configuration."""
    return replace(
        settings,
        config_hash=configuration.digest,
        listen_port=configuration.listen_port or settings.listen_port,
        ops_port=configuration.ops_port or settings.ops_port,
    )


def config_map(settings: Settings, configuration: Embedded, namespace: str) -> dict[str, Any]:
    """The ConfigMap that the pods mount."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": settings.config,
            **({"namespace": namespace} if namespace else {}),
            "annotations": {CONFIG_HASH: configuration.digest},
        },
        "data": {settings.config_key: configuration.text},
    }
