"""The chart for every file in ci/: lint, snapshots, the schemas of Kubernetes, and what has to hold in each of them."""

import re
import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from chart_helm import (
    CASES,
    CHART,
    NEWEST,
    SNAPSHOTS,
    Document,
    containers,
    helm,
    one,
    pod_of,
    rendered,
    snapshot,
    template,
)

from sidecar.config.load import load_all
from sidecar.config.reload import RELOADED
from sidecar.kube.container import sidecar_container, sidecar_volumes
from sidecar.kube.settings import Settings

KUBERNETES = ("1.28.0", "1.33.0", NEWEST)
FOREIGN = {"HTTPRoute", "PodMonitor", "PrometheusRule", "Certificate"}  # no schemas of these in the wheel
APPS = ("minimal", "full", "classic")

every_case = pytest.mark.parametrize("case", CASES)


@every_case
def test_helm_lint_has_nothing_to_say(case: str) -> None:
    result = helm("lint", "--strict", str(CHART), "-f", str(CHART / f"ci/{case}-values.yaml"))
    assert result.returncode == 0, result.stdout
    assert not re.search(r"WARNING|ERROR|Fail:", result.stdout + result.stderr)


@every_case
def test_the_output_is_the_one_that_was_reviewed(case: str) -> None:
    assert snapshot(case) == (SNAPSHOTS / f"{case}.yaml").read_text(), "if it is meant so: make chart-snapshots"


