"""The example file, the JSON Schema and the models say the same."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from sidecar.config.load import load_all
from sidecar.config.model import Config
from sidecar.config.schema import json_schema

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"
CONTRACT = {
    "listen": "0.0.0.0:4180",
    "upstream": {"url": "http://127.0.0.1:8080", "response_timeout": "60s"},
    "providers": [{"issuer": "https://idp.example.com", "client_id": "app", "algorithms": ["RS256"]}],
    "session": {"bind": [{"from": "token", "cookie": "id_token"}]},
}
# Lists that are empty by default and show entries in the example, and what has no default at all.
SHOWN = {
    "providers",
    "upstream.url",
    "session.credentials",
    "session.bind",
    "enforcement.routes",
    "logout.app_paths",
    "receivers.security_events",
    "receivers.global_token_revocation",
}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema()


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    return loaded


def _errors(schema: dict[str, Any], value: object) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(value)]


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        yield key
        for inner in _models(field.annotation):
            yield from _keys(inner, f"{key}.")


def _keys_of_example(value: object, prefix: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{prefix}{key}"
            yield from _keys_of_example(inner, f"{prefix}{key}.")
    elif isinstance(value, list):
        for inner in value:
            yield from _keys_of_example(inner, prefix)


def test_the_schema_is_a_schema(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


def test_the_example_names_its_schema_first() -> None:
    assert EXAMPLE.read_text().startswith("# yaml-language-server: $schema=")


def test_every_key_of_the_models_is_in_the_example_and_no_other(example: dict[str, Any]) -> None:
    assert set(_keys_of_example(example)) == set(_keys(Config))


def test_every_key_of_the_example_has_a_sentence_above_it() -> None:
    lines = EXAMPLE.read_text().splitlines()
    bare = [
        line
        for before, line in itertools.pairwise(lines)
        if line.strip() and not line.lstrip().startswith("#") and not before.lstrip().startswith("#")
    ]
    assert bare == []


def test_the_example_is_valid_by_model_and_by_schema(schema: dict[str, Any], example: dict[str, Any]) -> None:
    assert load_all(str(EXAMPLE), {}).warnings == ()
    assert _errors(schema, example) == []


def test_every_default_in_the_example_is_the_default_of_the_model(example: dict[str, Any]) -> None:
    sections = ("session", "enforcement", "receivers", "logout")
    needed = {"upstream": {"url": example["upstream"]["url"]}, **{section: {} for section in sections}}
    needed["providers"] = [{key: example["providers"][0][key] for key in ("issuer", "client_id")}]
    for path in SHOWN - {"providers", "upstream.url"}:
        section, key = path.split(".")
        entries = example[section][key]
        needed[section][key] = [{k: v for k, v in entry.items() if v not in (None, [])} for entry in entries]
    assert Config.model_validate(needed) == load_all(str(EXAMPLE), {}).config


def test_every_property_of_the_schema_has_a_description(schema: dict[str, Any]) -> None:
    sections = {"": schema, **schema["$defs"]}
    bare = [
        f"{name}.{key}"
        for name, section in sections.items()
        for key, entry in section.get("properties", {}).items()
        if not (entry.get("description") or schema["$defs"][entry["$ref"].rpartition("/")[2]].get("description"))
    ]
    assert bare == []


def test_defaults_in_the_schema_are_spelled_as_in_the_file(schema: dict[str, Any]) -> None:
    definitions = schema["$defs"]
    assert definitions["UpstreamSettings"]["properties"]["keepalive"]["default"] == "1500ms"
    assert schema["properties"]["listen"]["default"] == "0.0.0.0:4180"
    assert definitions["StoreSettings"]["properties"]["url"]["default"].startswith("sqlite:////")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"listen": "${ADDRESS}"},
        {"log": {"access": "${ACCESS:-true}", "level": "${LEVEL}"}},
        {"log": {"access_sample": 0, "traceparent": "create"}},
        {"log": {"access_sample": "${SHARE:-0.1}"}},
        {"limits": {"connections": "${N}", "head_bytes": "${SIZE}", "head_timeout": "${T:-10s}"}},
        {"trusted_proxies": ["10.0.0.0/8", "::1/128", "${NETWORK}"]},
        {"public_url": None},
        {"store": {"secret": {"file": "/x"}, "url": "redis://h"}},
        {"providers": [{"issuer": "https://a", "client_id": ["a", "b"]}]},
        {"limits": {"head_bytes": 65536}},
    ],
)
def test_the_schema_accepts_what_the_loader_accepts(schema: dict[str, Any], change: dict[str, Any]) -> None:
    assert _errors(schema, {**CONTRACT, **change}) == []


@pytest.mark.parametrize(
    "change",
    [
        {"listne": "a:1"},
        {"listen": 4180},
        {"ops": None},
        {"log": {"access": "yes"}},
        {"log": {"level": "loud"}},
        {"log": {"access_sample": 2}},
        {"limits": {"head_timeout": 10}},
        {"limits": {"head_timeout": "10sec"}},
        {"limits": {"connections": "many"}},
        {"store": {"secret": "hunter2"}},
        {"providers": []},
        {"providers": [{"client_id": "a"}]},
        {"providers": [{"issuer": "https://a", "client_id": "a", "algorithms": ["none"]}]},
        {"session": {"bind": [{"from": "guess"}]}},
        {"upstream": {}},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(schema: dict[str, Any], change: dict[str, Any]) -> None:
    assert _errors(schema, {**CONTRACT, **change}) != []


def test_a_file_with_every_kind_of_setting_loads_into_typed_values(tmp_path: Path) -> None:
    (tmp_path / "client").write_text("client secret of the app\n")
    (tmp_path / "digest").write_text("sixteen bytes or more\n")
    path = tmp_path / "config.yaml"
    path.write_text(f"""
