"""Every vector that we know of against the real cookie and session readers of app stacks (`bench_stacks`).

The property: whatever request the sidecar lets through, no app takes it for the revoked session; and after `strip` none
finds that session in what is forwarded. The oracle is the app's own parser, given the bytes that would be forwarded.
Each oracle is shown to say yes and no, and each stack has a vector that a reader of one interpretation would miss.
"""

import re
import string
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

import pytest
from bench_stacks import NAMES, Stack
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sidecar.core.cookies import parse_set_cookie
from sidecar.core.form import Body, body_of
from sidecar.core.profiles import Declared, Place, carriers_of
from sidecar.core.reading import merged
from sidecar.core.stripping import strip_fields, strip_target
from sidecar.http1.errors import ProtocolError
from sidecar.http1.request import RequestHead, build_request, parse_request

# Templates: S the name, R the revoked value, L a live one. `{S%}` and `{R%}` have their first byte percent-encoded,
# `{S%%}` and `{R%%}` twice, `{R%all}` wholly; `{s}` is the name in the other case, `{Ro}` the value with an octal
# escape, `{r}` in the other case, `{R0}` without its suffix, `{Rx}` with another one.
# Characters are bytes (Latin-1); `\xc2\xa0` is a blank in UTF-8.
COOKIES = [
    (133, "x=1", "{S}={R}"),
    (133, "{S}={R}", "x=1"),
    (133, "{S}={L}", "{S}={R}"),
    (133, "{S}={R}", "{S}={L}"),
    (133, "{S}={L}; {S}={R}"),
    (133, "{S}={R}; {S}={L}"),
    (133, "{S}={L}; x=1; {S}={R}; y=2"),
    (133, 'x="', '{S}={R}; y="'),
    (133, "x=1;", ";{S}={R}"),
    (134, 'x="a; {S}={R}; y=b"'),
    (134, 'x="a; {S}={R}'),
    (134, 'x="a\\"; {S}={R}; y="b'),
    (134, 'x="a\\\\"; {S}={R}'),
    (134, 'x=a"; {S}={R}; y="b'),
    (134, "x='a; {S}={R}; y=b'"),
    (134, '{S}="{R}"'),
    (134, '{S}="{R}'),
    (134, '{S}={R}"'),
    (134, '{S}=""{R}""'),
    (134, '{S}="{Ro}"'),
    (134, "{S}={Ro}"),
    (134, '{S}="\\{R}"'),
    (134, '{S}="{R}"; {S}={L}'),
    (134, '{S}="{R}";{S}="{L}"'),
    (134, '{S}="{R}"x'),
    (137, "$Version=1; {S}={R}"),
    (137, "$Version=1, {S}={R}"),
    (137, '$Version="1"; {S}="{R}"; $Path="/"; $Domain=app'),
    (137, "$Version=1; {S}={R}; $Path=/"),
    (137, "$Version=1; x=1; $Path={S}={R}"),
    (137, "$Version=1; x=1, {S}={R}, y=2"),
    (137, "$Version=0; x=1, {S}={R}"),
    (137, "x=1; $Path=/; {S}={R}"),
    (137, "x=1; $Domain=a,{S}={R}"),
    (137, '$Version=1; x="a; {S}={R}"'),
    (137, "${S}={R}"),
    (138, "{S} ={R}"),
    (138, "{S}= {R}"),
    (138, "{S}\t=\t{R}\t"),
    (138, " {S}={R} "),
    (138, "x=1;\t{S}={R}"),
    (138, "x=1;  {S}={R}"),
    (138, "x=1;{S}={R}"),
    (138, "x=1 {S}={R}"),
    (138, "x=1; ;{S}={R};"),
    (138, "{S}={R} {S}={L}"),
    (138, "{S}={L} {S}={R}"),
    (138, "{S}\x0c={R}"),
    (139, "\xc2\xa0{S}={R}"),
    (139, "{S}\xc2\xa0={R}"),
    (139, "{S}=\xc2\xa0{R}"),
    (139, "{S}={R}\xc2\xa0"),
    (139, "\xe2\x80\x80{S}={R}"),
    (139, "{S}\xe3\x80\x80={R}\xe3\x80\x80"),
    (139, "\x85{S}={R}"),
    (139, "\xa0{S}={R}\xa0"),
    (139, "{S}={R}\xc2\x85"),
    (139, "x=\xff; {S}={R}"),
    (139, "x=\xe2\x28; {S}={R}"),
    (139, "{S}\xff={R}"),
    (139, "{S}={R}\xff"),
    (139, "{S}={R}\xc3\xa9"),
    (139, "\xef\xbb\xbf{S}={R}"),
    (139, "\xc5\xbf{S}={R}; {S}\xc5\xbf={R}"),
    (141, "{s}={R}"),
    (141, "{s}={L}; {S}={R}"),
    (141, "{S}={L}; {s}={R}"),
    (142, "{S%}={R}"),
    (142, "{S%%}={R}"),
    (142, "x=1&{S}={R}"),
    (142, "+{S}={R}"),
    (142, "{S}[]={R}"),
    (142, "{S}%00={R}"),
    (142, "{S}%00x={R}"),
    (142, "{S}%20={R}"),
    (142, "%20{S}={R}"),
    (142, "x=1%3B{S}={R}"),
    (142, "x=1%3B%20{S}%3D{R}"),
    (142, "x=1%2C{S}={R}"),
    (143, "{S}={R%}"),
    (143, "{S}={R%%}"),
    (143, "{S}={R%all}"),
    (143, "{S}={r}"),
    (143, "{S}=%20{R}"),
    (143, "{S}={R}%20"),
    (143, "{S}={R}+"),
    (143, '{S}="{R%}"'),
    (143, "{S}={R}%00"),
    (143, "{S}={R}%"),
    (143, "{S}={R}%0A"),
    (145, "{S}={R}="),
    (145, "{S}={R}===="),
    (145, "{S}={R}=AAAA"),
    (145, "{S}={R}=.x"),
    (145, "{S}={R}=%2E"),
    (145, "{S}={R}=%41%41"),
    (145, "{S}={R}!!!!"),
    (145, "{S}={R}%%%%"),
    (145, "{S}={R}\\\\\\\\"),
    (145, '{S}="{R}=\\056"'),
    (146, "{S}={Rx}"),
    (146, "{S}={R0}"),
    (146, "{S}={R}.node9"),
    (146, "{S}={R}.x.y"),
    (146, "{S}={R}!1!2"),
    (146, "{S}=.{R}"),
    (158, "{many}; {S}={R}"),
    (158, "{S}={R}; {many}"),
    (158, "{long}; {S}={R}"),
    (158, "{many}", "{S}={R}"),
    (159, "={S}={R}"),
    (159, "=={S}={R}"),
    (159, "=; {S}={R}"),
    (159, "{S}"),
    (159, "x; {S}={R}"),
    (159, "; {S}={R}"),
    (159, "=x; {S}={R}; y"),
    (161, 'bad name=1; {S}={R}; x={"a":1}'),
    (161, 'x={"a":1}; {S}={R}'),
    (161, "x=a b; {S}={R}"),
    (161, "x=1, {S}={R}"),
    (161, "x=1,{S}={R}"),
    (161, "x=1:{S}={R}"),
    (161, "x@y=1; {S}={R}"),
    (161, "(x)=1; {S}={R}"),
    (161, "[x]=[1]; {S}={R}; {y}=1"),
    (161, "x=<a>; {S}={R}"),
    (161, "__proto__=1; {S}={R}"),
    (161, "expires=1; path=/; {S}={R}"),
    (161, "x=1; secure; {S}={R}; HttpOnly"),
    (161, '{S}={R};x="; {S}={L}"'),
    (161, '{S}={L};x="; {S}={R}"'),
    (161, "{S}={R}{S}={R}"),
    (161, "x={S}={R}"),
    (161, "{S}={S}={R}"),
]
TARGETS = [
    (147, "/page;{P}={R}"),
    (147, "/page;{P}={R}?x=1"),
    (147, "/app;{P}={R}/page"),
    (147, "/a;{P}={L}/b;{P}={R}"),
    (147, "/a;{P}={R}/b;{P}={L}"),
    (147, "/a;v=1;{P}={R};w=2"),
    (147, "/a;{p}={R}"),
    (147, "/a;{P}={R%}"),
    (147, "/a;%6Asessionid={R}"),
    (147, "/a%3B{P}={R}"),
    (147, "/a;{P}={R}.node9"),
    (147, "/a;{P}={R}.x.y"),
    (147, "/a; {P}={R}"),
    (147, "/;{P}={R}"),
    (147, "/;;{P}={R};;"),
    (147, "/a;{P}={R}#x"),
    (147, "/a;{P}={R},x"),
    (147, "/a;x{P}={R}"),
    (149, "/?{Q}={R}"),
    (149, "/?x=1&{Q}={R}"),
    (149, "/?{Q}={L}&{Q}={R}"),
    (149, "/?{Q}={R}&{Q}={L}"),
    (149, "/?{Q%}={R}"),
    (149, "/?{Q}={R%}"),
    (149, "/?{Q}%00x={R}"),
    (149, "/?+{Q}={R}"),
    (149, "/?{Q}[]={R}"),
    (149, "/?x={Q}={R}"),
    (149, "/?x{Q}={R}"),
    (149, "/{Q}={R}/page"),
    (149, "/{Q}={R}"),
    (149, "/x{Q}={R}?y"),
    (149, "/x%3F{Q}={R}"),
    (149, "/?a=%26{Q}={R}"),
    (149, "/;{Q}={R}"),
]


