"""What the values may be: the schema follows the configuration, and a wrong value ends the installation with words."""

import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from chart_helm import CHART, ROOT, helm, template

from sidecar import __version__

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def test_the_schema_is_up_to_date() -> None:
    made = runpy.run_path(str(ROOT / "helm/schema/make.py"))["values_schema"]()
    assert made == SCHEMA, "run: make chart-schema"


def test_the_schema_is_one_of_draft_7_and_needs_nothing_else() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    pointers = {value for value in _values_of("$ref", SCHEMA) if isinstance(value, str)}
    assert {pointer.removeprefix("#/definitions/") for pointer in pointers} <= SCHEMA["definitions"].keys()


def _values_of(key: str, schema: Any) -> Iterator[Any]:
    if isinstance(schema, dict):
        yield from (value for name, value in schema.items() if name == key)
        yield from (found for value in schema.values() for found in _values_of(key, value))
    elif isinstance(schema, list):
        yield from (found for value in schema for found in _values_of(key, value))


def test_the_schema_accepts_every_setting_that_there_is() -> None:
    example = yaml.safe_load((ROOT / "config.example.yaml").read_text())
    jsonschema.Draft7Validator(SCHEMA).validate(VALUES | {"config": example})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(SCHEMA).validate(VALUES | {"config": example | {"listne": "x"}})


def _keys(values: dict[str, Any], schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """Where values and schema do not have the same keys."""
    known = schema.get("properties")
    if known is None or path == "config.":  # the sidecar's own, see config.example.yaml
        return
    yield from (f"{path}{key}" for key in values.keys() ^ known.keys())
    for key in values.keys() & known.keys():
        if isinstance(values[key], dict):
            yield from _keys(values[key], known[key], f"{path}{key}.")


def test_every_value_is_written_down_with_its_default() -> None:
    assert sorted(_keys(VALUES, SCHEMA)) == ["enabled", "global", "injector.affinity"]


def test_the_chart_is_of_the_same_version() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == __version__


REFUSED = [
    ("config.upstrem.url=x", "config: Additional property upstrem is not allowed"),
    ("config.providers[0].isuer=x", "config.providers.0: Additional property isuer is not allowed"),
    (
        "config.session.bind[0].from=cookie",
        'one of the following: "form_post", "header", "keycloak_code", "token"',
    ),
    ("config.session.bind[0].calback=/x", "config.session.bind.0: Additional property calback is not allowed"),
    ("config.log.level=loud", '"debug", "info", "warning", "error"'),
    ("config.drain.delay=5", "config.drain.delay: Invalid type. Expected: string, given: integer"),
    ("config.store.secret=0123456789abcdef", "config.store.secret: Invalid type. Expected: object"),
    ("app.prot=80", "app: Additional property prot is not allowed"),
    ("mode=sidecar", '"app", "resources", "none"'),
    ("config.listen=unix:/run/app.sock", "config.listen: the chart has to know the port"),
    ("config.listen=127.0.0.1:4180", "is reached from inside the pod only"),
    ("config.ops.listen=localhost:4181", "is reached from inside the pod only"),
    ("config.drain.delay=${DELAY}", "config.drain.delay: the chart computes the grace period"),
    ("terminationGracePeriodSeconds=30", "the drain needs 40"),
    ("replicas=2", "2 pods with SQLite would not hear of each other's logouts"),
    ("app.image=", "app.image: which image is the app?"),
    ("app.port=4180", "app.port: the sidecar listens on 4180 as well"),
    ("app.port=4181", "app.port: the sidecar listens on 4181 as well"),
    ("redis.url=redis://a,config.store.url=redis://b", "redis.url and config.store.url: say it once"),
    ("redis.existingSecret=a,config.store.password.env=B", "redis.existingSecret and config.store.password"),
    ("digestKey.existingSecret=a,config.store.secret.env=B", "digestKey.existingSecret and config.store.secret"),
    ("ingress.enabled=true", "ingress.host: under which name"),
    ("httpRoute.enabled=true", "httpRoute.parentRefs: which Gateway"),
    ("mode=resources", "podSelector: name the labels"),
    ("injector.enabled=true,injector.certificate.source=existingSecret", "existingSecret and caBundle belong together"),
    ("injector.enabled=true,injector.certificate.source=certManager", "which issuer of cert-manager makes it?"),
]


@pytest.mark.parametrize(("change", "said"), REFUSED, ids=[change for change, _ in REFUSED])
def test_a_wrong_value_ends_the_installation_with_words(change: str, said: str) -> None:
    result = template("minimal", "--set", change)
    assert result.returncode != 0
    assert said in result.stderr


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "config.providers: name at least one provider"),
        ({"providers": [{"issuer": "https://a", "client_id": "b"}]}, "config.session.bind: say how a session is"),
    ],
)
def test_what_is_needed_and_missing_is_asked_for_with_an_example(
    config: dict[str, Any], said: str, tmp_path: Path
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"config": config}))
    result = helm("template", "demo", str(CHART), "-f", str(values))
    assert result.returncode != 0
    assert said in result.stderr


def test_what_is_refused_is_otherwise_fine() -> None:
    assert template("minimal").returncode == 0


def test_the_chart_holds_no_file_that_the_package_must_not_have() -> None:
    ignored = (CHART / ".helmignore").read_text().splitlines()
    assert "ci/" in ignored
    assert {Path(name).name for name in ("Chart.yaml", "values.yaml")} <= {path.name for path in CHART.iterdir()}