listen: 0.0.0.0:4180
public_url: https://app.example.com/
upstream: {{url: "unix:/run/app.sock", response_timeout: 60s}}
control: {{prefix: /_sidecar, relay_listen: 127.0.0.1:4183}}
trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]
providers:
  - issuer: https://idp.example.com/realms/acme
    client_id: [legacy-app, other]
    algorithms: [RS256, HS256]
    client_secret: {{file: {tmp_path}/client}}
    logout_token: {{leeway: 60s, max_age: 24h, unavailable_status: 503}}
session:
  credentials: [{{cookie: JSESSIONID}}, {{path_parameter: jsessionid}}]
  max_age: 12h
  bind:
    - {{from: token, cookie: id_token}}
    - {{from: token_endpoint, callback: /oidc/callback}}
enforcement: {{login_url: /login, routes: [{{path: /static/*, action: allow}}]}}
store: {{url: rediss://redis:6380/1, secret: {{file: {tmp_path}/digest}}, fresh: 1s, grace: 3s}}
limits: {{head_bytes: 64KiB, header_count: 128, head_timeout: 10s, idle_timeout: 75s}}
""")
    config = load_all(str(path), {}).config
    assert (str(config.listen), config.public_url) == ("0.0.0.0:4180", "https://app.example.com")
    assert str(config.upstream.url) == "unix:/run/app.sock"
    assert [str(network) for network in config.trusted_proxies] == ["127.0.0.0/8", "10.0.0.0/8"]
    provider = config.providers[0]
    assert provider.client_id == ("legacy-app", "other")
    assert provider.client_secret is not None
    assert provider.client_secret.reveal() == b"client secret of the app"
    assert (provider.logout_token.max_age, provider.logout_token.unavailable_status) == (86400.0, 503)
    assert [(each.carrier, each.name) for each in config.session.credentials] == [
        ("cookie", "JSESSIONID"),
        ("path_parameter", "jsessionid"),
    ]
    assert [binder.from_ for binder in config.session.bind] == ["token", "token_endpoint"]
    assert (config.store.url.kind, config.store.fresh, config.limits.head_bytes) == ("redis", 1.0, 65536)
    with pytest.raises(ValueError, match="frozen"):
        config.listen = config.ops.listen
