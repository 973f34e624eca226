"""Settings from annotations: every name, every form, and no typo that passes."""

import re
from pathlib import Path

import pytest

from sidecar.kube.outcome import Refused
from sidecar.kube.settings import DEFAULTS, NAMES, Settings, annotated, configured

DOCS = Path(__file__).parents[2] / "docs"

GOOD = [
    ("config", "my.config-1", {"config": "my.config-1"}),
    ("config-key", "Sidecar_1.yaml", {"config_key": "Sidecar_1.yaml"}),
    ("app-container", "web", {"app_container": "web"}),
    ("app-port", "8080", {"app_port": 8080}),
    ("app-port", " 8080 ", {"app_port": 8080}),
    ("app-port", "http", {"app_port": "http"}),
    ("port-name", "http-web", {"port_name": "http-web"}),
    ("mode", "native", {"native": True}),
    ("mode", "classic", {"native": False}),
    ("image", "registry.example.com:5000/a/b:1.0@sha256:0f", {"image": "registry.example.com:5000/a/b:1.0@sha256:0f"}),
    ("image-pull-policy", "Always", {"image_pull_policy": "Always"}),
    ("image-pull-secrets", "registry, other.one", {"image_pull_secrets": ("registry", "other.one")}),
    ("listen-port", "65535", {"listen_port": 65535}),
    ("ops-port", "1", {"ops_port": 1}),
    ("secrets", "a, b.c", {"secrets": ("a", "b.c")}),
    ("secrets", "", {"secrets": ()}),
    ("cpu-request", "0.5", {"cpu_request": "0.5"}),
    ("cpu-limit", "1500m", {"cpu_limit": "1500m"}),
    ("memory-request", "64Mi", {"memory_request": "64Mi"}),
    ("memory-limit", "none", {"memory_limit": None}),
    ("pre-stop", "exec", {"pre_stop": "exec"}),
    ("prometheus", "true", {"prometheus": True}),
]

BAD = [
    ("config", "My-Config"),
    ("config", ""),
    ("config", "a" * 254),
    ("config", "a..b"),
    ("config-key", "../etc/passwd"),
    ("config-key", ".."),
    ("config-key", "a/b"),
    ("app-container", "a.b"),
    ("app-port", "0"),
    ("app-port", "65536"),
    ("app-port", "080"),
    ("app-port", "-1"),
    ("app-port", "٨٠"),
    ("app-port", "a-name-of-16-char"),
    ("port-name", "80"),
    ("port-name", "a--b"),
    ("port-name", "HTTP"),
    ("mode", "Native"),
    ("image", "a b"),
    ("image", "-c"),
    ("image", ""),
    ("image-pull-policy", "always"),
    ("image-pull-secrets", "Registry"),
    ("listen-port", "http"),
    ("ops-port", "1e3"),
    ("secrets", "a,,b"),
    ("secrets", "a,a"),
    ("secrets", "kubernetes.io"),
    ("secrets", "../x"),
    ("secrets", ",".join(f"s{number}" for number in range(17))),
    ("cpu-request", "-1"),
    ("cpu-limit", "0"),
    ("memory-request", "64MB"),
    ("memory-limit", "lots"),
    ("pre-stop", "5"),
    ("prometheus", "yes"),
    ("config", "a\nb"),
]


@pytest.mark.parametrize(("name", "text", "changed"), GOOD)
def test_a_setting_is_read(name: str, text: str, changed: dict[str, object]) -> None:
    assert configured(DEFAULTS, {name: text}) == Settings(**changed)  # type: ignore[arg-type]


def test_every_setting_is_in_the_tables_above() -> None:
    assert {name for name, _, _ in GOOD} == set(NAMES) == {name for name, _ in BAD}


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_value_that_is_no_such_thing_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(Refused, match=rf"logout-sidecar\.io/{name}: ") as caught:
        configured(DEFAULTS, {name: text})
    assert caught.value.reason == "bad_annotation"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("app-prot", "app-port"), ("appPort", "app-port"), ("memory_limit", "memory-limit"), ("modus", "mode")],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(typo: str, meant: str) -> None:
    with pytest.raises(Refused, match=rf"did you mean logout-sidecar\.io/{meant}\?") as caught:
        annotated(DEFAULTS, {f"logout-sidecar.io/{typo}": "1"})
    assert caught.value.reason == "unknown_annotation"


def test_a_name_that_is_near_to_none_is_refused_as_well() -> None:
    with pytest.raises(Refused, match=r"docs/kubernetes\.md"):
        annotated(DEFAULTS, {"logout-sidecar.io/zzz": "1"})


def test_other_prefixes_are_none_of_our_business() -> None:
    assert (
        annotated(DEFAULTS, {"app-port": "x", "linkerd.io/app-port": "x", "logout-sidecar.iox/mode": "x"}) == DEFAULTS
    )


def test_annotations_win_over_the_defaults_of_the_front() -> None:
    defaults = configured(DEFAULTS, {"image": "ours:1", "mode": "classic"})
    assert annotated(defaults, {"logout-sidecar.io/image": "theirs:2"}) == Settings(image="theirs:2", native=False)


def test_every_annotation_is_in_the_table_of_the_page() -> None:
    rows = re.findall(r"^\| `logout-sidecar\.io/([\w-]+)` \|", (DOCS / "kubernetes.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted([*NAMES, "enabled", "status", "config-hash"])
