"""Sessions that an authenticating proxy names in header fields: its word counts, nobody else's does."""

import time
from collections.abc import Awaitable, Callable

import pytest
from bench_plane import CLIENT, ISSUER, Stage
from wire import Wire, ask, ok, seen, until

from sidecar import clock
from sidecar.bindings.trusted_header import HeaderBinder
from sidecar.core.identity import Session
from sidecar.core.paths import compile_pattern
from sidecar.core.revocation import Logout, meant_by
from sidecar.core.routes import Route, Rule
from sidecar.proxy.exchange import Exchange

Open = Callable[..., Awaitable[Stage]]

TIMED = HeaderBinder(
    issuer=ISSUER, client_id=CLIENT, sid="X-Oidc-Sid", sub="X-Oidc-Sub", login_time="X-Since", clock=clock.late
)
UNTIMED = HeaderBinder(issuer=ISSUER, client_id=CLIENT, sid="X-Oidc-Sid", sub="X-Oidc-Sub", clock=clock.late)
LOOPBACK = ["127.0.0.0/8"]


def named(sid: str = "s-1", sub: str = "alice", *, since: float | None = None, cookie: str = "") -> bytes:
    fields = [f"X-Oidc-Sid: {sid}", f"X-Oidc-Sub: {sub}"]
    fields += [] if since is None else [f"X-Since: {since}"]
    return ask("GET / HTTP/1.1", *fields, *([f"Cookie: JSESSIONID={cookie}"] if cookie else []))


async def status(stage: Stage, request: bytes, answer: bytes | None = None) -> int:
    """The status of the answer; the app answers 200 to what reaches it."""
    client = await stage.client(request)
    await until(lambda: not client.is_silent() or not stage.is_app_untouched())
    if client.is_silent():
        app = await stage.app()
        await app.head()
        await app.send(answer or ok())
        await client.head()
        app.close()
        client.close()
        return 200
    got = await client.answer()
    client.close()
    return got.status


@pytest.mark.parametrize("binder", [TIMED, UNTIMED])
@pytest.mark.parametrize("logout", [("s-1", None), (None, "alice"), ("s-1", "alice")])
async def test_a_named_session_ends_with_its_logout(open_stage: Open, binder: HeaderBinder, logout: tuple):
    stage = await open_stage(headers=[binder], trusted=LOOPBACK)
    request = named(since=time.time() - 300 if binder is TIMED else None)
    assert await status(stage, request) == 200
    await stage.logout("another", "another")
    assert await status(stage, request) == 200
    assert +stage.counts._judged() == {("default", "bound", "header"): 2}
    await stage.logout(*logout)
    assert await status(stage, request) == 401


async def test_the_app_hears_what_the_proxy_says(open_stage: Open):
    stage = await open_stage(headers=[TIMED], trusted=LOOPBACK)
    client = await stage.client(ask("GET / HTTP/1.1", "X-Oidc-Sub: alice", f"X-Since: {int(time.time())}"))
    app = await stage.app()
    assert b"X-Oidc-Sub: alice\r\n" in await app.head()
    await app.send(ok())
    await client.answer()


@pytest.mark.parametrize("name", ["X-Oidc-Sid", "x-oidc-sub", "X_Oidc_Sub", "X-OIDC.SUB", "X-Since"])
async def test_what_a_stranger_says_is_denied(open_stage: Open, name: str):
    stage = await open_stage(headers=[TIMED], trusted=["10.0.0.0/8"])
    client = await stage.client(ask("GET / HTTP/1.1", f"{name}: alice"))
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (401, b"untrusted_header")
    assert stage.is_app_untouched()


async def test_what_came_before_the_binder_was_configured_is_nobodys_word(open_stage: Open):
    stage = await open_stage(headers=[TIMED], trusted=LOOPBACK)
    stage.plane.new_exchange = Exchange  # as a request that the plane has begun under the configuration before
    client = await stage.client(named(since=time.time() - 300))
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (401, b"untrusted_header")
    assert stage.is_app_untouched()


async def test_and_never_reaches_the_app_on_an_allowed_route_or_stripped(open_stage: Open):
    routes = [Route(compile_pattern("/free"), Rule(None))]
    stage = await open_stage(headers=[TIMED], trusted=(), routes=routes, action="strip")
    for path in ("/free", "/strip"):
        request = ask(f"GET {path} HTTP/1.1", "A: 1", "X_Oidc.Sub: alice", "X-Oidc-Sub: bob", "B: 2")
        client = await stage.client(request)
        app = await stage.app()
        await app.expect(seen(f"GET {path} HTTP/1.1", "A: 1", "B: 2"))
        await app.send(ok())
        assert (await client.answer()).status == 200
        app.close()


async def test_nobody_needs_to_be_named(open_stage: Open):
    stage = await open_stage(headers=[TIMED], trusted=LOOPBACK)
    assert await status(stage, ask()) == 200
    assert await status(stage, ask("GET / HTTP/1.1", "X-Oidc-Sub: ")) == 200


@pytest.mark.parametrize(
    "fields",
    [
        ("X-Oidc-Sub: alice", "X-Oidc-Sub: bob"),
        ("X-Oidc-Sub: alice", "X_Oidc_Sub: alice"),
        ("X-Oidc-Sub: alice", "X-Since: soon"),
    ],
)
async def test_what_the_proxy_says_in_two_ways_is_denied(open_stage: Open, fields: tuple[str, ...]):
    stage = await open_stage(headers=[TIMED], trusted=LOOPBACK)
    assert await status(stage, ask("GET / HTTP/1.1", *fields)) == 401


