"""`${VAR}` in single values."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.interpolate import Interpolated, VariableError, interpolate
from sidecar.config.load import load_all

ENVIRON = {"V": "value", "EMPTY": "", "LINES": "a\nb", "RETURN": "a\rb", "DOLLAR": "${V}", "PORT": "12"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${V}", "value"),
        ("a-${V}-${V}", "a-value-value"),
        ("${EMPTY}", ""),
        ("${NOPE:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${V:-default}", "value"),
        ("${NOPE:-}", ""),
        ("${V:?needed}", "value"),
        ("$$", "$"),
        ("$${V}", "${V}"),
        ("$$$V", "$$V"),
        ("a$b", "a$b"),
        ("$", "$"),
        ("${DOLLAR}", "${V}"),  # what a variable holds is not read again
        ("${NOPE:-$V}", "$V"),
    ],
)
def test_references_are_replaced(text: str, result: str) -> None:
    assert interpolate(text, ENVIRON)[0] == result


@pytest.mark.parametrize("text", ["${NOPE}", "${NOPE:?set it}", "${EMPTY:?set it}", "${LINES}", "${RETURN}"])
def test_an_error_names_the_variable(text: str) -> None:
    with pytest.raises(VariableError) as caught:
        interpolate(text, ENVIRON)
    assert text.strip("${}").partition(":")[0] in caught.value.what


def test_the_message_of_a_required_variable_is_shown() -> None:
    with pytest.raises(VariableError, match="ask the platform team"):
        interpolate("${NOPE:?ask the platform team}", {})


@pytest.mark.parametrize("text", ["${", "${}", "${1}", "${V", "${V:}", "${V:x}", "${V V}", "${V-x}"])
def test_a_malformed_reference_is_an_error(text: str) -> None:
    with pytest.raises(VariableError, match="malformed"):
        interpolate(text, ENVIRON)


def test_the_names_that_were_used_are_told() -> None:
    assert interpolate("${V}${NOPE:-x}", ENVIRON)[1] == {"V", "NOPE"}


def test_a_value_that_grows_too_long_is_refused() -> None:
    with pytest.raises(VariableError):
        interpolate("${V}" * 2000, {"V": "x" * 100})


@given(st.text(alphabet="${}:-?V x", max_size=30))
def test_no_text_breaks_the_interpolation(text: str) -> None:
    try:
        result, names = interpolate(text, ENVIRON)
    except VariableError:
        return
    assert isinstance(result, Interpolated) == bool(names)


def test_a_number_and_a_switch_may_come_from_the_environment(write: Callable[[str], str], base: str) -> None:
    text = base + 'limits:\n  connections: ${PORT}\nlog: {access: "${ACCESS}", level: "${LEVEL:-debug}"}\n'
    loaded = load_all(write(text), {"PORT": "12", "ACCESS": "true"})
    assert (loaded.config.limits.connections, loaded.config.log.access, loaded.config.log.level) == (12, True, "debug")
    assert loaded.variables == ("ACCESS", "LEVEL", "PORT")


def test_a_variable_that_looks_like_a_number_is_text_where_text_belongs(write: Callable[[str], str], base: str) -> None:
    config = load_all(write(base.replace("client_id: app", "client_id: ${ID}")), {"ID": "0123"}).config
    assert config.providers[0].client_id == ("0123",)


def test_a_variable_cannot_add_keys(write: Callable[[str], str], base: str) -> None:
    hostile = "x, require_exp: false} # "
    config = load_all(write(base.replace("client_id: app", "client_id: ${ID}")), {"ID": hostile}).config
    assert config.providers[0].client_id == (hostile,)
    assert config.providers[0].logout_token.require_exp


def test_an_empty_variable_leaves_an_optional_key_unset(write: Callable[[str], str], base: str) -> None:
    assert load_all(write(base + "public_url: ${URL:-}\n"), {}).config.public_url is None
