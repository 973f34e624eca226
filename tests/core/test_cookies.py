"""Set-Cookie as browsers read it, how a cookie is taken out of a browser, and the Cookie header that is left."""

import http.cookies

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.cookies import Scope, expire, parse_set_cookie, without
from sidecar.core.credentials import MAX_PAIRS

EPOCH = "Thu, 01 Jan 1970 00:00:00 GMT"


@pytest.mark.parametrize(
    ("line", "name", "value", "scope"),
    [
        (b"S=R", b"S", b"R", Scope()),
        (b" S = R ; Path=/app", b"S", b"R", Scope(path=b"/app")),
        (b'S="R"; path="/app"', b"S", b"R", Scope()),  # a quoted path is no path to a browser
        (b"S=R; Path=app", b"S", b"R", Scope()),
        (b"S=R; Path=", b"S", b"R", Scope()),
        (b"S=R; Path=/a; Path=/b", b"S", b"R", Scope(path=b"/b")),  # RFC 6265 section 5.3: the last one
        (b"S=R;DOMAIN=.Example.test;secure", b"S", b"R", Scope(domain=b".Example.test", secure=True)),
        (b"S=R; Secure; HttpOnly; SameSite=None; Partitioned", b"S", b"R", Scope(secure=True, partitioned=True)),
        (b"S=a=b%20c; x", b"S", b"a=b c", Scope()),
        (b"S=R; Secure=no", b"S", b"R", Scope(secure=True)),
        (b"R", b"", b"R", Scope()),
        (b"", b"", b"", Scope()),
        (b";;;", b"", b"", Scope()),
        (b"=R", b"", b"R", Scope()),
    ],
)
def test_a_set_cookie_line_is_read_as_a_browser_does(line: bytes, name: bytes, value: bytes, scope: Scope) -> None:
    """RFC 6265 section 5.2."""
    cookie = parse_set_cookie(line)
    assert (cookie.name, cookie.value, cookie.scope) == (name, value, scope)


@pytest.mark.parametrize(
    ("attributes", "is_deletion"),
    [
        (b"", False),
        (b"; Max-Age=3600", False),
        (b"; Max-Age=1", False),
        (b"; Max-Age=0", True),
        (b"; Max-Age=000", True),
        (b"; Max-Age=-1", True),
        (b"; Max-Age=-0", True),
        (b"; Max-Age=00000000000000000000000000005", False),
        (b"; Max-Age=" + b"9" * 5000, False),
        (b"; Max-Age=--5", False),  # no number: as if it were not there
        (b"; Max-Age=" + b"-" * 30 + b"5", False),
        (b"; Max-Age=", False),
        (b"; Max-Age=+5", False),
        ("; Max-Age=\u0660".encode(), False),
        (b"; Expires=Thu, 01 Jan 1970 00:00:00 GMT", True),
        (b"; Expires=Thu, 01-Jan-1970 00:00:01 GMT", True),
        (b"; Expires=Thu, 01 Jan 1970 00:00:00", True),
        (b"; Expires=Tue, 31 Dec 2019 23:59:59 GMT", True),
        (b"; Expires=Wed, 01 Jan 2020 00:00:00 GMT", False),
        (b"; Expires=Fri, 31 Dec 9999 23:59:59 GMT", False),
        (b"; Expires=Fri, 31 Dec 9999 23:59:59 -2359", False),
        (b"; Expires=Mon, 01 Jan 0001 00:00:00 +2359", True),
        (b"; Expires=0", False),
        (b"; Expires=Thu, 01 Jan 1970 00:00:00 +" + b"9" * 30, False),
        (b"; Expires=never", False),
        (b"; Expires=", False),
        (b"; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT", False),  # Max-Age wins
        (b"; Max-Age=0; Expires=Fri, 31 Dec 9999 23:59:59 GMT", True),
        (b"; Max-Age=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT", True),
    ],
)
def test_a_deletion_is_told_from_a_new_cookie(attributes: bytes, is_deletion: bool) -> None:
    assert parse_set_cookie(b"S=R" + attributes).is_deletion is is_deletion


@pytest.mark.parametrize("line", [b"S=", b'S=""', b"S; Path=/", b"S=%20; Path=/"])
def test_an_empty_value_is_a_deletion_for_sessions(line: bytes) -> None:
    cookie = parse_set_cookie(line)
    assert cookie.is_deletion or cookie.name == b""


DATE_PIECES = (
    *("Thu, ", "01 ", "31 ", "99 ", "Jan ", "Feb ", "1970 ", "0000 ", "9999 ", "99999 ", "00:00:00 ", "24:60:60 "),
    *("GMT", "+0000", "-9999", "+99999999", "-", ",", ":", " ", "1"),
)
DATES = st.lists(st.sampled_from(DATE_PIECES), max_size=8).map("".join)