async def test_a_later_login_lives_and_an_earlier_one_does_not(open_stage: Open):
    stage = await open_stage(headers=[TIMED], trusted=LOOPBACK)
    now = time.time()
    await stage.logout(None, "alice")
    assert await status(stage, named("s-2", since=int(now) + 2)) == 200
    assert await status(stage, named("s-2", since=int(now) - 2)) == 401


# -- without a login time ------------------------------------------------------------------------------------------


async def test_the_session_begins_when_it_is_first_seen_and_keeps_its_time(open_stage: Open):
    stage = await open_stage(headers=[UNTIMED], trusted=LOOPBACK)
    assert await status(stage, named()) == 200
    (credential,) = stage.directory.credentials_of(stage.digester.sid(ISSUER, CLIENT, "s-1"))
    first = stage.directory.cached(credential)
    assert 0 < time.time() - first.login_time / 1000 < 120
    assert await status(stage, named()) == 200
    assert stage.directory.cached(credential) == first


async def test_what_was_logged_out_before_it_was_first_seen_is_dead(open_stage: Open):
    stage = await open_stage(headers=[UNTIMED], trusted=LOOPBACK)
    await stage.logout("s-1")
    assert await status(stage, named()) == 401
    assert await status(stage, named("s-2")) == 200


async def test_a_session_whose_binding_is_lost_does_not_begin_anew(open_stage: Open):
    stage = await open_stage(headers=[UNTIMED], trusted=LOOPBACK)
    assert await status(stage, named()) == 200
    await stage.logout("s-1")
    assert await status(stage, named()) == 401
    (credential,) = stage.directory.credentials_of(stage.digester.sid(ISSUER, CLIENT, "s-1"))
    stage.evict(credential)
    assert await status(stage, named()) == 401


async def test_nobody_is_met_for_the_first_time_while_the_store_is_not_heard(open_stage: Open):
    """What had been revoked unheard would be a later login for ever."""
    stage = await open_stage(headers=[UNTIMED], trusted=LOOPBACK)
    await stage.feed.aclose()
    await until(lambda: stage.freshness.age(clock.boot()) > 0.6)
    assert await status(stage, named()) == 503
    assert not stage.directory.credentials_of(stage.digester.sid(ISSUER, CLIENT, "s-1"))


# -- what travels with it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binder", [TIMED, UNTIMED])
async def test_a_cookie_that_travels_with_it_is_bound_to_it(open_stage: Open, binder: HeaderBinder):
    """Else whoever gets around the proxy would shed the logout by leaving its headers out."""
    stage = await open_stage(headers=[binder], trusted=LOOPBACK)
    since = time.time() - 60 if binder is TIMED else None
    assert await status(stage, named(since=since, cookie="app")) == 200
    await stage.logout("s-1")
    assert await status(stage, ask("GET / HTTP/1.1", "Cookie: JSESSIONID=app")) == 401


@pytest.mark.parametrize("binder", [TIMED, UNTIMED])
async def test_a_cookie_that_the_app_sets_is_bound_to_it(open_stage: Open, binder: HeaderBinder):
    stage = await open_stage(headers=[binder], trusted=LOOPBACK)
    since = time.time() - 60 if binder is TIMED else None
    assert await status(stage, named(since=since), ok(b"", "Set-Cookie: JSESSIONID=app")) == 200
    await stage.logout("s-1")
    assert await status(stage, ask("GET / HTTP/1.1", "Cookie: JSESSIONID=app")) == 401


async def test_a_strangers_cookie_is_not_taken_over(open_stage: Open):
    stage = await open_stage(headers=[TIMED], trusted=LOOPBACK)
    await stage.bind("victims", Session(ISSUER, CLIENT, "victim", "victim", int((time.time() - 600) * 1000)))
    assert await status(stage, named(since=time.time() - 60, cookie="victims")) == 200
    await stage.logout("victim")
    assert await status(stage, ask("GET / HTTP/1.1", "Cookie: JSESSIONID=victims")) == 401


async def test_an_open_stream_of_a_named_session_is_cut(open_stage: Open):
    stage = await open_stage(headers=[TIMED], trusted=LOOPBACK)
    client, app = await open_stream(stage, named(since=time.time() - 60))
    await stage.logout("s-1")
    await client.reset()
    app.close()


async def open_stream(stage: Stage, request: bytes) -> tuple[Wire, Wire]:
    client, app = await stage.asks(request)
    await app.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    await client.until(b"data: 1")
    return client, app


@pytest.mark.parametrize("binder", [TIMED, UNTIMED])
async def test_after_a_logout_of_everybody_only_a_proven_later_login_is_let_in(open_stage: Open, binder: HeaderBinder):
    stage = await open_stage(headers=[binder], trusted=LOOPBACK)
    stage.digester.names_parties = True
    is_timed, now = binder is TIMED, time.time()
    assert await status(stage, named(since=now - 300 if is_timed else None)) == 200
    everybody = Logout(ISSUER, (CLIENT,), None, None, int(now * 1000), everybody=True)
    await stage.publisher.publish(meant_by(everybody, stage.digester, expires=int(now) + 3600))
    assert await status(stage, named(since=now - 300 if is_timed else None)) == 401
    # Seen for the first time: whether it began before, only a time can tell.
    assert await status(stage, named("s-2", "bob", since=now + 5 if is_timed else None)) == (200 if is_timed else 401)
