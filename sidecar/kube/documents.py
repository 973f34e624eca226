"""A stream of YAML documents: split without losing a byte, read as Kubernetes reads it, written so that it is read so.

A document that nobody changes leaves as it came. One that is changed is written anew, behind the comment lines that it
began with. Values follow the YAML of Kubernetes' own tools: no dates, no base 60; and what those tools would take for a
number or a yes is written in quotes.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from sidecar.kube.outcome import Refused, quoted

_MAX_DEPTH: Final = 64
_MAX_VALUES: Final = 500_000  # aliases expanded; the largest charts have a tenth of that

# YAML 1.2 section 9.1.2: at the beginning of a line these are markers wherever they stand, in block scalars too.
_MARKER = re.compile(r"^(?=---(?:[ \t\r\n]|\Z))|(?<=\n)(?=---(?:[ \t\r\n]|\Z))")
_COMMENTS = r"(?:[ \t]*(?:#[^\r\n]*)?\r?\n)*"
_PREAMBLE = re.compile(rf"{_COMMENTS}(?:---[ \t]*(?:#[^\r\n]*)?(?:\r?\n|\Z){_COMMENTS})?")
_ONLY_COMMENTS = re.compile(r"(?:[ \t]*(?:[#%][^\n]*)?(?:\n|\Z))*")


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its text with the marker before it, and its value."""

    text: str
    value: Any


def split(text: str) -> Iterator[str]:
    """The documents' texts; together they are the stream. What only comments come before belongs to what follows."""
    begun = ""
    for piece in _MARKER.split(text):
        if not begun.startswith("---") and _ONLY_COMMENTS.fullmatch(begun):
            begun += piece
        else:
            yield begun
            begun = piece
    if begun:
        yield begun


def read(text: str, where: str) -> list[Document]:
    """The documents of a stream; `where` is for the errors. Raises Refused."""
    return [Document(each, _value(each, f"{where}: document {index}")) for index, each in enumerate(split(text), 1)]


def written(value: Any, *, before: str = "") -> str:
    """A value as a document that follows the marker and the comments of the text that it replaces."""
    preamble = _PREAMBLE.match(before)
    head = preamble[0] if preamble else ""
    if not before or (before.startswith("---") and not head.startswith("---")):
        head = f"---\n{head}"
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=math.inf
    )
    return head + text


def joined(texts: list[str]) -> str:
    """The stream of these documents: each begins on a line of its own."""
    stream = ""
    for text in texts:
        if stream and text:
            stream += "" if stream.endswith("\n") else "\n"
            stream += "" if text.startswith("---") else "---\n"
        stream += text
    return stream


def _value(text: str, where: str) -> Any:
    try:
        return _bounded(yaml.load(text, Loader=_Loader), _Budget())  # noqa: S506 - a safe loader, below
    except yaml.YAMLError as error:
        raise Refused("broken_yaml", f"{where}: {_complaint(error)}; mend the YAML") from None
    except (_TooLarge, RecursionError):
        text = f"{where}: nested deeper than {_MAX_DEPTH} levels, or more than {_MAX_VALUES} values; split it"
        raise Refused("too_large", text) from None
    except ValueError:  # a number of thousands of digits
        raise Refused("broken_yaml", f"{where}: a value cannot be read; mend the YAML") from None


def _complaint(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}: " if mark else ""
    return f"{place}{getattr(error, 'problem', None) or 'not YAML'}"


class _TooLarge(Exception):
    """More than any manifest holds, or a value that contains itself."""


class _Budget:
    """How many values are left."""

    def __init__(self) -> None:
        self._left = _MAX_VALUES

    def spend(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _TooLarge


def _bounded(value: Any, budget: _Budget, depth: int = 0) -> Any:
    """A copy in which nothing is shared: aliases are expanded, within bounds."""
    budget.spend()
    if depth > _MAX_DEPTH:
        raise _TooLarge
    if isinstance(value, dict):
        return {_as_key(key): _bounded(each, budget, depth + 1) for key, each in value.items()}
    if isinstance(value, list):
        return [_bounded(each, budget, depth + 1) for each in value]
    return value


def _as_key(key: object) -> str:
    """Keys are text in Kubernetes; its tools turn `8080:` and `on:` into text as JSON would have it."""
    return key if isinstance(key, str) else json.dumps(key, default=str).strip('"')


# The loader of libyaml where the wheel has it: ten times as fast, and charts are long.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_PLAIN_WORDS = {
    "tag:yaml.org,2002:bool": re.compile(r"true|True|TRUE|false|False|FALSE|yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"),
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(?:0|[1-9][0-9]*|0o?[0-7]+|0x[0-9a-fA-F]+)"),
    "tag:yaml.org,2002:float": re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"),
    "tag:yaml.org,2002:null": re.compile(r"~|null|Null|NULL|"),
    "tag:yaml.org,2002:merge": re.compile(r"<<"),
}


class _Loader(_Base):  # type: ignore[misc]  # the class is chosen at run time
    """A safe loader with the scalars of Kubernetes' tools. A key that is there twice is an error."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's way; filled below

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    problem = f"the key {quoted(key.value)} is there twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: Any) -> int:
        """YAML 1.1 octal (0644) and the newer 0o644 are both in use for file modes."""
        text = node.value.lower()
        sign, digits = (-1 if text.startswith("-") else 1), text.lstrip("+-")
        if digits.startswith("0x"):
            return sign * int(digits, 16)
        is_octal = len(digits) > 1 and digits.startswith("0")
        return sign * (int(digits.removeprefix("0").removeprefix("o"), 8) if is_octal else int(digits))


for _tag, _pattern in _PLAIN_WORDS.items():
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern.pattern})\Z"), None)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)

# What some reader of YAML takes for something else than text.
_NEEDS_QUOTES = re.compile(r"[-+.0-9].*|y|n|yes|no|on|off|true|false|null|~|=|<<", re.IGNORECASE | re.DOTALL)


class _Dumper(yaml.SafeDumper):
    """Block style, in the order of the keys, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        style = "|" if "\n" in data else '"' if _NEEDS_QUOTES.fullmatch(data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)
