"""The way back from the provider: to where the app wanted, and to no other place whatever somebody sends."""

import base64
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from sidecar.bindings.sealer import Sealer
from sidecar.control.app import control_runner
from sidecar.control.signed_out import RETURN_S, SignedOut

ORIGIN = "https://app.example.com"
SEALER = Sealer(b"s" * 32)


class Bench:
    """The endpoint over a real socket, and its clock."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0
        self.signed_out = SignedOut(SEALER, origin=ORIGIN, now=lambda: self.now)
        self.url = ""

    async def ask(self, query: str = "", method: str = "GET") -> tuple[int, str | None, str]:
        url = URL(f"{self.url}/_sidecar/signed-out{query}", encoded=True)
        async with aiohttp.request(method, url, allow_redirects=False) as response:
            assert response.headers["Cache-Control"] == "no-store"
            assert "Set-Cookie" not in response.headers
            return response.status, response.headers.get("Location"), await response.text()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()

    runner = control_runner(prefix="/_sidecar", endpoints={"signed-out": bench.signed_out})
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    bench.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield bench
    await runner.cleanup()


@pytest.mark.parametrize("target", ["/", "/home?a=b&c=%20d", "/" + "a" * 1023])
async def test_the_browser_goes_on_to_where_the_app_wanted(bench: Bench, target: str) -> None:
    state = bench.signed_out.state(target)
    assert state.replace("-", "").replace("_", "").isalnum()
    assert await bench.ask(f"?state={state}") == (303, ORIGIN + target, "")
    assert await bench.ask(f"?x=1&state={state}&y=2") == (303, ORIGIN + target, "")


@pytest.mark.parametrize("query", ["", "?", "?other=1", "?state=NONE"])
async def test_without_a_place_to_go_there_is_a_page(bench: Bench, query: str) -> None:
    status, location, text = await bench.ask(query.replace("NONE", bench.signed_out.state(None)))
    assert (status, location) == (200, None)
    assert "You have been signed out" in text


async def test_a_state_ends_and_then_there_is_a_page(bench: Bench) -> None:
    state = bench.signed_out.state("/home")
    bench.now += RETURN_S - 1
    assert (await bench.ask(f"?state={state}"))[0] == 303
    bench.now += 2
    assert (await bench.ask(f"?state={state}"))[:2] == (200, None)


STRANGE = {
    "nothing": "",
    "a word": "hello",
    "a place": "https://evil.example/",
    "not base64": "****",
    "not ASCII": "%C3%A9",
    "not UTF-8": "%FF%FE",
    "a long one": "A" * 5000,
    "of another deployment": base64.urlsafe_b64encode(
        Sealer(b"x" * 32).seal(b'[9999999999, "https://evil.example"]', purpose=b"signed-out")
    ).decode(),
    "for another purpose": base64.urlsafe_b64encode(
        SEALER.seal(b'[9999999999, "https://evil.example"]', purpose=b"session")
    ).decode(),
}


@pytest.mark.parametrize("state", STRANGE.values(), ids=STRANGE)
async def test_a_state_that_was_not_made_here_leads_nowhere(bench: Bench, state: str) -> None:
    status, location, text = await bench.ask(f"?state={state}")
    assert (status, location) == (400, None)
    assert "This link does not hold" in text


async def test_two_states_lead_nowhere(bench: Bench) -> None:
    state = bench.signed_out.state("/home")
    assert (await bench.ask(f"?state={state}&state={state}"))[:2] == (400, None)


async def test_a_pod_reads_what_another_has_made_and_while_the_secret_is_changed_as_well(bench: Bench) -> None:
    elsewhere = SignedOut(Sealer(b"n" * 32, [b"s" * 32]), origin=ORIGIN, now=lambda: bench.now)
    assert elsewhere._opened(bench.signed_out.state("/home")) == (bench.now + RETURN_S, "/home")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_only_a_browser_that_comes_back_is_answered(bench: Bench, method: str) -> None:
    assert (await bench.ask(f"?state={bench.signed_out.state('/home')}", method))[:2] == (405, None)


@given(st.text(max_size=200))
def test_no_text_opens_or_breaks_it(text: str) -> None:
    assert SignedOut(SEALER, origin=ORIGIN)._opened(text) is None
