"""Whole streams: real-world manifests in, valid manifests out, everything else as it came.

Snapshots are in `snapshots/`; `LOGOUT_SIDECAR_SNAPSHOTS=write` in the environment writes them anew, to be reviewed.
"""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kube_pods import FOLDER, MANIFESTS, MINORS, container, ours, patched, pod, restricted, spec, valid

from sidecar.config.process_settings import DrainSettings
from sidecar.kube.container import pre_stop_seconds
from sidecar.kube.documents import read, split, written
from sidecar.kube.embed import Embedded, applied
from sidecar.kube.settings import DEFAULTS, Settings, configured
from sidecar.kube.stream import Report, transform

DEFAULT = configured(DEFAULTS, {"image": "registry.example.com/logout-sidecar:1.0"})
ROOT = Path(__file__).parents[2]

every_manifest = pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)


def made(text: str, **arguments: Any) -> Report:
    return transform(text, **{"file": "app.yaml", "defaults": DEFAULT} | arguments)


def objects(text: str) -> list[dict[str, Any]]:
    documents = [each.value for each in read(text, "f") if each.value]
    return [item for each in documents for item in (each["items"] if each["kind"] == "List" else [each])]


def pod_spec(document: dict[str, Any]) -> dict[str, Any] | None:
    match document["kind"]:
        case "Pod":
            return document["spec"]  # type: ignore[no-any-return]
        case "CronJob":
            return document["spec"]["jobTemplate"]["spec"]["template"]["spec"]  # type: ignore[no-any-return]
        case "Deployment" | "StatefulSet":
            return document["spec"]["template"]["spec"]  # type: ignore[no-any-return]
        case _:
            return None


def deployment(name: str, pod_template: dict[str, Any], **fields: Any) -> dict[str, Any]:
    template = {"metadata": {**pod_template["metadata"]}, "spec": pod_template["spec"]}
    template["metadata"].pop("name", None)
    made = {"selector": {"matchLabels": {"app": "a"}}, "template": template, **fields}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": made}


def service(*ports: dict[str, Any], selector: dict[str, str] | None = None, **metadata: str) -> dict[str, Any]:
    fields = {"selector": {"app": "a"} if selector is None else selector, "ports": list(ports)}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", **metadata}, "spec": fields}


def stream(*documents: dict[str, Any]) -> str:
    return "".join(written(each) for each in documents)


# Manifests as people have them


@every_manifest
@pytest.mark.parametrize("minor", MINORS)
def test_the_result_is_valid_for_kubernetes(path: Path, minor: str) -> None:
    report = made(path.read_text())
    assert report.problems == ()
    for each in objects(report.output):
        valid(each, minor)


@every_manifest
def test_every_workload_has_a_sidecar_of_the_restricted_profile(path: Path) -> None:
    specs = [found for each in objects(made(path.read_text()).output) if (found := pod_spec(each))]
    assert specs
    assert [restricted(ours(each)) for each in specs] == [[]] * len(specs)


@every_manifest
def test_the_result_is_the_snapshot(path: Path) -> None:
    report = made(path.read_text(), file=path.name)
    found = report.output + "".join(f"# {note}\n" for note in report.notes)
    snapshot = FOLDER / "snapshots" / path.name
    if os.environ.get("LOGOUT_SIDECAR_SNAPSHOTS") == "write":
        snapshot.write_text(found)
    assert found == snapshot.read_text()


@every_manifest
def test_injecting_the_result_changes_nothing_any_more(path: Path) -> None:
    once = made(path.read_text()).output
    assert made(once).output == once


@every_manifest
def test_the_patch_leads_to_the_same_result(path: Path) -> None:
    whole = {(each["kind"], each["metadata"]["name"]): each for each in objects(made(path.read_text()).output)}
    (component,) = objects(made(path.read_text(), as_patch=True).output)
    patches = {(each["target"]["kind"], each["target"]["name"]): each for each in component["patches"]}
    assert patches
    for each in objects(path.read_text()):
        key = each["kind"], each["metadata"]["name"]
        operations = yaml.safe_load(patches[key]["patch"]) if key in patches else []
        assert patched(each, operations) == whole[key]


