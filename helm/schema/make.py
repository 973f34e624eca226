"""Writes what the chart knows of the sidecar's configuration: values.schema.json and files/reloaded.yaml.

The schema is the sidecar's own, put where the chart has its `config`. So a typo in the configuration fails at
`helm install`. It keeps to draft 7 and to the document itself, because helm's validator knows no newer draft and
fetches nothing. Definitions are at the root, where their pointers lead. Run it with `make chart-schema`; a test says
when that was forgotten.
"""

import json
from pathlib import Path
from typing import Any

import yaml

from sidecar.config.reload import RELOADED
from sidecar.config.schema import json_schema

HERE = Path(__file__).parent
TARGET = HERE.parent / "logout-sidecar/values.schema.json"
RELOADED_TARGET = HERE.parent / "logout-sidecar/files/reloaded.yaml"

Schema = dict[str, Any]

# What the chart fills in, and what its templates ask for with a sentence that says more than a schema can.
_NOT_REQUIRED = ("", "UpstreamSettings")
# Annotations that no reader of the values needs; `default` would promise what the chart fills in.
_DROPPED = {"title", "default", "examples", "$schema", "$defs", "discriminator"}


def values_schema() -> Schema:
    """The schema of the values."""
    schema: Schema = yaml.safe_load((HERE / "values.yaml").read_text(encoding="utf-8"))
    sidecar = json_schema()
    sections = {"": sidecar, **sidecar["$defs"]}
    for name in _NOT_REQUIRED:
        del sections[name]["required"]
    schema["properties"]["config"] = _draft_7(sections.pop(""))
    schema["definitions"] |= {f"config.{name}": _draft_7(section) for name, section in sections.items()}
    return schema


def _draft_7(schema: Any, *, has_names: bool = False) -> Any:
    """`has_names`: the keys are names of properties, not keywords."""
    if isinstance(schema, list):
        return [_draft_7(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema and not has_names:  # draft 7 looks at nothing beside it
        return {"$ref": schema["$ref"].replace("#/$defs/", "#/definitions/config.")}
    if "discriminator" in schema and not has_names:
        return _by_discriminator(schema["discriminator"])
    kept = {key: value for key, value in schema.items() if has_names or key not in _DROPPED}
    return {key: _draft_7(value, has_names=key == "properties" and not has_names) for key, value in kept.items()}


def _by_discriminator(discriminator: Schema) -> Schema:
    """One condition for each kind: a typo is then named, where `oneOf` only says that none of them fits."""
    key, kinds = discriminator["propertyName"], discriminator["mapping"]
    return {
        "type": "object",
        "required": [key],
        "properties": {key: {"enum": sorted(kinds)}},
        "allOf": [
            {"if": {"properties": {key: {"const": kind}}}, "then": _draft_7({"$ref": pointer})}
            for kind, pointer in sorted(kinds.items())
        ],
    }


def reloaded() -> str:
    """The keys that a running sidecar takes over: the templates leave them out of the hash that rolls pods out."""
    lines = "".join(f"- [{', '.join(keys)}]\n" for keys in sorted(RELOADED))
    return f"# Settings that need no restart. Written by `make chart-schema`.\n{lines}"


if __name__ == "__main__":
    TARGET.write_text(json.dumps(values_schema(), indent=1) + "\n", encoding="utf-8")
    RELOADED_TARGET.write_text(reloaded(), encoding="utf-8")
