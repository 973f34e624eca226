"""Ways around in what two features make of each other: a reload in the middle, callbacks on allowed routes, logouts."""

import time
from collections.abc import Awaitable, Callable

import pytest
from bench_plane import CALLBACK, CLIENT, ISSUER, LOGOUT, Stage, revoked_cookie, session
from wire import Wire, ask, message, ok, until

from sidecar import clock
from sidecar.bindings.trusted_header import HeaderBinder
from sidecar.core.identity import Session
from sidecar.core.paths import compile_pattern
from sidecar.core.revocation import Logout, meant_by
from sidecar.core.routes import Route, Rule
from sidecar.gate import condemn
from sidecar.proxy.exchange import Exchange
from sidecar.stores.interface import StoreError

Open = Callable[..., Awaitable[Stage]]

ROTATED = "Set-Cookie: JSESSIONID=rotated; HttpOnly"
HALF = ("Host: a", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 3")
ALLOWED_LOGIN = [Route(compile_pattern("/oidc/*"), Rule(None))]


def mine() -> Session:
    return session("s-mine", sub="mallory", age=10)


async def status(stage: Stage, value: str) -> int:
    """Of a request with this cookie; 200 when it reaches the app."""
    client = await stage.client(revoked_cookie(value=value))
    for wire in stage._app.wires:
        wire.close()
    await until(lambda: not client.is_silent() or not stage._app.is_untouched())
    if client.is_silent():
        app = await stage.app()
        await app.head()
        await app.send(ok())
    return (await client.answer()).status


async def open_stream(stage: Stage, value: str) -> Wire:
    client, app = await stage.asks(revoked_cookie("GET /events HTTP/1.1", value=value))
    await app.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    await client.until(b"data: 1")
    return client


# -- a reload ------------------------------------------------------------------------------------------------------


async def test_a_logout_of_everybody_outlives_a_reload(open_stage: Open, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(condemn, "_AT_ONCE", 0)  # as of the 1025th session in memory on
    stage = await open_stage()
    stage.digester.names_parties = True
    await stage.bind("live")
    client, app = await stage.asks(revoked_cookie(value="live"))
    await app.send(ok())
    assert (await client.answer()).status == 200  # the connection to the app is kept, and the head known: the short way
    everybody = Logout(ISSUER, (CLIENT,), None, None, int(time.time() * 1000), everybody=True)
    await stage.publisher.publish(meant_by(everybody, stage.digester, expires=int(time.time()) + 3600))
    stage.reload()
    await client.send(revoked_cookie(value="live"))
    await until(lambda: not client.is_silent() or not app.is_silent())
    assert not client.is_silent()
    assert (await client.answer()).status == 401


async def test_what_flowed_on_while_nothing_was_enforced_ends_with_the_reload_that_enforces(open_stage: Open):
    stage = await open_stage(observes=True)
    await stage.bind("live", session("s-2", sub="bob"))
    await stage.bind("dead")
    streams = [await open_stream(stage, value) for value in ("dead", "live")]
    await stage.logout()
    assert len(stage.live) == 2
    stage.reload()
    await streams[0].reset()
    assert len(stage.live) == 1


async def test_a_login_that_began_before_a_reload_ends_with_its_logout(stage: Stage):
    client, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1"))
    stage.reload()
    assert stage.logins.complete("C", session())
    await app.send(message("HTTP/1.1 302 Found", "Location: /", "Set-Cookie: JSESSIONID=new", "Content-Length: 0"))
    assert (await client.answer()).status == 302
    await stage.logout()
    assert await status(stage, "new") == 401


async def test_who_named_a_session_while_no_header_meant_one_is_denied_and_no_fault(open_stage: Open):
    binder = HeaderBinder(issuer=ISSUER, client_id=CLIENT, sid="X-Sid", sub=None, clock=clock.late)
    stage = await open_stage(headers=[binder])
    stage.plane.new_exchange = Exchange  # as before the reload that declares the header
    client = await stage.client(message(f"POST {CALLBACK} HTTP/1.1", *HALF, "X-Sid: s-1"))
    await until(lambda: stage.plane.callbacks._bodies)
    stage.reload()
    await client.send(b"a=b")
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (401, b"untrusted_header")


# -- callbacks on allowed routes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("deny_unbound", [False, True])
@pytest.mark.parametrize("target", [CALLBACK, f"{CALLBACK}?code=C"])
async def test_a_dead_session_gets_no_new_cookie_from_an_allowed_callback(
    open_stage: Open, target: str, *, deny_unbound: bool
):
    stage = await open_stage(routes=ALLOWED_LOGIN, deny_unbound=deny_unbound)
    await stage.bind("dead")
    await stage.logout()
    client, app = await stage.asks(revoked_cookie(f"GET {target} HTTP/1.1"))
    await app.send(ok(b"", ROTATED, "Set-Cookie: lang=en"))
    answer = await client.answer()
    assert answer.status == 200
    assert b"rotated" not in answer.head
    assert b"lang=en" in answer.head


async def test_a_cookie_that_an_allowed_callback_renews_ends_with_the_logout(open_stage: Open):
    stage = await open_stage(routes=ALLOWED_LOGIN)
    await stage.bind("live")
    client, app = await stage.asks(revoked_cookie(f"GET {CALLBACK} HTTP/1.1", value="live"))
    await app.send(ok(b"", ROTATED))
    assert b"rotated" in (await client.answer()).head
    await stage.logout()
    assert await status(stage, "rotated") == 401


@pytest.mark.parametrize("is_store_behind", [False, True])
async def test_a_stolen_cookie_beside_my_login_on_an_allowed_route_stays_with_its_owner(
    open_stage: Open, monkeypatch: pytest.MonkeyPatch, *, is_store_behind: bool
):
    stage = await open_stage(routes=ALLOWED_LOGIN)
    await stage.bind("stolen")
    if is_store_behind:
        forget_and_read_no_more(stage, monkeypatch)
    assert await logged_in_with_two(stage) == 401
    monkeypatch.undo()
    await stage.logout()
    assert await status(stage, "stolen") == 401


async def test_nor_does_it_go_over_to_me_where_an_outage_lets_requests_pass(
    open_stage: Open, monkeypatch: pytest.MonkeyPatch
):
    stage = await open_stage(fail_open=True)
    await stage.bind("stolen")
    forget_and_read_no_more(stage, monkeypatch)
    assert await logged_in_with_two(stage) == 401
    monkeypatch.undo()
    await stage.logout()
    assert await status(stage, "stolen") == 401


async def test_a_cookie_that_is_renewed_while_nobody_can_say_whose_it_is_stays_with_the_app(
    open_stage: Open, monkeypatch: pytest.MonkeyPatch
):
    """Else an outage would not only let a session pass, but let go of it for ever."""
    stage = await open_stage(fail_open=True)
    await stage.bind("stolen")
    forget_and_read_no_more(stage, monkeypatch)
    client, app = await stage.asks(revoked_cookie(value="stolen"))
    await app.send(ok(b"page", ROTATED, "Set-Cookie: lang=en"))
    answer = await client.answer()
    assert (answer.status, answer.body, answer.values("set-cookie")) == (200, b"page", [b"lang=en"])


async def test_company_that_nobody_can_look_up_does_not_hide_who_is_dead(
    open_stage: Open, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(condemn, "_AT_ONCE", 0)
    stage = await open_stage(fail_open=True)
    await stage.bind("dead")
    await stage.logout()
    read_no_more(stage, monkeypatch)
    client = await stage.client(ask("GET / HTTP/1.1", "Cookie: JSESSIONID=dead; JSESSIONID=junk"))
    await until(lambda: not client.is_silent() or not stage.is_app_untouched())
    assert stage.is_app_untouched()
    assert (await client.answer()).status == 401


async def test_a_named_session_that_was_logged_out_is_dead_in_an_outage_too(
    open_stage: Open, monkeypatch: pytest.MonkeyPatch
):
    binder = HeaderBinder(issuer=ISSUER, client_id=CLIENT, sid="X-Sid", sub=None, clock=clock.late)
    stage = await open_stage(fail_open=True, headers=[binder], trusted=["127.0.0.0/8"])
    await stage.logout()
    read_no_more(stage, monkeypatch)
    client = await stage.client(ask("GET / HTTP/1.1", "X-Sid: s-1"))
    await until(lambda: not client.is_silent() or not stage.is_app_untouched())
    assert stage.is_app_untouched()
    assert (await client.answer()).status == 401


def forget_and_read_no_more(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cookie is not in memory any more, and strangers keep all reads of the store busy."""
    stage.directory._forget(stage.digester.credential(b"stolen"))
    read_no_more(stage, monkeypatch)


def read_no_more(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(_credential: bytes) -> None:
        raise StoreError("store_busy", "too many unknown credentials at once")

    monkeypatch.setattr(stage.bindings, "get_binding", busy)


async def logged_in_with_two(stage: Stage) -> int:
    cookies = "Cookie: JSESSIONID=anonymous; JSESSIONID=stolen"
    client, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1", cookies))
    assert stage.logins.complete("C", mine())
    await app.send(message("HTTP/1.1 302 Found", "Location: /", "Content-Length: 0"))
    return (await client.answer()).status


async def test_who_logs_in_on_an_allowed_route_with_a_dead_cookie_is_logged_in(open_stage: Open):
    stage = await open_stage(routes=ALLOWED_LOGIN)
    await stage.bind("dead")
    await stage.logout()
    client, app = await stage.asks(revoked_cookie(f"GET {CALLBACK}?code=C HTTP/1.1"))
    assert stage.logins.complete("C", session("s-2", age=-5))
    await app.send(message("HTTP/1.1 302 Found", "Location: /", "Set-Cookie: JSESSIONID=new", "Content-Length: 0"))
    answer = await client.answer()
    assert answer.status == 302
    assert b"JSESSIONID=new" in answer.head
    assert await status(stage, "new") == 200


async def test_a_callback_that_is_only_observed_still_teaches(open_stage: Open):
    stage = await open_stage(routes=ALLOWED_LOGIN, observes=True)
    await stage.bind("live")
    target = f"{CALLBACK}?" + "&".join(f"code=C{number}" for number in range(20))  # refused, were it enforced
    client, app = await stage.asks(revoked_cookie(f"GET {target} HTTP/1.1", value="live"))
    await app.send(ok(b"", ROTATED))
    await client.answer()
    stage.reload()
    await stage.logout()
    assert await status(stage, "rotated") == 401


# -- the app's logout ----------------------------------------------------------------------------------------------


async def test_a_page_on_the_logout_path_that_ends_nothing_is_withheld_from_who_was_logged_out(stage: Stage):
    await stage.bind("mine")
    client, app = await stage.asks(revoked_cookie(f"GET {LOGOUT} HTTP/1.1", value="mine"))
    await stage.logout()
    await app.send(ok(b"Alice, are you sure?"))
    answer = await client.answer()
    assert answer.status == 401
    assert b"Alice" not in answer.body


async def test_a_stream_on_the_logout_path_does_not_outlive_the_logout_that_came_before_it_began(stage: Stage):
    await stage.bind("mine")
    client, app = await stage.asks(revoked_cookie(f"GET {LOGOUT} HTTP/1.1", value="mine"))
    await stage.logout()
    await app.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: secret\n\n")
    answer = await client.answer()
    assert answer.status == 401


@pytest.mark.parametrize("names", [{"sid": None, "sub": "X-Sub"}, {"sid": "X-Sid", "sub": None}])
async def test_a_session_that_a_proxy_names_is_the_proxys_to_end_and_its_cookie_is_over(open_stage: Open, names: dict):
    """It names it on, so that a user who logs out in the app would be kept out until `max_age` has passed."""
    binder = HeaderBinder(issuer=ISSUER, client_id=CLIENT, clock=clock.late, **names)
    stage = await open_stage(headers=[binder], trusted=["127.0.0.0/8"])
    named = "X-Sub: alice" if names["sub"] else "X-Sid: s-1"
    client, app = await stage.asks(ask("GET / HTTP/1.1", named, "Cookie: JSESSIONID=mine"))
    await app.send(ok())
    await client.answer()
    goodbye = message("HTTP/1.1 302 Found", "Location: /", "Content-Length: 0")
    await client.send(revoked_cookie(f"POST {LOGOUT} HTTP/1.1", named, "Content-Length: 0", value="mine"))
    await app.head()
    await app.send(goodbye)
    assert (await client.answer()).status == 302
    assert await status(stage, "mine") == 401
    await client.send(ask("GET / HTTP/1.1", named))
    app = await stage.app()
    await app.head()
    await app.send(ok())
    assert (await client.answer()).status == 200
