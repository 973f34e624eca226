"""A login of the app as it passes: the code joins relay and callback, and the cookie is bound before it gets out."""

import pytest
from bench_plane import CALLBACK, Stage, revoked_cookie, session
from wire import Wire, ask, message, ok, until

from sidecar.stores.interface import StoreError

CALL = f"GET {CALLBACK}?state=x&code=C HTTP/1.1"
LOGGED_IN = message("HTTP/1.1 302 Found", "Location: /", "Set-Cookie: JSESSIONID=new; Path=/", "Content-Length: 0")


async def callback(stage: Stage, *fields: str) -> tuple[Wire, Wire]:
    """The browser's callback is with the app, which has exchanged the code for a session."""
    client, app = await stage.asks(ask(CALL, *fields))
    assert stage.logins.complete("C", session())
    return client, app


async def is_served(stage: Stage, value: str, app: Wire) -> bool:
    """Whether a request with this cookie reaches the app, which answers on the connection that it has."""
    client = await stage.client(revoked_cookie(value=value))
    await until(lambda: not client.is_silent() or not app.is_silent())
    if client.is_silent():
        await app.head()
        await app.send(ok())
    return (await client.answer()).status == 200


async def is_refused(stage: Stage, value: str) -> bool:
    """Whether a request with this cookie is refused without the app."""
    client = await stage.client(revoked_cookie(value=value))
    return (await client.answer()).status == 401


async def test_the_cookie_that_the_app_sets_is_bound_before_the_client_has_it(stage: Stage):
    client, app = await callback(stage)
    stage.bindings.go_on.clear()
    await app.send(LOGGED_IN)
    await until(lambda: stage.bindings.waiting)
    assert client.is_silent()
    stage.bindings.go_on.set()
    await client.expect(LOGGED_IN)
    await stage.logout("s-1")
    assert await is_refused(stage, "new")


async def test_who_has_to_tell_the_app_is_handed_the_cookies_of_each_browser(stage: Stage):
    client, app = await callback(stage, "Cookie: theme=dark; JSESSIONID=anonymous")
    await app.send(LOGGED_IN)
    await client.expect(LOGGED_IN)
    assert stage.remembered == [(b"JSESSIONID=new", b"JSESSIONID=anonymous")]
    await client.send(revoked_cookie(value="new"))
    await app.head()
    await app.send(ok(b"", "Set-Cookie: JSESSIONID=rotated", "Set-Cookie: theme=light"))
    await client.answer()
    assert stage.remembered[1:] == [(b"JSESSIONID=rotated", b"JSESSIONID=new")]
    await client.send(revoked_cookie(value="rotated"))
    await app.head()
    await app.send(ok(b"", "Set-Cookie: theme=dark"))
    await client.answer()
    assert len(stage.remembered) == 2


async def test_an_app_that_keeps_the_cookie_is_understood_as_well(stage: Stage):
    client, app = await callback(stage, "Cookie: JSESSIONID=kept")
    await app.send(ok(b"welcome"))
    await client.expect(ok(b"welcome"))
    assert await is_served(stage, "kept", app)
    await stage.logout("s-1")
    assert await is_refused(stage, "kept")


async def test_a_rotated_cookie_inherits_the_session_and_the_old_one_stays_bound(stage: Stage):
    await stage.bind("old")
    client, app = await stage.asks(revoked_cookie(value="old"))
    await app.send(ok(b"", "Set-Cookie: JSESSIONID=rotated"))
    await client.answer()
    assert await is_served(stage, "rotated", app)
    await stage.logout("s-1")
    assert await is_refused(stage, "rotated")
    assert await is_refused(stage, "old")


async def test_a_login_whose_logout_came_first_is_dead_on_arrival(stage: Stage):
    client, app = await callback(stage)
    await stage.logout("s-1")
    await app.send(LOGGED_IN)
    answer = await client.answer()
    assert answer.status == 401
    assert b"new" not in answer.head
    assert await is_refused(stage, "new")


