"""The shape of what is read from a pod template, checked before anything is read. Pure.

Not a validation of pods: the API server does that. Only the parts that the injection looks at must be what they claim
to be, so that no manifest makes it stumble. Everything else passes unseen.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from sidecar.kube.outcome import Refused

Template = dict[str, Any]
"""`metadata` and `spec` of a pod; values as JSON has them."""

_TOO_MANY = 1024  # of anything in one pod; Kubernetes objects end at about 1.5 MiB


class _Shape(BaseModel):
    # Strict: the number 1 is no text. What is not named here may be anything.
    model_config = ConfigDict(strict=True, extra="ignore", alias_generator=to_camel, hide_input_in_errors=True)


class _Port(_Shape):
    container_port: int = Field(ge=1, le=65_535)
    name: str | None = None
    protocol: str | None = None
    host_port: int | None = None


class _Target(_Shape):
    port: int | str | None = None


class _Handler(_Shape):
    http_get: _Target | None = None
    tcp_socket: _Target | None = None


class _Lifecycle(_Shape):
    post_start: _Handler | None = None
    pre_stop: _Handler | None = None


class _Named(_Shape):
    name: str


class _Reference(_Shape):
    name: str | None = None


class _Mount(_Named):
    mount_path: str


class _Container(_Named):
    restart_policy: str | None = None
    ports: list[_Port] | None = Field(default=None, max_length=_TOO_MANY)
    volume_mounts: list[_Mount] | None = Field(default=None, max_length=_TOO_MANY)
    liveness_probe: _Handler | None = None
    readiness_probe: _Handler | None = None
    startup_probe: _Handler | None = None
    lifecycle: _Lifecycle | None = None


class _Os(_Shape):
    name: str | None = None


class _Spec(_Shape):
    containers: list[_Container] | None = Field(default=None, max_length=_TOO_MANY)
    init_containers: list[_Container] | None = Field(default=None, max_length=_TOO_MANY)
    volumes: list[_Named] | None = Field(default=None, max_length=_TOO_MANY)
    image_pull_secrets: list[_Reference] | None = Field(default=None, max_length=_TOO_MANY)
    node_selector: dict[str, str] | None = None
    host_network: bool | None = None
    share_process_namespace: bool | None = None
    restart_policy: str | None = None
    os: _Os | None = None


class _Metadata(_Shape):
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Template(_Shape):
    metadata: _Metadata | None = None
    spec: _Spec


class _Asking(_Shape):
    metadata: _Metadata | None = None


def check_metadata(template: object) -> None:
    """Labels and annotations only: all that is read of a pod that does not ask. Raises Refused."""
    _check(_Asking, template)


def check(template: object) -> None:
    """Raises Refused if the template is not what its parts claim to be."""
    _check(_Template, template)


def _check(shape: type[_Shape], template: object) -> None:
    try:
        shape.model_validate(template)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(step)[:64] for step in first["loc"]) or "the template"
        raise Refused("malformed", f"{where}: {first['msg']}; the API server would refuse it as well") from None
