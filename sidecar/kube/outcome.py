"""What became of a pod that was looked at. No I/O, no text that anyone reads back: reasons are stable, texts are not.

A pod that did not ask is skipped and passes as it is. A pod that asked and cannot have the sidecar is refused, because
it would run without enforcement and nobody would notice.
"""

import enum
import json

from sidecar.errors import SidecarError


class Skip(enum.StrEnum):
    """Why a pod stays as it is."""

    NOT_ENABLED = "not_enabled"
    DISABLED = "disabled"
    ALREADY_INJECTED = "already_injected"
    NOT_A_POD = "not_a_pod"
    NOT_A_CREATION = "not_a_creation"


class Refused(SidecarError):
    """The pod asked for the sidecar and cannot have it. The text ends with what to do."""


def quoted(value: object) -> str:
    """Somebody else's value for a message: one line, of bounded length, without control characters."""
    text = str(value)
    return json.dumps(text if len(text) <= 64 else text[:61] + "...")