@every_manifest
def test_documents_that_do_not_change_leave_byte_for_byte(path: Path) -> None:
    text = path.read_text()
    before, after = list(split(text)), list(split(made(text).output))
    for one, other in zip(before, after, strict=True):
        changes = "Service\n" in one or "logout-sidecar.io/enabled" in one
        assert changes or one == other


def test_there_is_a_document_that_leaves_as_it_came() -> None:
    text = (FOLDER / "manifests/portal.yaml").read_text()
    assert made(text).output.endswith(text[text.index("---\napiVersion: networking") :])


def test_crlf_survives_where_nothing_changes() -> None:
    other = "---\r\napiVersion: v1\r\nkind: ConfigMap # mine\r\nmetadata: {name: x}\r\n"
    assert other in made(stream(pod(spec())) + other).output


# Services


@pytest.mark.parametrize(
    ("port", "target"),
    [
        ({"port": 80, "targetPort": 8080}, 4180),
        ({"port": 80, "targetPort": "http"}, 4180),
        ({"port": 8080}, 4180),
        ({"port": 8080, "targetPort": None}, 4180),
        ({"port": 8080, "protocol": "UDP"}, None),
        ({"port": 80, "targetPort": 9000}, 9000),
        ({"port": 80, "targetPort": "admin"}, "admin"),
        ({"port": 80}, None),
    ],
)
def test_a_service_that_leads_to_the_app_is_led_to_the_sidecar(port: dict[str, Any], target: object) -> None:
    app = pod(spec(container("app", {"name": "http", "containerPort": 8080})))
    found = objects(made(stream(service(port), app)).output)[0]
    assert found["spec"]["ports"][0].get("targetPort") == target


@pytest.mark.parametrize(
    "other",
    [
        service({"port": 8080}, selector={"app": "b"}),
        service({"port": 8080}, selector={"app": "a", "tier": "b"}),
        service({"port": 8080}, selector={}),
        service({"port": 8080}, namespace="elsewhere"),
        {**service({"port": 8080}), "apiVersion": "serving.knative.dev/v1"},
    ],
)
def test_a_service_of_others_stays(other: dict[str, Any]) -> None:
    report = made(stream(other, pod(spec())))
    assert objects(report.output)[0] == other
    assert any("no Service in this stream leads to it; set its targetPort to 4180" in note for note in report.notes)


def test_with_the_name_taken_over_the_service_stays() -> None:
    app = pod(spec(container("app", {"name": "http", "containerPort": 8080})), port_name="http")
    given = service({"port": 80, "targetPort": "http"})
    report = made(stream(given, app))
    assert objects(report.output)[0] == given
    assert not any("no Service" in note for note in report.notes)
    assert any("1.33" in note for note in report.notes)


@pytest.mark.parametrize("odd", [{}, {"spec": None}, {"spec": {"selector": {"app": "a"}, "ports": 80}}])
def test_a_broken_service_is_refused_by_name(odd: dict[str, Any]) -> None:
    (problem,) = made(
        stream(pod(spec()), {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, **odd})
    ).problems
    assert problem.reason == "malformed"
    assert str(problem).startswith("app.yaml: document 2: Service/s: ")


# Who is injected


def plain(name: str) -> dict[str, Any]:
    return deployment(name, {"metadata": {"labels": {"app": "a"}}, "spec": spec()})


def test_a_workload_can_be_chosen_by_its_name() -> None:
    text = stream(plain("one"), plain("two"))
    one, two = objects(made(text, chosen=["Deployment/one"]).output)
    assert pod_spec(one) != spec()
    assert pod_spec(two) == spec()


@pytest.mark.parametrize(
    ("text", "chosen", "reason"),
    [
        (stream(plain("one")), [], "nothing_selected"),
        ("", [], "nothing_selected"),
        ("# nothing\n", [], "nothing_selected"),
        ("just text", [], "nothing_selected"),
        ("[1, 2]", [], "nothing_selected"),
        ("apiVersion: 1\nkind: 2\n", [], "nothing_selected"),
        ("apiVersion: v1\nkind: List\nitems: [1, null]\n", [], "nothing_selected"),
        (stream(plain("one")), ["Deployment/two"], "unknown_workload"),
        (stream(plain("one")), ["deployment/one"], "unknown_workload"),
    ],
)
def test_a_stream_in_which_nobody_asks_is_refused(text: str, chosen: list[str], reason: str) -> None:
    report = made(text, chosen=chosen)
    assert [each.reason for each in report.problems] == [reason]
    assert report.output == ""


