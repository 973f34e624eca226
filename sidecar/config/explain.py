"""Pydantic's errors in the operator's words: what is wrong, what was expected, which key was probably meant."""

import difflib
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sidecar.config.interpolate import Interpolated
from sidecar.config.problem import Fault, Path, format_path
from sidecar.config.schema import Schema, plain_schema
from sidecar.config.source import UNUSABLE

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list, in [brackets] or with one - for each entry",
    "model_type": "a section of keys",
    "model_attributes_type": "a section of keys",
}
_SECTION = {"model_type", "model_attributes_type"}


def explain(error: ValidationError, value: object) -> list[Fault]:
    """One fault for each error; those about values that were complained about before are left out."""
    details = error.errors(include_url=False, include_input=False)
    faults = (_fault(detail, value) for detail in details if not _is_echo(detail, value))
    return [fault for fault in faults if value_at(value, fault.path) is not UNUSABLE]


def _is_echo(detail: ErrorDetails, value: object) -> bool:
    """Pydantic counts only good entries, so a list of bad ones is too short as well."""
    return detail["type"] == "too_short" and value_at(value, detail["loc"]) != []


def value_at(value: object, path: Path) -> object:
    """What stands at a path; None for what is not there."""
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value


def _fault(detail: ErrorDetails, value: object) -> Fault:
    kind, context = detail["type"], detail.get("ctx", {})
    path = _path_in_file(detail["loc"], value, is_missing=kind == "missing")
    if kind == "config":
        path = (*path, context["at"]) if context["at"] else path
        return Fault(path, context["what"], context["expected"], context["suggestion"])
    if kind == "extra_forbidden":
        return _unknown_key(detail["loc"], path)
    if kind == "missing":
        return Fault(path, "the key is missing", description(detail["loc"]))
    if kind in {"union_tag_not_found", "union_tag_invalid"}:
        return _unknown_member(detail["loc"], path, value)
    found = value_at(value, path)
    if found is None:
        return _empty(path, kind)
    if kind == "literal_error":
        return _unknown_word(path, found, context["expected"])
    if kind == "too_short":
        return Fault(path, "the list is empty", "at least one entry")
    if kind in _SECTION and path and (keys := sorted(keys_at(detail["loc"]))):
        return Fault(path, "wrong type", f"{_EXPECTED[kind]}: {', '.join(keys)}")
    return _wrong_type(path, found, kind, detail["msg"])


def _path_in_file(location: tuple[int | str, ...], value: object, *, is_missing: bool) -> Path:
    """Pydantic's location without what is not in the file: names of union members, the index in `x` for `[x]`."""
    path: Path = ()
    for index, part in enumerate(location):
        here = value_at(value, path)
        is_key = isinstance(here, dict) and part in here
        is_index = isinstance(here, list) and isinstance(part, int)
        if is_key or is_index or (is_missing and index == len(location) - 1):
            path = (*path, part)
    return path


def _empty(path: Path, kind: str) -> Fault:
    if not path:
        return Fault(path, "the file is empty", "at least providers, upstream and session")
    if kind in {*_SECTION, "tuple_type"}:
        return Fault(path, f"section `{_name(path)}` is empty; did the lines below lose their indent?")
    return Fault(path, "the key has no value", _EXPECTED.get(kind, "a value"))


def _name(path: Path) -> str:
    return str(path[-1]) if isinstance(path[-1], str) else format_path(path)


def _unknown_key(location: tuple[int | str, ...], path: Path) -> Fault:
    key, keys = str(path[-1]), sorted(keys_at(location[:-1]))
    suggestion = nearest(key, keys) or _elsewhere(key)
    return Fault(path, "unknown key", f"one of {', '.join(keys)}", suggestion)


def _unknown_member(location: tuple[int | str, ...], path: Path, value: object) -> Fault:
    names = [name for shape in _shapes(location) for name in shape.get("discriminator", {}).get("mapping", {})]
    name, expected = value_at(value, (*path, "from")), f"one of {', '.join(names)}"
    if name is None:
        return Fault(path, "the key `from` is missing", expected)
    return Fault((*path, "from"), "unknown binder", expected, nearest(name, names) if _quotable(name) else "")


