"""AdmissionReview in, AdmissionReview out, for the mutating webhook. Pure: no state, no side effects, dry run or not.

Two kinds of no, decided apart. A pod that asked and cannot have the sidecar is refused: it would
run without enforcement. Whatever did not ask, or is no new pod, is let through unchanged, with a warning that says why.
A message that is no AdmissionReview is answered with 400, and `failurePolicy` decides.
"""

import base64
import json
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from sidecar.errors import SidecarError
from sidecar.kube.inject import inject_template
from sidecar.kube.json_patch import difference
from sidecar.kube.outcome import Refused, Skip
from sidecar.kube.settings import Settings

API_VERSION = "admission.k8s.io/v1"
MAX_DEPTH = 100
_WARNING_LENGTH = 250  # what the API server passes on without cutting
_MESSAGE_LENGTH = 1024


class BadReview(SidecarError):
    """Not an AdmissionReview that could be answered."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """The answer, and what became of the pod for the log."""

    body: bytes
    outcome: Literal["injected", "skipped", "refused"]
    reason: str
    namespace: str
    name: str
    dry_run: bool


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", alias_generator=to_camel, hide_input_in_errors=True)


class _Kind(_Shape):
    group: str = ""
    kind: str = Field(max_length=256)


class _Request(_Shape):
    uid: str = Field(min_length=1, max_length=128)
    kind: _Kind
    operation: str = Field(max_length=16)
    sub_resource: str | None = None
    namespace: str | None = Field(default=None, max_length=256)
    name: str | None = Field(default=None, max_length=256)
    dry_run: bool | None = None
    pod: Any = Field(default=None, alias="object")


class _Review(_Shape):
    api_version: Literal["admission.k8s.io/v1"]
    kind: Literal["AdmissionReview"]
    request: _Request


def review(body: bytes, defaults: Settings) -> Reviewed:
    """The answer to one review. Raises BadReview."""
    request = _read(body)
    skipped = _not_for_us(request)
    if skipped is not None:
        return _answered(request, "skipped", skipped, **_warned(skipped))
    try:
        injection = inject_template(request.pod, defaults)
    except Refused as error:
        text = f"logout-sidecar: {error} ({error.reason})"[:_MESSAGE_LENGTH]
        status = {"status": "Failure", "message": text, "reason": "Invalid", "code": 422}
        return _answered(request, "refused", error.reason, allowed=False, status=status)
    if injection.skipped is not None:
        return _answered(request, "skipped", injection.skipped, **_warned(injection.skipped))
    patch = json.dumps(list(difference(request.pod, injection.template))).encode()
    return _answered(request, "injected", "ok", patchType="JSONPatch", patch=base64.b64encode(patch).decode())


def _not_for_us(request: _Request) -> Skip | None:
    if (request.kind.group, request.kind.kind) != ("", "Pod"):
        return Skip.NOT_A_POD
    # Containers can be added to a pod only when it is made.
    if request.operation != "CREATE" or request.sub_resource:
        return Skip.NOT_A_CREATION
    return None


def _read(body: bytes) -> _Request:
    if not body:
        raise BadReview("empty_body", "the body is empty")
    try:
        value = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise BadReview("bad_json", "the body is not JSON") from None
    if not _is_shallow(value):
        raise BadReview("bad_json", f"the body is nested deeper than {MAX_DEPTH} levels")
    try:
        return _Review.model_validate(value).request
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(step)[:64] for step in first["loc"])
        text = f"not an AdmissionReview of {API_VERSION}: {where}: {first['msg']}"
        raise BadReview("bad_review", text) from None


def _no_number(_text: str) -> float:
    raise ValueError  # RFC 8259 section 6: NaN and Infinity are no JSON


def _is_shallow(value: object) -> bool:
    """Without recursion: what comes after recurses, and must not run out of stack."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return True
    return False


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _warned(skipped: Skip) -> dict[str, Any]:
    return {"warnings": [f"logout-sidecar: not injected ({skipped})"[:_WARNING_LENGTH]]}


def _answered(
    request: _Request,
    outcome: Literal["injected", "skipped", "refused"],
    reason: str,
    *,
    allowed: bool = True,
    **fields: Any,
) -> Reviewed:
    response = {"uid": request.uid, "allowed": allowed, **fields}
    answer = {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}
    return Reviewed(
        body=json.dumps(answer).encode(),
        outcome=outcome,
        reason=str(reason),
        namespace=request.namespace or "",
        name=request.name or _generated_name(request.pod),
        dry_run=bool(request.dry_run),
    )


def _generated_name(pod: object) -> str:
    """The name of a pod that a controller makes is not known yet, only its beginning."""
    metadata = pod.get("metadata") if isinstance(pod, dict) else None
    name = metadata.get("generateName") if isinstance(metadata, dict) else None
    return name[:256] if isinstance(name, str) else ""