def test_a_stream_in_which_somebody_says_no_passes_as_it_is() -> None:
    text = stream(pod(spec(), enabled="false"))
    report = made(text)
    assert (report.output, report.problems) == (text, ())
    assert report.notes == ("app.yaml: document 1: Pod/a: skipped (disabled)",)


def test_one_refusal_and_there_is_no_output_but_every_refusal_is_told() -> None:
    report = made(stream(pod(spec()), pod(spec(hostNetwork=True)), pod(spec(container("a", 4180)))))
    assert report.output == ""
    assert [each.reason for each in report.problems] == ["host_network", "port_clash"]
    assert str(report.problems[0]).startswith("app.yaml: document 2: Pod/a: hostNetwork")


def test_annotations_at_the_workload_are_refused_with_the_right_place() -> None:
    misplaced = plain("one")
    misplaced["metadata"]["annotations"] = {"logout-sidecar.io/enabled": "true"}
    (problem,) = made(stream(misplaced)).problems
    assert problem.reason == "misplaced_annotation"
    assert "spec.template.metadata.annotations" in str(problem)


@pytest.mark.parametrize(
    "odd", [{}, {"spec": {}}, {"spec": {"template": None}}, {"spec": []}, {"spec": {"template": 1}}]
)
def test_a_workload_without_pods_is_refused(odd: dict[str, Any]) -> None:
    (problem,) = made(
        stream({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, **odd})
    ).problems
    assert problem.reason == "malformed"


@pytest.mark.parametrize("version", ["example.com/v1", "v1"])
def test_a_kind_of_another_group_passes(version: str) -> None:
    other = {**plain("one"), "apiVersion": version}
    other["spec"]["template"]["metadata"]["annotations"] = {"logout-sidecar.io/enabled": "true"}
    text = stream(other, pod(spec()))
    assert made(text).output.startswith(stream(other))


# The configuration

SQLITE = Embedded("a: 1\n", listen_port=8000, ops_port=8001, is_sqlite=True)


def test_the_configuration_becomes_a_config_map_in_each_namespace() -> None:
    elsewhere = pod(spec())
    elsewhere["metadata"] |= {"namespace": "b", "name": "c"}
    report = made(stream(pod(spec()), pod(spec()), elsewhere), defaults=applied(DEFAULT, SQLITE), embedded=SQLITE)
    maps = objects(report.output)[3:]
    assert [(each["kind"], each["metadata"].get("namespace")) for each in maps] == [
        ("ConfigMap", None),
        ("ConfigMap", "b"),
    ]
    assert maps[0]["data"] == {"sidecar.yaml": "a: 1\n"}
    for minor in MINORS:
        valid(maps[1], minor)


def test_its_hash_stands_at_the_pods_so_that_a_change_rolls_out() -> None:
    def hash_of(text: str) -> str:
        configuration = Embedded(text)
        report = made(stream(pod(spec())), defaults=applied(DEFAULT, configuration), embedded=configuration)
        workload, config_map = objects(report.output)
        hashes = {each["metadata"]["annotations"]["logout-sidecar.io/config-hash"] for each in (workload, config_map)}
        (only,) = hashes
        return str(only)

    assert hash_of("a: 1\n") == hash_of("a: 1\n") != hash_of("a: 2\n")


def test_a_workload_with_a_configuration_of_its_own_brings_no_config_map() -> None:
    report = made(stream(pod(spec(), config="mine")), defaults=applied(DEFAULT, SQLITE), embedded=SQLITE)
    assert [each["kind"] for each in objects(report.output)] == ["Pod"]


def test_the_ports_of_the_configuration_are_those_of_the_container() -> None:
    report = made(stream(pod(spec())), defaults=applied(DEFAULT, SQLITE), embedded=SQLITE)
    ports = ours(objects(report.output)[0]["spec"])["ports"]
    assert [each["containerPort"] for each in ports] == [8000, 8001]


