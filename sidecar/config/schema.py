"""The JSON Schema (draft 2020-12) of the configuration file, for editors and for CI.

It comes from the models, so it can promise no key that the loader refuses. Two things are added to what pydantic makes:
defaults are spelled as in the file (`60s`, not 60.0), and `${VAR}` may stand wherever a single value stands.
"""

from typing import Any

from pydantic import BaseModel

from sidecar.config.model import Config
from sidecar.config.settings import Settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]

_VARIABLE = {
    "title": "Variable",
    "description": "A value from the environment: ${NAME}, ${NAME:-default} or ${NAME:?message}.",
    "type": "string",
    "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:[-?][^}]*)?\}",
}
_DESCRIPTIVE = ("description", "title", "default", "examples")


def json_schema() -> Schema:
    """The schema of the whole file."""
    schema = Config.model_json_schema()
    definitions: Schema = schema["$defs"]
    for model in _sections(Settings):
        _spell_defaults(model, definitions.get(model.__name__, schema if model is Config else {}))
    schema = {key: _with_variables(value, key) for key, value in schema.items()}
    schema["$defs"]["Variable"] = _VARIABLE
    return {"$schema": DIALECT, **schema}


def plain_schema() -> Schema:
    """The schema as pydantic makes it: only shapes, to look up which keys belong where."""
    return Config.model_json_schema()


def _sections(base: type[BaseModel]) -> list[type[BaseModel]]:
    return [section for child in base.__subclasses__() for section in (child, *_sections(child))]


def _spell_defaults(model: type[BaseModel], schema: Schema) -> None:
    # model_construct fills in the defaults without asking for what is required; the rest is how the file spells them.
    defaults = model.model_construct().model_dump(mode="json", by_alias=True)
    for name, entry in schema.get("properties", {}).items():
        entry.pop("title", None)
        if "default" in entry:
            entry["default"] = defaults[name]


def _with_variables(schema: Any, key: str = "") -> Any:
    """Widen every scalar below, but for what tells the members of a union apart."""
    if isinstance(schema, list):
        return [_with_variables(entry) for entry in schema]
    if not isinstance(schema, dict) or key in {"default", "examples", "discriminator"}:
        return schema
    if key in {"$defs", "properties"}:
        return {name: _with_variables(entry) for name, entry in schema.items()}
    if "const" in schema or "$ref" in schema:
        return schema
    if "anyOf" in schema:
        members = [*schema["anyOf"]] if _is_scalar_choice(schema) else _with_variables(schema["anyOf"])
        extra = [{"$ref": "#/$defs/Variable"}] if _is_scalar_choice(schema) else []
        return {**schema, "anyOf": members + extra}
    if _is_scalar(schema):
        kept = {name: schema[name] for name in _DESCRIPTIVE if name in schema}
        rest = {name: value for name, value in schema.items() if name not in _DESCRIPTIVE}
        return {**kept, "anyOf": [rest, {"$ref": "#/$defs/Variable"}]}
    return {name: _with_variables(entry, name) for name, entry in schema.items()}


def _is_scalar(schema: Schema) -> bool:
    free_text = schema.get("type") == "string" and not {"pattern", "enum"} & schema.keys()
    return (schema.get("type") in {"string", "integer", "number", "boolean"} and not free_text) or "enum" in schema


def _is_scalar_choice(schema: Schema) -> bool:
    return all(entry.get("type") in {"string", "integer", "number", "boolean", "null"} for entry in schema["anyOf"])
