"""A secret that may change while the process runs: a mounted file is read again whenever it is asked for.

For passwords of servers, which platforms rotate. What digests and signatures depend on is a `Secret`, read once. An
environment variable never changes.
"""

import contextlib
from typing import Any

from pydantic import GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

from sidecar.config.secret import Secret

_SECRET: TypeAdapter[Secret] = TypeAdapter(Secret)


class RotatingSecret:
    """Bytes that do not show themselves. While the file cannot be read, the last good ones hold."""

    __slots__ = ("_file", "_last")

    def __init__(self, first: Secret, file: str | None) -> None:
        self._last = first
        self._file = file

    def reveal(self) -> bytes:
        """The bytes as they are now. Reads a file: not for the event loop."""
        if self._file is not None:
            # In the middle of being replaced, or gone: the server has the last word on the old one.
            with contextlib.suppress(ValidationError):
                self._last = _SECRET.validate_python({"file": self._file})
        return self._last.reveal()

    def __eq__(self, other: object) -> bool:
        """The same file is the same secret, whatever is in it now."""
        if not isinstance(other, RotatingSecret):
            return False
        return self._file == other._file and (self._file is not None or self._last == other._last)

    def __hash__(self) -> int:
        return hash(self._file)

    def __repr__(self) -> str:
        return "RotatingSecret(***)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")  # it would leave the process in clear

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def keep_source(value: Any, read: core_schema.ValidatorFunctionWrapHandler) -> "RotatingSecret":
            first = read(value)  # a mapping with one of `file` and `env`, or this has raised
            file = value.get("file")
            return cls(first, None if file is None else str(file))

        return core_schema.no_info_wrap_validator_function(
            keep_source,
            handler.generate_schema(Secret),
            serialization=core_schema.plain_serializer_function_ser_schema(
                repr, return_schema=core_schema.str_schema()
            ),
        )
