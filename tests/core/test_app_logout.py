"""When an answer of the app says that a session is over, and where a browser may be sent after it."""

import re
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.app_logout import (
    MAX_TARGET,
    MAX_URL,
    AppPath,
    end_session_url,
    has_ended,
    leads_to,
    local_target,
)

PLAIN = AppPath(re.compile(rb"/logout"))
ORIGIN = "https://app.example.com"


@pytest.mark.parametrize(
    ("method", "path", "status", "deletes", "expected"),
    [
        (b"POST", b"/logout", 302, False, True),
        (b"GET", b"/logout", 303, False, True),
        (b"POST", b"/logout", 204, False, True),
        (b"POST", b"/logout", 200, True, True),
        (b"POST", b"/logout", 200, False, False),  # a page may be the question whether the user is sure
        (b"GET", b"/logout", 304, True, False),
        (b"POST", b"/logout", 400, True, False),
        (b"POST", b"/logout", 403, True, False),
        (b"POST", b"/logout", 500, True, False),
        (b"GET", b"/logout", 101, False, False),
        (b"HEAD", b"/logout", 302, True, False),
        (b"OPTIONS", b"/logout", 204, False, False),
        (b"POST", b"/other", 302, True, False),
        (b"POST", b"/x/../logout", 302, True, False),
        (b"POST", b"/logout;x=y", 302, True, False),
    ],
)
def test_without_conditions_what_most_apps_mean_counts(method, path, status, deletes, expected):
    assert PLAIN.has_ended(method, path, status, location=b"/", deletes_session=deletes) is expected


@pytest.mark.parametrize(
    ("status", "location", "expected"),
    [
        (302, b"/logout/", False),
        (302, b"https://app.example.com/logout?x=1", False),
        (302, b"https://app.example.com/LOGOUT/", False),
        (302, b"logout", False),
        (302, b"?again", False),
        (302, b"/logout/done", True),
        (302, b"/", True),
        (302, b"", False),
        (302, b"https://[broken/logout", True),
        (301, b"/", False),
        (307, b"/", False),
        (308, b"/", False),
    ],
)
def test_a_redirect_to_the_same_place_has_ended_nothing_yet(status, location, expected):
    assert PLAIN.has_ended(b"GET", b"/logout", status, location=location) is expected
    assert AppPath(PLAIN.pattern, statuses=frozenset((status,))).has_ended(
        b"GET", b"/logout", status, location=location
    )


def test_conditions_take_the_place_of_the_usual_ones():
    path = AppPath(PLAIN.pattern, frozenset((b"HEAD",)), frozenset((200, 418)))

    assert path.has_ended(b"HEAD", b"/logout", 200, deletes_session=False)
    assert path.has_ended(b"HEAD", b"/logout", 418, deletes_session=False)
    assert not path.has_ended(b"HEAD", b"/logout", 302, location=b"/", deletes_session=True)
    assert not path.has_ended(b"POST", b"/logout", 200, deletes_session=True)


