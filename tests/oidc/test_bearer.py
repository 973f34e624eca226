"""Bearer tokens of our own: from a file, or from a token endpoint, once however many ask."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from strivacity_standin import Strivacity

from sidecar.config.rotating import RotatingSecret
from sidecar.config.secret import Secret
from sidecar.oidc import bearer as module
from sidecar.oidc.bearer import ClientCredentials, FileBearer, NoBearer
from sidecar.oidc.fetch import client_session


@pytest.fixture
def tenant() -> Iterator[Strivacity]:
    with Strivacity() as tenant:
        yield tenant


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with client_session() as session:
        yield session


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def client(http: aiohttp.ClientSession, tenant: Strivacity, **options) -> ClientCredentials:
    options = {"client_id": "sidecar", "secret": lambda: b"client secret", "url": tenant.token_url} | options
    return ClientCredentials(http, **options)


async def test_a_file_is_read_for_each_call(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    bearer = FileBearer(RotatingSecret(Secret(b"first"), str(file)).reveal)
    assert await bearer.token() == "first"
    file.write_text("second\n")
    assert await bearer.token() == "second"
    assert not bearer.refused("second")


@pytest.mark.parametrize("text", [b"", b"two words", b"line\nbreak", b"\xff", b'quo"te'])
async def test_what_could_not_stand_in_a_header_is_no_token(text: bytes) -> None:
    with pytest.raises(NoBearer) as caught:
        await FileBearer(lambda: text).token()
    assert (caught.value.reason, caught.value.may_pass) == ("token_unusable", False)
    assert "words" not in str(caught.value)


@pytest.mark.parametrize("auth", ["basic", "post"])
@pytest.mark.parametrize(("name", "secret"), [("sidecar", "client secret"), ("a:b c", "p%+&=/é")])
async def test_a_token_is_fetched_as_the_client(http, tenant: Strivacity, auth: str, name: str, secret: str) -> None:
    tenant.clients = {name: secret}
    bearer = client(http, tenant, client_id=name, secret=secret.encode, auth=auth, scope="read write")
    assert await bearer.token() == "issued-1"
    (form,) = tenant.fetches
    assert (form["grant_type"], form["scope"]) == (["client_credentials"], ["read write"])
    assert ("client_secret" in form) == (auth == "post")


async def test_however_many_ask_it_is_fetched_once(http, tenant: Strivacity) -> None:
    bearer = client(http, tenant)
    tenant.hold.clear()
    asking = [asyncio.create_task(bearer.token()) for _ in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()  # who began it gives up
    tenant.hold.set()
    assert set(await asyncio.gather(*asking[1:])) == {"issued-1"}
    assert await bearer.token() == "issued-1"
    assert tenant.issued == 1


@pytest.mark.parametrize(
    ("expires_in", "good_for"),
    [(3600, 3570), (60, 54), ("600", 570), (None, 54), (0, 54), (-1, 54), (True, 54), ("soon", 54), (10**9, 86400)],
)
async def test_a_token_is_used_until_shortly_before_its_end(http, tenant: Strivacity, expires_in, good_for) -> None:
    clock = Clock()
    tenant.lifetime = expires_in
    bearer = client(http, tenant, now=clock)
    await bearer.token()
    clock.now += good_for - 1
    assert await bearer.token() == "issued-1"
    clock.now += 2
    assert await bearer.token() == "issued-2"


async def test_a_token_that_was_kept_may_be_replaced_and_one_just_fetched_not(http, tenant: Strivacity) -> None:
    clock = Clock()
    bearer = client(http, tenant, now=clock)
    first = await bearer.token()
    assert not bearer.refused(first)
    second = await bearer.token()
    assert second == "issued-2"
    clock.now += 60
    assert bearer.refused(second)
    assert await bearer.token() == "issued-3"
    assert bearer.refused(second)  # somebody else has replaced it meanwhile


@pytest.mark.parametrize(
    ("status", "may_pass"), [(500, True), (503, True), (429, True), (400, False), (401, False), (302, False)]
)
async def test_a_refusal_says_whether_it_may_pass(http, tenant: Strivacity, status: int, may_pass: bool) -> None:
    tenant.faults = [status]
    with pytest.raises(NoBearer) as caught:
        await client(http, tenant).token()
    assert (caught.value.reason, caught.value.may_pass) == ("token_refused", may_pass)


async def test_after_a_failure_the_next_call_fetches_anew(http, tenant: Strivacity) -> None:
    tenant.faults = [500]
    bearer = client(http, tenant)
    with pytest.raises(NoBearer):
        await bearer.token()
    assert await bearer.token() == "issued-1"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"<html>", "token_unreadable"),
        (b"[]", "token_unreadable"),
        (b"{}", "token_unusable"),
        (b'{"access_token": 7}', "token_unusable"),
        (b'{"access_token": "a b"}', "token_unusable"),
        (b'{"access_token": "a", "token_type": "mac"}', "token_type"),
        (b" " * (module.MAX_ANSWER_BYTES + 1), "token_unreadable"),
    ],
)
async def test_an_answer_that_holds_no_token_is_final(http, tenant: Strivacity, monkeypatch, answer, reason) -> None:
    monkeypatch.setattr(tenant, "issue", lambda _form, _authorization: (200, answer))
    with pytest.raises(NoBearer) as caught:
        await client(http, tenant).token()
    assert (caught.value.reason, caught.value.may_pass) == (reason, False)


async def test_a_token_endpoint_that_is_silent_or_away_may_come_back(http, tenant: Strivacity, monkeypatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", aiohttp.ClientTimeout(total=0.1))
    tenant.hold.clear()
    with pytest.raises(NoBearer) as caught:
        await client(http, tenant).token()
    assert (caught.value.reason, caught.value.may_pass) == ("token_timeout", True)
    with pytest.raises(NoBearer) as caught:
        await client(http, tenant, url="http://127.0.0.1:1/token").token()
    assert (caught.value.reason, caught.value.may_pass) == ("token_unreachable", True)


async def test_nothing_secret_shows(http, tenant: Strivacity) -> None:
    bearer = client(http, tenant)
    await bearer.token()
    assert "issued" not in repr(bearer)
    assert "secret" not in repr(bearer)
    tenant.clients = {}
    with pytest.raises(NoBearer) as caught:
        await client(http, tenant).token()
    assert "client secret" not in str(caught.value)


async def test_it_can_be_closed_in_the_middle(http, tenant: Strivacity) -> None:
    bearer = client(http, tenant)
    tenant.hold.clear()
    asking = asyncio.create_task(bearer.token())
    await asyncio.sleep(0)
    await bearer.aclose()
    with pytest.raises(asyncio.CancelledError):
        await asking
