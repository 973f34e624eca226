"""Which settings a running process takes over from a changed file, and which need a new process.

What is named in `RELOADED` is taken over, but for what a configuration has built into something that it switches on
(`_built_in`). Everything else needs a restart, whatever is added one day: a setting that is quietly not taken over
would be worse than one restart too many (decision 026).
"""

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeGuard

import yaml

from sidecar.config.model import Config
from sidecar.config.needs import needs_metadata, needs_provider
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


Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """The settings that differ, sorted."""

    taken_over: tuple[Path, ...]
    needs_restart: tuple[Path, ...]


def compare(old: Config, new: Config) -> Change:
    """What of a change a process that runs by `old` takes over: each setting, the nearest to the root that says all."""
    found, fixed = list(_differences(old, new, ())), _built_in(old)
    if new.workers > 1 and needs_provider(new) and not needs_provider(old):
        fixed.add(("session", "bind"))  # workers that have asked no provider so far know no keys to verify with
    taken_over = tuple(path for path in found if _is_below(path, RELOADED) and not _is_below(path, fixed))
    return Change(taken_over, tuple(path for path in found if path not in taken_over))


def _built_in(config: Config) -> set[Keys]:
    """What is reloaded elsewhere, and is built into what this configuration has switched on."""
    fixed: set[Keys] = set()
    check = config.provider_check
    denies_silence = check.every is not None and check.unavailable == "deny"  # whom a silent provider may end
    if denies_silence or config.on_revoked.notify_app.path is not None:
        fixed.add(("enforcement", "mode"))
    if needs_metadata(config):
        fixed |= {("providers", "client_id"), ("providers", "client_secret")}
    return fixed


def _is_below(changed: Path, settings: Collection[Keys]) -> bool:
    keys = _keys(changed)
    return any(keys[:length] in settings for length in range(1, len(keys) + 1))


def _keys(path: Path) -> Keys:
    return tuple(part for part in path if isinstance(part, str))


def named(changed: Iterable[Path]) -> list[str]:
    """As operators write them: `providers[0].client_id`."""
    return [format_path(path) for path in changed]


def lasting(text: str, config: Config) -> str:
    """The part of a valid file that needs a restart, in a form to compare. `config` is what the file says.

    Equal forms, and a running process can take over the change from the one file to the other. Read from the text,
    because a Config shows no secret and no address of a store.
    """
    part = _lasting(yaml.safe_load(text), (), _built_in(config))
    return json.dumps([part, config.workers > 1 and needs_provider(config)], sort_keys=True, default=str)


def _lasting(value: object, keys: Keys, fixed: Collection[Keys]) -> object:
    if isinstance(value, list):
        return [_lasting(each, keys, fixed) for each in value]
    if not isinstance(value, dict) or keys in fixed:
        return value
    kept = {key: _lasting(inner, (*keys, key), fixed) for key, inner in value.items() if _lasts((*keys, key), fixed)}
    return {key: inner for key, inner in kept.items() if inner not in ({}, None)}  # as if it were not there


def _lasts(keys: Keys, fixed: Collection[Keys]) -> bool:
    """Whether this setting, or one below it, needs a restart."""
    return not _is_below(keys, RELOADED) or _is_below(keys, fixed) or any(each[: len(keys)] == keys for each in fixed)


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