def fill(template: str, app: Stack) -> bytes:
    name, revoked = app.cookie, app.revoked
    words = {
        "S": name,
        "s": name.swapcase(),
        "S%": f"%{ord(name[0]):02x}{name[1:]}",
        "S%%": f"%25{ord(name[0]):02X}{name[1:]}",
        "R": revoked,
        "r": revoked.swapcase(),
        "R0": revoked.partition(".")[0],
        "Rx": f"{revoked.partition('.')[0]}.node9",
        "R%": f"%{ord(revoked[0]):02X}{revoked[1:]}",
        "R%%": f"%25{ord(revoked[0]):02X}{revoked[1:]}",
        "R%all": "".join(f"%{ord(letter):02x}" for letter in revoked),
        "Ro": f"\\{ord(revoked[0]):03o}{revoked[1:]}",
        "L": app.live,
        "P": app.in_path or "jsessionid",
        "p": (app.in_path or "jsessionid").upper(),
        "Q": app.in_query or "PHPSESSID",
        "Q%": f"%{ord((app.in_query or 'P')[0]):02x}{(app.in_query or 'PHPSESSID')[1:]}",
        "many": "; ".join(f"c{number}=1" for number in range(250)),
        "long": "x=" + "a" * 3900,
    }
    return re.sub(r"\{([^{}\s:\"]+)\}", lambda match: words.get(match[1], match[0]), template).encode("latin-1")


