"""A request without its credentials, or none at all. The stacks' own readings are in test_credentials_models."""

import pytest

from sidecar.core.credentials import MAX_PAIRS, Carriers
from sidecar.core.stripping import Field, strip_fields, strip_target

CARRIERS = Carriers(
    cookies=["S", "my_sess"],
    path_parameters=["jsessionid"],
    query_parameters=["PHPSESSID"],
    headers=["X-Auth-Token", "x_api_key"],
)


def is_token_cookie(name: bytes) -> bool:
    return name.lower() in {b"id_token", b"id_token.0"}


def strip(*fields: Field) -> list[Field]:
    return strip_fields(fields, CARRIERS, is_token_cookie)


@pytest.mark.parametrize(
    "pair",
    [
        b"S=R",
        b"s=R",
        b"%53=R",
        b"%2553=R",
        b"my.sess=R",
        b"MY_SESS=R",
        b"id_token=a.b.c",
        b"ID_TOKEN=a.b.c",
        b"id_token.0=a",
        b"id%5Ftoken=a.b.c",
        b"%69d_token=a.b.c",
        b"id.token=a.b.c",
        b"x=1%3BS%3DR",
        b"x=1%2CS%3DR",
        b"x=1%253B%2520S%253DR",
        b"$Version=1",
        b"x=\xffS",
    ],
)
def test_a_credential_is_taken_out_in_every_spelling(pair: bytes) -> None:
    assert strip((b"Cookie", b"a=1; " + pair + b"; b=2")) == [(b"Cookie", b"a=1; b=2")]


def test_all_cookie_lines_become_one_at_the_end() -> None:
    fields = [(b"Cookie", b"a=1"), (b"Host", b"app"), (b"cookie", b"S=R; b=2"), (b"Accept", b"*/*")]
    assert strip(*fields) == [(b"Host", b"app"), (b"Accept", b"*/*"), (b"Cookie", b"a=1; b=2")]


def test_no_empty_cookie_header_is_left() -> None:
    """Reference case 161."""
    assert strip((b"Host", b"app"), (b"Cookie", b"S=R")) == [(b"Host", b"app")]


@pytest.mark.parametrize(
    "name",
    [b"X-Auth-Token", b"x-auth-token", b"X_Auth_Token", b"X-Auth_Token", b"X.Auth.Token", b"X-Api-Key", b"x_api_key"],
)
def test_a_declared_header_is_taken_out_however_it_is_folded(name: bytes) -> None:
    """Reference cases 17 and 151."""
    assert strip((b"A", b"1"), (name, b"R"), (b"X-Auth-Token-2", b"kept")) == [
        (b"A", b"1"),
        (b"X-Auth-Token-2", b"kept"),
    ]


def test_a_cookie_header_in_disguise_is_taken_for_one() -> None:
    assert strip((b"COOKIE", b"S=R; a=1")) == [(b"Cookie", b"a=1")]


@pytest.mark.parametrize(
    ("target", "left"),
    [
        (b"/a/../b;v=1?x=1;y=2&z", b"/a/../b;v=1?x=1;y=2&z"),  # nothing to take out: byte for byte
        (b"/page;jsessionid=R", b"/page"),
        (b"/page;jsessionid=R?x=1;y=2", b"/page?x=1;y=2"),
        (b"/page;v=1;JSESSIONID=R;w=2/sub;jsessionid=L", b"/page;v=1;w=2/sub"),
        (b"/?PHPSESSID=R", b"/"),
        (b"/?a=1&PHPSESSID=R&b=2", b"/?a=1&b=2"),
        (b"/?PHPSESSID=R&PHPSESSID=L&a", b"/?a"),
        (b"/?%50HPSESSID=R&a=1", b"/?a=1"),
        (b"/?+phpsessid=R&a=1", b"/?a=1"),
        (b"/;jsessionid=R?PHPSESSID=R", b"/"),
        (b"/;jsessionid=R?", b"/?"),
        (b"/?a=%26PHPSESSID%3DR&b=2", b"/?b=2"),  # some app might decode first
    ],
)
def test_a_session_in_the_target_is_taken_out(target: bytes, left: bytes) -> None:
    assert strip_target(target, CARRIERS) == left


@pytest.mark.parametrize(
    "target",
    [
        b"/page%3Bjsessionid=R",  # a segment to some, a parameter to others
        b"/page%253Bjsessionid=R/x",
        b"/" + b";jsessionid=x" * (MAX_PAIRS + 1),
        b"/?PHPSESSID=R" + b"&a" * MAX_PAIRS,
        b"/;jsessionid=R" + b";a" * MAX_PAIRS,
    ],
)
def test_a_target_that_cannot_be_stripped_with_certainty_is_refused(target: bytes) -> None:
    assert strip_target(target, CARRIERS) is None


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "target",
    [
        b"/?PHPSESSID=1&" + b"a&" * 32_000,
        b"/;jsessionid=1" + b";a" * 32_000,
        b"/;jsessionid=1?" + b"%" * 60_000,
        b"/?PHPSESSID=" + b"%41" * 20_000,
    ],
)
def test_the_longest_target_is_stripped_in_bounded_time(target: bytes) -> None:
    strip_target(target, CARRIERS)


@pytest.mark.timeout(5)
def test_the_longest_cookie_header_is_stripped_in_bounded_time() -> None:
    for pair in (b"a=1;", b"%61=1;", b'a="1";', b"a=%3B;"):
        strip((b"Cookie", pair * (64_000 // len(pair)) + b"S=R"))
