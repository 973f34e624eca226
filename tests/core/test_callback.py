"""What callbacks carry, as any app may read it. The wire around it is in tests/bypass/test_bypass_logins.py."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.callback import CallbackRefused, check_head, in_body, in_target
from sidecar.core.credentials import MAX_PAIRS

FORM, JSON = b"application/x-www-form-urlencoded", b"application/json"


def test_each_value_is_found_once_under_its_name() -> None:
    found = in_body(b"code=C&code=C&id_token=T&access_token=A&token=x&id_token_hint=y", [FORM])
    assert (found.codes, found.id_tokens, found.access_tokens) == (("C",), ("T",), ("A",))


@pytest.mark.parametrize("value", ["", "x", "a.b", "a.b.c.d.e.f", "a b.c.d"])
def test_a_response_that_is_no_token_is_none_of_ours(value: str) -> None:
    in_body(f"response={value}".encode(), [FORM])


@pytest.mark.parametrize("value", ["a.b.c", " eyJ.eyJ-_.x", "a.b.", "a.b.c.d.e"])
def test_what_needs_the_client_to_be_read_is_refused(value: str) -> None:
    with pytest.raises(CallbackRefused, match="query or form_post"):
        in_target(f"/cb?response={value}".encode())


NESTED = st.recursive(
    st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(st.text("abc", max_size=5), inner)
)


@given(NESTED)
def test_in_json_a_code_is_found_at_any_depth(value: object) -> None:
    body = json.dumps({"outer": [value, {"CODE": ["the code"]}]}).encode()
    assert in_body(body, [JSON]).codes == ("the code",)


@given(st.binary(max_size=200), st.sampled_from([[FORM], [JSON], []]))
def test_no_body_is_anything_but_read_or_refused(body: bytes, types: list[bytes]) -> None:
    with contextlib.suppress(CallbackRefused):
        in_body(body, types)


@pytest.mark.parametrize("target", [b"/cb?code=" + b"x" * 17_000, b"/cb?" + b"&" * (MAX_PAIRS + 1)])
def test_what_would_cost_is_not_read(target: bytes) -> None:
    with pytest.raises(CallbackRefused):
        in_target(target)


def test_deep_json_is_refused_and_no_fault() -> None:
    with pytest.raises(CallbackRefused):
        in_body(b"[" * 60_000, [JSON])


@pytest.mark.parametrize(
    "kind",
    [
        b"application/x-www-form-urlencoded",
        b" Application/X-WWW-Form-URLencoded ; charset = utf-8 ",
        b'application/json;charset="UTF-8"',
        b"application/x-www-form-urlencoded;charset=ISO-8859-1",
    ],
)
def test_types_that_are_read(kind: bytes) -> None:
    check_head(b"/cb", [kind], [])


@pytest.mark.parametrize(
    "kind",
    [
        b"",
        b"text/plain",
        b"multipart/form-data; boundary=x",
        b"application/x-www-form-urlencoded; boundary=x",
        b"application/x-www-form-urlencoded; charset=utf-8; charset=utf-16",
        b"application/x-www-form-urlencoded, application/json",
        b"application/x-www-form-urlencoded;charset=utf-7",
        b"application/x-www-form-urlencodedx",
        b"application/problem+json",
        b"application/xml",
    ],
)
def test_types_that_are_not(kind: bytes) -> None:
    with pytest.raises(CallbackRefused):
        check_head(b"/cb", [kind], [])


@pytest.mark.parametrize(("encoding", "passes"), [(b"identity", True), (b" Identity ", True), (b"gzip", False)])
def test_a_compressed_body_is_not_read(encoding: bytes, passes: bool) -> None:
    if passes:
        check_head(b"/cb", [FORM], [encoding])
        return
    with pytest.raises(CallbackRefused):
        check_head(b"/cb", [FORM], [encoding])


NAMES = ["code", "CODE", "code[]", " code ", "code[a][b]", "code\0x", "\u0131d_token", "acce\u017f\u017f_token"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_as_the_most_generous_app_reads_it(name: str) -> None:
    found = in_body(json.dumps({name: "x"}).encode(), [JSON])
    assert (*found.codes, *found.id_tokens, *found.access_tokens) == ("x",)


@pytest.mark.parametrize("name", ["codes", "my_code", "code_verifier", "id_token_hint", "access_tokens", ""])
def test_another_name_is_another(name: str) -> None:
    assert in_body(json.dumps({name: "x"}).encode(), [JSON]) == in_body(b"", [FORM])


@pytest.mark.parametrize("body", [b"code=" + b"%" * 65_000, b"&" * 2000, b"code=x" + b"%41" * 6000])
def test_a_body_that_would_cost_is_not_read(body: bytes) -> None:
    with pytest.raises(CallbackRefused):
        in_body(body, [FORM])
