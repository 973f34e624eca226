"""`${VAR}` in one scalar of the configuration: `${V}`, `${V:-default}`, `${V:?message}`, and `$$` for a dollar.

It runs on single scalars after the YAML is parsed, so a variable can never add a key, a list item or a comment. It is
not a template language: nothing nests, and any other dollar stands for itself.
"""

import re
from collections.abc import Mapping

from sidecar.errors import SidecarError

MAX_TEXT = 8192

_REFERENCE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<operator>:-|:\?)(?P<word>[^}]*))?\})?)"
)


class Interpolated(str):
    """Text that a variable had a part in. Numbers and switches read it as if it stood in the file."""

    __slots__ = ()


class VariableError(SidecarError):
    """A reference that cannot be replaced; the message names the variable, never a value."""

    def __init__(self, what: str, expected: str = "") -> None:
        super().__init__("config_variable", what)
        self.what = what
        self.expected = expected


def interpolate(text: str, environ: Mapping[str, str]) -> tuple[str, frozenset[str]]:
    """Replace every reference; also the names that were used."""
    if "$" not in text:
        return _bounded(text), frozenset()
    names: set[str] = set()

    def replace(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        if match["name"] is None:
            raise VariableError(
                "a reference to a variable is malformed",
                "${NAME}, ${NAME:-default} or ${NAME:?message}; $$ is a dollar",
            )
        names.add(match["name"])
        return _value(match["name"], match["operator"], match["word"], environ)

    replaced = _bounded(_REFERENCE.sub(replace, text))
    return (Interpolated(replaced) if names else replaced), frozenset(names)


def _value(name: str, operator: str | None, word: str | None, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if operator and not value:  # as in a shell: the colon makes empty count as unset
        if operator == ":?":
            raise VariableError(f"the environment variable {name} is not set" + (f": {word}" if word else ""))
        return word or ""
    if value is None:
        raise VariableError(f"the environment variable {name} is not set", f"a value for it, or ${{{name}:-default}}")
    if "\n" in value or "\r" in value:
        raise VariableError(f"the environment variable {name} holds a line break", "one line of text")
    return value


def _bounded(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise VariableError("the value is too long", f"at most {MAX_TEXT} characters")
    return text
