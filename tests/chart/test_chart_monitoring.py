"""Alerts and dashboard: every expression uses metrics and labels that exist, every link resolves, every alert can fire.

Prometheus itself (promtool) checks the rules and plays a series of samples for each of them.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_helm import CHART, ROOT, one, rendered
from prometheus_client import Metric

from sidecar import metrics
from sidecar.gate.counts import Counts
from sidecar.proxy.stats import Stats

ALERTS = CHART / "files/alerts.yaml"
RULES: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((CHART / "files/dashboard.json").read_text())
OPERATIONS = (ROOT / "docs/operations.md").read_text()

# Labels that Prometheus adds, and those of its functions.
ADDED = {"namespace", "pod", "container", "le"}


def exported() -> dict[str, set[str]]:
    """Every name that a scrape has, with its labels as docs/operations.md lists them (a test holds it to the code)."""
    labels = dict(re.findall(r"^\| `(\w+)` \| (.*?) ?\| ", OPERATIONS, re.MULTILINE))
    families: list[Metric] = [*metrics.registry.collect(), *Stats().collect(), *Counts().collect()]
    names = {}
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        known = set(re.findall(r"`(\w+)`", labels.get(name, "")))
        suffixes = ("_bucket", "_sum", "_count") if family.type == "histogram" else ("",)
        names |= {name + suffix: known for suffix in suffixes}
    return names


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    yield from ((rule["alert"], rule["expr"]) for rule in RULES)
    yield from ((panel["title"], target["expr"]) for panel in panels() for target in panel["targets"])
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]


def unknown(expression: str) -> set[str]:
    """Metrics and labels in an expression that nothing exports."""
    names = exported()
    used = set(re.findall(r"\b(?:logout_sidecar|process)_\w+", expression))
    known = ADDED.union(*(names.get(name, set()) for name in used))
    labels = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", expression))
    labels |= {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")}
    return (used - names.keys()) | (labels - known)


@pytest.mark.parametrize(("place", "expression"), list(expressions()))
def test_every_expression_uses_what_there_is(place: str, expression: str) -> None:
    assert re.search(r"logout_sidecar_|process_", expression), place
    assert unknown(expression) == set(), place


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("rate(logout_sidecar_logins[5m])", {"logout_sidecar_logins"}),
        ('sum by (pod, binder) (logout_sidecar_logins_total{result="x"})', {"binder", "result"}),
        ("logout_sidecar_logout_request_duration_seconds", {"logout_sidecar_logout_request_duration_seconds"}),
    ],
)
def test_an_expression_without_anything_behind_it_would_be_found(expression: str, found: set[str]) -> None:
    assert unknown(expression) == found


# Alerts


def anchors() -> set[str]:
    return {heading.lower() for heading in re.findall(r"^#### (\w+)$", OPERATIONS, re.MULTILINE)}


def test_every_alert_leads_to_its_own_lines_and_every_such_line_is_of_an_alert() -> None:
    links = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in RULES}
    assert links == {name: f"docs/operations.md#{name.lower()}" for name in links}
    assert {name.lower() for name in links} == anchors()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_where_and_how_bad(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert "{{ $labels.namespace }}/{{ $labels.pod }}" in rule["annotations"]["summary"]


def test_the_chart_takes_over_every_rule_with_links_to_where_the_page_is() -> None:
    rules = one(rendered("full"), "PrometheusRule")["spec"]["groups"][0]["rules"]
    assert [rule["alert"] for rule in rules] == [rule["alert"] for rule in RULES]
    assert [rule["expr"] for rule in rules] == [rule["expr"] for rule in RULES]
    base = "https://git.example.com/logout-sidecar/docs/operations.md#"
    assert all(rule["annotations"]["runbook_url"].startswith(base) for rule in rules)


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


def test_prometheus_understands_the_rules() -> None:
    result = promtool("check", "rules", str(ALERTS))
    assert result.returncode == 0, result.stderr
    assert f"{len(RULES)} rules found" in result.stdout


# Samples for each alert that make it fire, and those of the same series when all is well. `0+1x300`: one a minute.
# The clock of promtool begins at 0, so that a timestamp of 1 is as old as the test is long: five hours.
FIRING = {
    "LogoutSidecarFailingOpen": [('auth_decisions_total{decision="failed_open"}', "0+1x300", "5x300")],
    "LogoutSidecarRefusingSessions": [('auth_decisions_total{decision="replica_stale"}', "0+1x300", "5x300")],
    "LogoutSidecarNotEnforcing": [("enforcing", "0x300", "1x300")],
    "LogoutSidecarStoreDown": [("store_up", "0x300", "1x300")],
    "LogoutSidecarReplicaStale": [("replica_age_seconds", "30x300", "1x300")],
    "LogoutSidecarLogoutsWaiting": [("outbox_length", "2x300", "0x300")],
    "LogoutSidecarProviderLogoutsFailing": [
        ('provider_logouts_total{outcome="forbidden"}', "0+1x300", "1x300"),
        ('provider_logouts_total{outcome="ended"}', "1x300", "0+1x300"),
        ('provider_logouts_total{outcome="gone"}', "1x300", "0+1x300"),
    ],
    "LogoutSidecarProviderChecksFailing": [
        ('provider_checks_total{standing="broken"}', "0+1x300", "1x300"),
        ('provider_checks_total{standing="alive"}', "1x300", "0+1x300"),
        ('provider_checks_total{standing="expired"}', "1x300", "0+1x300"),
    ],
    "LogoutSidecarLogoutsRefused": [
        ('logout_tokens_total{result="rejected",reason="expired"}', "0+1x300", "1x300"),
        ('logout_tokens_total{result="accepted",reason="ok"}', "1x300", "0+1x300"),
    ],
    "LogoutSidecarLogoutsSlow": [
        ('logout_request_duration_seconds_bucket{le="0.1"}', "0x300", "0+1x300"),
        ('logout_request_duration_seconds_bucket{le="1"}', "0+1x300", "0+1x300"),
        ('logout_request_duration_seconds_bucket{le="+Inf"}', "0+1x300", "0+1x300"),
    ],
    "LogoutSidecarKeysFailing": [
        ('jwks_fetches_total{provider="p",outcome="timeout"}', "0+1x300", "0+1x300"),
        ('jwks_fetches_total{provider="p",outcome="ok"}', "3x300", "0+1x300"),
    ],
    "LogoutSidecarKeysStale": [('jwks_last_success_timestamp_seconds{provider="p"}', "1x300", "1+60x300")],
    "LogoutSidecarLoginsNotBound": [
        ('logins_total{outcome="unjoined"}', "0+1x300", "1x300"),
        ('logins_total{outcome="joined"}', "1x300", "0+1x300"),
    ],
    "LogoutSidecarAppFailing": [
        ('upstream_errors_total{reason="upstream_unreachable"}', "0+1x300", "0+1x300"),
        ('http_requests_total{method="GET",code="502"}', "0+10x300", "0+100x300"),
    ],
    "LogoutSidecarCertificateExpires": [("tls_certificate_expiry_timestamp_seconds", "100000x300", "0x300")],
    "LogoutSidecarCertificateRefused": [
        ('tls_certificate_reloads_total{result="key_mismatch"}', "0+1x300", "1x300"),
        ('tls_certificate_reloads_total{result="ok"}', "1x300", "0+1x300"),
    ],
    "LogoutSidecarWorkersMissing": [("workers", "4x300", "4x300"), ("workers_ready", "3x300", "4x300")],
    "LogoutSidecarConfigRefused": [("config_differs", "1x300", "0x300")],
    "LogoutSidecarAppExposed": [
        ('upstream_exposed{accepted="false"}', "1x300", "0x300"),
        ('upstream_exposed{accepted="true"}', "1x300", "1x300"),
    ],
    "LogoutSidecarWorkersKilled": [('workers_killed_total{reason="silent"}', "0+1x300", "3x300")],
}


def series(name: str, samples: str) -> dict[str, str]:
    metric, _, labels = name.rstrip("}").partition("{")
    where = ",".join(filter(None, ['namespace="web",pod="a"', labels]))
    return {"series": f"{metrics.PREFIX}_{metric}{{{where}}}", "values": samples}


def played(folder: Path, column: int, fire: Iterable[str]) -> str:
    """What promtool objects to: five hours of samples came in, and these alerts fire."""
    test = {
        "interval": "1m",
        "input_series": [series(row[0], row[column]) for rows in FIRING.values() for row in rows],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (count by (alertname) (ALERTS{alertstate="firing"}))',
                "eval_time": "5h",
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in fire],
            }
        ],
    }
    file = folder / "alerts.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [test]}))
    result = promtool("test", "rules", str(file))
    return "" if result.returncode == 0 else result.stdout + result.stderr


def test_every_alert_fires_when_it_should(tmp_path: Path) -> None:
    assert played(tmp_path, 1, (rule["alert"] for rule in RULES)) == ""


def test_no_alert_fires_when_all_is_well(tmp_path: Path) -> None:
    assert played(tmp_path, 2, ()) == ""


def test_an_alert_that_does_not_fire_or_fires_for_nothing_would_be_found(tmp_path: Path) -> None:
    assert "LogoutSidecarStoreDown" in played(tmp_path, 2, ["LogoutSidecarStoreDown"])
    assert "LogoutSidecarStoreDown" in played(tmp_path, 1, ())


# Dashboard


def test_every_panel_has_a_place_of_its_own_and_says_what_it_shows() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in DASHBOARD["panels"])
    assert [panel["title"] for panel in panels() if not panel["targets"]] == []


def test_every_panel_asks_for_the_chosen_pods_only() -> None:
    for panel in panels():
        for target in panel["targets"]:
            selected = re.findall(r"(?:logout_sidecar|process)_\w+\{([^}]*)\}", target["expr"])
            assert selected, panel["title"]
            assert all('namespace=~"$namespace", pod=~"$pod"' in each for each in selected), panel["title"]


def test_prometheus_understands_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(target["expr"] for panel in panels() for target in panel["targets"])
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    result = promtool("check", "rules", str(file))
    assert result.returncode == 0, result.stderr


def test_the_chart_delivers_the_dashboard_as_it_is() -> None:
    document = one(rendered("resources"), "ConfigMap", "-dashboard")
    assert json.loads(document["data"]["logout-sidecar.json"]) == DASHBOARD
    assert document["metadata"]["labels"]["grafana_dashboard"] == "1"