async def test_a_new_login_after_a_logout_lives_although_the_browser_still_had_the_dead_cookie(stage: Stage):
    await stage.bind("dead")
    await stage.logout("s-1")
    client, app = await stage.asks(ask(CALL))
    assert stage.logins.complete("C", session("s-2", age=0))
    await app.send(LOGGED_IN)
    await client.expect(LOGGED_IN)
    assert await is_served(stage, "new", app)
    assert await is_refused(stage, "dead")


async def test_a_login_that_cannot_be_written_down_is_a_503_and_the_cookie_is_withheld(stage: Stage):
    client, app = await callback(stage)
    stage.bindings.fault = StoreError("store_unavailable")
    await app.send(LOGGED_IN)
    answer = await client.answer()
    assert answer.status == 503
    assert answer.values("retry-after")
    assert b"new" not in answer.head


async def test_a_login_that_could_not_be_verified_is_a_503_and_the_cookie_is_withheld(stage: Stage):
    client, app = await stage.asks(ask(CALL))
    stage.logins.fail("C")
    await app.send(LOGGED_IN)
    answer = await client.answer()
    assert answer.status == 503
    assert b"new" not in answer.head


async def test_a_callback_whose_code_nobody_exchanged_binds_nothing(stage: Stage):
    client, app = await stage.asks(ask(CALL))
    await app.send(LOGGED_IN)
    await client.expect(LOGGED_IN)
    assert not stage.logins.complete("C", session())  # the callback is over
    await stage.logout("s-1")
    assert await is_served(stage, "new", app)


async def test_a_second_callback_with_the_same_code_waits_for_the_first(stage: Stage):
    one, app = await callback(stage)
    other = await stage.client(ask(CALL))
    await until(lambda: len(stage.plane.connections) == 2)
    assert stage.is_app_untouched()
    await app.send(LOGGED_IN)
    await one.expect(LOGGED_IN)
    await app.head()
    await app.send(ok())
    await other.expect(ok())


async def test_a_client_that_gives_up_its_callback_lets_the_next_one_go_on(stage: Stage):
    one, app = await callback(stage)
    other = await stage.client(ask(CALL))
    await until(lambda: len(stage.plane.connections) == 2)
    one.abort()
    await until(lambda: len(stage.plane.connections) == 1)
    assert stage.is_app_untouched()  # the app still works on it, and may log in the cookie that the browser has
    await app.send(ok())
    await (await stage.app()).head()
    assert other.is_silent()


@pytest.mark.parametrize("framing", ["Content-Length: 7", "Transfer-Encoding: chunked", "X-Until: the end"])
async def test_an_app_that_closes_behind_its_answer_to_the_callback_has_answered_all_the_same(
    stage: Stage, framing: str
):
    client, app = await callback(stage)
    stage.bindings.go_on.clear()
    body = b"7\r\nwelcome\r\n0\r\n\r\n" if "chunked" in framing else b"welcome"
    await app.send(message("HTTP/1.1 200 OK", "Connection: close", "Set-Cookie: JSESSIONID=new", framing, body=body))
    app.close()
    await until(lambda: stage.bindings.waiting)
    began = stage.plane.now
    await until(lambda: stage.plane.now > began)  # the end of the connection has been there for a while
    stage.bindings.go_on.set()
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"welcome")


@pytest.mark.parametrize("parts", [(LOGGED_IN.replace(b": 0", b": 7"), b"welcome")])
async def test_a_connection_to_the_app_serves_on_after_an_answer_that_had_to_wait(stage: Stage, parts: tuple[bytes]):
    client, app = await callback(stage)
    stage.bindings.go_on.clear()
    head, body = parts
    await app.send(head)
    await until(lambda: stage.bindings.waiting)
    await app.send(body)
    began = stage.plane.now
    await until(lambda: stage.plane.now > began)  # the body has been there for a while
    stage.bindings.go_on.set()
    assert (await client.answer()).body == b"welcome"
    await client.send(ask("GET /next HTTP/1.1"))
    await app.head()
    await app.send(ok(b"next"))
    await client.expect(ok(b"next"))
