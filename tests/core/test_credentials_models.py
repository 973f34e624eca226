"""Extraction and stripping against models of the cookie parsers of real stacks.

Each model is a small function from Cookie lines to the pairs that its stack hands to the app; Werkzeug's and Python's
own parsers are the real ones. Whatever any of them would take for a declared credential must be among the candidates,
and none of them may find one after stripping. The headers are generated from pieces that parsers disagree about.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from http.cookies import CookieError, SimpleCookie
from urllib.parse import unquote_plus, unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from werkzeug.sansio.http import parse_cookie

from sidecar.core.credentials import Carriers
from sidecar.core.spelling import canonical
from sidecar.core.stripping import strip_fields, strip_target

NAMES = (b"SID", b"my_sess")
CARRIERS = Carriers(
    cookies=[name.decode() for name in NAMES],
    path_parameters=["jsessionid"],
    query_parameters=["PHPSESSID"],
    headers=["X-Auth-Token"],
)

Pair = tuple[bytes, bytes]
Model = Callable[[bytes], Iterable[Pair]]


_ESCAPED = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))")


def without_case(name: bytes) -> bytes:
    """How a stack without regard to case finds a name."""
    return {declared.lower(): declared for declared in NAMES}.get(name.lower(), name)


def as_text(line: bytes) -> str:
    return line.decode("utf-8", "replace")


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def rfc_6265(line: bytes) -> Iterator[Pair]:
    for pair in line.split(b";"):
        name, equals, value = pair.partition(b"=")
        if equals:
            yield name.strip(b" \t"), value.strip(b" \t")


def nameless(line: bytes) -> Iterator[Pair]:
    """A browser that stores `=S=R` sends it back as `S=R`; some stacks read the second form out of the first."""
    return rfc_6265(b";".join(pair.lstrip(b" =") for pair in line.split(b";")))


def comma_splitter(line: bytes) -> Iterator[Pair]:
    """RFC 2109 servers, old Rack, ASP.NET Core: a comma ends a pair; names without regard to case, decoded."""
    for pair in re.split(rb"[;,]", line):
        name, equals, value = pair.partition(b"=")
        if equals:
            yield without_case(unquote_to_bytes(name.strip())), unquote_to_bytes(value.strip())


def dotnet(line: bytes) -> Iterator[Pair]:
    """System.Web: Unicode blanks trimmed, no regard to case."""
    for pair in as_text(line).split(";"):
        name, equals, value = pair.partition("=")
        if equals:
            yield without_case(as_bytes(name.strip())), as_bytes(value.strip())


def django(line: bytes) -> Iterator[Pair]:
    for chunk in as_text(line).split(";"):
        name, equals, value = chunk.partition("=")
        name, value = (name.strip(), value.strip()) if equals else ("", chunk.strip())
        yield as_bytes(name), as_bytes(unslashed(value))


def django_in_latin_1(line: bytes) -> Iterator[Pair]:
    for chunk in line.decode("latin-1").split(";"):
        name, equals, value = chunk.partition("=")
        if equals:
            yield name.strip().encode("latin-1"), unslashed(value.strip()).encode("latin-1", "replace")


def unslashed(value: str) -> str:
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)) if match[1] else match[2], value[1:-1])


def simple_cookie(line: bytes) -> Iterator[Pair]:
    try:
        parsed = SimpleCookie(line.decode("latin-1"))
    except CookieError:
        return
    for name, morsel in parsed.items():
        yield name.encode("latin-1"), morsel.value.encode("latin-1", "replace")


def werkzeug(line: bytes) -> Iterator[Pair]:
    for name, value in parse_cookie(as_text(line)).items(multi=True):
        yield as_bytes(name), as_bytes(value)


def blank_splitter(line: bytes) -> Iterator[Pair]:
    """aiohttp: blanks separate as semicolons do, quotes hold everything."""
    for match in re.finditer(rb'([^\s;,="]+)\s*=\s*("(?:[^\\"]|\\.)*"|[^\s;,"]*)', line):
        yield match[1], as_bytes(unslashed(match[2].decode("latin-1"))) if match[2].isascii() else match[2]


def express(line: bytes) -> Iterator[Pair]:
    for pair in line.split(b";"):
        name, equals, value = pair.partition(b"=")
        value = value.strip(b" \t")
        value = value[1:-1] if value[:1] == b'"' else value
        if equals:
            yield name.strip(b" \t"), unquote_to_bytes(value)


def rack(line: bytes) -> Iterator[Pair]:
    for pair in re.split(rb"; *", line):
        name, _, value = pair.partition(b"=")
        yield name, unquote_to_bytes(value)


def php(line: bytes) -> Iterator[Pair]:
    """Leading blanks skipped, names folded; old versions decode names as well. A plus sign in a value is kept."""
    for pair in line.split(b";"):
        name, equals, value = pair.partition(b"=")
        if equals:
            for spelled in (name, unquote_to_bytes(name.replace(b"+", b" "))):
                yield re.sub(rb"[ .\[]", b"_", spelled.lstrip(b" \t\v\f\r\n")), unquote_to_bytes(value)


def tomcat(line: bytes) -> Iterator[Pair]:
    """Quotes stripped; after $Version commas separate."""
    separator = rb"[;,]" if line.lstrip().startswith(b"$Version") else rb";"
    for pair in re.split(separator, line):
        name, equals, value = pair.partition(b"=")
        value = value.strip(b" \t")
        if equals:
            yield name.strip(b" \t"), value[1:-1] if value[:1] == value[-1:] == b'"' and len(value) > 1 else value


def jetty(line: bytes) -> Iterator[Pair]:
    return ((without_case(name), value) for name, value in tomcat(line))


MODELS: list[Model] = [
    rfc_6265,
    nameless,
    comma_splitter,
    dotnet,
    django,
    django_in_latin_1,
    simple_cookie,
    werkzeug,
    blank_splitter,
    express,
    rack,
    php,
    tomcat,
    jetty,
]
JOINERS = (b"; ", b", ", b",")  # what servers put between several Cookie lines


def seen(model: Model, line: bytes) -> set[bytes]:
    """The values of declared credentials that an app on this stack gets. A replaced byte is nobody's session."""
    values = {canonical(value) for name, value in model(line) if name in NAMES}
    return {value for value in values if value and b"\xef\xbf\xbd" not in value and b"?" not in value}


