"""The operator's page for people whose request is denied: a file, read and checked with the configuration."""

from pathlib import Path
from typing import Any, Self

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from sidecar.config.values import FileName, wrong
from sidecar.template import PLACEHOLDERS, problem_of

MAX_TEMPLATE_BYTES = 64 * 1024


class PageTemplate:
    """What stands in the file. It is configured by the file's name."""

    __slots__ = ("name", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PageTemplate) and (self.name, self.text) == (other.name, other.text)

    def __hash__(self) -> int:
        return hash((self.name, self.text))

    def __repr__(self) -> str:
        return f"PageTemplate({self.name!r})"

    @classmethod
    def read(cls, name: str) -> Self:
        """Read the file. Raises an error in pydantic's terms."""
        try:
            with Path(name).open("rb") as stream:
                content = stream.read(MAX_TEMPLATE_BYTES + 1)
        except OSError as error:
            raise wrong(f"the page cannot be read: {error.strerror}", "a readable file with HTML") from None
        if len(content) > MAX_TEMPLATE_BYTES:
            raise wrong("the page is too large", f"at most {MAX_TEMPLATE_BYTES // 1024} KiB")
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise wrong("the page is not text in UTF-8", "a file with HTML") from None
        if (problem := problem_of(text)) is not None:
            raise wrong(f"the page cannot be filled: {problem}", f"{{{{name}}}} with {', '.join(PLACEHOLDERS)}")
        return cls(name, text)

    @classmethod
    def _resolve(cls, name: str, info: ValidationInfo) -> Self:
        (info.context or {}).get("files", set()).add(name)  # a reload has to look at it as well
        return cls.read(name)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_after_validator_function(
            cls._resolve,
            handler.generate_schema(FileName),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda page: page.name, return_schema=core_schema.str_schema()
            ),
        )