def asked(app: Stack, lines: list[bytes], target: bytes = b"/") -> RequestHead | None:
    """The request as the sidecar reads it; None when it is refused as no HTTP."""
    if app.beside and lines:
        lines = [*lines[:-1], lines[-1] + b"; " + app.beside.encode()]
    fields = b"".join(b"\r\nCookie: " + line for line in lines)
    try:
        return parse_request(b"GET %b HTTP/1.1\r\nHost: app%b\r\n\r\n" % (target, fields), max_headers=128)
    except ProtocolError:
        return None


def is_denied(app: Stack, request: RequestHead) -> bool:
    """Whether the readings hold the revoked credential, as it was learned from the app's Set-Cookie."""
    said = parse_set_cookie(f"{app.cookie}={quote(app.revoked, safe='.-_~/+=:')}".encode())
    (learned,) = app.carriers.values_set([(said.name, said.value)])
    reading = merged([app.carriers.in_cookies(request.cookies), app.carriers.in_target(request.target)])
    others = [other for _, same in reading.others for other in same]
    return reading.is_ambiguous or learned in reading.values or learned in others


def stripped(app: Stack, request: RequestHead) -> RequestHead | None:
    """What `strip` would forward; None where it is denied instead."""
    target = strip_target(request.target, app.carriers)
    if target is None:
        return None
    fields = [(name, value) for name, _, value in (line.partition(b": ") for line in request.lines)]
    left = strip_fields(fields, app.carriers, lambda _: False)
    (cookie,) = [value for name, value in left if name == b"Cookie"] or [b""]
    return asked(app, [cookie] if cookie else [], target)


def holds(app: Stack, lines: list[bytes], target: bytes = b"/") -> bool:
    """The property, for one request; whether the app took it for the revoked session."""
    request = asked(app, lines, target)
    if request is None:
        return False
    is_accepted = app.accepts(request)
    assert not is_accepted or is_denied(app, request), "the app would take it for the revoked session"
    left = stripped(app, request)
    assert left is None or not app.accepts(left), "stripping leaves the app the revoked session"
    return is_accepted


