"""A callback that the app has seen and whose answer nobody has: the login may be out of reach of its logout.

So the credentials that came with it are revoked. A callback that the app has not seen takes nothing with it.
"""

import re
from collections.abc import Awaitable, Callable

import pytest
from bench_plane import CALLBACK, Stage, revoked_cookie, session
from wire import Wire, ask, message, ok, until

Open = Callable[..., Awaitable[Stage]]

KEPT = "Cookie: JSESSIONID=kept"
CALL = ask(f"GET {CALLBACK}?state=x&code=C HTTP/1.1", KEPT)


def is_condemned(stage: Stage) -> bool:
    return stage.replica.cutoff(stage.digester.credential(b"kept")) is not None


async def breaks(_stage: Stage, _client: Wire, app: Wire) -> None:
    await app.send(message("HTTP/1.1 200 OK", "no colon"))


async def closes(_stage: Stage, _client: Wire, app: Wire) -> None:
    app.close()


async def is_late(_stage: Stage, _client: Wire, _app: Wire) -> None:
    """`response_timeout` ends it."""


async def leaves(_stage: Stage, client: Wire, _app: Wire) -> None:
    """And `response_timeout` ends it."""
    client.abort()


async def leaves_and_the_app_breaks(stage: Stage, client: Wire, app: Wire) -> None:
    client.abort()
    await until(lambda: not stage.plane.connections)
    app.abort()


async def ends(stage: Stage, _client: Wire, _app: Wire) -> None:
    await stage.plane.finish(0)


async def switches(_stage: Stage, _client: Wire, app: Wire) -> None:
    await app.send(message("HTTP/1.1 103 Early Hints", "Set-Cookie: JSESSIONID=new") + b"HTTP/1.1 1")
    app.close()


WAYS = [breaks, closes, is_late, leaves, leaves_and_the_app_breaks, ends, switches]


@pytest.mark.parametrize("is_joined", [True, False])
@pytest.mark.parametrize("way", WAYS)
async def test_a_login_whose_answer_is_lost_takes_the_cookie_with_it(
    open_stage: Open, way: Callable[[Stage, Wire, Wire], Awaitable[None]], is_joined: bool
):
    stage = await open_stage(response_timeout=0.3 if way in (is_late, leaves) else 30.0)
    client, app = await stage.asks(CALL)
    if is_joined:
        assert stage.logins.complete("C", session())
    await way(stage, client, app)
    await until(lambda: is_condemned(stage))
    assert not stage.stats.in_flight
    after = await stage.client(revoked_cookie(value="kept"))
    assert (await after.answer()).status == 401


async def test_an_answered_callback_that_has_logged_nobody_in_takes_nothing_with_it(stage: Stage):
    client, app = await stage.asks(CALL)
    await app.send(ok(b"sorry"))
    assert (await client.answer()).body == b"sorry"
    assert not is_condemned(stage)


async def test_an_answer_that_breaks_off_after_its_head_is_no_lost_login(stage: Stage):
    client, app = await stage.asks(CALL)
    assert stage.logins.complete("C", session())
    await app.send(message("HTTP/1.1 200 OK", "Set-Cookie: JSESSIONID=new", "Content-Length: 9", body=b"we"))
    await client.until(b"we")
    app.close()
    await client.reset()
    assert not is_condemned(stage)
    await stage.logout()
    assert (await (await stage.client(revoked_cookie(value="new"))).answer()).status == 401


async def test_a_callback_that_has_not_reached_the_app_takes_nothing_with_it(open_stage: Open):
    stage = await open_stage(pool={"max_connections": 1, "queue_timeout": 0.1})
    await stage.asks(ask())
    client = await stage.client(CALL)
    assert (await client.answer()).value("x-logout-sidecar") == b"upstream_busy"
    assert not is_condemned(stage)


@pytest.mark.parametrize("first", [f"GET {CALLBACK}?error=denied HTTP/1.1", "GET /?code=C HTTP/1.1"])
async def test_a_request_that_cannot_log_in_takes_nothing_with_it(stage: Stage, first: str):
    client, app = await stage.asks(ask(first, KEPT))
    app.abort()
    assert (await client.answer()).status == 502
    assert not is_condemned(stage)


# -- a body beside the code ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [f"{CALLBACK}?code=C", "//oidc/%63allback?x=1;Code[]=C"])
@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked"])
async def test_a_body_beside_a_code_is_refused_before_the_app_has_seen_either(stage: Stage, target: str, framing: str):
    client = await stage.client(ask(f"POST {target} HTTP/1.1", KEPT, framing))
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (400, b"callback_with_body")
    assert stage.is_app_untouched()
    assert not stage.logins._flights
    assert not is_condemned(stage)


@pytest.mark.parametrize(
    "request_",
    [
        ask(f"POST {CALLBACK}?code=C HTTP/1.1", "Content-Length: 0"),
        ask(f"POST {CALLBACK}?state=x HTTP/1.1", "Content-Length: 5", body=b"id=12"),
    ],
)
async def test_a_callback_with_a_code_or_a_body_reaches_the_app(stage: Stage, request_: bytes):
    client, app = await stage.asks(request_)
    await app.send(ok())
    assert re.match(rb"HTTP/1.1 200 ", await client.head())