PIECES = (
    *(b"SID", b"sid", b"Sid", b"%53ID", b"S%2549D", b"my_sess", b"my.sess", b"my sess", b"MY%5fSESS", b"my[sess", b"x"),
    *(b"=", b"=", b"=", b"=", b";", b";", b"; ", b",", b", ", b'"', b'"', b"\\", b" ", b"\t", b"%20", b"%3B", b"%3D"),
    *(b"R", b"Rr7", b"%52", b"\\122", b"L", b"a.b-c", b"$Version=1", b"$Path", b"\xc2\xa0", b"\xa0", b"\xe3\x80\x80"),
    *(
        b"\xff",
        b"+",
        b"'",
        b"{",
        b"}",
        b"(",
        b"[",
        b"%",
        b"%22",
        b"SID=Rr7",
        b"SID=R; ",
        b'x="',
        b"=SID=R",
        b"\xe2\x80\x83",
    ),
)
LINES = st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join)


@settings(max_examples=1500, deadline=None)
@given(LINES)
@example(b'x="a; SID=R; y=b"')
@example(b'SID="a;b"')
@example(b"my.sess=R; my_sess=L")
@example(b"\xc2\xa0SID\xe3\x80\x80=R")
def test_no_stack_sees_a_credential_that_extraction_does_not(line: bytes) -> None:
    reading = CARRIERS.in_cookies([line])
    if reading.is_ambiguous:
        return
    for model in MODELS:
        missed = seen(model, line) - set(reading.values)
        assert not missed, model.__name__


@settings(max_examples=800, deadline=None)
@given(st.lists(LINES, min_size=2, max_size=3), st.sampled_from(JOINERS))
def test_no_server_that_joins_cookie_lines_shows_a_session_that_extraction_does_not_see(
    lines: list[bytes], joiner: bytes
) -> None:
    """Reference case 133. A joined value with the joiner in it is no session: nobody was given one like that."""
    reading = CARRIERS.in_cookies(lines)
    if reading.is_ambiguous:
        return
    for model in MODELS:
        assert seen(model, joiner.join(lines)) & {b"R", b"Rr7"} <= set(reading.values), model.__name__


def stripped_cookies(lines: list[bytes]) -> list[bytes]:
    fields = strip_fields([(b"Cookie", line) for line in lines], CARRIERS, lambda _: False)
    return [value for _, value in fields]