@pytest.mark.parametrize("vector", COOKIES, ids=[f"{case}-{index}" for index, (case, *_) in enumerate(COOKIES)])
def test_no_app_takes_a_cookie_for_a_revoked_session(app: Stack, vector: tuple[object, ...]) -> None:
    holds(app, [fill(str(line), app) for line in vector[1:]])


@pytest.mark.parametrize("cookie", ["", "{S}={L}", "{S}={R}", "x=1"])
@pytest.mark.parametrize("vector", TARGETS, ids=[f"{case}-{index}" for index, (case, _) in enumerate(TARGETS)])
def test_no_app_takes_a_target_for_a_revoked_session(app: Stack, vector: tuple[int, str], cookie: str) -> None:
    """Reference case 147: stripping the cookie alone would make the app look at its URL."""
    if app.in_path or app.in_query:
        holds(app, [fill(cookie, app)] if cookie else [], fill(vector[1], app))


def test_each_app_knows_its_sessions(app: Stack) -> None:
    """An oracle that always said no would make the tests above say nothing."""
    assert holds(app, [fill("{S}={R}", app)])
    assert not holds(app, [fill("{S}={L}", app)])
    assert not holds(app, [fill("x=1", app)])
    assert not holds(app, [])
    if app.in_path:
        assert holds(app, [], fill("/a;{P}={R}", app))
    if app.in_query:
        assert holds(app, [], fill("/?{Q}={R}", app))


def test_each_app_is_fooled_where_the_sidecar_reads_like_a_browser(app: Stack) -> None:
    """One plain reading, RFC 6265 to the letter, misses what each of these apps takes for the revoked session."""
    missed = 0
    for _, *templates in COOKIES:
        lines = [fill(template, app) for template in templates]
        request = asked(app, lines)
        pairs = dict(pair.strip().partition(b"=")[::2] for pair in reversed(b"; ".join(lines).split(b";")))
        is_seen = pairs.get(app.cookie.encode()) == app.revoked.encode()
        missed += request is not None and not is_seen and app.accepts(request)
    assert missed


@pytest.mark.parametrize(
    ("name", "cookie", "target"),
    [
        ("flask", "{S}={R}=", "/"),
        ("django", "{S}={r}", "/"),
        ("jetty", "{S}={Rx}", "/"),
        ("jetty", "{S}={r}", "/"),
        ("jetty", "", "/;{P}={R}"),
        ("tomcat", "", "/;{P}={R}"),
        ("php", "", "/?{Q}={R}"),
    ],
)
def test_without_its_profile_an_app_can_be_reached(open_app, name: str, cookie: str, target: str) -> None:
    """What a profile is for; and the property that holds everywhere above can fail."""
    app = open_app(name)
    lines = [fill(cookie, app)] if cookie else []
    assert holds(app, lines, fill(target, app))
    bare = replace(app, carriers=carriers_of(["generic"], [(Declared(Place.COOKIE, app.cookie), None)]))
    with pytest.raises(AssertionError, match="take it for the revoked session"):
        holds(bare, lines, fill(target, app))


FORM = "Content-Type: application/x-www-form-urlencoded"
FILES = "Content-Type: multipart/form-data; boundary=b"
PART = '--b\r\nContent-Disposition: form-data; name="{Q}"\r\n\r\n{R}\r\n--b--\r\n'
FORMS = [
    (FORM, "{Q}={R}"),
    (FORM, "x=1&{Q}={R}"),
    (FORM, "x=1;{Q}={R}"),
    (FORM, "{Q}={L}&{Q}={R}"),
    (FORM, "{Q}={R}&{Q}={L}"),
    (FORM, "{Q%}={R}"),
    (FORM, "{Q}={R%}"),
    (FORM, "{Q}%00x={R}"),
    (FORM, "+{Q}={R}"),
    (FORM, "%20{Q}={R}"),
    (FORM, "&&{Q}={R}&&"),
    (FORM, "{Q}[]={R}"),
    (FORM, "{Q}={R}+"),
    (f"{FORM}; charset=utf-7", "{Q}={R}"),
    (f"{FORM},text/plain", "{Q}={R}"),
    (f"{FORM.upper()} x", "{Q}={R}"),
    (f"{FORM}\r\n{FORM}", "{Q}={R}"),
    (f"Content-Type: text/plain\r\n{FORM}", "{Q}={R}"),
    (f"{FORM}\r\nContent-Type: text/plain", "{Q}={R}"),
    (f"{FORM}\r\nContent-Encoding: gzip", "{Q}={R}"),
    ("Accept: text/html", "{Q}={R}"),
    ("Content-Type: text/plain", "{Q}={R}"),
    (FILES, PART),
    (f"{FILES}\r\n{FORM}", PART),
]


