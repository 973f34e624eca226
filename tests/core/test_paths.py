"""Paths that every parser reads alike, look-alikes of the control prefix, and patterns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.paths import Place, compile_pattern, is_plain, is_too_odd, matches, path_of, place

PREFIX = b"/_sidecar"


@pytest.mark.parametrize(
    ("target", "path"),
    [(b"/", b"/"), (b"/a?b?c", b"/a"), (b"/?", b"/"), (b"//a/../b?x", b"//a/../b"), (b"*", b"*")],
)
def test_the_path_ends_at_the_first_question_mark(target: bytes, path: bytes) -> None:
    assert path_of(target) == path


@pytest.mark.parametrize(
    "path",
    [b"/", b"/a", b"/a/", b"/a.b/..c/d..", b"/.well-known/x", b"/...", b"/a=b&c,d:e@f!~*'()+$|", b"*", b"/a/b.c"],
)
def test_a_path_that_can_be_read_in_one_way_is_plain(path: bytes) -> None:
    assert is_plain(path)


NOT_PLAIN = [
    b"/a/../b",
    b"/..",
    b"/a/..",
    b"/./a",
    b"/a/.",
    b"//a",
    b"/a//b",
    b"/a\\b",
    b"/a%2e",
    b"/%",
    b"/%2f",
    b"/%5c",
    b"/%00",
    b"/%0a",
    b"/%252e",
    b"/%u002f",
    b"/a;b",
    b"/a;",
    b"/..;/",
    b"/\xc0\xaf",
    b"/\xe9",
    b"/\x00",
    b"/a b",
    b"/\x7f",
]


@pytest.mark.parametrize("path", NOT_PLAIN)
def test_a_path_that_some_server_reads_differently_matches_nothing(path: bytes) -> None:
    """Reference case 123."""
    assert not is_plain(path)
    assert not matches(compile_pattern("*"), path)


@pytest.mark.parametrize(
    ("path", "where"),
    [
        (b"/_sidecar", Place.CONTROL),
        (b"/_sidecar/", Place.CONTROL),
        (b"/_sidecar/backchannel-logout", Place.CONTROL),
        (b"/_sidecarx", Place.ELSEWHERE),
        (b"/_sidecar.", Place.ELSEWHERE),
        (b"/", Place.ELSEWHERE),
        (b"/app/_sidecar", Place.ELSEWHERE),
        (b"/_side", Place.ELSEWHERE),
        (b"*", Place.ELSEWHERE),
        (b"", Place.ELSEWHERE),
        (b"/_SIDECAR", Place.LOOK_ALIKE),
        (b"/_Sidecar/backchannel-logout", Place.LOOK_ALIKE),
        (b"//_sidecar", Place.LOOK_ALIKE),
        (b"/_sidecar/../account", Place.LOOK_ALIKE),
        (b"/_sidecar;x/y", Place.LOOK_ALIKE),
        (b"/_sidecar//", Place.LOOK_ALIKE),
        (b"/./_sidecar", Place.LOOK_ALIKE),
        (b"/a/../_sidecar/x", Place.LOOK_ALIKE),
        (b"/a/..;x/_sidecar", Place.LOOK_ALIKE),
        (b"/../_sidecar", Place.LOOK_ALIKE),
        (b"/%5Fsidecar", Place.LOOK_ALIKE),
        (b"/%5fSIDECAR/x", Place.LOOK_ALIKE),
        (b"/%255Fsidecar", Place.LOOK_ALIKE),
        (b"/%25255Fsidecar", Place.LOOK_ALIKE),
        (b"/_sidecar%2Fbackchannel-logout", Place.LOOK_ALIKE),
        (b"/%2e%2e/_sidecar", Place.LOOK_ALIKE),
        (b"/\\_sidecar", Place.LOOK_ALIKE),
        (b"/a/%2e%2e%5c_sidecar", Place.LOOK_ALIKE),
        (b"/_sidecar;x", Place.LOOK_ALIKE),
        (b"/_sidecar;x/backchannel-logout", Place.LOOK_ALIKE),
        (b"/_sidecar%3Bx/backchannel-logout", Place.LOOK_ALIKE),
        (b"/;x/_sidecar", Place.LOOK_ALIKE),
        (b"/%20_sidecar", Place.LOOK_ALIKE),
        (b"/_sidecar%20/x", Place.LOOK_ALIKE),
        (b"/_sidecar/../app", Place.LOOK_ALIKE),  # whoever does not resolve it reads a control path
        (b"/app%20x", Place.ELSEWHERE),
        (b"/app;jsessionid=1", Place.ELSEWHERE),
        (b"/app//x", Place.ELSEWHERE),
    ],
)
def test_a_path_is_under_the_control_prefix_or_looks_like_it_or_neither(path: bytes, where: Place) -> None:
    """Reference case 130."""
    assert place(path, PREFIX) is where


@pytest.mark.parametrize("prefix", [b"/_sidecar", b"/a/b", b"/Logout"])
def test_any_prefix_is_found_under_its_own_name_only(prefix: bytes) -> None:
    assert place(prefix + b"/x", prefix) is Place.CONTROL
    assert place(prefix.swapcase() + b"/x", prefix) is Place.LOOK_ALIKE
    assert place(b"/x" + prefix, prefix) is Place.ELSEWHERE


ENCODINGS = st.sampled_from(["%c", "%%%02x", "%%%02X", "%%25%02x"])


@given(
    st.lists(ENCODINGS, min_size=len(PREFIX) - 1, max_size=len(PREFIX) - 1),
    st.booleans(),
    st.sampled_from(["", "/x", "?"]),
)
def test_no_percent_encoding_hides_the_control_prefix(encodings: list[str], doubled: bool, tail: str) -> None:
    spelled = "".join(how % byte for how, byte in zip(encodings, PREFIX[1:], strict=True))
    path = path_of(("//" if doubled else "/").encode() + spelled.encode() + tail.encode())
    assert place(path, PREFIX) is not Place.ELSEWHERE


@given(st.binary(max_size=40))
def test_any_bytes_have_a_place(path: bytes) -> None:
    where = place(path, PREFIX)
    assert where is not Place.CONTROL or is_plain(path)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/static/*", b"/static/", True),
        ("/static/*", b"/static/a/b.css", True),
        ("/static/*", b"/static", False),
        ("/static/*", b"/x/static/a", False),
        ("/health", b"/health", True),
        ("/health", b"/healthz", False),
        ("/health", b"/healt", False),
        ("*", b"/", True),
        ("*", b"/any/thing", True),
        ("*.css", b"/a/b.css", True),
        ("*.css", b"/a/b.css/x", False),
        ("*.css", b"/a/bxcss", False),
        ("/a/*/c", b"/a/b/c", True),
        ("/a/*/c", b"/a/b/b/c", True),
        ("/a/*/c", b"/a/c", False),
        ("/*/b/*/c", b"/a/b/x/b/y/c", True),
        ("/*/b/*/c", b"/a/b/c", False),
        ("/*a*a", b"/a", False),
        ("/*a*a", b"/aa", True),
        ("/*ab*b", b"/abb", True),
        ("/*ab*b", b"/ab", False),
        ("**", b"/a", True),
        ("/a.b+(c)[d]", b"/a.b+(c)[d]", True),
        ("/a.b", b"/axb", False),
        ("/a", b"/A", False),
        ("/static/*", b"/static/../admin", False),
        ("/static/*", b"/static/%2e%2e/admin", False),
        ("/static/*", b"/static/;x", False),
    ],
)
def test_a_star_stands_for_anything(pattern: str, path: bytes, expected: bool) -> None:
    assert matches(compile_pattern(pattern), path) is expected


def by_trying(pattern: str, path: str) -> bool:
    """The meaning of a pattern, written down without regard to cost."""
    if not pattern:
        return not path
    if pattern[0] == "*":
        return any(by_trying(pattern[1:], path[start:]) for start in range(len(path) + 1))
    return path[:1] == pattern[0] and by_trying(pattern[1:], path[1:])


@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
def test_a_pattern_means_what_trying_everything_says(pattern: str, path: str) -> None:
    assert matches(compile_pattern(pattern), path.encode()) is by_trying(pattern, path)


@pytest.mark.timeout(5)  # milliseconds; trying every combination would take hours
def test_many_stars_on_a_long_path_take_one_pass() -> None:
    pattern = compile_pattern("/*a*b*a*b*a*b*c")
    assert not matches(pattern, b"/" + b"ab" * 30_000)


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "path",
    [
        b"/%25" * 16_000,
        b"/.." * 20_000,
        b"/;" * 30_000,
        b"\\" * 60_000,
        b"/%2e" * 15_000,
        b"/a" * 16_000 + b"/%2e." * 6000,
    ],
)
def test_the_longest_path_is_placed_in_bounded_time(path: bytes) -> None:
    assert place(path, PREFIX) is Place.ELSEWHERE


@pytest.mark.parametrize(
    ("path", "is_odd"),
    [
        (b"/" + b"a/" * 30_000, False),  # long, and everybody reads it alike
        (b"/" + b"%2e/" * 2000, False),
        (b"/" + b"%2e/" * 2048, True),
        (b"/%41/" + b"a/" * 5000, True),
        (b"/" + b";a" * 5000, True),
        (b"/" + b"a" * 9000 + b"/..", True),
    ],
)
def test_a_long_path_that_can_be_read_in_several_ways_is_not_worth_reading(path: bytes, is_odd: bool) -> None:
    assert is_too_odd(path) is is_odd