@settings(max_examples=1500, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=2))
@example([b'SID=R;x="; SID=R"'])
@example([b'x="; SID=R', b'"; y=1'])
def test_no_stack_sees_a_credential_after_stripping(lines: list[bytes]) -> None:
    """Reference case 161: taking a pair out must not make one of its neighbours."""
    left = stripped_cookies(lines)
    assert len(left) < 2
    for line in left:
        assert line
        for model in MODELS:
            assert not seen(model, line), model.__name__


@given(st.lists(st.sampled_from([b"a=1", b"b=x=y", b"SID=R", b"c=%20", b"my_sess=R", b"d=(e)"]), max_size=6))
def test_simple_neighbours_survive_stripping_in_order(cookies: list[bytes]) -> None:
    kept = [cookie for cookie in cookies if not cookie.startswith((b"SID", b"my_sess"))]
    assert stripped_cookies([b"; ".join(cookies)]) == ([b"; ".join(kept)] if kept else [])


def php_query(target: bytes) -> Iterator[bytes]:
    for pair in re.split(rb"[&;]", target.partition(b"?")[2]):
        name, _, value = pair.partition(b"=")
        if unquote_plus(name.decode("latin-1")).lstrip() == "PHPSESSID":
            yield unquote_to_bytes(value)


def tomcat_path(target: bytes) -> Iterator[bytes]:
    for path in (target.partition(b"?")[0], unquote_to_bytes(target.partition(b"?")[0])):
        for match in re.finditer(rb";jsessionid=([^;/]*)", path, re.IGNORECASE):
            yield match[1]


TARGET_PIECES = (
    *(
        b"/",
        b"/app",
        b";",
        b";jsessionid=",
        b";JSESSIONID=",
        b"%3Bjsessionid=",
        b"%3b",
        b"%6asessionid",
        b"R",
        b"=",
        b"v=1",
    ),
    *(
        b"?",
        b"?PHPSESSID=",
        b"&",
        b"&PHPSESSID=",
        b"PHPSESSID",
        b"%50HPSESSID=",
        b"+",
        b"%20",
        b"a=1",
        b"%2526",
        b"%",
        b"jsessionid",
    ),
)
TARGETS = st.lists(st.sampled_from(TARGET_PIECES), max_size=10).map(lambda pieces: b"/" + b"".join(pieces))


@settings(max_examples=1000, deadline=None)
@given(TARGETS)
def test_no_stack_sees_a_session_in_the_target_that_extraction_does_not(target: bytes) -> None:
    reading = CARRIERS.in_target(target)
    for model in (php_query, tomcat_path):
        found = {value for value in map(canonical, model(target)) if value}
        assert reading.is_ambiguous or found <= set(reading.values), model.__name__


@settings(max_examples=1000, deadline=None)
@given(TARGETS)
def test_no_stack_sees_a_session_in_the_target_after_stripping(target: bytes) -> None:
    left = strip_target(target, CARRIERS)
    if left is None:  # denied instead
        return
    assert left.startswith(b"/")
    for model in (php_query, tomcat_path):
        assert not any(map(canonical, model(left))), model.__name__


@pytest.mark.parametrize("model", MODELS)
def test_every_model_can_see_a_credential(model: Model) -> None:
    """A model that never finds anything would make the tests above say nothing."""
    assert seen(model, b"x=1; SID=R") == {b"R"}


@pytest.mark.parametrize(
    ("line", "sees", "does_not"),
    [
        (
            b'x="a; SID=R; y=b"',
            {"django", "rack", "express", "rfc_6265"},
            {"simple_cookie", "werkzeug", "blank_splitter"},
        ),
        (b"x=a, SID=R", {"comma_splitter", "blank_splitter"}, {"django", "rack", "rfc_6265", "werkzeug"}),
        (b"x=a b; SID=R", {"django", "werkzeug", "rack", "express"}, {"simple_cookie"}),
        ("\u2000SID=R".encode(), {"dotnet", "django"}, {"rack", "express"}),
        (b"sid=R", {"jetty", "dotnet", "comma_splitter"}, {"rack", "django"}),
        (b"my.sess=R", {"php"}, {"rack"}),
        (b"%53ID=R", {"php", "comma_splitter"}, {"django"}),
    ],
)
def test_the_models_disagree_as_the_real_ones_do(line: bytes, sees: set[str], does_not: set[str]) -> None:
    """Where real parsers disagree, and the choice decides."""
    found = {model.__name__ for model in MODELS if seen(model, line) == {b"R"}}
    assert sees <= found
    assert not does_not & found
