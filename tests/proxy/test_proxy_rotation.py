"""The app changes its cookie, or deletes it: what the new value inherits, and what the old one stays."""

from collections.abc import Callable
from typing import Any

import pytest
from bench_plane import CALLBACK, LOGOUT, Stage, revoked_cookie, session
from wire import Answer, Wire, ask, message, ok

from sidecar.core.denial import Action
from sidecar.core.paths import compile_pattern
from sidecar.core.routes import Route, Rule

Open = Callable[..., Any]
DELETIONS = [
    "JSESSIONID=; Max-Age=0; Path=/",
    "JSESSIONID=deleted; Expires=Thu, 01 Jan 1970 00:00:01 GMT; Path=/",  # PHP
    'JSESSIONID=""; Expires=Thu, 01-Jan-1970 00:00:10 GMT; Path=/',  # Tomcat
    "JSESSIONID=; Path=/",
]


async def step(stage: Stage, app: Wire | None, value: str, *given: str, status: str = "200 OK") -> tuple[Answer, Wire]:
    """A request with this cookie, and the app's answer that sets what is given."""
    client = await stage.client(revoked_cookie(value=value))
    app = app or await stage.app()
    await app.head()
    lines = [f"Set-Cookie: {line}" for line in given]
    await app.send(message(f"HTTP/1.1 {status}", *lines, "Content-Length: 0"))
    answer = await client.answer()
    client.close()
    return answer, app


async def why(stage: Stage, value: str) -> list[bytes]:
    """The reason for which a request with this cookie is refused."""
    client = await stage.client(revoked_cookie(value=value))
    return (await client.answer()).values("x-logout-sidecar")


async def test_a_cookie_that_changes_with_every_answer_is_followed_with_its_first_login_time(stage: Stage):
    """As encrypted cookies that slide do. Each of the values may have been copied, and the app accepts each."""
    first = session()
    await stage.bind("0", first)
    app = None
    for number in range(5):
        _, app = await step(stage, app, str(number), f"JSESSIONID={number + 1}")
    for number in range(6):
        found = await stage.store.get_binding(stage.digester.credential(str(number).encode()))
        assert found is not None
        assert found.login_time == first.login_time
    await stage.logout()
    assert [await why(stage, str(number)) for number in range(6)] == [[b"revoked"]] * 6


async def test_a_new_value_costs_one_write_and_a_known_one_none(stage: Stage):
    await stage.bind("0")
    before = len(stage.bindings.written)
    _, app = await step(stage, None, "0", "JSESSIONID=1")
    for _ in range(3):
        await step(stage, app, "0", "JSESSIONID=1")
        await step(stage, app, "1", "JSESSIONID=1")
    assert stage.bindings.written[before:] == [stage.digester.credential(b"1")]


async def test_the_page_after_the_callback_may_change_the_cookie_once_more(stage: Stage):
    client, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1", "Cookie: JSESSIONID=anonymous"))
    assert stage.logins.complete("C", session())
    await app.send(message("HTTP/1.1 302 Found", "Location: /", "Set-Cookie: JSESSIONID=one", "Content-Length: 0"))
    await client.answer()
    await step(stage, app, "one", "JSESSIONID=two", status="302 Found")
    await step(stage, app, "two", "JSESSIONID=three")
    await stage.logout()
    assert [await why(stage, value) for value in ("one", "two", "three")] == [[b"revoked"]] * 3


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "302 Found", "401 Unauthorized", "500 Oh Dear"])
async def test_the_status_of_the_answer_does_not_matter(stage: Stage, status: str):
    await stage.bind("old")
    client = await stage.client(revoked_cookie(value="old"))
    app = await stage.app()
    await app.head()
    framing = () if status.startswith("204") else ("Content-Length: 0",)
    await app.send(message(f"HTTP/1.1 {status}", "Set-Cookie: JSESSIONID=new", *framing))
    await client.answer(to_head=True)
    await stage.logout()
    assert await why(stage, "new") == [b"revoked"]


# -- deletions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deletion", DELETIONS)
async def test_a_copy_of_a_cookie_that_the_app_has_deleted_still_ends_with_the_logout(stage: Stage, deletion: str):
    """An app that keeps no list of its sessions goes on accepting it: a deletion only tells the browser."""
    await stage.bind("copied")
    answer, _ = await step(stage, None, "copied", deletion)
    assert answer.values("set-cookie") == [deletion.encode()]
    await stage.logout()
    assert await why(stage, "copied") == [b"revoked"]


@pytest.mark.parametrize("deletion", DELETIONS)
async def test_what_the_app_sets_beside_a_deletion_inherits(stage: Stage, deletion: str):
    """A change of the cookie's Path looks like this, or one chunk less than before."""
    await stage.bind("old")
    await step(stage, None, "old", deletion, "JSESSIONID=new; Path=/app")
    await stage.logout()
    assert await why(stage, "new") == [b"revoked"]
    assert await why(stage, "old") == [b"revoked"]


async def test_a_callback_that_deletes_the_cookie_may_have_logged_it_in(stage: Stage):
    """It may be the same cookie under another Path that is deleted: whichever the app has kept ends with the login."""
    client, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1", "Cookie: JSESSIONID=kept"))
    assert stage.logins.complete("C", session())
    await app.send(ok(b"", "Set-Cookie: JSESSIONID=; Path=/old; Max-Age=0"))
    await client.answer()
    await stage.logout()
    assert await why(stage, "kept") == [b"revoked"]


async def test_who_comes_without_a_cookie_after_a_deletion_inherits_nothing(stage: Stage):
    await stage.bind("old")
    _, app = await step(stage, None, "old", DELETIONS[0])
    client = await stage.client(ask())
    await app.head()
    await app.send(ok(b"", "Set-Cookie: JSESSIONID=new"))
    await client.answer()
    await stage.logout()
    assert (await step(stage, app, "new"))[0].status == 200


# -- the session ends while the app works ---------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["reject", "redirect", "strip"])
@pytest.mark.parametrize("path", ["/", "/login", LOGOUT, "/public/x"])
@pytest.mark.parametrize("unbound", ["allow", "deny"])
async def test_no_new_cookie_gets_out_whatever_is_done_about_it(open_stage: Open, action: str, path: str, unbound: str):
    routes = [Route(compile_pattern("/public/*"), Rule(None)), Route(compile_pattern("/x"), Rule(Action.REJECT))]
    stage = await open_stage(action=action, login_url="/login", deny_unbound=unbound == "deny", routes=routes)
    await stage.bind("live")
    page = ("Sec-Fetch-Mode: navigate", "Accept: text/html")
    client, app = await stage.asks(revoked_cookie(f"GET {path} HTTP/1.1", *page, value="live"))
    await stage.logout()
    await app.send(ok(b"", "Set-Cookie: JSESSIONID=new", "Set-Cookie: JSESSIONID=; Path=/old; Max-Age=0"))
    answer = await client.answer()
    passes = path in (LOGOUT, "/public/x")
    assert answer.status == (200 if passes else 302 if action == "redirect" else 401)
    assert b"=new" not in answer.head
    assert b"voucher" not in answer.head
    # The app's own deletion passes where its answer does; elsewhere the cookie is expired by us.
    assert any(line.startswith(b"JSESSIONID=;") for line in answer.values("set-cookie"))
