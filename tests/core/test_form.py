"""Which bodies are forms, and the sessions in them (reference case 149)."""

import pytest

from sidecar.core.credentials import MAX_FIELDS, Carriers
from sidecar.core.form import MAX_FORM, Body, body_of
from sidecar.core.reading import NOTHING

FORM = b"application/x-www-form-urlencoded"
CARRIERS = Carriers(form_fields=["PHPSESSID", "s_id"])


@pytest.mark.parametrize(
    ("types", "encodings", "length", "expected"),
    [
        ([FORM], [], 9, Body.READABLE),
        ([FORM + b"; charset=utf-8"], [b"identity"], MAX_FORM, Body.READABLE),
        ([FORM.upper() + b",text/plain"], [], None, Body.READABLE),
        ([], [], 9, Body.READABLE),
        ([b""], [], 9, Body.READABLE),
        ([FORM], [], MAX_FORM + 1, Body.UNREADABLE),
        ([FORM], [b"gzip"], 9, Body.UNREADABLE),
        ([FORM, b"text/plain"], [], 9, Body.UNREADABLE),
        ([b"text/plain", FORM], [], 9, Body.UNREADABLE),
        ([b"multipart/form-data; boundary=x"], [], 9, Body.UNREADABLE),
        ([b"application/json"], [], 9, Body.NO_FORM),
        ([b"text/plain"], [b"gzip"], 9, Body.NO_FORM),
    ],
)
def test_a_body_is_judged_by_its_head(types: list[bytes], encodings: list[bytes], length: int, expected: Body) -> None:
    assert body_of(types, encodings, length) is expected


@pytest.mark.parametrize(
    "body",
    [
        b"PHPSESSID=R",
        b"a=1&phpsessid=R&b=2",
        b"a=1;PHPSESSID=R",
        b"PHPSESSID=L&PHPSESSID=R",
        b"%50HPSESSID=%52",
        b"+PHPSESSID=R",
        b"PHPSESSID%00x=R+",
        b"s.id=R",
        b"s+id=R",
        b"s%5Bid=R",
    ],
)
def test_a_session_in_a_form_is_found(body: bytes) -> None:
    assert b"R" in CARRIERS.in_form(body).values


@pytest.mark.parametrize("body", [b"", b"a=PHPSESSID", b"xPHPSESSID=R", b"a=%26PHPSESSID%3DR", b"\xff=\xfe"])
def test_other_fields_hold_no_session(body: bytes) -> None:
    assert CARRIERS.in_form(body) is NOTHING


@pytest.mark.parametrize("count", [MAX_FIELDS, MAX_FIELDS + 1])
def test_more_fields_than_apps_read_are_ambiguous(count: int) -> None:
    assert CARRIERS.in_form(b"&".join([b"a=1"] * count)).is_ambiguous is (count > MAX_FIELDS)


@pytest.mark.timeout(5)
@pytest.mark.parametrize("unit", [b"a.=&", b"%41=&", b"PHPSESSID=%25&", b"&", b"+", b"a%00=\xff&"])
def test_the_longest_form_is_read_in_no_time(unit: bytes) -> None:
    CARRIERS.in_form(unit * (MAX_FORM // len(unit)))