def test_any_of_several_paths_counts_and_the_query_does_not():
    paths = [AppPath(re.compile(rb"/bye")), PLAIN]

    assert has_ended(paths, b"POST", b"/logout?next=/x", 302, location=b"/", deletes_session=False)
    assert not has_ended(paths, b"POST", b"/home?path=/logout", 302, location=b"/", deletes_session=False)
    assert not has_ended([], b"POST", b"/logout", 302, location=b"/", deletes_session=False)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (b"/", "/"),
        (b"/home?a=b&c", "/home?a=b&c"),
        (b"/home#part", "/home"),
        (b"home", "/auth/home"),
        (b"../home", "/home"),
        (b"?done", "/auth/logout?done"),
        (b"https://app.example.com", "/"),
        (b"https://app.example.com/x", "/x"),
        (b"HTTPS://APP.example.com:443/x", "/x"),
        (b"https://app.example.com:8443/x", None),
        (b"http://app.example.com/x", None),
        (b"https://evil.example/x", None),
        (b"//evil.example/x", None),
        (b"///evil.example/x", None),
        (b"/\\evil.example", None),
        (b"\\\\evil.example", None),
        (b"/%5Cevil.example", "/%5Cevil.example"),
        (b"/\t/evil.example", None),
        (b" //evil.example", None),
        (b"https://app.example.com@evil.example/", None),
        (b"https://user@app.example.com/", None),
        (b"https://app.example.com.evil.example/", None),
        (b"https://app.example.com//evil.example", None),
        (b"javascript:alert(1)", None),
        (b"data:text/html,x", None),
        (b"https://[broken/", None),
        (b"https://app.example.com:port/", None),
        (b"/caf\xe9", None),
        (b"", None),
        (b"/" + b"a" * MAX_TARGET, None),
    ],
)
def test_only_a_plain_place_on_the_same_origin_is_a_target(location, expected):
    assert local_target(location, b"/auth/logout?x=1", ORIGIN) == expected


@given(st.binary(max_size=40) | st.text("/\\.:@?#%ahtpsev\t ", max_size=30).map(str.encode))
def test_whatever_the_app_says_the_browser_stays(location):
    target = local_target(location, b"/logout", ORIGIN)

    if target is not None:
        url = urlsplit(ORIGIN + target)
        assert (url.scheme, url.netloc) == ("https", "app.example.com")
        assert re.fullmatch(r"/(?![/\\])[!-~]*", target)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (b"https://idp.example.com/end?client_id=app", True),
        (b"https://IDP.example.com:443/end", True),
        (b"https://idp.example.com/authorize", False),
        (b"https://idp.example/end", False),
        (b"/end", False),
        (b"", False),
        (b"https://[broken/end", False),
        (b"\xff", False),
    ],
)
def test_an_app_that_goes_to_the_provider_by_itself_is_noticed(location, expected):
    assert leads_to(location, "https://idp.example.com/end") is expected


def parameters(url):
    return dict(parse_qsl(urlsplit(url).query, strict_parsing=True))


ALWAYS = {"client_id": "app", "back": "https://app.example.com/_sidecar/signed-out", "state": "s+/= &"}


def test_the_way_to_the_provider_has_what_rp_initiated_logout_asks_for():
    url = end_session_url("https://idp.example.com/end", id_token="a.b.c", hint="alice", **ALWAYS)

    assert url.startswith("https://idp.example.com/end?")
    assert parameters(url) == {
        "id_token_hint": "a.b.c",
        "client_id": "app",
        "post_logout_redirect_uri": ALWAYS["back"],
        "state": ALWAYS["state"],
    }


def test_an_endpoint_with_a_query_keeps_it():
    url = end_session_url("https://idp.example.com/end?tenant=a%20b", **ALWAYS)

    assert parameters(url)["tenant"] == "a b"
    assert parameters(url)["client_id"] == "app"


@pytest.mark.parametrize(
    ("id_token", "hint", "expected"),
    [
        ("a.b.c", "alice", "id_token_hint"),
        ("x" * MAX_URL, "alice", "logout_hint"),
        (None, "alice", "logout_hint"),
        ("", "alice", "logout_hint"),
        ("x" * MAX_URL, "y" * MAX_URL, None),
        (None, None, None),
    ],
)
def test_a_hint_that_makes_it_too_long_gives_way_to_the_next(id_token, hint, expected):
    url = end_session_url("https://idp.example.com/end", id_token=id_token, hint=hint, **ALWAYS)

    found = [name for name in parameters(url) if name.endswith("_hint")]
    assert found == ([expected] if expected else [])
    assert len(url) <= MAX_URL


def test_what_does_not_fit_without_hints_either_is_no_way():
    assert end_session_url("https://idp.example.com/" + "x" * MAX_URL, **ALWAYS) is None
