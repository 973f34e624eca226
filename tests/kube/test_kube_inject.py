"""The injection as a function: where the container goes, what it is, what is refused, and what is left alone."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kube_pods import MINORS, container, ours, pod, restricted, spec, template, valid

from sidecar.kube.inject import inject, inject_template, is_injected
from sidecar.kube.outcome import Refused, Skip
from sidecar.kube.settings import DEFAULTS, Settings

CLASSIC = Settings(native=False)
NATIVE_SIDECAR = {"restartPolicy": "Always"}
HTTP = {"name": "http", "containerPort": 8080}


def reason(pod_spec: dict[str, Any], **fields: Any) -> str:
    with pytest.raises(Refused) as caught:
        inject(pod_spec, Settings(**fields))
    return caught.value.reason


# What it is


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("config", [DEFAULTS, CLASSIC, Settings(native=False, pre_stop="exec", secrets=("a", "b.c"))])
def test_the_result_is_a_valid_pod(config: Settings, minor: str) -> None:
    valid(pod(inject(spec(), config)), minor)


@pytest.mark.parametrize("config", [DEFAULTS, CLASSIC])
def test_the_container_satisfies_the_restricted_profile_by_itself(config: Settings) -> None:
    assert restricted(ours(inject(spec(), config))) == []


@pytest.mark.parametrize("broken", ["runAsNonRoot", "capabilities", "seccompProfile", "allowPrivilegeEscalation"])
def test_a_container_that_does_not_would_be_found(broken: str) -> None:
    found = copy.deepcopy(ours(inject(spec(), DEFAULTS)))
    del found["securityContext"][broken]
    assert restricted(found) == [broken]


def test_the_volumes_are_of_kinds_that_the_restricted_profile_allows() -> None:
    volumes = inject(spec(), Settings(secrets=("keys",)))["volumes"]
    assert {kind for each in volumes for kind in each} == {"name", "configMap", "emptyDir", "secret"}


def test_a_native_sidecar_has_a_start_up_probe_and_no_hook() -> None:
    found = ours({"containers": [], "initContainers": inject(spec(), DEFAULTS)["initContainers"]})
    assert found["restartPolicy"] == "Always"
    assert found["startupProbe"]["httpGet"] == {"path": "/livez", "port": 4181, "scheme": "HTTP"}
    assert found["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert "lifecycle" not in found


@pytest.mark.parametrize(
    ("pre_stop", "hook"),
    [
        ("sleep", {"sleep": {"seconds": 5}}),
        ("exec", {"exec": {"command": ["python3", "-c", "import time; time.sleep(5)"]}}),
    ],
)
def test_a_classic_container_waits_before_it_stops(pre_stop: Any, hook: dict[str, Any]) -> None:
    found = ours(inject(spec(), Settings(native=False, pre_stop=pre_stop)))
    assert found["lifecycle"] == {"preStop": hook}
    assert "restartPolicy" not in found


def test_a_classic_container_need_not_wait() -> None:
    assert "lifecycle" not in ours(inject(spec(), Settings(native=False, pre_stop="none")))


def test_a_classic_container_is_the_last_one_and_the_app_stays_the_default_of_kubectl() -> None:
    names = [each["name"] for each in inject(spec(), CLASSIC)["containers"]]
    assert names == ["app", "logout-sidecar"]


def test_secrets_become_folders() -> None:
    injected = inject(spec(), Settings(secrets=("digest", "redis")))
    volumes = {each["name"]: each["secret"]["secretName"] for each in injected["volumes"] if "secret" in each}
    places = {mount["mountPath"]: volumes.get(mount["name"]) for mount in ours(injected)["volumeMounts"]}
    assert places["/run/secrets/digest"] == "digest"
    assert places["/run/secrets/redis"] == "redis"


def test_the_sidecar_sees_no_service_account_token() -> None:
    """The API server mounts none where something is mounted already."""
    mounts = {each["mountPath"]: each for each in ours(inject(spec(), DEFAULTS))["volumeMounts"]}
    token = mounts["/var/run/secrets/kubernetes.io/serviceaccount"]
    assert (token["readOnly"], token["subPath"]) == (True, "no-token")


def test_no_mount_of_the_configuration_is_a_sub_path() -> None:
    mounts = {each["mountPath"]: each for each in ours(inject(spec(), DEFAULTS))["volumeMounts"]}
    assert "subPath" not in mounts["/etc/logout-sidecar"]


def test_every_mount_has_its_volume_and_the_other_way_round() -> None:
    injected = inject(spec(), Settings(secrets=("a", "b")))
    mounted = {each["name"] for each in ours(injected)["volumeMounts"]}
    assert mounted == {each["name"] for each in injected["volumes"]}


def test_limits_and_requests_are_as_asked_for() -> None:
    asked = Settings(cpu_request=None, memory_limit="1Gi", cpu_limit="2")
    assert ours(inject(spec(), asked))["resources"] == {
        "requests": {"memory": "96Mi"},
        "limits": {"cpu": "2", "memory": "1Gi"},
    }
    nothing = Settings(cpu_request=None, memory_request=None, memory_limit=None)
    assert ours(inject(spec(), nothing))["resources"] == {}


def test_secrets_of_the_registry_are_added_to_those_of_the_pod() -> None:
    asked = Settings(image_pull_secrets=("mine", "both"))
    assert inject(spec(), asked)["imagePullSecrets"] == [{"name": "mine"}, {"name": "both"}]
    there = spec(imagePullSecrets=[{"name": "both"}, {"name": "theirs"}])
    assert inject(there, asked)["imagePullSecrets"] == [{"name": "both"}, {"name": "theirs"}, {"name": "mine"}]
    assert inject(there, DEFAULTS)["imagePullSecrets"] == there["imagePullSecrets"]
    nameless = spec(imagePullSecrets=[{}])  # the API server takes it
    assert inject(nameless, asked)["imagePullSecrets"][0] == {}
    assert "imagePullSecrets" not in inject(spec(), DEFAULTS)


def test_the_app_s_port_is_told_to_the_configuration() -> None:
    environment = {each["name"]: each.get("value") for each in ours(inject(spec(), DEFAULTS))["env"]}
    assert environment == {"APP_PORT": "8080", "POD_IP": None}


# Its place


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["logout-sidecar"]),
        (["migrate"], ["logout-sidecar", "migrate"]),
        (["mesh-init", "mesh*", "migrate"], ["mesh-init", "mesh*", "logout-sidecar", "migrate"]),
        (["a*", "b", "c*", "d"], ["a*", "b", "c*", "logout-sidecar", "d"]),
        (["redirect"], ["logout-sidecar", "redirect"]),  # the mesh's proxy is a classic container
    ],
)
def test_the_place_is_behind_the_last_native_sidecar_else_first(before: list[str], after: list[str]) -> None:
    others = [container(name.rstrip("*"), **(NATIVE_SIDECAR if name.endswith("*") else {})) for name in before]
    injected = inject(spec(initContainers=others), DEFAULTS)
    assert [each["name"] for each in injected["initContainers"]] == [name.rstrip("*") for name in after]


@pytest.mark.parametrize("absent", ["initContainers", "volumes"])
def test_a_list_that_is_null_is_a_list_that_is_not_there(absent: str) -> None:
    assert inject(spec(**{absent: None}), DEFAULTS) == inject(spec(), DEFAULTS)


# Which container is the app


@pytest.mark.parametrize(
    ("containers", "fields", "expected"),
    [
        ([container("a", 80)], {}, 80),
        ([container("a", HTTP)], {}, 8080),
        ([container("a", HTTP, {"name": "admin", "containerPort": 9000})], {"app_port": "admin"}, 9000),
        ([container("a", HTTP), container("b", 9000)], {"app_port": 9000}, 9000),
        ([container("a", HTTP), container("b", 8080)], {"app_container": "b"}, 8080),
        ([container("a", HTTP), container("b")], {}, 8080),  # only one declares a port
        ([container("a")], {"app_port": 3000}, 3000),  # declaring is optional
        ([container("a", HTTP)], {"app_port": 3000}, 3000),
        ([container("a"), container("b")], {"app_port": 3000, "app_container": "b"}, 3000),
        ([container("a", HTTP, {"containerPort": 8125, "protocol": "UDP"})], {}, 8080),
        ([container("a", 80, HTTP)], {"port_name": "http"}, 8080),
    ],
)
def test_the_app_is_the_annotated_container_or_the_owner_of_the_port(
    containers: list[dict[str, Any]], fields: dict[str, Any], expected: int
) -> None:
    environment = ours(inject(spec(*containers), Settings(**fields)))["env"]
    assert environment[0] == {"name": "APP_PORT", "value": str(expected)}


REFUSALS = [
    ("no_containers", {"containers": []}, {}),
    ("no_containers", {"containers": None}, {}),
    ("no_containers", {}, {}),
    ("host_network", spec(hostNetwork=True), {}),
    ("shared_processes", spec(shareProcessNamespace=True), {}),
    ("windows", spec(os={"name": "windows"}), {}),
    ("windows", spec(nodeSelector={"kubernetes.io/os": "windows"}), {}),
    ("app_port_unknown", spec(container("a")), {}),
    ("app_port_unknown", spec(container("a", {"containerPort": 53, "protocol": "UDP"})), {}),
    ("app_port_unknown", spec(container("a", 80)), {"app_port": "http"}),
    ("app_port_unknown", spec(container("a", 80), container("b", 81)), {"app_port": 82}),
    ("app_port_unknown", spec(container("a", 80)), {"port_name": "http"}),
    ("app_port_unknown", spec(container("a", 80)), {"port_name": "http", "app_port": 81}),
    ("port_name_unknown", spec(container("a", 80, HTTP)), {"port_name": "http", "app_port": 80}),
    ("app_ambiguous", spec(container("a", 80), container("b", 81)), {}),
    ("app_ambiguous", spec(container("a", 80, 81)), {}),
    ("app_ambiguous", spec(container("a", 80), container("b", 80)), {"app_port": 80}),
    ("app_container_unknown", spec(), {"app_container": "web"}),
    ("port_clash", spec(container("a", 4180)), {}),
    ("port_clash", spec(container("a")), {"app_port": 4181}),
    ("port_clash", spec(container("a", 80), container("b", 4181)), {"app_port": 80}),
    ("port_clash", spec(container("a", 80), container("b", 4183)), {"app_port": 80}),
    ("port_clash", spec(container("a", 80), initContainers=[container("m", 4180, **NATIVE_SIDECAR)]), {}),
    ("port_clash", spec(), {"listen_port": 4181}),
    ("port_clash", spec(), {"ops_port": 4183}),
    ("port_clash", spec(container("a", HTTP), container("b", HTTP)), {"app_container": "a", "port_name": "http"}),
    ("host_port", spec(container("a", {"containerPort": 80, "hostPort": 80})), {}),
    ("never_ends", spec(restartPolicy="Never"), {"native": False}),
    ("never_ends", spec(restartPolicy="OnFailure"), {"native": False}),
    ("name_taken", spec(container("logout-sidecar", 80)), {}),
    ("name_taken", spec(initContainers=[container("logout-sidecar")]), {}),
    ("name_taken", spec(volumes=[{"name": "logout-sidecar-tmp", "emptyDir": {}}]), {}),
    ("malformed", {"containers": "app"}, {}),
    ("malformed", {"containers": [{"image": "nameless"}]}, {}),
    ("malformed", {"containers": ["app"]}, {}),
    ("malformed", spec(container("a", {"containerPort": "80"})), {}),
    ("malformed", spec(container("a", {"containerPort": True})), {}),
    ("malformed", spec(container("a", {"containerPort": 0})), {}),
    ("malformed", spec(hostNetwork="true"), {}),
    ("malformed", spec(volumes={}), {}),
    ("malformed", spec(container("a", 80, livenessProbe=[])), {}),
    ("malformed", [], {}),
    ("malformed", None, {}),
]


@pytest.mark.parametrize(("expected", "pod_spec", "fields"), REFUSALS)
def test_what_could_not_be_protected_is_refused(expected: str, pod_spec: Any, fields: dict[str, Any]) -> None:
    assert reason(pod_spec, **fields) == expected


def test_a_job_with_a_native_sidecar_ends() -> None:
    assert is_injected(inject(spec(restartPolicy="OnFailure"), DEFAULTS))


def test_an_init_container_that_is_over_may_have_used_our_port() -> None:
    assert is_injected(inject(spec(initContainers=[container("migrate", 4180)]), DEFAULTS))


def test_a_host_port_of_another_container_is_its_own_business() -> None:
    other = container("node-exporter", {"containerPort": 9100, "hostPort": 9100})
    assert is_injected(inject(spec(container("a", 80), other), Settings(app_port=80)))


# Taking over the port's name

NAMED = container(
    "app",
    HTTP,
    {"name": "admin", "containerPort": 9000},
    livenessProbe={"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 3},
    readinessProbe={"tcpSocket": {"port": "http"}},
    startupProbe={"httpGet": {"path": "/", "port": "admin"}},
    lifecycle={
        "postStart": {"httpGet": {"path": "/warm", "port": "http", "httpHeaders": [{"name": "Host", "value": "a"}]}},
        "preStop": {"exec": {"command": ["bye"]}},
    },
)


def test_probes_and_hooks_that_use_the_name_get_the_number() -> None:
    app = inject(spec(NAMED), Settings(port_name="http"))["containers"][0]
    assert app["ports"] == [{"containerPort": 8080}, {"name": "admin", "containerPort": 9000}]
    assert app["livenessProbe"] == {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 3}
    assert app["readinessProbe"] == {"tcpSocket": {"port": 8080}}
    assert app["startupProbe"] == {"httpGet": {"path": "/", "port": "admin"}}
    assert app["lifecycle"]["postStart"]["httpGet"] == {
        "path": "/warm",
        "port": 8080,
        "httpHeaders": [{"name": "Host", "value": "a"}],
    }
    assert app["lifecycle"]["preStop"] == {"exec": {"command": ["bye"]}}


@pytest.mark.parametrize("native", [True, False])
def test_the_sidecar_has_the_name(native: bool) -> None:
    found = ours(inject(spec(NAMED), Settings(port_name="http", native=native)))
    assert found["ports"][0] == {"name": "http", "containerPort": 4180, "protocol": "TCP"}


def test_names_resolve_per_container_so_another_one_keeps_its_probes() -> None:
    other = container("other", 9999, livenessProbe={"httpGet": {"port": "http"}})
    injected = inject(spec(NAMED, other), Settings(port_name="http", app_container="app"))
    assert injected["containers"][1] == other


def test_without_that_setting_the_app_keeps_everything() -> None:
    assert inject(spec(NAMED), Settings(app_port="http"))["containers"] == [NAMED]


# Templates: who asks, who has it already


@pytest.mark.parametrize(
    ("label", "annotation", "expected"),
    [
        (None, None, Skip.NOT_ENABLED),
        ("true", None, None),
        (None, "true", None),
        ("false", "true", Skip.DISABLED),
        ("true", "false", Skip.DISABLED),
    ],
)
def test_label_and_annotation_ask_and_no_wins(label: str | None, annotation: str | None, expected: Skip | None) -> None:
    key = "logout-sidecar.io/enabled"
    metadata = {
        "labels": {key: label} if label else None,
        "annotations": {key: annotation} if annotation else None,
    }
    assert inject_template({"metadata": metadata, "spec": spec()}, DEFAULTS).skipped == expected


@pytest.mark.parametrize("metadata", [None, {}, {"annotations": None}, {"labels": {}}])
def test_a_template_without_annotations_can_be_chosen_by_the_operator(metadata: Any) -> None:
    result = inject_template({"metadata": metadata, "spec": spec()}, DEFAULTS, asked=True)
    assert result.template["metadata"]["annotations"] == {"logout-sidecar.io/status": "injected"}


def test_no_wins_over_the_operator_s_choice_too() -> None:
    assert inject_template(template(spec(), enabled="false"), DEFAULTS, asked=True).skipped is Skip.DISABLED


@pytest.mark.parametrize("word", ["yes", "True", "1", ""])
def test_a_word_that_is_neither_yes_nor_no_is_refused(word: str) -> None:
    with pytest.raises(Refused, match='is not "true" or "false"'):
        inject_template(template(spec(), enabled=word), DEFAULTS)


def test_what_is_injected_is_recognised_by_container_and_annotation() -> None:
    injected = inject_template(template(spec()), DEFAULTS).template
    assert inject_template(injected, DEFAULTS).skipped is Skip.ALREADY_INJECTED
    del injected["metadata"]["annotations"]["logout-sidecar.io/status"]
    with pytest.raises(Refused) as caught:
        inject_template(injected, DEFAULTS)
    assert caught.value.reason == "name_taken"


def test_an_annotation_without_the_container_protects_nobody() -> None:
    result = inject_template(template(spec(), status="injected"), DEFAULTS)
    assert result.skipped is None
    assert is_injected(result.template["spec"])


def test_a_pod_that_did_not_ask_may_be_anything() -> None:
    assert inject_template({"spec": {"containers": "odd"}}, DEFAULTS).skipped is Skip.NOT_ENABLED


@pytest.mark.parametrize("odd", [{"metadata": []}, {"metadata": {"labels": {"a": 1}}}, [], "pod", None])
def test_metadata_that_is_none_is_refused(odd: Any) -> None:
    with pytest.raises(Refused) as caught:
        inject_template(odd, DEFAULTS)
    assert caught.value.reason == "malformed"


def test_scraping_is_announced_when_asked_for_and_the_app_has_nothing_of_its_own() -> None:
    announced = inject_template(template(spec(), prometheus="true"), DEFAULTS).template["metadata"]["annotations"]
    assert announced["prometheus.io/port"] == "4181"
    own = template(spec(), prometheus="true")
    own["metadata"]["annotations"]["prometheus.io/port"] = "9000"
    assert "prometheus.io/scrape" not in inject_template(own, DEFAULTS).template["metadata"]["annotations"]


def test_the_hash_of_another_configuration_is_not_written() -> None:
    defaults = Settings(config_hash="abc")
    key = "logout-sidecar.io/config-hash"
    assert inject_template(template(spec()), defaults).template["metadata"]["annotations"][key] == "abc"
    other = inject_template(template(spec(), config="other"), defaults).template
    assert key not in other["metadata"]["annotations"]


# Properties

names = st.sampled_from(["app", "web", "proxy", "log", "job"])
extras = st.dictionaries(
    st.sampled_from(["env", "resources", "x", "tolerations", "affinity"]),
    st.recursive(
        st.integers() | st.text(max_size=3) | st.none(), lambda inner: st.lists(inner, max_size=2), max_leaves=4
    ),
    max_size=2,
)
port_names = st.sampled_from(["http", "web", "admin"])
declared = st.lists(
    st.builds(
        lambda number, name: {"containerPort": number} | ({"name": name} if name else {}),
        st.sampled_from([80, 8080, 4180, 9000]),
        st.none() | port_names,
    ),
    max_size=2,
)
probes = st.builds(lambda port: {"httpGet": {"path": "/", "port": port}}, port_names | st.just(8080))


@st.composite
def containers(draw: st.DrawFn, **more: Any) -> dict[str, Any]:
    made = {"name": draw(names), **draw(extras)}
    if draw(st.booleans()):
        made["ports"] = draw(declared)
    if draw(st.booleans()):
        made["livenessProbe"] = draw(probes)
    return made | more


@st.composite
def pod_specs(draw: st.DrawFn) -> dict[str, Any]:
    made: dict[str, Any] = {"containers": draw(st.lists(containers(), max_size=3)), **draw(extras)}
    if draw(st.booleans()):
        made["initContainers"] = draw(
            st.none() | st.lists(containers() | containers(restartPolicy="Always"), max_size=3)
        )
    if draw(st.booleans()):
        made["volumes"] = draw(st.none() | st.lists(st.builds(lambda name: {"name": name}, names), max_size=2))
    return made


some_settings = st.builds(
    Settings,
    native=st.booleans(),
    app_port=st.none() | st.sampled_from([80, 8080, "http"]),
    port_name=st.none() | port_names,
    secrets=st.sampled_from([(), ("one",), ("one", "two")]),
)


def without_ours(pod_spec: dict[str, Any]) -> dict[str, Any]:
    """The injected spec minus what is ours: must be what came in."""
    left = copy.deepcopy(pod_spec)
    for key in ("initContainers", "containers", "volumes"):
        kept = [each for each in left.get(key) or () if not each["name"].startswith("logout-sidecar")]
        left[key] = kept
    return left


def nameless(pod_spec: dict[str, Any], name: str | None) -> dict[str, Any]:
    """A spec in which the name of a port makes no difference."""
    left = without_ours(pod_spec)
    for each in left["containers"] if name else ():
        each["ports"] = [
            {key: value for key, value in port.items() if (key, value) != ("name", name)}
            for port in each.get("ports") or ()
        ]
        if each.get("livenessProbe"):
            each["livenessProbe"] = "asks some port"
    return left


@settings(max_examples=300, deadline=None)
@given(pod_specs(), some_settings)
def test_injecting_twice_is_injecting_once_and_touches_nothing_else(pod_spec: dict[str, Any], asked: Settings) -> None:
    before = json.dumps(pod_spec)
    try:
        once = inject(pod_spec, asked)
    except Refused:
        assert json.dumps(pod_spec) == before
        return
    assert json.dumps(pod_spec) == before  # the input is never changed
    assert is_injected(once)
    assert inject(once, asked) == once
    assert inject(pod_spec, asked) == once  # and no state is kept
    assert nameless(once, asked.port_name) == nameless(pod_spec, asked.port_name)
    if asked.port_name is None:
        assert [each for each in once["containers"] if each["name"] != "logout-sidecar"] == pod_spec["containers"]
