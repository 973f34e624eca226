"""Secrets: read once when the configuration is loaded, never shown.

A secret is written as `{file: /path}` or `{env: NAME}`, never as itself, so that the configuration can be committed,
printed and attached to a ticket. `repr` and `str` are redacted; the bytes come out of `reveal()` only, which is easy to
search for.
"""

import errno
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from sidecar.config.values import EnvironmentName, FileName, wrong

MAX_SECRET_BYTES = 64 * 1024


class SecretSource(BaseModel):
    """Where a secret is read from: one of the two."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)

    file: FileName | None = None
    """Path of a file that holds the secret and nothing else; line breaks at its end are dropped."""
    env: EnvironmentName | None = None
    """Name of an environment variable that holds the secret."""


class Secret:
    """Bytes that do not show themselves."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The bytes, for the one place that needs them."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")  # it would leave the process in clear

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_after_validator_function(
            _resolve,
            core_schema.no_info_before_validator_function(_not_inline, handler.generate_schema(SecretSource)),
            serialization=core_schema.plain_serializer_function_ser_schema(
                repr, return_schema=core_schema.str_schema()
            ),
        )


def _not_inline(value: object) -> object:
    if isinstance(value, str | bool | int | float):
        raise wrong("a secret does not stand in the file itself", "{file: PATH} or {env: NAME}")
    return value


def _resolve(source: SecretSource, info: ValidationInfo) -> Secret:
    context = info.context or {}
    environ: Mapping[str, str] = context.get("environ", {})
    form = "one of {file: PATH} or {env: NAME}"
    if source.file is not None and source.env is not None:
        raise wrong("a secret has one source, not both file and env", form, at="env")
    if source.file is not None:
        context.get("files", set()).add(source.file)  # a reload has to look at it as well
        return Secret(_from_file(source.file))
    if source.env is not None:
        return Secret(_from_environment(source.env, environ))
    raise wrong("the secret has no source", form)


def _from_environment(name: str, environ: Mapping[str, str]) -> bytes:
    value = environ.get(name, "").encode(errors="surrogateescape").rstrip(b"\r\n")
    if not value:
        raise wrong("the environment variable is not set or empty", "a variable that holds the secret", at="env")
    return value


def _from_file(name: str) -> bytes:
    try:
        with Path(name).open("rb") as stream:
            value = stream.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise wrong(_unreadable(error), "a readable file that holds the secret", at="file") from None
    if len(value) > MAX_SECRET_BYTES:
        raise wrong("the secret file is too large", f"at most {MAX_SECRET_BYTES // 1024} KiB", at="file")
    value = value.rstrip(b"\r\n")  # editors and `echo` end a file with one
    if not value:
        raise wrong("the secret file is empty", "a file that holds the secret", at="file")
    return value


def _unreadable(error: OSError) -> str:
    match error.errno:
        case errno.ENOENT:
            return "the secret file does not exist"
        case errno.EISDIR:
            return "the secret file is a directory"
        case errno.EACCES | errno.EPERM:
            return "the secret file may not be read by this user"
        case _:
            return f"the secret file cannot be read: {error.strerror}"
