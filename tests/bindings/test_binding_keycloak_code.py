"""Keycloak's codes: which sid stands in them, and when the login was."""

import pytest

from sidecar.bindings.keycloak_code import KeycloakCodeReader
from sidecar.core.callback import CallbackRefused, Parameters
from sidecar.core.identity import Session

ISSUER = "https://idp.example/realms/main"
SID = "0b7c8b0a-52c1-4b28-9a07-5f2dcd0a7d0f"
CODE = f"6a0f3a0e-7d4e-4f0b-9d8e-0a4b5c0e4f11.{SID}.f3b0a1c2-5a1e-4c5f-8f59-1d9a7c1f9a10"
READER = KeycloakCodeReader(issuer=ISSUER, client_id="legacy", provider_now=lambda: 1_767_000_000.97)


async def sid_in(*codes: str) -> str | None:
    session = await READER.read(Parameters(codes=codes))
    return None if session is None else session.sid


async def test_the_sid_is_the_second_part_and_the_login_is_now_in_whole_seconds() -> None:
    session = await READER.read(Parameters(codes=(CODE,)))
    assert session == Session(ISSUER, "legacy", SID, None, 1_767_000_000_000)


@pytest.mark.parametrize(
    ("code", "sid"),
    [
        ("a.b.c", "b"),
        ("a.b.c.d", "b"),  # two dots cut it, the rest is the client
        ("a.Xy_-~+/=9.c", "Xy_-~+/=9"),
        ("a.b", None),
        ("a.b.", None),
        (".b.c", None),
        ("a..c", None),
        ("abc", None),
        (" a.b.c", None),
        ("a.b.c\n", None),
        ("a.b c.d", None),
        ("a.ß.c", None),
        (f"a.{'b' * 129}.c", None),
    ],
)
async def test_what_keycloak_would_not_take_for_its_own_is_none(code: str, sid: str | None) -> None:
    assert await sid_in(code) == sid


async def test_nothing_is_said_without_a_code_and_two_are_too_many() -> None:
    assert await sid_in() is None
    with pytest.raises(CallbackRefused):
        await sid_in("a.b.c", "d.e.f")