@pytest.mark.parametrize(("replicas", "problems"), [(None, []), (0, []), (1, []), (2, ["store_not_shared"])])
def test_replicas_that_share_no_store_are_refused(replicas: int | None, problems: list[str]) -> None:
    workload = deployment("d", pod(spec()), replicas=replicas)
    report = made(stream(workload), defaults=applied(DEFAULT, SQLITE), embedded=SQLITE)
    assert [each.reason for each in report.problems] == problems


@pytest.mark.parametrize(
    ("drain_s", "mode", "grace", "is_said"),
    [
        (24, {}, None, False),  # the defaults
        (24, {"mode": "classic"}, None, False),
        (29.5, {}, None, False),
        (29.5, {"mode": "classic"}, None, True),
        (29.5, {"mode": "classic", "pre_stop": "none"}, None, False),
        (31, {}, None, True),
        (31, {}, 31, False),
        (24, {}, 10, True),
    ],
)
def test_a_grace_period_that_is_too_short_is_told(
    drain_s: float, mode: dict[str, str], grace: int | None, is_said: bool
) -> None:
    more = {} if grace is None else {"terminationGracePeriodSeconds": grace}
    configuration = Embedded("a: 1\n", drain_s=drain_s)
    text = stream(pod(spec(**more), **mode))
    notes = made(text, defaults=applied(DEFAULT, configuration), embedded=configuration).notes
    assert any("terminationGracePeriodSeconds is" in note for note in notes) == is_said


def test_the_default_drain_fits_into_the_usual_grace_period() -> None:
    drain = DrainSettings()
    assert drain.delay + drain.timeout + 1 + pre_stop_seconds(Settings(native=False)) <= 30


def autoscaler(name: str, most: int, **metadata: str) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, **metadata},
        "spec": {"scaleTargetRef": target, "maxReplicas": most},
    }


@pytest.mark.parametrize(
    ("other", "problems"),
    [
        (autoscaler("d", 3), ["store_not_shared"]),
        (autoscaler("d", 1), []),
        (autoscaler("e", 3), []),
        (autoscaler("d", 3, namespace="elsewhere"), []),
        ({**autoscaler("d", 3), "spec": None}, []),
    ],
)
def test_an_autoscaler_makes_replicas_too(other: dict[str, Any], problems: list[str]) -> None:
    text = stream(deployment("d", pod(spec()), replicas=1), other)
    report = made(text, defaults=applied(DEFAULT, SQLITE), embedded=SQLITE)
    assert [each.reason for each in report.problems] == problems


def test_a_pod_on_each_node_is_several() -> None:
    workload = {**deployment("d", pod(spec())), "kind": "DaemonSet"}
    report = made(stream(workload), defaults=applied(DEFAULT, SQLITE), embedded=SQLITE)
    assert [each.reason for each in report.problems] == ["store_not_shared"]


def test_the_same_input_gives_the_same_output() -> None:
    text = "".join(path.read_text() + "\n---\n" for path in MANIFESTS)
    assert made(text) == made(text)


def test_the_embedded_configuration_does_not_leak_into_other_settings() -> None:
    assert applied(Settings(), Embedded("x")).listen_port == 4180


# The page


def test_every_manifest_of_the_page_is_valid() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs/kubernetes.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2
    for text in blocks:
        for minor in MINORS:
            valid(yaml.safe_load(text), minor)


def test_every_reason_is_explained() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "sidecar/kube").glob("*.py"))
    reasons = set(re.findall(r'(?:Refused|BadReview)\(\s*"(\w+)"', sources))
    reasons |= set(re.findall(r'^    [A-Z_]+ = "(\w+)"$', (ROOT / "sidecar/kube/outcome.py").read_text(), re.MULTILINE))
    section = (ROOT / "docs/operations.md").read_text().partition("## Injection\n")[2].partition("\n## ")[0]
    explained = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.+?) \|", section, re.MULTILINE))))
    assert len(reasons) > 30
    assert reasons - explained == set()
    assert explained - reasons <= {"too_large"}
