"""RFC 6902: the difference of two JSON values as a patch. Pure.

Only what differs is named. Where a patch goes into a list element that has a name, it first tests that name, so that a
patch kept in a repository fails when the manifest has changed, instead of changing another container. Numbers are
compared as Python does, so 1 and true are the same here: no part of a pod changes from one to the other.
"""

from collections.abc import Iterator
from typing import Any

Operation = dict[str, Any]


def difference(old: Any, new: Any, path: str = "") -> Iterator[Operation]:
    """The operations that make `old` into `new`, in order."""
    if old is new or old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _of_mappings(old, new, path)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _of_lists(old, new, path)
    else:
        yield {"op": "replace", "path": path, "value": new}


def _of_mappings(old: dict[str, Any], new: dict[str, Any], path: str) -> Iterator[Operation]:
    for key in old:
        if key not in new:
            yield {"op": "remove", "path": f"{path}/{_escaped(key)}"}
    for key, value in new.items():
        at = f"{path}/{_escaped(key)}"
        if key in old:
            yield from difference(old[key], value, at)
        else:
            yield {"op": "add", "path": at, "value": value}


def _of_lists(old: list[Any], new: list[Any], path: str) -> Iterator[Operation]:
    """What both begin and end with stays; of the rest, elements are changed in place, then removed or added."""
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    before, after = old[start : len(old) - end], new[start : len(new) - end]
    both = min(len(before), len(after))
    for index, (one, other) in enumerate(zip(before, after, strict=False), start):
        if isinstance(one, dict) and "name" in one and one != other:
            yield {"op": "test", "path": f"{path}/{index}/name", "value": one["name"]}
        yield from difference(one, other, f"{path}/{index}")
    for index in reversed(range(start + both, start + len(before))):
        yield {"op": "remove", "path": f"{path}/{index}"}
    for index, value in enumerate(after[both:], start + both):
        yield {"op": "add", "path": f"{path}/{index}", "value": value}


def _common(one: list[Any], other: list[Any]) -> int:
    """How many elements both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")  # RFC 6901 section 3