def test_there_is_no_snapshot_of_what_is_gone() -> None:
    assert sorted(path.stem for path in SNAPSHOTS.iterdir()) == CASES


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("case", ["minimal", "full", "injector-secret"])
def test_kubernetes_accepts_every_field(case: str, kubernetes: str) -> None:
    for document in rendered(case, kubernetes=kubernetes):
        if document["kind"] not in FOREIGN:
            kubernetes_validate.validate(document, kubernetes.removesuffix(".0"), strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    document = one(rendered("minimal"), "Service")
    document["spec"]["selecter"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, "1.33", strict=True)


# The configuration


@pytest.mark.parametrize("case", [*APPS, "resources"])
def test_the_sidecar_accepts_the_configuration_that_the_chart_writes(case: str, tmp_path: Path) -> None:
    (text,) = [each["data"]["sidecar.yaml"] for each in rendered(case) if "sidecar.yaml" in (each.get("data") or {})]
    for path in re.findall(r"/run/secrets/\S+", text):
        (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path[1:]).write_text("sixteen bytes or more")
    file = tmp_path / "sidecar.yaml"
    file.write_text(text.replace("/run/secrets/", f"{tmp_path}/run/secrets/"))
    config = load_all(str(file), {"APP_PORT": "3000"}).config
    assert str(config.upstream.url) == "http://127.0.0.1:3000"


def test_large_numbers_arrive_as_they_were_written() -> None:
    text = one(rendered("full"), "ConfigMap", "shop")["data"]["sidecar.yaml"]
    assert yaml.safe_load(text)["limits"] == {"connections": 1_000_000, "body_bytes": 1_073_741_824}


def test_another_configuration_rolls_the_pods_out_and_the_same_does_not() -> None:
    def checksum(*words: str) -> str:
        found: str = pod_of(rendered("minimal", *words))["metadata"]["annotations"]["checksum/config"]
        return found

    assert checksum() == checksum("--set", "replicas=1")
    assert checksum() != checksum("--set", "config.log.level=debug")
    hot = ("--set", "hotReload=true")
    for change in ("config.log.level=debug", "config.enforcement.action=strip", "config.providers[0].client_id=other"):
        assert checksum(*hot) == checksum(*hot, "--set", change), change
    for change in ("config.log.format=text", "config.limits.connections=5", "config.session.max_age=1h"):
        assert checksum(*hot) != checksum(*hot, "--set", change), change


EVERYTHING_RELOADED = """
hotReload: true
config:
  upstream:
    {response_timeout: 1s, connect_timeout: 1s, keepalive: 1s, max_connections: 1, queue_timeout: 1s, stall_timeout: 1s,
    tunnel_idle_timeout: 1s}
  providers:
    - issuer: https://idp.example.com/realms/acme
      client_id: other
      algorithms: [HS256]
      client_secret: {file: /run/secrets/a/b}
      logout_token: {leeway: 1s}
  session:
    profile: tomcat
    credentials: [{cookie: other}]
    unbound: deny
    bind: [{from: token, cookie: id_token}]
  enforcement: {action: strip}
  logout: {app_paths: [/out]}
  reload: {poll: 30s}
  store: {on_stale: fail_open}
  limits:
    {head_bytes: 2KiB, header_count: 9, head_timeout: 1s, idle_timeout: 1s, body_stall_timeout: 1s, body_min_rate: 1,
    body_bytes: 1}
  log: {level: debug, access: true, access_sample: 0.5, traceparent: create}
"""


def test_all_that_a_running_sidecar_takes_over_rolls_no_pod_out(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(EVERYTHING_RELOADED)
    given = yaml.safe_load(EVERYTHING_RELOADED)["config"]
    missing = {keys for keys in RELOADED if keys[0] not in given or not _has(given[keys[0]], keys[1:])}
    assert missing == set()  # or this would show less than it says
    plain = pod_of(rendered("minimal", "--set", "hotReload=true"))["metadata"]["annotations"]
    changed = pod_of(rendered("minimal", "-f", str(values)))["metadata"]["annotations"]
    assert changed == plain


def _has(section: Any, keys: tuple[str, ...]) -> bool:
    return all(key in (section[0] if isinstance(section, list) else section) for key in keys)


def test_running_sidecars_look_at_the_file_only_with_hot_reload() -> None:
    def written(*words: str) -> dict[str, Any]:
        return yaml.safe_load(one(rendered("minimal", *words), "ConfigMap")["data"]["sidecar.yaml"])  # type: ignore[no-any-return]

    assert written()["reload"] == {"poll": None}
    assert "reload" not in written("--set", "hotReload=true")
    assert written("--set", "hotReload=true,config.reload.poll=30s")["reload"] == {"poll": "30s"}


def test_the_app_s_port_is_taken_for_closed_only_with_the_policy() -> None:
    def exposed(*words: str) -> str | None:
        config = yaml.safe_load(one(rendered("minimal", *words), "ConfigMap")["data"]["sidecar.yaml"])
        return config["upstream"].get("exposed")  # type: ignore[no-any-return]

    assert exposed() == "accept"
    assert exposed("--set", "networkPolicy.enabled=false") is None
    assert exposed("--set", "config.upstream.exposed=warn") == "warn"


# The container


@pytest.mark.parametrize(
    ("case", "kubernetes", "settings"),
    [
        ("minimal", "1.29.0", Settings(config="demo-logout-sidecar")),
        ("minimal", "1.28.0", Settings(config="demo-logout-sidecar", native=False, pre_stop="exec")),
        ("classic", NEWEST, Settings(config="demo-logout-sidecar", native=False)),
    ],
)
def test_the_container_is_the_one_that_the_injection_writes(case: str, kubernetes: str, settings: Settings) -> None:
    pod = pod_of(rendered(case, kubernetes=kubernetes))
    app_port = containers(pod)["app"]["ports"][0]["containerPort"]
    assert containers(pod)["logout-sidecar"] == sidecar_container(settings, app_port=app_port)
    volumes = {each["name"]: each for each in sidecar_volumes(settings)}
    if case == "classic":
        claim = {"persistentVolumeClaim": {"claimName": "legacy-state"}}
        volumes["logout-sidecar-state"] = {"name": "logout-sidecar-state", **claim}
    assert {each["name"]: each for each in pod["spec"]["volumes"]} == volumes


def test_secrets_are_mounted_where_the_configuration_looks_for_them() -> None:
    documents = rendered("full")
    text = one(documents, "ConfigMap", "shop")["data"]["sidecar.yaml"]
    pod = pod_of(documents)
    mounted = {each["mountPath"] for each in containers(pod)["logout-sidecar"]["volumeMounts"]}
    assert {path.rpartition("/")[0] for path in re.findall(r"/run/secrets/\S+", text)} <= mounted
    names = [each["name"] for each in pod["spec"]["volumes"]]
    assert len(names) == len(set(names))


def test_a_secret_with_two_uses_is_mounted_once() -> None:
    words = ("--set", "redis.existingSecret=digest-key,secrets={digest-key}")
    volumes = pod_of(rendered("full", *words))["spec"]["volumes"]
    assert [each["secret"]["secretName"] for each in volumes if "secret" in each] == ["digest-key"]


def test_a_native_sidecar_comes_first_and_a_classic_one_last() -> None:
    native, classic = pod_of(rendered("full"))["spec"], pod_of(rendered("classic"))["spec"]
    assert [each["name"] for each in native["initContainers"]] == ["logout-sidecar", "migrate"]
    assert [each["name"] for each in classic["containers"]] == ["app", "logout-sidecar"]


@pytest.mark.parametrize(
    ("case", "words", "seconds"),
    [
        ("minimal", (), 33),  # 5 of the app's preStop, 5 and 18 of the drain, 5 to spare
        ("full", ("--set", "terminationGracePeriodSeconds=null"), 81),  # 8, then 7.5 and 60, rounded up, 5
        ("classic", (), 11),  # 5 of the preStop, 0.5 rounded up, 5
        ("full", (), 120),  # as asked
    ],
)
def test_the_grace_period_is_enough_for_the_drain(case: str, words: tuple[str, ...], seconds: int) -> None:
    assert pod_of(rendered(case, *words))["spec"]["terminationGracePeriodSeconds"] == seconds


@pytest.mark.parametrize(
    ("case", "kubernetes", "seconds"),
    [("minimal", NEWEST, 5), ("full", NEWEST, 8), ("classic", NEWEST, 5), ("minimal", "1.29.0", None)],
)
def test_the_app_goes_on_until_its_balancers_know(case: str, kubernetes: str, seconds: int | None) -> None:
    app = containers(pod_of(rendered(case, kubernetes=kubernetes)))["app"]
    assert app.get("lifecycle") == (seconds and {"preStop": {"sleep": {"seconds": seconds}}})


# Ways in


@pytest.mark.parametrize("case", APPS)
def test_the_service_leads_to_the_sidecar_and_nothing_admits_to_the_app(case: str) -> None:
    documents = rendered(case, "--set", "networkPolicy.extraIngress=null")
    ports = {each["name"]: each["containerPort"] for each in containers(pod_of(documents))["logout-sidecar"]["ports"]}
    assert [each["targetPort"] for each in one(documents, "Service")["spec"]["ports"]] == [ports["logout-http"]]
    policy = one(documents, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == list(ports.values())


@pytest.mark.parametrize("case", APPS)
def test_every_selector_finds_the_pods_of_the_deployment(case: str) -> None:
    documents = rendered(case)
    labels = pod_of(documents)["metadata"]["labels"].items()
    selectors = [one(documents, "Service")["spec"]["selector"]]
    for kind in ("Deployment", "PodDisruptionBudget", "PodMonitor"):
        selectors += [each["spec"]["selector"]["matchLabels"] for each in documents if each["kind"] == kind]
    selectors.append(one(documents, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"])
    assert all(selector and selector.items() <= labels for selector in selectors)


def test_app_and_webhook_of_one_release_are_not_confused() -> None:
    words = ("--set", "injector.enabled=true")
    pod = pod_of(rendered("minimal", *words), "webhook")
    selector = one(rendered("minimal", *words), "Service", "sidecar")["spec"]["selector"]
    assert not selector.items() <= pod["metadata"]["labels"].items()


# The restricted Pod Security Standard

ALLOWED_VOLUMES = {"configMap", "emptyDir", "secret", "persistentVolumeClaim", "projected", "downwardAPI", "csi"}


def offences(pod: Document) -> list[str]:
    spec = pod["spec"]
    found = [key for key in ("hostNetwork", "hostPID", "hostIPC", "hostUsers") if spec.get(key)]
    found += [f"volume {each['name']}" for each in spec.get("volumes", ()) if not each.keys() & ALLOWED_VOLUMES]
    for name, container in containers(pod).items():
        found += [f"{name}: {offence}" for offence in _container_offences(container.get("securityContext") or {})]
        found += [f"{name}: hostPort" for port in container.get("ports", ()) if "hostPort" in port]
    return found


def _container_offences(context: dict[str, Any]) -> list[str]:
    rules = {
        "runAsNonRoot": context.get("runAsNonRoot") is True and context.get("runAsUser") != 0,
        "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is False,
        "privileged": not context.get("privileged"),
        "capabilities": context.get("capabilities") == {"drop": ["ALL"]},
        "seccompProfile": (context.get("seccompProfile") or {}).get("type") == "RuntimeDefault",
    }
    return [name for name, is_kept in rules.items() if not is_kept]


@pytest.mark.parametrize("case", ["minimal", "full", "injector", "injector-secret"])
def test_every_pod_keeps_the_restricted_profile(case: str) -> None:
    pods = [each["spec"]["template"] for each in rendered(case) if each["kind"] == "Deployment"]
    assert [offence for pod in pods for offence in offences(pod)] == []


def test_an_app_that_insists_on_root_is_the_only_one_that_does_not() -> None:
    pod = pod_of(rendered("classic"))
    assert offences(pod) == ["app: runAsNonRoot"]


@pytest.mark.parametrize("suffix", ["logout-sidecar", "webhook"])
def test_nothing_of_ours_writes_to_its_root_or_gets_a_token(suffix: str) -> None:
    pod = pod_of(rendered("minimal", "--set", "injector.enabled=true"), suffix)
    ours = containers(pod).get("logout-sidecar") or containers(pod)["webhook"]
    assert ours["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["spec"]["automountServiceAccountToken"] is False


# The webhook


def test_the_webhook_can_only_hold_up_pods_that_ask_for_it() -> None:
    (webhook,) = one(rendered("injector"), "MutatingWebhookConfiguration")["webhooks"]
    assert webhook["objectSelector"] == {"matchLabels": {"logout-sidecar.io/enabled": "true"}}
    assert (webhook["failurePolicy"], webhook["sideEffects"], webhook["timeoutSeconds"]) == ("Fail", "None", 5)


def test_the_webhook_is_started_with_options_that_it_has() -> None:
    from sidecar.cli import _parser
    from sidecar.kube.command import defaults_of

    container = containers(pod_of(rendered("injector")))["webhook"]
    options = _parser().parse_args(container["args"])
    defaults = defaults_of(options.set)
    assert (defaults.native, defaults.ops_port, defaults.prometheus) == (False, 5181, True)
    assert defaults.image == container["image"]


@pytest.mark.parametrize(
    ("kubernetes", "words", "mode", "pre_stop"),
    [
        (NEWEST, (), True, "sleep"),
        ("1.29.0", (), True, "exec"),
        ("1.28.0", (), False, "exec"),
        (NEWEST, ("--set", "sidecar.native=false"), False, "sleep"),
        ("1.28.0", ("--set", "injector.defaults.mode=native"), True, "exec"),
    ],
)
def test_the_webhook_puts_in_what_the_cluster_can_run(
    kubernetes: str, words: tuple[str, ...], mode: bool, pre_stop: str
) -> None:
    from sidecar.cli import _parser
    from sidecar.kube.command import defaults_of

    documents = rendered("minimal", "--set", "injector.enabled=true", *words, kubernetes=kubernetes)
    options = _parser().parse_args(containers(pod_of(documents, "webhook"))["webhook"]["args"])
    defaults = defaults_of(options.set)
    assert (defaults.native, defaults.pre_stop) == (mode, pre_stop)


def test_a_made_certificate_is_for_the_service_and_signed_by_the_ca_that_the_api_server_is_told() -> None:
    import base64

    from cryptography import x509

    documents = rendered("minimal", "--set", "injector.enabled=true")
    data = {key: base64.b64decode(value) for key, value in one(documents, "Secret")["data"].items()}
    leaf, ca = (x509.load_pem_x509_certificate(data[key]) for key in ("tls.crt", "ca.crt"))
    leaf.verify_directly_issued_by(ca)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["demo-logout-sidecar-webhook.web.svc"]
    (webhook,) = one(documents, "MutatingWebhookConfiguration")["webhooks"]
    assert base64.b64decode(webhook["clientConfig"]["caBundle"]) == data["ca.crt"]
    assert webhook["clientConfig"]["service"]["name"] == one(documents, "Service", "webhook")["metadata"]["name"]


# For other charts

PARENT = """
{{- $sidecar := index .Subcharts "logout-sidecar" }}
apiVersion: v1
kind: Pod
metadata:
  name: theirs
  labels: {app: theirs}
  annotations:
    {{- include "logout-sidecar.annotations" $sidecar | nindent 4 }}
spec:
  terminationGracePeriodSeconds: {{ include "logout-sidecar.graceSeconds" $sidecar }}
  initContainers:
    - {{ include "logout-sidecar.container" $sidecar | nindent 6 | trim }}
  containers: [{name: theirs, image: theirs}]
  volumes:
    {{- include "logout-sidecar.volumes" $sidecar | nindent 4 }}
"""


def test_another_chart_can_use_the_container(tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    (parent / "templates").mkdir(parents=True)
    (parent / "charts").mkdir()
    (parent / "charts/logout-sidecar").symlink_to(CHART)
    (parent / "templates/pod.yaml").write_text(PARENT)
    (parent / "Chart.yaml").write_text("{apiVersion: v2, name: parent, version: 1.0.0}")
    values = yaml.safe_load((CHART / "ci/resources-values.yaml").read_text())
    (parent / "values.yaml").write_text(yaml.safe_dump({"global": {"x": 1}, "logout-sidecar": values}))
    result = helm("template", "demo", str(parent), "--kube-version", "1.33.0")
    assert result.returncode == 0, result.stderr
    documents = [each for each in yaml.safe_load_all(result.stdout) if each]
    pod = one(documents, "Pod")
    kubernetes_validate.validate(pod, "1.33", strict=True)
    mapped = next(each for each in pod["spec"]["volumes"] if "configMap" in each)["configMap"]["name"]
    assert mapped in {each["metadata"]["name"] for each in documents if each["kind"] == "ConfigMap"}


# What the operator reads


@pytest.mark.parametrize(
    ("case", "words", "said", "unsaid"),
    [
        ("minimal", (), ["https://app.example.com/_sidecar/backchannel-logout", "NOTE: SQLite"], ["observe"]),
        ("full", (), ["https://shop.example.com/-/logout/backchannel-logout"], ["NOTE"]),
        ("full", ("--set", "digestKey.existingSecret="), ["NOTE: no digestKey"], []),
        ("resources", (), ["https://app.example.com/_sidecar/", "logout-sidecar.io/secrets: app-secrets"], []),
        ("resources", (), ["NOTE: a changed configuration", "from any other pod this must fail"], []),
        ("resources", ("--set", "hotReload=true"), [], ["NOTE"]),
        ("resources", ("--set", "networkPolicy.enabled=false"), ["NOTE: no NetworkPolicy"], ["must fail"]),
        ("minimal", ("--set", "config.enforcement.mode=observe"), ["NOTE: enforcement.mode is observe"], []),
        ("classic", (), ["https://PUBLIC-ADDRESS-OF-THE-APP/_sidecar/backchannel-logout"], ["NOTE"]),
        ("injector", (), ['logout-sidecar.io/enabled: "true"'], ["Register"]),
    ],
)
def test_the_notes_say_what_to_do_next(
    case: str, words: tuple[str, ...], said: list[str], unsaid: list[str], tmp_path: Path
) -> None:
    notes = notes_of(case, *words, folder=tmp_path)
    assert [text for text in said if text not in notes] == []
    assert [text for text in unsaid if text in notes] == []


def notes_of(case: str, *words: str, folder: Path) -> str:
    """Helm shows notes only when it has a cluster to install into; a copy of the chart shows them as a document."""
    chart = shutil.copytree(CHART, folder / "chart")
    text = (chart / "templates/NOTES.txt").read_text()
    (chart / "templates/_notes.tpl").write_text(f'{{{{- define "notes" -}}}}{text}{{{{- end }}}}')
    (chart / "templates/notes.yaml").write_text('{kind: Notes, notes: {{ include "notes" . | quote }}}')
    values = str(CHART / f"ci/{case}-values.yaml")
    result = helm("template", "demo", str(chart), "-n", "web", "-f", values, *words, "-s", "templates/notes.yaml")
    notes: str = yaml.safe_load(result.stdout)["notes"]
    return notes


def test_rendering_twice_gives_the_same() -> None:
    assert template("full").stdout == template("full").stdout
