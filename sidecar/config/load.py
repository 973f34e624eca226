"""From a file name to a Config, or to every reason why there is none.

    text -> document (values with their places, variables replaced) -> models -> contradictions

A fault must not hide the next one. So what is broken is cut out of the values, the rest is validated again, until it
holds; then the contradictions are looked for, and those that only echo something broken are left out. The values that
stand in for broken ones are never returned: a Config exists only if there was no fault at all.
"""

import copy
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from sidecar.config.contradiction import contradictions, warnings
from sidecar.config.explain import explain, value_at
from sidecar.config.model import Config
from sidecar.config.problem import ConfigErrors, Fault, Path, Problem
from sidecar.config.source import START, UNUSABLE, Document, read, read_file

_ROUNDS = 8

# What stands in for a required value while the rest is checked.
_STAND_INS: dict[str, object] = {
    "upstream": {"url": "http://127.0.0.1:1"},
    "url": "http://127.0.0.1:1",
    "providers": [{"issuer": "https://stand-in.invalid", "client_id": "stand-in"}],
    "issuer": "https://stand-in.invalid",
    "client_id": "stand-in",
    "callback": "/stand-in",
    "path": "/stand-in",
    "action": "reject",
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration, and what else there is to say about its file."""

    config: Config
    warnings: tuple[Problem, ...]
    variables: tuple[str, ...]  # names only
    text: str = field(repr=False)
    files: tuple[str, ...]  # that it was read from: its own first, then those of its secrets and of its page


def load(path: str) -> Config:
    """The configuration in a file. Raises ConfigErrors with every fault."""
    return load_all(path).config


def load_all(path: str, environ: Mapping[str, str] = os.environ) -> Loaded:  # noqa: TID251 - config/ owns the environment
    """The same, with warnings and the variables that were used."""
    text = read_file(path)
    document = read(path, text, environ)
    files: set[str] = set()
    config, faults = _validate(document, environ, files)
    problems = document.problems + [_placed(document, fault) for fault in faults]
    if config is None or problems:
        raise ConfigErrors(_sorted(problems))
    found = _sorted(_placed(document, fault) for fault in warnings(config))
    return Loaded(config, tuple(found), tuple(sorted(document.variables)), text, (path, *sorted(files)))


def _validate(document: Document, environ: Mapping[str, str], files: set[str]) -> tuple[Config | None, list[Fault]]:
    """`files` gets the names of the files beside it."""
    value = copy.deepcopy(document.value) if document.problems else document.value
    _name_pod(value, environ)
    faults: list[Fault] = []
    broken: set[Path] = set()
    for _ in range(_ROUNDS):
        try:
            config = Config.model_validate(value, context={"environ": environ, "files": files})
        except ValidationError as error:
            if not isinstance(value, dict):
                return None, explain(error, value)
            value = copy.deepcopy(value)
            faults += _cut_out(error, value, broken)
        else:
            return config, faults + _without_echoes(contradictions(config), broken)
    return None, faults


def _name_pod(value: object, environ: Mapping[str, str]) -> None:
    """The pod's own address is known to the environment alone (the downward API of Kubernetes)."""
    upstream = value.get("upstream") if isinstance(value, dict) else None
    if isinstance(upstream, dict) and environ.get("POD_IP"):
        upstream.setdefault("pod_ip", environ["POD_IP"])


def _cut_out(error: ValidationError, value: dict[str, object], broken: set[Path]) -> list[Fault]:
    """Remove what is broken from the values; the faults that are news."""
    found = explain(error, value)
    typos = ((*fault.path[:-1], fault.suggestion) for fault in found if fault.suggestion)
    meant = {path for path in typos if value_at(value, path) is None}
    news = [fault for fault in found if not _is_under(fault.path, broken | meant) and not _is_above(fault.path, broken)]
    for detail in found:
        broken.add(_remove(value, detail.path))
    broken |= meant  # a misspelt key is not also missing
    for path in _unusable(value, ()):
        broken.add(_remove(value, path))
    return news


def _remove(value: dict[str, object], path: Path) -> Path:
    """Take a value out, with the whole list when it is in one (the places of its neighbours must not shift)."""
    while path and not isinstance(path[-1], str):
        path = path[:-1]
    parent = value_at(value, path[:-1])
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
        if path[-1] in _STAND_INS and path != ("store", "url"):
            parent[path[-1]] = copy.deepcopy(_STAND_INS[str(path[-1])])
    return path


def _unusable(value: object, path: Path) -> Iterable[Path]:
    if value is UNUSABLE:
        yield path
    elif isinstance(value, dict):
        for key, inner in list(value.items()):
            yield from _unusable(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unusable(inner, (*path, index))


def _without_echoes(faults: Iterable[Fault], broken: set[Path]) -> list[Fault]:
    return [fault for fault in faults if not any(_is_under(path, broken) for path in (fault.path, *fault.involves))]


def _is_under(path: Path, places: set[Path]) -> bool:
    return any(path[:length] in places for length in range(1, len(path) + 1))


def _is_above(path: Path, places: set[Path]) -> bool:
    return any(place[: len(path)] == path for place in places)


def _placed(document: Document, fault: Fault) -> Problem:
    is_key = fault.what == "unknown key"
    return document.problem(document.mark(fault.path, of_key=is_key) if fault.path else START, fault)


def _sorted(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: (problem.mark.line, problem.mark.column))
