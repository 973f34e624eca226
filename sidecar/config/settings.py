"""What all sections of the configuration have in common. The root is in `model.py`."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict

from sidecar.config.values import (
    Duration,
    between,
)

Timeout = Annotated[Duration, between("10ms", "1d")]


class Settings(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)
