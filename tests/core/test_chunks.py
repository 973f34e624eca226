"""A session in several cookies: what the pieces make together, however they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.profiles import carriers_of
from sidecar.core.reading import NOTHING, Reading

NAME = ".AspNetCore.Cookies"
CARRIERS = carriers_of(["aspnetcore"], [])
VALUE = "CfDJ8" + "kZq-_x7" * 11  # base64 without padding


def cookies(*pieces: str, count: int | None = None, sep: str = "-") -> str:
    number = len(pieces) if count is None else count
    return "; ".join([f"{NAME}=chunks{sep}{number}", *(f"{NAME}C{n}={p}" for n, p in enumerate(pieces, 1))])


def read(*lines: str) -> Reading:
    return CARRIERS.in_cookies([line.encode() for line in lines])


WHOLE = read(f"{NAME}={VALUE}")


def test_a_value_in_one_cookie_is_a_credential() -> None:
    assert len(WHOLE.values) == 1
    assert not WHOLE.is_ambiguous


@given(st.lists(st.integers(1, len(VALUE) - 1), max_size=5, unique=True).map(sorted))
def test_however_it_is_cut_it_is_the_same_credential(cuts: list[int]) -> None:
    pieces = [VALUE[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(VALUE)], strict=True)]
    assert read(cookies(*pieces)).values == WHOLE.values
    assert read(cookies(*pieces, sep=":")).values == WHOLE.values
    assert read("x=1", *cookies(*pieces).split("; ")).values == WHOLE.values


@pytest.mark.parametrize(
    "line",
    [
        cookies(VALUE[:40], VALUE[40:]).replace(NAME, NAME.upper()),
        cookies(VALUE[:40], VALUE[40:]).replace(f"{NAME}C1", f"{NAME}C01"),
        cookies(VALUE[:40], VALUE[40:]).replace("chunks-2", "chunks-002"),
        cookies(VALUE[:40], VALUE[40:]).replace("chunks-2", '"chunks-2"'),
        cookies(VALUE[:40], VALUE[40:]).replace("chunks-2", "chunks%2D2"),
        cookies(VALUE[:40], VALUE[40:]).replace("CookiesC1", "Cookies%431"),
        cookies(VALUE[:40], VALUE[40:], "more", count=2),
        cookies(VALUE[:40], VALUE[40:]) + f"; {NAME}C1=other",
        f"{NAME}C1=other; " + cookies(VALUE[:40], VALUE[40:]),
        cookies(VALUE[:40], VALUE[40:]) + f"; {NAME}=chunks-1",
        cookies(VALUE[:40], VALUE[40:]).replace("; ", ", "),
    ],
)
def test_a_revoked_value_is_found_in_every_spelling_of_its_pieces(line: str) -> None:
    reading = read(line)
    assert reading.is_ambiguous or WHOLE.values[0] in reading.values


@pytest.mark.parametrize(
    "line",
    [f"{NAME}=chunks-2", f"{NAME}C1={VALUE}", cookies("a", count=2), cookies("a", "b", count=0), f"{NAME}=chunks-999"],
)
def test_what_the_app_does_not_put_together_is_nothing(line: str) -> None:
    """Else `chunks-2`, which every browser has, would be one credential of them all."""
    assert read(line) is NOTHING


def test_more_ways_than_any_browser_sends_are_ambiguous() -> None:
    line = cookies("a", "b") + "".join(f"; {NAME}C{n}={value}" for n in (1, 2) for value in range(9))
    assert read(line).is_ambiguous


def test_the_pieces_that_an_app_sets_are_one_credential() -> None:
    pairs = [tuple(pair.encode().split(b"=", 1)) for pair in cookies(VALUE[:40], VALUE[40:]).split("; ")]
    assert tuple(CARRIERS.values_set(pairs)) == WHOLE.values
    assert CARRIERS.values_set(pairs[:1]) == []


def test_pieces_are_session_cookies_by_name() -> None:
    assert CARRIERS.is_cookie(f"{NAME}C3".encode())
    assert not CARRIERS.is_cookie(b".AspNetCore.Antiforgery.x")
