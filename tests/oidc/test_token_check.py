"""Asking a provider about a token, over HTTP: what is sent, and what every kind of answer comes to."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from sidecar.core.provider_check import Standing
from sidecar.oidc import token_check as module
from sidecar.oidc.discovery import Metadata
from sidecar.oidc.fetch import KeysUnavailable, client_session
from sidecar.oidc.token_check import TokenCheck


class Provider:
    """Answers what the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status, self.body = 200, b'{"active": true}'
        self.asked: list[tuple[str, str, dict[str, str], str]] = []
        self.missing = False
        self.error: KeysUnavailable | None = None
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append((request.method, request.path, form, request.headers.get("Authorization", "")))
        headers = {"Location": "/elsewhere"} if self.status == 302 else {}
        return web.Response(status=self.status, body=self.body, headers=headers)

    async def metadata(self) -> Metadata:
        if self.error is not None:
            raise self.error
        names = () if self.missing else ("introspection", "userinfo", "token")
        return Metadata({}, {f"{name}_endpoint": f"{self.url}/{name}" for name in names})


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    app = web.Application()
    app.router.add_route("*", "/{name}", provider.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield provider
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with client_session() as http:
        yield http


def check(http, provider: Provider, by="introspection", *, secret: bytes | None = b"p%+&:", auth="basic") -> TokenCheck:
    return TokenCheck(http, provider, by=by, secret=secret, auth=auth, tls=None)


BASIC = "Basic " + base64.b64encode(b"a%3Ab:p%25%2B%26%3A").decode()
INTROSPECTED = {"token": "the-token", "token_type_hint": "access_token"}
REFRESHED = {"grant_type": "refresh_token", "refresh_token": "the-token"}
SHOWN = {"client_id": "a:b", "client_secret": "p%+&:"}

QUESTIONS: list[tuple[dict[str, Any], tuple[str, str, dict[str, str], str]]] = [
    ({"by": "introspection"}, ("POST", "/introspection", INTROSPECTED, BASIC)),
    ({"by": "introspection", "auth": "post"}, ("POST", "/introspection", INTROSPECTED | SHOWN, "")),
    ({"by": "introspection", "secret": None}, ("POST", "/introspection", INTROSPECTED | {"client_id": "a:b"}, "")),
    ({"by": "userinfo"}, ("GET", "/userinfo", {}, "Bearer the-token")),
    ({"by": "refresh"}, ("POST", "/token", REFRESHED, BASIC)),
    ({"by": "refresh", "auth": "post"}, ("POST", "/token", REFRESHED | SHOWN, "")),
]


@pytest.mark.parametrize(("how", "asked"), QUESTIONS)
async def test_each_question_is_put_as_its_specification_says(http, provider: Provider, how, asked) -> None:
    checked = await check(http, provider, **how).ask("the-token", client_id="a:b", sub="alice")
    assert checked.standing is Standing.ALIVE
    assert provider.asked == [asked]
    assert "active" not in repr(checked)  # what a provider says may hold new tokens


@pytest.mark.parametrize(
    ("status", "body", "standing"),
    [
        (200, b'{"active": false}', Standing.OVER),
        (200, b"<html>", Standing.BROKEN),
        (200, b"[]", Standing.BROKEN),
        (302, b'{"active": false}', Standing.BROKEN),
        (401, b"", Standing.BROKEN),
        (500, b"", Standing.UNAVAILABLE),
    ],
)
async def test_every_answer_has_a_standing_and_a_reason(http, provider: Provider, status, body, standing) -> None:
    provider.status, provider.body = status, body
    checked = await check(http, provider).ask("the-token", client_id="app", sub=None)
    assert (checked.standing, checked.reason) == (standing, f"http_{status}")
    assert len(provider.asked) == 1


async def test_no_answer_is_no_standing(http, provider: Provider, monkeypatch) -> None:
    ask = check(http, provider).ask
    provider.error = KeysUnavailable("unreachable")
    assert (await ask("t", client_id="app", sub=None)).standing is Standing.UNAVAILABLE
    provider.error, provider.missing = None, True
    broken = await ask("t", client_id="app", sub=None)
    assert (broken.standing, broken.reason) == (Standing.BROKEN, "endpoint_missing")
    provider.missing, provider.url = False, "http://127.0.0.1:1"
    assert (await ask("t", client_id="app", sub=None)).reason == "unreachable"
    monkeypatch.setattr(module, "TIMEOUT", aiohttp.ClientTimeout(total=0.0001))
    assert (await ask("t", client_id="app", sub=None)).standing is Standing.UNAVAILABLE
