"""AdmissionReview in, AdmissionReview out, without a server: what passes, what is refused, what is malformed."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kube_pods import MINORS, container, patched, pod, spec, valid

from sidecar.kube.inject import is_injected
from sidecar.kube.review import MAX_DEPTH, BadReview, Reviewed, review
from sidecar.kube.settings import DEFAULTS, Settings


def asked(found: Any, **fields: Any) -> dict[str, Any]:
    """As the API server asks about a new pod."""
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": "shop",
        "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
        "object": found,
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
    }
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request | fields}


def answered(question: Any, defaults: Settings = DEFAULTS) -> tuple[dict[str, Any], Reviewed]:
    reviewed = review(json.dumps(question).encode(), defaults)
    answer = json.loads(reviewed.body)
    assert (answer["kind"], answer["apiVersion"]) == ("AdmissionReview", "admission.k8s.io/v1")
    assert answer["response"]["uid"] == question["request"]["uid"]
    return answer["response"], reviewed


def applied(found: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    assert response["patchType"] == "JSONPatch"
    return patched(found, json.loads(base64.b64decode(response["patch"], validate=True)))  # type: ignore[no-any-return]


FIXTURES = {
    "no init containers": pod(spec()),
    "null lists": pod(spec(initContainers=None, volumes=None)),
    "no annotations map": {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "a-", "labels": {"logout-sidecar.io/enabled": "true"}},
        "spec": spec(),
    },
    "init containers": pod(spec(initContainers=[container("migrate")])),
    "a mesh": pod(spec(initContainers=[container("mesh", 15090, restartPolicy="Always")])),
    "classic": pod(spec(), mode="classic"),
    "name taken over": pod(spec(container("app", {"name": "http", "containerPort": 80})), port_name="http"),
}


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("name", FIXTURES)
def test_the_patch_makes_the_pod_a_valid_one_with_a_sidecar(name: str, minor: str) -> None:
    response, reviewed = answered(asked(FIXTURES[name]))
    result = applied(FIXTURES[name], response)
    assert (response["allowed"], reviewed.outcome) == (True, "injected")
    assert is_injected(result["spec"])
    valid(result, minor)


@pytest.mark.parametrize("name", FIXTURES)
def test_its_own_output_is_let_through_without_a_patch(name: str) -> None:
    """As the API server asks again with reinvocationPolicy IfNeeded."""
    result = applied(FIXTURES[name], answered(asked(FIXTURES[name]))[0])
    response, _ = answered(asked(result))
    assert response["allowed"] is True
    assert "patch" not in response
    assert response["warnings"] == ["logout-sidecar: not injected (already_injected)"]


def test_a_dry_run_gets_the_same_answer() -> None:
    wet, dry = answered(asked(pod(spec()))), answered(asked(pod(spec()), dryRun=True))
    assert wet[0] == dry[0]
    assert (wet[1].dry_run, dry[1].dry_run) == (False, True)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (asked(pod(spec(), enabled="false")), "disabled"),
        (asked({"metadata": {}, "spec": spec()}), "not_enabled"),
        (asked(pod(spec()), operation="UPDATE"), "not_a_creation"),
        (asked(None, operation="DELETE"), "not_a_creation"),
        (asked(pod(spec()), subResource="ephemeralcontainers"), "not_a_creation"),
        (asked(pod(spec()), kind={"group": "apps", "version": "v1", "kind": "Deployment"}), "not_a_pod"),
        (asked(pod(spec()), kind={"group": "example.com", "version": "v1", "kind": "Pod"}), "not_a_pod"),
    ],
)
def test_what_is_no_new_pod_or_did_not_ask_passes_with_a_warning(question: dict[str, Any], reason: str) -> None:
    response, reviewed = answered(question)
    assert response["allowed"] is True
    assert "patch" not in response
    assert response["warnings"] == [f"logout-sidecar: not injected ({reason})"]
    assert (reviewed.outcome, reviewed.reason) == ("skipped", reason)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (pod(spec(container("a", 4180))), "port_clash"),
        (pod(spec(hostNetwork=True)), "host_network"),
        (pod(spec(), app_prot="80"), "unknown_annotation"),
        (pod(spec(container("logout-sidecar", 80))), "name_taken"),
        (pod({"containers": []}), "no_containers"),
        (pod({"containers": {}}), "malformed"),
        (pod(spec(restartPolicy="Never"), mode="classic"), "never_ends"),
        (None, "malformed"),
        ([], "malformed"),
        ({"metadata": {"annotations": ["logout-sidecar.io/enabled"]}}, "malformed"),
    ],
)
def test_a_pod_that_asked_and_cannot_be_protected_is_refused(found: Any, reason: str) -> None:
    response, reviewed = answered(asked(found))
    assert response["allowed"] is False
    assert response["status"]["code"] == 422
    assert response["status"]["message"].endswith(f"({reason})")
    assert (reviewed.outcome, reviewed.reason) == ("refused", reason)


def test_the_log_is_told_which_pod_it_was() -> None:
    named = answered(asked(pod(spec()), name="one"))[1]
    generated = answered(asked(FIXTURES["no annotations map"]))[1]
    assert (named.namespace, named.name, generated.name) == ("shop", "one", "a-")


def changed(**fields: Any) -> bytes:
    return json.dumps(asked(pod(spec())) | fields).encode()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty_body"),
        (b"{", "bad_json"),
        (b"\xff", "bad_json"),
        (b"NaN", "bad_json"),
        (b'{"a": Infinity}', "bad_json"),
        (b"9" * 5000, "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "bad_json"),
        (b"null", "bad_review"),
        (b"[]", "bad_review"),
        (b"{}", "bad_review"),
        (changed(apiVersion="admission.k8s.io/v1beta1"), "bad_review"),
        (changed(apiVersion="admission.k8s.io/v2"), "bad_review"),
        (changed(kind="Pod"), "bad_review"),
        (changed(request=None), "bad_review"),
        (changed(request={}), "bad_review"),
        (json.dumps(asked(pod(spec()), uid="")).encode(), "bad_review"),
        (json.dumps(asked(pod(spec()), uid=7)).encode(), "bad_review"),
        (json.dumps(asked(pod(spec()), uid="u" * 129)).encode(), "bad_review"),
        (json.dumps(asked(pod(spec()), kind="Pod")).encode(), "bad_review"),
    ],
)
def test_what_is_no_review_is_an_error_with_a_reason(body: bytes, reason: str) -> None:
    with pytest.raises(BadReview) as caught:
        review(body, DEFAULTS)
    assert caught.value.reason == reason


trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
odd_containers = st.fixed_dictionaries(
    {}, optional={"name": trees, "ports": trees, "livenessProbe": trees, "lifecycle": trees}
)
odd_specs = st.fixed_dictionaries(
    {"containers": st.just([container("app", 80)]) | trees | st.lists(odd_containers, max_size=2)},
    optional={"initContainers": trees, "volumes": trees, "os": trees, "nodeSelector": trees, "hostNetwork": trees},
)
metadata = st.just({"labels": {"logout-sidecar.io/enabled": "true"}}) | trees


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries({}, optional={"metadata": metadata, "spec": odd_specs | trees}) | trees)
def test_whatever_the_object_is_there_is_an_answer(found: Any) -> None:
    response, _ = answered(asked(found))
    if response["allowed"] and "patch" in response:
        assert is_injected(applied(found, response)["spec"])