def _unknown_word(path: Path, found: object, expected: str) -> Fault:
    words = re.findall(r"'([^']*)'", expected) or re.findall(r"\d+", expected)
    suggestion = nearest(str(found), words) if _quotable(found) else ""
    return Fault(path, "the value is not one of those allowed", f"one of {', '.join(words)}", suggestion)


def _wrong_type(path: Path, found: object, kind: str, message: str) -> Fault:
    expected = _EXPECTED.get(kind, "")
    if kind == "string_type" and isinstance(found, bool | int | float):
        expected = "text; put it in quotes"
    elif kind == "bool_type" and isinstance(found, str) and not isinstance(found, Interpolated):
        words = {"yes": "true", "on": "true", "no": "false", "off": "false"}
        return Fault(path, "wrong type", expected, words.get(found.lower(), ""))
    elif not path:
        expected = "a mapping of settings, key: value"
    # Every kind that the models can raise is in the table; pydantic's own words, which hold no input, are for the rest.
    return Fault(path, "wrong type" if expected else message, expected)


def _quotable(value: object) -> bool:
    """Values of variables must not be guessed at in public."""
    return isinstance(value, str | int) and not isinstance(value, Interpolated)


# --- which keys there are ---


def nearest(word: object, choices: list[str] | tuple[str, ...]) -> str:
    """The choice that was probably meant, or nothing."""
    plain = {_folded(choice): choice for choice in choices}
    close = difflib.get_close_matches(_folded(str(word)[:64]), plain, n=1, cutoff=0.6)
    return plain[close[0]] if close else ""


def _folded(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")


def keys_at(location: tuple[int | str, ...]) -> set[str]:
    """The keys that a section may have."""
    return {key for shape in _shapes(location) for key in shape.get("properties", {})}


def description(location: tuple[int | str, ...]) -> str:
    """What a key may be: its words, or else the sentence of the documentation."""
    parents = _shapes(location[:-1])
    found = [shape["properties"][location[-1]] for shape in parents if location[-1] in shape.get("properties", {})]
    words = [str(word) for key in found for word in key.get("enum", ())]
    sentence = next((key["description"] for key in found if "description" in key), "")
    return f"one of {', '.join(words)}" if words else sentence.rstrip(".")


def _elsewhere(key: str) -> str:
    """The same key in another section: the operator got the indent or the section wrong."""
    return next((format_path(path) for path in _all_keys(_schema(), ()) if _folded(str(path[-1])) == _folded(key)), "")


@cache
def _schema() -> Schema:
    return plain_schema()


def _shapes(location: tuple[int | str, ...]) -> list[Schema]:
    shapes = list(_expanded(_schema()))
    for part in location:
        shapes = [inner for shape in shapes for inner in _inside(shape, part)]
    return shapes


def _inside(shape: Schema, part: int | str) -> Iterator[Schema]:
    members = shape.get("discriminator", {}).get("mapping", {})
    if part in members:
        yield from _expanded({"$ref": members[part]})
    elif part in shape.get("properties", {}):
        yield from _expanded(shape["properties"][part])
    elif isinstance(part, int) and "items" in shape:
        yield from _expanded(shape["items"])


def _expanded(shape: Schema) -> Iterator[Schema]:
    if "$ref" in shape:
        yield from _expanded(_schema()["$defs"][shape["$ref"].rpartition("/")[2]])
    for member in shape.get("anyOf", ()):
        yield from _expanded(member)
    yield shape


def _all_keys(shape: Schema, path: Path) -> Iterator[Path]:
    for expanded in _expanded(shape):
        members: Any = [expanded["items"], *expanded["items"].get("oneOf", ())] if "items" in expanded else ()
        for member in members:
            yield from _all_keys(member, (*path, 0))
        for key, inner in expanded.get("properties", {}).items():
            yield (*path, key)
            yield from _all_keys(inner, (*path, key))
