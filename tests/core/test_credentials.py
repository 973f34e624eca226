"""What counts as a credential, by reference cases. R is a revoked value; it must be among the candidates."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.core.credentials import MAX_ENCODED, MAX_PAIRS, Carriers, pairs
from sidecar.core.reading import MAX_BYTES, MAX_CANDIDATES, NOTHING, Reading, merged
from sidecar.core.spelling import MAX_LAYERS, canonical, strip_blanks

CARRIERS = Carriers(
    cookies=["S", "my_sess"],
    path_parameters=["jsessionid"],
    query_parameters=["PHPSESSID", "my_id"],
    headers=["X-Auth-Token"],
)


@pytest.mark.parametrize(
    ("case", "lines"),
    [
        (133, [b"x=1", b"S=R"]),
        (133, [b"S=L", b"S=R"]),
        (133, [b"S=R", b"S=L"]),
        (133, [b"S=L; S=R"]),
        (133, [b"S=R; S=L"]),
        (134, [b'x="a; S=R; y=b"']),
        (134, [b'x="a; S=R']),
        (134, [b'x="a\\"; S=R; y="b']),
        (134, [b'S="R"']),
        (134, [b'S="R']),
        (134, [b'S=R"']),
        (134, [b'S="Rx']),  # jshttp/cookie 0.x, hence Express 4
        (134, [b"S= \"R' ; x=1"]),
        (134, [b'S="\\R"']),
        (134, [b'S="\\122"']),
        (134, [b'S= "R" ; x=1']),
        (135, [b"x=a, S=R"]),
        (135, [b"x=a,S=R,y=b"]),
        (135, [b"S=R,x=a"]),
        (135, [b"S=L S=R"]),
        (135, [b"S=R x=a"]),
        (136, [b"bad name=1; S=R"]),
        (136, [b'x={"a":1}; S=R']),
        (136, [b"x=a b; S=R"]),
        (137, [b"$Version=1; S=R; $Path=/"]),
        (137, [b"$Version=1, S=R, $Domain=x"]),
        (137, [b'$Version="1";S="R";$Path="/"']),
        (138, [b"S =R"]),
        (138, [b"S= R"]),
        (138, [b"S\t=\tR"]),
        (138, [b" \t S=R \t"]),
        (138, [b"\x0bS\x0c=R"]),
        (138, [b"\x1cS\x1f=\x1dR\x1e"]),
        (139, ["\u00a0S=R".encode()]),
        (139, ["S\u2000=R".encode()]),
        (139, ["\u3000S\u3000=\u3000R\u3000".encode()]),
        (139, ["\u0085S=R\ufeff".encode()]),
        (139, [b"\xa0S=R\x85"]),
        (139, ["x=1; \u2003\u00a0 \u2003S=R".encode()]),
        (141, [b"s=R"]),
        (141, [b"MY_SESS=R"]),
        (142, [b"%53=R"]),
        (142, [b"%2553=R"]),
        (142, [b"m%79_sess=R"]),
        (142, [b"my.sess=R"]),
        (142, [b"my.sess=R; my_sess=L"]),
        (142, [b"my_sess=L; my.sess=R"]),
        (142, [b"my sess=R"]),
        (142, [b"my[sess=R"]),
        (142, [b"my%2Esess=R"]),
        (142, [b"+S=R"]),
        (142, [b"x=1,my.sess=R"]),
        (143, [b"S=%52"]),
        (143, [b"S=%2552"]),
        (143, [b"S=%25252552"]),
        (143, [b"S=%22R%22"]),
        (143, [b"S=%20R"]),
        (143, [b"S=%C2%A0R"]),
        (143, [b"x=1%3B%20S%3DR"]),
        (159, [b"=S=R"]),
        (159, [b"x=1; =S=R"]),
        (159, [b"\t=S=R"]),
        (159, [b"==S=R"]),
        (160, [b";;S=R;;"]),
        (160, [b"S=R;"]),
        (160, [b";S=R"]),
        (160, [b"S=R; S="]),
        (160, [b"x; S=R"]),
    ],
)
def test_every_spelling_that_some_app_accepts_is_found(case: int, lines: list[bytes]) -> None:
    reading = CARRIERS.in_cookies(lines)
    assert b"R" in reading.values or reading.is_ambiguous


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (b'S="a;b"', b"a;b"),
        (b'S="a,b; c" ; x=1', b"a,b; c"),
        (b'S="a\\"b;c"', b'a"b;c'),
        (b'S="a\\073b"', b"a;b"),
        (b"S=a,b", b"a,b"),
        (b"S=a,b", b"a"),
        (b"S=a b", b"a b"),
        (b"S=a b", b"a"),
        (b"S=a=b==", b"a=b=="),
        (b"%53=a%3Bb", b"a;b"),
        (b"x=1,%53=a%3Bb,y=2", b"a;b"),
        (b"S=s%3Aid.sig", b"s:id.sig"),
    ],
)
def test_every_end_of_a_value_that_some_app_sees_is_tried(line: bytes, value: bytes) -> None:
    assert value in CARRIERS.in_cookies([line]).values


@pytest.mark.parametrize(
    "line",
    [
        "\u017f=R".encode(),  # folds to `s` (case 141)
        "\uff33=R".encode(),  # full width
        "\U0001d4e2=R".encode(),
        b"\xffS=R",
        b"S\xff=R",
        b"S\xe9=R",
        b"S\x00=R",
        b"(S)=R",
        b"%FFS=R",
        "m\u00ady_sess=R".encode(),  # soft hyphen
    ],
)
def test_a_name_that_could_be_a_declared_one_in_disguise_is_ambiguous(line: bytes) -> None:
    """Reference case 139."""
    reading = CARRIERS.in_cookies([b"x=1; " + line])
    assert reading.is_ambiguous or b"R" in reading.values


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [b""],
        [b"x=1"],
        [b"theme=dark; SS=R; xS=R; S2=R; my_sess2=R"],
        [b"S="],
        [b"S"],
        [b'S=""'],
        [b"S=%20"],
        [b"x=S; y=my_sess"],
        [b'x="S"; y={"S":1}'],
        ["caf\u00e9=1; \u00fc=2".encode()],
        [b"_ga=GA1.2.3; consent=%7B%22a%22%3A1%7D"],
    ],
)
def test_what_no_app_takes_for_a_credential_is_nothing(lines: list[bytes]) -> None:
    assert CARRIERS.in_cookies(lines) is NOTHING


def test_an_ordinary_header_has_one_candidate() -> None:
    line = b"_ga=GA1.2.3; S=0123abcd; consent=x"
    assert CARRIERS.in_cookies([line]) == Reading((b"0123abcd",))
    assert CARRIERS.in_cookies([line + b"; prefs=%7B%22a%22%3A1%7D"]) == Reading((b"0123abcd",))


@pytest.mark.parametrize("count", [MAX_CANDIDATES, MAX_CANDIDATES + 1])
@pytest.mark.parametrize("neighbour", [b"x=1", b'x="1"'])
def test_one_candidate_too_many_is_ambiguous(count: int, neighbour: bytes) -> None:
    """Reference case 158: never `ignore the rest`."""
    line = b"; ".join([neighbour, *(b"S=%d" % number for number in range(count))])
    reading = CARRIERS.in_cookies([line])
    assert reading.is_ambiguous is (count > MAX_CANDIDATES)
    assert reading.is_ambiguous or len(reading.values) == count


@pytest.mark.parametrize("count", [MAX_PAIRS, MAX_PAIRS + 1])
def test_one_pair_too_many_is_ambiguous_where_the_header_is_odd(count: int) -> None:
    line = b";".join([b'x="1"', *[b"a=1"] * (count - 2), b"S=R"])
    reading = CARRIERS.in_cookies([line])
    assert reading.is_ambiguous is (count > MAX_PAIRS)


def test_a_plain_header_is_read_to_its_end_however_many_pairs_it_has() -> None:
    assert CARRIERS.in_cookies([b"a=1;" * 3000 + b"S=R"]) == Reading((b"R",))


def test_more_bytes_than_any_browser_sends_are_ambiguous() -> None:
    value = b"%41" * 10_000
    assert not CARRIERS.in_cookies([b"S=" + value[:9000]]).is_ambiguous
    line = b"; ".join(b"S=" + value + b"%%%d" % number for number in range(10))
    assert len(line) > MAX_BYTES
    assert CARRIERS.in_cookies([line]).is_ambiguous


@pytest.mark.parametrize("encoded", [b"%41", b"\\101"])
@pytest.mark.parametrize("count", [MAX_ENCODED, MAX_ENCODED + 1])
def test_more_encoding_than_any_app_takes_is_not_undone_but_ambiguous(encoded: bytes, count: int) -> None:
    carriers = Carriers(cookies=["S"], headers=["X-S"], query_parameters=["S"], path_parameters=["s"])
    value = encoded * count
    for reading in (
        carriers.in_cookies([b"a=" + value]),
        carriers.in_header(value),
        carriers.in_target(b"/?a=" + value),
    ):
        assert reading.is_ambiguous is (count > MAX_ENCODED)
    assert carriers.in_cookies([b'x="1"; S=R; a=' + b"b" * 60_000]) == Reading((b"R",))


def test_without_declared_cookies_no_cookie_is_read() -> None:
    assert Carriers().in_cookies([b"S=R"]) is NOTHING
    assert not Carriers().reads_target


@pytest.mark.parametrize(
    ("case", "target"),
    [
        (147, b"/app/page;jsessionid=R?x"),
        (147, b"/app;jsessionid=R/page"),
        (147, b"/app;v=1;jsessionid=R;w=2"),
        (147, b"/a;jsessionid=L/b;jsessionid=R"),
        (147, b"/app;JSESSIONID=R"),
        (147, b"/app;%6Asessionid=R"),
        (147, b"/app%3Bjsessionid=R"),
        (147, b"/app%253Bjsessionid=R"),
        (147, b"/app;jsessionid=%52"),
        (147, b"/app; jsessionid =R"),
        (147, b"/;jsessionid=R"),
        (149, b"/?PHPSESSID=R"),
        (149, b"/x?a=1&phpsessid=R&b=2"),
        (149, b"/x?a=1;PHPSESSID=R"),
        (149, b"/?PHPSESSID=L&PHPSESSID=R"),
        (149, b"/?%50HPSESSID=%52"),
        (149, b"/?+PHPSESSID=R"),
        (149, b"/?%20PHPSESSID=R"),
        (149, b"/?a?PHPSESSID=R"),
        (149, b"/?a=%26PHPSESSID=R"),
        (149, b"/?my.id=R"),
        (149, b"/?my+id=R"),
        (149, b"/?my%5Bid=R"),
    ],
)
def test_a_session_in_the_target_is_found(case: int, target: bytes) -> None:
    assert b"R" in CARRIERS.in_target(target).values


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/jsessionid=R",
        b"/a;xjsessionid=R",
        b"/a;v=1",
        b"/?x=PHPSESSID",
        b"/?xPHPSESSID=R",
        b"/?x;jsessionid=R",
        b"*",
    ],
)
def test_other_targets_hold_no_session(target: bytes) -> None:
    assert CARRIERS.in_target(target) is NOTHING


@pytest.mark.parametrize(
    ("target", "value"),
    [
        (b"/?PHPSESSID=a%26b", b"a&b"),
        (b"/?%50HPSESSID=a%26b", b"a&b"),
        (b"/?x=1&my%2eid=a%3Bb&y=2", b"a;b"),
        (b"/;jsessionid=a%2Fb/x", b"a/b"),
    ],
)
def test_an_encoded_separator_is_part_of_the_value(target: bytes, value: bytes) -> None:
    assert value in CARRIERS.in_target(target).values


def test_more_encoded_names_than_any_form_has_are_ambiguous() -> None:
    assert CARRIERS.in_target(b"/?" + b"a%5B%5D=1&" * (MAX_PAIRS + 1)).is_ambiguous
    assert CARRIERS.in_target(b"/?" + b"a%5B%5D=1&" * MAX_PAIRS) is NOTHING


def test_too_many_sessions_in_a_target_are_ambiguous() -> None:
    assert CARRIERS.in_target(b"/" + b";jsessionid=x" * (MAX_CANDIDATES + 1)).is_ambiguous
    assert not CARRIERS.in_target(b"/" + b";jsessionid=x" * MAX_CANDIDATES).is_ambiguous


@pytest.mark.parametrize(
    "value", [b"R", b" R ", b"Bearer R", b"bearer\tR", b"Token  R", b'Bearer "R"', b"Negotiate \tR", b"%52"]
)
def test_a_session_in_a_header_is_found_behind_its_scheme(value: bytes) -> None:
    """Reference case 151."""
    assert b"R" in CARRIERS.in_header(value).values


def test_an_empty_header_holds_nothing() -> None:
    assert CARRIERS.in_header(b" ") is NOTHING


@pytest.mark.parametrize("declared", ["X-Auth-Token", "x_auth_token", "X-AUTH_token"])
def test_a_declared_header_is_known_by_its_folded_name(declared: str) -> None:
    """Reference case 17."""
    assert Carriers(headers=[declared]).headers == (b"x-auth-token",)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"R", b"R"),
        (b"", b""),
        (b' "R" ', b"R"),
        (b'"a b"', b"a b"),
        (b'"a\\"b"', b'a"b'),
        (b'"a\\054b"', b"a,b"),
        (b"a%2Cb", b"a,b"),
        (b"a%2cb", b"a,b"),
        (b"100%", b"100%"),
        (b"%zz", b"%zz"),
        (b"%2", b"%2"),
        (b"%25252541", b"A"),
        (b"a+b", b"a+b"),  # a blank to some, a plus to others: not ours to fold
        (b"%22%20R%20%22", b"R"),
        (b"\xc2\xa0R\xe2\x80\x83", b"R"),
        (b"\xff", b"\xff"),
        (b"a\x80b", b"a\x80b"),
    ],
)
def test_a_value_has_one_canonical_spelling(value: bytes, expected: bytes) -> None:
    assert canonical(value) == expected


ODD_PIECES = (
    *(b'"', b"\\", b"%", b"2", b"5", b"25", b"%41", b"%22", b"%5C", b" ", b"\t", b"\xc2", b"\xa0", b"\x80", b"\xe2"),
    *(b"\xe3\x80\x80", b"a", b"R", b";", b",", b"=", b"054", b"134", b"S", b"+", b"\xef\xbb\xbf", b"\xff"),
)
ODD_BYTES = st.lists(st.sampled_from(ODD_PIECES), max_size=12).map(b"".join)


def is_settled(value: bytes) -> bool:
    """Whether no layer is left, counted the slow way."""
    return canonical(value) == value


@given(st.one_of(ODD_BYTES, st.binary(max_size=30)))
@example(b'"\\134134134134101"')
def test_canonical_is_idempotent_or_the_request_is_ambiguous(value: bytes) -> None:
    once = canonical(value)
    if not is_settled(once):
        assert CARRIERS.in_header(value).is_ambiguous


@given(st.binary(min_size=1, max_size=20), st.integers(0, MAX_LAYERS - 2))
def test_percent_encoding_any_number_of_times_changes_nothing(value: bytes, layers: int) -> None:
    spelled = value
    for _ in range(layers):
        spelled = b"".join(b"%%%02x" % byte for byte in spelled)
    assert canonical(spelled) == canonical(value) or not is_settled(canonical(spelled))


def test_a_value_wrapped_deeper_than_any_app_unwraps_is_ambiguous() -> None:
    spelled = b"\\" + b"134" * 20 + b"101"
    assert CARRIERS.in_cookies([b'S="' + spelled + b'"']).is_ambiguous


BLANK = st.sampled_from(
    [
        char.encode()
        for char in "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"
    ]
    + [b"\xa0", b"\x85"]
)


@given(st.lists(BLANK, max_size=5).map(b"".join), st.lists(BLANK, max_size=5).map(b"".join))
def test_whatever_python_calls_blank_is_stripped_in_utf_8_and_latin_1(before: bytes, after: bytes) -> None:
    assert strip_blanks(before + b"R" + after) == b"R"


@given(st.binary(max_size=30))
def test_stripping_blanks_twice_is_stripping_them_once(value: bytes) -> None:
    assert strip_blanks(strip_blanks(value)) == strip_blanks(value)


@given(st.lists(st.one_of(ODD_BYTES, st.binary(max_size=30)), max_size=4))
def test_any_bytes_are_read_without_an_error(lines: list[bytes]) -> None:
    CARRIERS.in_cookies(lines)
    list(pairs(lines))
    for line in lines:
        CARRIERS.in_target(b"/" + line)
        CARRIERS.in_header(line)
        CARRIERS.is_cookie(line)


SIZE = 65_000


@pytest.mark.timeout(10)  # each takes a few milliseconds; before it was one pass, some took half a minute
@pytest.mark.parametrize(
    "line",
    [
        b'x="' + b" " * SIZE,
        b'x="' + b"\x80" * SIZE,
        b"S=" + b"\xc2\xa0 " * (SIZE // 3),
        b"S=x" + b"\xc2\xa0 " * (SIZE // 3) + b"x",
        b"S=" + b'" ' * (SIZE // 2),
        b"S=%" + b"25" * (SIZE // 2),
        b"S=" + b"%41" * (SIZE // 3),
        b'S="' + b"\\" * SIZE,
        b'S="' + b"\\134" * (SIZE // 4),
        b"x=1" + b",S=1" * 31 + b"%41" * (SIZE // 4),
        b"x" + b",S=" * (SIZE // 3),
        b"S\xff" * (SIZE // 2),
        b"S" + b" " * SIZE,
        b"\xcc\x81\xcc\xa3" * (SIZE // 4) + b"=1",
        (b"%S" + b"\xcc\x81\xcc\xa3" * 50 + b"=1;") * 300,
        b'"=1;' * (SIZE // 4),
        b"S=1; " * (SIZE // 5),
        b"=" * SIZE,
        b"S=" * (SIZE // 2),
    ],
    ids=range(19),
)
def test_the_longest_header_is_read_in_bounded_time(line: bytes) -> None:
    for _ in range(5):
        CARRIERS.in_cookies([line])
        CARRIERS.in_target(b"/;" + line)
        CARRIERS.in_target(b"/?" + line)
        CARRIERS.in_header(line)


def test_pairs_are_read_as_rfc_6265_does_and_in_other_ways_too() -> None:
    lines = [b'id_token="a.b.c"; x', b"id%5Ftoken.1= d ;=e"]
    assert set(pairs(lines)) >= {(b"id_token", b"a.b.c"), (b"id_token.1", b"d"), (b"", b"e")}


def test_readings_are_merged_without_repetitions() -> None:
    one, other = Reading((b"a", b"b")), Reading((b"b", b"c"), is_ambiguous=True)
    assert merged([one, other, NOTHING]) == Reading((b"a", b"b", b"c"), is_ambiguous=True)
    assert merged([NOTHING, NOTHING]) is NOTHING
    assert merged([]) is NOTHING


def test_what_a_reading_shows_of_itself_holds_no_values() -> None:
    assert "secret" not in repr(Reading((b"secret",)))
