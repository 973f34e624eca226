"""A session in the body of a form, where the app takes it from there, on a whole data plane."""

from typing import Any

import pytest
from bench_plane import Stage, session
from wire import Answer, ask, ok

from sidecar.core.profiles import Declared, Place, carriers_of

R = "r7k2mq9sxw4bn3tz6eyucp1vl8djfhga"
FORM = "Content-Type: application/x-www-form-urlencoded"
FILES = "Content-Type: multipart/form-data; boundary=x"


@pytest.fixture
async def stage(open_stage: Any) -> Stage:
    """PHP with `session.use_only_cookies=0`; R is revoked, `alive` is not."""
    return await opened(open_stage)


async def opened(open_stage: Any, **settings: Any) -> Stage:
    declared = carriers_of(["php"], [(Declared(Place.FORM_FIELD, "PHPSESSID"), None)])
    stage: Stage = await open_stage(carriers=declared, **settings)
    await stage.bind(R)
    await stage.logout()
    return stage


def post(body: bytes, *fields: str, kind: str = FORM) -> bytes:
    return ask("POST /save HTTP/1.1", kind, *fields, f"Content-Length: {len(body)}", body=body)


async def answer_to(stage: Stage, request: bytes) -> Answer:
    client = await stage.client(request)
    return await client.answer()


async def passes(stage: Stage, request: bytes, body: bytes) -> None:
    client = await stage.client(request)
    app = await stage.app()
    await app.head()
    await app.expect(body)
    await app.send(ok())
    assert (await client.answer()).status == 200


@pytest.mark.parametrize("body", [f"PHPSESSID={R}", f"a=1&%50HPSESSID={R}", f"PHPSESSID={R.upper()}&a=1"])
@pytest.mark.parametrize("fields", [(), ("Cookie: x=1",)])
async def test_a_revoked_session_in_a_form_is_denied(stage: Stage, body: str, fields: tuple[str, ...]) -> None:
    assert (await answer_to(stage, post(body.encode(), *fields))).status == 401
    assert stage.is_app_untouched()


async def test_a_revoked_session_in_a_chunked_form_is_denied(stage: Stage) -> None:
    body = f"PHPSESSID={R}".encode()
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    request = ask("POST / HTTP/1.1", FORM, "Transfer-Encoding: chunked", body=chunked)
    assert (await answer_to(stage, request)).status == 401


async def test_other_forms_reach_the_app_as_they_are(stage: Stage) -> None:
    body = b"comment=%E2%98%83+&b=2;c"
    await passes(stage, post(body), body)


async def test_a_session_that_lives_passes_in_a_form(stage: Stage) -> None:
    body = b"PHPSESSID=another"
    await passes(stage, post(body), body)


@pytest.mark.parametrize("kind", [FILES, f"{FORM}\r\nContent-Encoding: gzip"])
async def test_a_form_that_cannot_be_read_passes_beside_a_known_session_only(stage: Stage, kind: str) -> None:
    body = b"--x\r\n"
    assert (await answer_to(stage, post(body, kind=kind))).status == 401
    assert (await answer_to(stage, post(body, "Cookie: PHPSESSID=unknown", kind=kind))).status == 401

    await stage.bind("alive", session("s-2"))
    await passes(stage, post(body, "Cookie: PHPSESSID=alive", kind=kind), body)


async def test_a_body_that_is_no_form_is_streamed(stage: Stage) -> None:
    body = b'{"PHPSESSID": 1}'
    await passes(stage, post(body, kind="Content-Type: application/json"), body)


@pytest.mark.parametrize("kind", [FORM, FILES])
async def test_a_form_is_denied_where_other_requests_are_stripped(open_stage: Any, kind: str) -> None:
    stage = await opened(open_stage, action="strip")
    answer = await answer_to(stage, post(f"PHPSESSID={R}".encode(), f"Cookie: PHPSESSID={R}", kind=kind))
    assert answer.status == 401
    assert stage.is_app_untouched()
