"""Where apps keep their CSRF tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.csrf import MAX_TOKEN_CHARS, Csrf

PAGES = [
    ("input", "csrf", '<form><input type="hidden" name="csrf" value="t1"></form>', "t1"),
    ("input", "csrf", "<FORM><INPUT value='t1' name=csrf />", "t1"),
    ("input", "csrf", '<input name="csrf" value="a&amp;b">', "a&b"),
    (
        "input",
        "csrf",
        '<input name="other" value="x"><input name="csrf" value="t1"><input name="csrf" value="t2">',
        "t1",
    ),
    ("input", "csrf", '<meta name="csrf" content="t1">', None),
    ("input", "csrf", '<input name="csrf">', None),
    ("input", "csrf", '<input name="csrf" value="">', None),
    ("input", "csrf", '<!-- <input name="csrf" value="t1"> -->', None),
    ("meta", "csrf-token", '<head><meta name="csrf-token" content="t1">', "t1"),
    ("meta", "csrf-token", '<input name="csrf-token" value="t1">', None),
    ("input", "csrf", f'<input name="csrf" value="{"x" * (MAX_TOKEN_CHARS + 1)}">', None),
    ("input", "csrf", '<input name="csrf" value="a\r\nX: y">', None),
    ("input", "csrf", "", None),
]


@pytest.mark.parametrize(("source", "name", "page", "expected"), PAGES)
def test_the_token_is_found_where_it_is_said_to_be(source, name, page, expected) -> None:
    assert Csrf("/", source, name).token(page, [("csrf", "c")]) == expected


def test_a_cookie_may_be_the_token() -> None:
    csrf = Csrf("/", "cookie", "XSRF-TOKEN")
    assert csrf.token("", [("a", "1"), ("XSRF-TOKEN", "t1")]) == "t1"
    assert csrf.token('<input name="XSRF-TOKEN" value="x">', []) is None


@given(st.text(max_size=300) | st.text("<>!-/ainputvlem=\"'&;\n", max_size=80))
def test_no_page_breaks_the_reader(page: str) -> None:
    Csrf("/", "input", "n").token(page, [])