@given(st.one_of(st.binary(max_size=60), DATES.map(lambda date: b"S=R; Expires=" + date.encode())))
def test_any_bytes_are_a_set_cookie_line(line: bytes) -> None:
    parse_set_cookie(line)


@pytest.mark.parametrize(
    ("name", "scope", "expected"),
    [
        (b"S", Scope(), f"S=; Path=/; Expires={EPOCH}; Max-Age=0; HttpOnly"),
        (b"S", Scope(path=b"/app"), f"S=; Path=/app; Expires={EPOCH}; Max-Age=0; HttpOnly"),
        (
            b"S",
            Scope(domain=b".example.test", path=b"/", secure=True),
            f"S=; Path=/; Domain=.example.test; Expires={EPOCH}; Max-Age=0; HttpOnly; Secure",
        ),
        (
            b"S",
            Scope(secure=True, partitioned=True),
            f"S=; Path=/; Expires={EPOCH}; Max-Age=0; HttpOnly; Secure; Partitioned",
        ),
        (
            b"__Host-S",
            Scope(domain=b"x", path=b"/a"),
            f"__Host-S=; Path=/; Expires={EPOCH}; Max-Age=0; HttpOnly; Secure",
        ),
        (b"__HOST-S", Scope(), f"__HOST-S=; Path=/; Expires={EPOCH}; Max-Age=0; HttpOnly; Secure"),
        (
            b"__Secure-S",
            Scope(domain=b"x", path=b"/a"),
            f"__Secure-S=; Path=/a; Domain=x; Expires={EPOCH}; Max-Age=0; HttpOnly; Secure",
        ),
    ],
)
def test_a_cookie_is_expired_where_the_app_set_it(name: bytes, scope: Scope, expected: str) -> None:
    """Reference case 169; the name prefixes keep what they promise (RFC 6265bis section 4.1.3)."""
    assert expire(name, scope) == expected.encode()


SCOPES = st.builds(
    Scope,
    domain=st.sampled_from([b"", b"example.test", b".example.test"]),
    path=st.sampled_from([b"", b"/", b"/app", b"/a/b"]),
    secure=st.booleans(),
    partitioned=st.booleans(),
)


@given(SCOPES)
def test_what_expires_a_cookie_is_read_back_as_its_deletion(scope: Scope) -> None:
    cookie = parse_set_cookie(expire(b"S", scope))
    assert cookie.is_deletion
    assert cookie.scope == Scope(scope.domain, scope.path or b"/", scope.secure, scope.partitioned)


@given(SCOPES)
def test_python_reads_what_expires_a_cookie_as_a_cookie_with_an_empty_value(scope: Scope) -> None:
    line = expire(b"S", scope).decode().replace("; Partitioned", "")  # newer than this parser
    morsel = http.cookies.SimpleCookie(line)["S"]
    assert (morsel.value, morsel["max-age"], morsel["expires"]) == ("", "0", EPOCH)


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ([b"a=1; S=R; b=2"], b"a=1; b=2"),
        ([b"a=1", b"S=R", b"b=2"], b"a=1; b=2"),
        ([b"S=R"], None),
        ([b""], None),
        ([], None),
        ([b"a=1;b=x=y; c=$(e)"], b"a=1; b=x=y; c=$(e)"),
        ([b"a=1; $Path=/; b=2"], b"a=1; b=2"),  # case 137
        ([b'a=1; q="x"; e=\\1; c=1,2; b=2'], b"a=1; b=2"),
        ([b"a=1; sp=x y; b=2"], b"a=1; b=2"),
        ([b"a=1; \xc3\xa9=1; u=\xe9; b=2"], b"a=1; b=2"),
        ([b"a=1; =x; nameless; b=2; c="], b"a=1; b=2; c="),
        ([b"a = 1; b=2"], b"b=2"),
        ([b"a=%22; b=2"], b"a=%22; b=2"),
    ],
)
def test_what_is_left_is_a_list_of_simple_pairs(lines: list[bytes], left: bytes | None) -> None:
    """Reference case 161."""
    assert without(lines, lambda name, _pair: name == b"S") == left


def test_what_comes_after_more_pairs_than_a_browser_sends_is_dropped() -> None:
    left = without([b"a=1; " * (MAX_PAIRS + 50)], lambda _name, _pair: False)
    assert left is not None
    assert left.count(b"a=1") == MAX_PAIRS


@pytest.mark.timeout(5)
def test_the_longest_header_is_written_anew_in_bounded_time() -> None:
    for line in (b"a=1;" * 16_000, b";" * 64_000, b"a" * 64_000, b"a=" + b"b" * 64_000, b" " * 64_000):
        without([line], lambda _name, _pair: False)


def test_what_a_cookie_shows_of_itself_holds_no_value() -> None:
    assert "secret" not in repr(parse_set_cookie(b"S=secret"))
