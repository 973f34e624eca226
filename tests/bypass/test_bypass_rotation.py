"""A thief who holds a live cookie and wants one that outlives the logout: rotation, company, allowed routes."""

import pytest
from bench_plane import CALLBACK, Stage, revoked_cookie, session
from wire import Wire, ask, message, ok, until

from sidecar.core.identity import Session
from sidecar.core.paths import compile_pattern
from sidecar.core.routes import Route, Rule

ROTATED = "Set-Cookie: JSESSIONID=rotated"


def mine() -> Session:
    return session("s-mine", sub="mallory", age=10)


async def refused(stage: Stage, value: str) -> bool:
    client = await stage.client(revoked_cookie(value=value))
    return (await client.answer()).status == 401


async def answered(stage: Stage, request: bytes, answer: bytes) -> tuple[Wire, int, bytes]:
    client, app = await stage.asks(request)
    await app.send(answer)
    got = await client.answer()
    return app, got.status, got.head


@pytest.mark.parametrize("cookies", ["JSESSIONID=mine; JSESSIONID=stolen", "JSESSIONID=stolen; JSESSIONID=mine"])
async def test_what_the_app_makes_of_two_sessions_belongs_to_nobody(stage: Stage, cookies: str):
    await stage.bind("stolen")
    await stage.bind("mine", mine())
    _, status, head = await answered(stage, ask("GET / HTTP/1.1", f"Cookie: {cookies}"), ok(b"", ROTATED))
    assert status == 401
    assert b"rotated" not in head


async def test_a_stolen_cookie_that_the_app_sets_again_stays_with_its_owner(stage: Stage):
    await stage.bind("stolen")
    await stage.bind("mine", mine())
    request = ask("GET / HTTP/1.1", "Cookie: JSESSIONID=mine; JSESSIONID=stolen")
    await answered(stage, request, ok(b"", "Set-Cookie: JSESSIONID=stolen"))
    await stage.logout()
    assert await refused(stage, "stolen")


async def test_a_stolen_cookie_beside_my_own_login_stays_with_its_owner(stage: Stage):
    await stage.bind("stolen")
    fields = "Cookie: JSESSIONID=anonymous; JSESSIONID=stolen"
    client, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1", fields))
    assert stage.logins.complete("C", mine())
    await app.send(message("HTTP/1.1 302 Found", "Location: /", "Content-Length: 0"))
    assert (await client.answer()).status == 401
    await stage.logout()
    assert await refused(stage, "stolen")


async def test_who_logs_in_anew_with_the_only_cookie_takes_it_along(stage: Stage):
    """Else nobody could switch accounts in an app that keeps its cookie."""
    await stage.bind("kept")
    client, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1", "Cookie: JSESSIONID=kept"))
    assert stage.logins.complete("C", mine())
    await app.send(ok())
    assert (await client.answer()).status == 200
    await stage.logout("s-mine")
    assert await refused(stage, "kept")


# -- routes that are forwarded unjudged ----------------------------------------------------------------------------


async def with_allowed_route(open_stage, **settings) -> Stage:
    return await open_stage(routes=[Route(compile_pattern("/public/*"), Rule(None))], **settings)


async def test_a_cookie_that_an_allowed_route_renews_ends_with_the_logout(open_stage):
    stage = await with_allowed_route(open_stage)
    await stage.bind("live")
    request = ask("GET /public/x HTTP/1.1", "Cookie: JSESSIONID=live")
    _, status, head = await answered(stage, request, ok(b"", ROTATED))
    assert status == 200
    assert b"rotated" in head
    await stage.logout()
    assert await refused(stage, "rotated")


async def test_a_dead_session_gets_no_new_cookie_from_an_allowed_route(open_stage):
    stage = await with_allowed_route(open_stage)
    await stage.bind("dead")
    await stage.logout()
    request = ask("GET /public/x HTTP/1.1", "Cookie: JSESSIONID=dead")
    _, status, head = await answered(stage, request, ok(b"", ROTATED, "Set-Cookie: lang=en"))
    assert status == 200
    assert b"rotated" not in head
    assert b"lang=en" in head


@pytest.mark.parametrize("fields", [(), ("Cookie: JSESSIONID=anonymous",)])
async def test_an_allowed_login_page_may_set_its_anonymous_cookie(open_stage, fields: tuple[str, ...]):
    stage = await with_allowed_route(open_stage, deny_unbound=True)
    _, status, head = await answered(stage, ask("GET /public/login HTTP/1.1", *fields), ok(b"", ROTATED))
    assert status == 200
    assert b"rotated" in head


@pytest.mark.parametrize(
    "target",
    [
        "/public/../x",
        "/public/%2e%2e/x",
        "/public/..;/x",
        "/public//x",
        "/public/;a=b",
        "/public\\x",
        "/public/%2fx",
        "/PUBLIC/x",
        "/x?/public/y",
        "http://app.example/x",
        "//public/x",
        "/x/public/y",
    ],
)
async def test_an_allowed_route_is_not_reached_by_disguise(open_stage, target: str):
    stage = await with_allowed_route(open_stage)
    await stage.bind("dead")
    await stage.logout()
    client = await stage.client(revoked_cookie(f"GET {target} HTTP/1.1"))
    assert (await client.answer()).status == 401
    assert stage.is_app_untouched()


@pytest.mark.parametrize(
    "name", ["SCRIPT_NAME", "script_name", "Script-Name", "X-Script-Name", "PATH_INFO", "X-Rewrite-URL"]
)
async def test_no_field_moves_an_allowed_request_to_another_path(open_stage, name: str):
    """gunicorn takes SCRIPT_NAME off the path when its peer is on loopback: /public/account became /account."""
    stage = await with_allowed_route(open_stage)
    client = await stage.client(ask("GET /public/account HTTP/1.1", f"{name}: /public"))
    if "_" in name:  # two readings of one name are refused
        assert (await client.answer()).status == 400
        assert stage.is_app_untouched()
        return
    app = await stage.app()
    assert name.lower().encode() not in (await app.head()).lower()
    await app.send(ok())
    assert (await client.answer()).status == 200


async def test_losing_a_binding_revives_nothing(stage: Stage):
    await stage.bind("dead")
    await stage.logout()
    digest = stage.digester.credential(b"dead")
    await until(lambda: stage.replica.cutoff(digest))
    stage.lose("dead")
    assert await refused(stage, "dead")