@pytest.mark.parametrize(("fields", "body"), FORMS)
def test_no_form_reaches_php(open_app, fields: str, body: str) -> None:
    """Reference case 149. A form that cannot be read is denied to whoever shows no known session beside it."""
    app = open_app("php")
    carriers = carriers_of(["php"], [(Declared(Place.FORM_FIELD, "PHPSESSID"), None)])
    content = fill(body, app)
    head = f"POST / HTTP/1.1\r\nHost: app\r\n{fields}\r\nContent-Length: {len(content)}\r\n\r\n"
    try:
        request = parse_request(head.encode("latin-1"), max_headers=128)
    except ProtocolError:  # two types are refused
        return
    kind = body_of(request.values(b"content-type"), request.values(b"content-encoding"), request.content_length)
    is_found = kind is Body.READABLE and app.revoked.encode() in carriers.in_form(content).values
    is_accepted = b"revoked" in app.say(build_request(request, request.lines) + content)
    assert not is_accepted or kind is Body.UNREADABLE or is_found


def test_php_takes_its_session_from_forms(open_app) -> None:
    """Else the test above would say nothing."""
    app = open_app("php")
    for fields, body in (FORMS[0], (FILES, PART)):
        content = fill(body, app)
        head = f"POST / HTTP/1.1\r\nHost: app\r\n{fields}\r\nContent-Length: {len(content)}\r\n\r\n"
        assert app.say(head.encode() + content) == [b"revoked"]


def signatures(signature: str) -> Iterator[str]:
    """Spellings of a signature, most of which Python's base64 reads as the same bytes."""
    yield from (signature[:-1] + letter for letter in string.ascii_letters + string.digits + "-_")
    yield signature.replace("-", "+").replace("_", "/")
    for foreign in ("%", "!", "\\", "=", "\xe9", "%%%%", "!!!!"):
        yield from (signature[:place] + foreign + signature[place:] for place in range(len(signature) + 1))


def test_no_spelling_of_its_signature_reaches_flask(open_app) -> None:
    """Reference case 145. Foreign characters are skipped in any place, and nothing counts after complete padding."""
    app = open_app("flask")
    signed, dot, signature = app.revoked.rpartition(".")
    spelled = [signed + dot + each + end for each in signatures(signature) for end in ("", "=", "=.x", "=%2E%41")]
    spelled += ['"' + each.replace("%", "\\045") + '"' for each in spelled if "%" in each]
    accepted = [each for each in spelled if holds(app, [f"session={each}".encode("latin-1")])]
    assert len(accepted) > 100


PIECES = (
    *("{S}", "{S}", "{S}=", "{S}={R}", "{S}={R}", "{S}={L}", "{R}", "{R}", "{L}", "=", "=", ";", "; ", ",", ", "),
    *(
        '"',
        '"',
        "\\",
        "\\\\",
        " ",
        "\t",
        "\xc2\xa0",
        "\xff",
        "x",
        "x=1",
        "$Version=1",
        "$Path=/",
        "{s}",
        "{S%}",
        "{R%}",
    ),
    *("{Ro}", "{R%%}", "%", "%3B", "%3D", "%22", "%00", ".", ".x", "=A", "!", "+", "&", "[", "{", "}", "'", "__Host-"),
)
LINES = st.lists(st.lists(st.sampled_from(PIECES), max_size=9).map("".join), min_size=1, max_size=2)
HOSTS = ("/", "/a", ";", ";", "{P}", ";{P}=", "={R}", "={R}", "={L}", "{R}", "%3B", "?", "&", "{Q}", "{Q}={R}", "{Q%}")
PATHS = st.lists(st.sampled_from((*HOSTS, "+", "%20", "%00", "x", "[]", ".", "#", "%2F", "%3D", ",")), max_size=9)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=LINES, pieces=PATHS)
@example(lines=['{S}="{R}', 'x="'], pieces=[])
@example(lines=["{S}={R}=%2E"], pieces=[])
def test_no_combination_reaches_an_app(open_app, name: str, lines: list[str], pieces: list[str]) -> None:
    app = open_app(name)
    holds(app, [fill(line, app) for line in lines], fill("/" + "".join(pieces), app))
