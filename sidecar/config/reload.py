"""Which settings a running process takes over from a changed file, and which need a new process.

What is named in `RELOADED` is taken over. Everything else needs a restart, whatever is added one day: a setting that is
quietly not taken over would be worse than one restart too many (decision 026).
"""

import json
from collections.abc import Iterator
from typing import Final, TypeGuard

import yaml

from sidecar.config.model import Config
from sidecar.config.problem import Path, format_path
from sidecar.config.settings import Settings

# With everything below. Lists are compared entry by entry as long as they keep their length.
RELOADED: Final = frozenset(
    {
        ("upstream", "response_timeout"),
        ("upstream", "connect_timeout"),
        ("upstream", "keepalive"),
        ("upstream", "max_connections"),
        ("upstream", "queue_timeout"),
        ("upstream", "stall_timeout"),
        ("upstream", "tunnel_idle_timeout"),
        ("providers", "client_id"),
        ("providers", "algorithms"),
        ("providers", "client_secret"),
        ("providers", "logout_token"),
        ("session", "profile"),
        ("session", "credentials"),
        ("session", "unbound"),
        ("session", "bind"),
        ("enforcement",),
        ("logout", "app_paths"),
        ("store", "on_stale"),
        ("limits", "head_bytes"),
        ("limits", "header_count"),
        ("limits", "head_timeout"),
        ("limits", "idle_timeout"),
        ("limits", "body_stall_timeout"),
        ("limits", "body_min_rate"),
        ("limits", "body_bytes"),
        ("reload",),
        ("log", "level"),
        ("log", "access"),
        ("log", "access_sample"),
        ("log", "traceparent"),
    }
)


def changes(old: Config, new: Config) -> list[Path]:
    """Every setting that differs, the nearest to the root that says it all."""
    return list(_differences(old, new, ()))


def needs_restart(changed: Path) -> bool:
    """Whether a running process cannot take it over."""
    keys = tuple(part for part in changed if isinstance(part, str))
    return not any(keys[:length] in RELOADED for length in range(1, len(keys) + 1))


def named(changed: list[Path]) -> list[str]:
    """As operators write them: `providers[0].client_id`."""
    return [format_path(path) for path in changed]


def lasting(text: str) -> str:
    """The part of a valid file that needs a restart, in a form to compare.

    Equal forms, and a running process can take over the change from the one file to the other. Read from the text,
    because a Config shows no secret and no address of a store.
    """
    return json.dumps(_without_reloaded(yaml.safe_load(text), ()), sort_keys=True, default=str)


def _without_reloaded(value: object, keys: tuple[str, ...]) -> object:
    if isinstance(value, list):
        return [_without_reloaded(each, keys) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _without_reloaded(inner, (*keys, key)) for key, inner in value.items() if (*keys, key) not in RELOADED}
    return {key: inner for key, inner in kept.items() if inner not in ({}, None)}  # as if it were not there


def _differences(old: object, new: object, path: Path) -> Iterator[Path]:
    if isinstance(old, Settings) and type(old) is type(new):
        for name, info in type(old).model_fields.items():
            yield from _differences(getattr(old, name), getattr(new, name), (*path, info.alias or name))
    elif _are_sections(old) and _are_sections(new) and len(old) == len(new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from _differences(*pair, (*path, index))
    elif old != new:
        yield path


def _are_sections(value: object) -> TypeGuard[tuple[Settings, ...]]:
    return isinstance(value, tuple) and all(isinstance(each, Settings) for each in value)
