"""The relay where the callback is in another process: the app has its answer when the callback knows, or never."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from sidecar.core.claims import TokenError
from sidecar.core.identity import Session
from sidecar.oidc.relay import RelayedProvider, relay_app
from sidecar.workers.line import LineLost

ALICE = Session("https://idp.example", "legacy", "sid-alice", "alice", 1_767_000_000_000)


class Provider:
    """A token endpoint, its metadata, and what is read in its tokens."""

    url = ""

    async def token(self, request: web.Request) -> web.Response:
        return web.json_response({"id_token": "a token"})

    async def metadata(self) -> "Provider":
        return self

    def endpoint(self, name: str) -> str:
        return f"{self.url}/{name}"

    async def read(self, token: str) -> Session:
        return ALICE


class Doubtful(Provider):
    async def read(self, token: str) -> Session:
        raise TokenError("bad_signature")


class Elsewhere:
    """Callbacks that wait in another process, which can be told, or not."""

    def __init__(self, error: LineLost | None) -> None:
        self._error = error
        self.told: list[object] = []

    async def complete(self, code: str, session: Session) -> bool:
        return await self._tell(code, session)

    async def fail(self, code: str) -> bool:
        return await self._tell(code, None)

    async def _tell(self, *told: object) -> bool:
        await asyncio.sleep(0)
        if self._error is not None:
            raise self._error
        self.told.append(told)
        return True


@asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def exchange(provider: Provider, elsewhere: Elsewhere) -> tuple[int, str]:
    app = web.Application()
    app.router.add_post("/token_endpoint", provider.token)
    relayed = RelayedProvider("main", provider, provider)  # type: ignore[arg-type]
    async with (
        serving(app) as provider.url,
        serving(relay_app([relayed], logins=elsewhere)) as relay,
        aiohttp.ClientSession() as client,
        client.post(f"{relay}/token", data={"grant_type": "authorization_code", "code": "C"}) as answer,
    ):
        return answer.status, await answer.text()


@pytest.mark.parametrize(("provider", "told"), [(Provider(), ALICE), (Doubtful(), None)])
async def test_the_app_has_its_answer_when_the_callback_has_been_told(provider: Provider, told: Session | None) -> None:
    elsewhere = Elsewhere(None)
    status, body = await exchange(provider, elsewhere)
    assert (status, elsewhere.told) == (200, [("C", told)])
    assert "a token" in body


@pytest.mark.parametrize("provider", [Provider(), Doubtful()])
async def test_what_cannot_be_told_the_app_does_not_get(provider: Provider) -> None:
    status, body = await exchange(provider, Elsewhere(LineLost("line_silent")))
    assert status == 503
    assert "line_silent" in body
    assert "a token" not in body
