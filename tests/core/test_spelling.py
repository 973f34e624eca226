"""The forms of values by profile: what a stack reads as one session has one form, two live sessions never have."""

import base64
import json
import uuid

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sidecar.core.names import Form
from sidecar.core.profiles import PROFILES
from sidecar.core.spelling import STEPS, canonical, formed

HEX = "0123456789ABCDEF"
ALNUM = "abcdefghijklmnopqrstuvwxyz0123456789"
R = "r7k2mq9sxw4bn3tz6eyucp1vl8djfhga"
UUID = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
TICKET = bytes(range(96))
PROTECTED = bytes(range(7, 140))
LARAVEL = {"iv": "AAECAwQFBgcICQoLDA0ODw==", "value": "c2VjcmV0IHNlc3Npb24gaWQ=", "mac": "ab" * 32, "tag": ""}


def form_of(profile: str, name: str) -> Form:
    steps = next(each.steps for each in PROFILES[profile].declared if each.name == name)
    return tuple(STEPS[step] for step in steps)


def form(profile: str, name: str, value: str | bytes) -> bytes | None:
    spelled = value.encode() if isinstance(value, str) else value
    return formed(canonical(spelled), form_of(profile, name))


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def url64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def envelope(**members: object) -> str:
    return b64(json.dumps(LARAVEL | members).encode())


SAME = [
    ("tomcat", "JSESSIONID", "0A1B2C3D4E5F60718293A4B5C6D7E8F9", ["{}.node1", "{}.a.b", "{}."]),
    ("jetty", "JSESSIONID", "node01h3zcqk6t8v9w1x2y3z4a5b6c0", ["{}.node0", "{}.x"]),
    ("weblogic", "JSESSIONID", "Kq3vJxZ2R7s9dQW1pLm4nB6cTtYhGfEa", ["{}!123!-456", "{}!NONE!1700000000"]),
    ("websphere", "JSESSIONID", "0000" + R[:23], ["0001" + R[:23] + ":-1", "0000" + R[:23] + ":a1:b2"]),
    ("django", "sessionid", R, [R.upper(), R.swapcase()]),
    ("php", "PHPSESSID", R, [R.upper()]),
    ("spring", "SESSION", b64(UUID.encode()), [UUID, UUID.upper(), b64(f"{UUID}.route1".encode())]),
    ("spring", "SESSION", b64(f"{UUID}.r".encode()), [b64(f"{UUID}.r".encode()).rstrip("=")]),
    ("spring", "remember-me", b64(b"0123456789ab%3D:token="), [b64(b"0123456789ab=:token=").rstrip("=")]),
    ("aspnet", "ASP.NET_SessionId", "a1b2c3d4e5f0g1h2i3j4k5l0", ["A1B2C3D4E5F0G1H2I3J4K5L0"]),
    ("aspnet", ".ASPXAUTH", TICKET.hex().upper(), [TICKET.hex(), url64(TICKET) + "0"]),
    ("aspnet", ".ASPXAUTH", TICKET[:-1].hex(), [url64(TICKET[:-1]) + "1", TICKET[:-1].hex().upper()]),
    ("aspnet", ".ASPXAUTH", TICKET.hex(), [url64(TICKET)[:9] + " \t" + url64(TICKET)[9:] + "0", b64(TICKET) + "0"]),
    ("aspnetcore", ".AspNetCore.Session", url64(PROTECTED), [b64(PROTECTED), url64(PROTECTED) + "="]),
    ("aspnetcore", ".AspNetCore.Session", url64(PROTECTED), [url64(PROTECTED)[:9] + " \t" + url64(PROTECTED)[9:]]),
    ("laravel", "laravel_session", envelope(), [envelope(more=1), envelope(tag=None), envelope(more=[[1]]) + "=="]),
]


@pytest.mark.parametrize(("profile", "name", "value", "others"), SAME)
def test_what_a_stack_reads_as_one_session_has_one_form(profile: str, name: str, value: str, others: list[str]) -> None:
    expected = form(profile, name, value)
    assert expected
    for other in others:
        assert form(profile, name, other.format(value)) == expected, other


@pytest.mark.parametrize(
    ("profile", "name", "one", "other"),
    [
        ("tomcat", "JSESSIONID", "acme.0A1B2C3D4E5F6071", "acme.0A1B2C3D4E5F6072"),  # too short to be an id
        ("weblogic", "JSESSIONID", "acme!0A1B2C3D4E5F6071", "acme!0A1B2C3D4E5F6072"),
        ("flask", "session", "eyJhIjoxfQ.aSoAAA.c2lnbmF0dXJlMQ", "eyJhIjoxfQ.aSoAAA.c2lnbmF0dXJlMg"),
        ("flask", "session", "eyJhIjoxfQ.aSoAAA.c2lnbmF0dXJl", "eyJhIjoxfQ.aSoAAB.c2lnbmF0dXJl"),
        ("flask", "session", ".eJyrVkpUslIyrAUADmwCyQ.aSoAAA.c2ln", ".eJyrVkpUslIyrAUADmwCyR.aSoAAA.c2ln"),
        ("laravel", "laravel_session", envelope(), envelope(value="c2VjcmV0IHNlc3Npb24gaWU=")),
        ("spring", "SESSION", "a" * 21, "a" * 20 + "b"),
    ],
)
def test_what_no_stack_reads_as_one_session_has_two_forms(profile: str, name: str, one: str, other: str) -> None:
    assert form(profile, name, one) != form(profile, name, other)


