"""Heads that are cheap to send must be cheap to read: the event loop serves everybody else as well."""

import re
from collections.abc import Callable
from itertools import islice
from time import process_time
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.cookies import without
from sidecar.core.credentials import Carriers, pairs
from sidecar.core.paths import may_match, percent_decoded, place
from sidecar.core.profiles import PROFILES, carriers_of
from sidecar.core.stripping import strip_target

HEAD = 64 * 1024  # `limits.head_bytes`
TOO_LONG_S = 0.2  # what takes time with the square of the length takes seconds
UNITS = [
    b"%",
    b"%25",
    b"J=%25;",
    b"/%2e",
    b"/..",
    b";",
    b"; ",
    b"a=;",
    b"=",
    b'"',
    b"\\",
    b"\xc2\xa0",
    b"SID=a, ",
    b"SID%00",
    b"(remember_web_",
    b"session=a.b.c%;",
    b"SESSION=QUFB",
    b"laravel_session=eyJ",
    b".AspNetCore.CookiesC1=a;",
    b".AspNetCore.Cookies=chunks-9;",
    b"/(S(a)",
    b"(S(",
    b"PHPSESSID=",
]
CALLBACK = re.compile(rb"/oidc/callback", re.IGNORECASE)
CARRIERS = Carriers(cookies=["SID"], path_parameters=["jsessionid"], query_parameters=["s_id"])
PROFILED = carriers_of(list(PROFILES), [])
READERS: dict[str, Callable[[bytes], object]] = {
    "cookies": lambda text: CARRIERS.in_cookies([text]),
    "target": lambda text: CARRIERS.in_target(b"/" + text + b"?" + text),
    "stripped target": lambda text: strip_target(b"/" + text + b"?" + text, CARRIERS),
    "stripped cookies": lambda text: without([text], lambda name, pair: CARRIERS.is_cookie(name)),
    "tokens": lambda text: list(islice(pairs([text]), 1200)),
    "profiles' cookies": lambda text: PROFILED.in_cookies([text]),
    "profiles' target": lambda text: PROFILED.in_target(b"/" + text + b"?" + text),
    "profiles' header": lambda text: PROFILED.in_header(text, b"x-auth-token"),
    "stripped of profiles": lambda text: strip_target(b"/" + text + b"?" + text, PROFILED),
    "control prefix": lambda text: place(b"/" + text, b"/_sidecar"),
    "callback": lambda text: may_match(CALLBACK, b"/" + text),
}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("reader", READERS)
def test_the_longest_head_is_read_in_no_time(reader: str, unit: bytes):
    text = unit * (HEAD // len(unit))
    began = process_time()
    READERS[reader](text)
    assert process_time() - began < TOO_LONG_S


@given(st.lists(st.sampled_from([b"%", b"4", b"1", b"2", b"5", b"e2", b"zz", b"a", b"\xff"])).map(b"".join))
def test_percent_encoding_is_undone_as_the_standard_library_does(text: bytes):
    assert percent_decoded(text) == unquote_to_bytes(text)
