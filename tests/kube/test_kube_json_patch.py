"""JSON patches: applied by somebody else's implementation they give the result, and they do not hit the wrong thing."""

from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kube_pods import container, patched, spec

from sidecar.kube.inject import inject
from sidecar.kube.json_patch import difference
from sidecar.kube.settings import DEFAULTS, Settings

values = st.recursive(
    st.none() | st.integers(2, 5) | st.text("a/~", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "a/b", "~c", ""]), inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=500, deadline=None)
@given(values, values)
def test_the_patch_makes_one_value_into_the_other(old: Any, new: Any) -> None:
    assert patched(old, list(difference(old, new))) == new


def test_equal_values_need_no_patch() -> None:
    assert list(difference(spec(), spec())) == []


def test_an_element_put_first_is_one_operation() -> None:
    others = [container("b"), container("c")]
    operations = list(difference([*others], [container("a"), *others]))
    assert operations == [{"op": "add", "path": "/0", "value": container("a")}]


def test_the_injection_names_only_what_it_changes() -> None:
    before = spec(
        container("log"), container("app", {"name": "http", "containerPort": 80}), initContainers=[container("m")]
    )
    operations = list(difference(before, inject(before, Settings(port_name="http"))))
    assert [(each["op"], each["path"]) for each in operations] == [
        ("test", "/containers/1/name"),
        ("test", "/containers/1/ports/0/name"),
        ("remove", "/containers/1/ports/0/name"),
        ("add", "/initContainers/0"),
        ("add", "/volumes"),
    ]


def test_a_kept_patch_fails_on_a_manifest_whose_containers_have_moved() -> None:
    before = spec(container("app", {"name": "http", "containerPort": 80}))
    operations = list(difference(before, inject(before, Settings(port_name="http"))))
    moved = spec(container("new", {"name": "http", "containerPort": 90}), *before["containers"])
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        patched(moved, operations)


def test_a_list_that_is_not_there_is_added_whole() -> None:
    operations = list(difference(spec(), inject(spec(), DEFAULTS)))
    assert {each["path"] for each in operations} == {"/initContainers", "/volumes"}