# What each stack hands out, so that no two of its live sessions are ever one credential.
HONEST: dict[tuple[str, str], st.SearchStrategy[str]] = {
    ("tomcat", "JSESSIONID"): st.text(HEX, min_size=32, max_size=32),
    ("jetty", "JSESSIONID"): st.text(ALNUM, min_size=20, max_size=32).map("node0{}.node0".format),
    ("weblogic", "JSESSIONID"): st.text(ALNUM, min_size=52, max_size=52).map("{}!-1!2".format),
    ("websphere", "JSESSIONID"): st.text(ALNUM, min_size=23, max_size=23).map("0000{}:-1".format),
    ("spring", "SESSION"): st.uuids().map(lambda each: b64(str(each).encode())),
    ("php", "PHPSESSID"): st.text(ALNUM[:22], min_size=26, max_size=32),
    ("django", "sessionid"): st.text(ALNUM, min_size=32, max_size=32),
    ("aspnet", "ASP.NET_SessionId"): st.text(ALNUM[:32], min_size=24, max_size=24),
    ("aspnet", ".ASPXAUTH"): st.binary(min_size=64, max_size=90).map(lambda raw: raw.hex().upper()),
    ("aspnetcore", ".AspNetCore.Session"): st.binary(min_size=40, max_size=90).map(url64),
    ("flask", "session"): st.tuples(*[st.binary(min_size=2, max_size=20).map(url64)] * 3).map(".".join),
    ("laravel", "laravel_session"): st.binary(min_size=16, max_size=40).map(lambda raw: envelope(value=b64(raw))),
    ("express", "connect.sid"): st.text(ALNUM, min_size=32, max_size=32).map("s:{}.sig+/x".format),
}


@pytest.mark.parametrize(("profile", "name"), HONEST)
@given(data=st.data())
def test_two_live_sessions_have_two_forms(profile: str, name: str, data: st.DataObject) -> None:
    one, other = data.draw(HONEST[profile, name]), data.draw(HONEST[profile, name])
    assume(one != other)
    forms = form(profile, name, one), form(profile, name, other)
    assert None not in forms
    assert forms[0] != forms[1]


@pytest.mark.parametrize("step", STEPS)
@given(st.one_of(st.binary(max_size=60), st.text(ALNUM + HEX + '+/=-_.!:%{}"[', max_size=60).map(str.encode)))
def test_a_step_takes_any_value_and_changes_nothing_the_second_time(step: str, value: bytes) -> None:
    once = STEPS[step](value)
    if step not in {"envelope", "base64_text", "ticket"}:  # these change what kind of text it is
        assert once is None or STEPS[step](once) == once


@pytest.mark.timeout(5)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("unit", [b"a", b".", b"!", b"=", b"A" * 63 + b"=", b"[", b"eyJ", b":", b"\xff"])
def test_a_step_takes_the_longest_value_in_no_time(step: str, unit: bytes) -> None:
    STEPS[step](unit * (64_000 // len(unit)))
    STEPS[step](base64.b64encode(b"{" * 100 + unit * (40_000 // len(unit))))


def test_an_envelope_that_nobody_needs_cannot_be_told() -> None:
    assert form("laravel", "laravel_session", envelope(more=[[[[[[[[[[]]]]]]]]]])) is None
    assert form("laravel", "laravel_session", envelope(more="x" * 20_000)) is None


@pytest.mark.parametrize("value", ["é", "r7k2\x01", "r 7", "\N{ZERO WIDTH SPACE}r7"])
def test_an_id_that_a_data_base_may_read_as_another_cannot_be_told(value: str) -> None:
    assert form("django", "sessionid", f"a{value}b") is None


def test_a_number_of_chunks_is_nobodys_session() -> None:
    assert form("aspnetcore", ".AspNetCore.Cookies", "chunks-2") == b""
    assert form("aspnet", ".AspNet.Cookies", "chunks:12") == b""


def test_every_profile_names_steps_that_exist() -> None:
    for profile in PROFILES.values():
        for each in profile.declared:
            assert {*each.steps, *profile.steps} <= STEPS.keys()


@example(uuid.UUID(UUID))
@given(st.uuids())
def test_spring_session_is_the_same_in_its_cookie_and_in_its_header(identifier: uuid.UUID) -> None:
    in_cookie = form("spring", "SESSION", b64(str(identifier).encode()))
    assert in_cookie == form("spring", "X-Auth-Token", str(identifier))
