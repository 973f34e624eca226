"""`unbound: deny`: what nobody knows is refused, and a login that needs its anonymous cookie still works."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from bench_plane import CALLBACK, Stage, session
from wire import Answer, Wire, ask, message, ok, seen, until

from sidecar.core.denial import Action
from sidecar.core.paths import compile_pattern
from sidecar.core.routes import Route, Rule

NAME = "__Host-voucher"
GIVEN = "Set-Cookie: JSESSIONID=V; Path=/; HttpOnly"
PAGE = ("Sec-Fetch-Mode: navigate", "Accept: text/html")
CALL = f"GET {CALLBACK}?state=x&code=C HTTP/1.1"
Open = Callable[..., Any]


@pytest.fixture
async def stage(open_stage: Open) -> Stage:
    return await open_stage(deny_unbound=True)


def vouchers(answer: Answer) -> list[str]:
    """The Set-Cookie values for our own cookie."""
    return [line.decode() for line in answer.values("set-cookie") if line.startswith(NAME.encode())]


def voucher(answer: Answer) -> str:
    """The one that was given out, as the browser sends it back."""
    (line,) = vouchers(answer)
    return line.partition(";")[0]


async def exchange(stage: Stage, request: bytes, answer: bytes, app: Wire | None = None) -> tuple[Answer, bytes, Wire]:
    """The client's answer, the head that the app saw, the app's connection."""
    client = await stage.client(request)
    app = app or await stage.app()
    head = await app.head()
    await app.send(answer)
    got = await client.answer()
    client.close()
    return got, head, app


async def visit(stage: Stage, value: str = "V", *fields: str) -> tuple[str, Wire]:
    """The app gives its cookie to a visitor, who has the voucher for it then."""
    given = message("HTTP/1.1 200 OK", f"Set-Cookie: JSESSIONID={value}", *fields, "Content-Length: 0")
    answer, _, app = await exchange(stage, ask(), given)
    return voucher(answer), app


async def refusal(stage: Stage, *fields: str, first: str = "GET / HTTP/1.1") -> Answer:
    client = await stage.client(ask(first, *fields))
    answer = await client.answer()
    assert answer.values("x-logout-sidecar") == [b"unbound_credential"]
    return answer


async def test_the_cookie_that_the_app_gives_a_visitor_comes_with_a_voucher(stage: Stage):
    answer, _, _ = await exchange(stage, ask(), ok(b"", GIVEN))
    assert answer.values("set-cookie")[0] == GIVEN.partition(": ")[2].encode()
    (line,) = vouchers(answer)
    value, *attributes = line.split("; ")
    assert attributes.pop(1) in ("Max-Age=3600", "Max-Age=3599")  # whole seconds, from the second that has begun
    assert attributes == ["Path=/", "HttpOnly", "Secure", "SameSite=None"]
    assert len(value) < 100


async def test_without_https_the_voucher_is_a_plain_cookie(open_stage: Open):
    stage = await open_stage(deny_unbound=True, is_https=False)
    answer, _, _ = await exchange(stage, ask(), ok(b"", GIVEN))
    line = answer.values("set-cookie")[1]
    assert line.startswith(b"voucher=")
    assert line.endswith(b"; HttpOnly")


async def test_every_replica_knows_the_vouchers_of_the_others(stage: Stage, open_stage: Open):
    other = await open_stage(deny_unbound=True)
    mine, _ = await visit(stage)
    answer, _, _ = await exchange(other, ask("GET / HTTP/1.1", f"Cookie: JSESSIONID=V; {mine}"), ok())
    assert answer.status == 200


async def test_two_cookies_that_come_one_after_the_other_are_in_one_voucher(stage: Stage):
    mine, app = await visit(stage)
    request = ask("GET / HTTP/1.1", f"Cookie: JSESSIONID=V; {mine}")
    answer, _, _ = await exchange(stage, request, ok(b"", "Set-Cookie: JSESSIONID=W; Path=/app"), app)
    both = f"Cookie: JSESSIONID=W; JSESSIONID=V; {voucher(answer)}"
    answer, _, _ = await exchange(stage, ask("GET /app HTTP/1.1", both), ok(), app)
    assert answer.status == 200


async def test_a_partitioned_cookie_gets_a_partitioned_voucher(stage: Stage):
    answer, _, _ = await exchange(stage, ask(), ok(b"", GIVEN + "; Secure; SameSite=None; Partitioned"))
    assert vouchers(answer)[0].endswith("; Partitioned")


@pytest.mark.parametrize(
    "cookies",
    ["JSESSIONID=V; {}; lang=en", "{}; JSESSIONID=V; lang=en", "JSESSIONID=V; lang=en; {}", "JSESSIONID=V; lang=en;{}"],
)
async def test_a_visitor_with_a_voucher_passes_and_the_app_sees_nothing_of_it(stage: Stage, cookies: str):
    mine, app = await visit(stage)
    answer, head, _ = await exchange(stage, ask("GET /x HTTP/1.1", f"Cookie: {cookies.format(mine)}"), ok(), app)
    assert answer.status == 200
    assert head == seen("GET /x HTTP/1.1", "Cookie: JSESSIONID=V; lang=en")


async def test_a_voucher_alone_leaves_no_cookie_line(stage: Stage):
    mine, app = await visit(stage)
    answer, head, _ = await exchange(stage, ask("GET / HTTP/1.1", f"Cookie: {mine}", "X-Mine: 1"), ok(), app)
    assert answer.status == 200
    assert head == seen("GET / HTTP/1.1", "X-Mine: 1")


async def test_other_cookie_lines_pass_as_they_were(stage: Stage):
    mine, app = await visit(stage)
    fields = ('Cookie: a=1;  b="2"', f"cookie: {mine}; JSESSIONID=V ;c=3")
    _, head, _ = await exchange(stage, ask("GET / HTTP/1.1", *fields), ok(), app)
    assert head == seen("GET / HTTP/1.1", 'Cookie: a=1;  b="2"', "cookie: JSESSIONID=V ;c=3")


async def test_a_voucher_is_no_business_of_an_allowed_route_either(open_stage: Open):
    stage = await open_stage(deny_unbound=True, routes=[Route(compile_pattern("/public/*"), Rule(None))])
    mine, app = await visit(stage)
    request = ask("GET /public/x HTTP/1.1", f"Cookie: JSESSIONID=V; {mine}")
    _, head, _ = await exchange(stage, request, ok(), app)
    assert head == seen("GET /public/x HTTP/1.1", "Cookie: JSESSIONID=V")


async def test_without_a_voucher_the_cookie_is_refused_and_expired(stage: Stage):
    answer = await refusal(stage, "Cookie: JSESSIONID=V")
    assert answer.status == 401
    assert any(line.startswith(b"JSESSIONID=;") for line in answer.values("set-cookie"))
    assert not vouchers(answer)
    assert stage.is_app_untouched()


async def test_a_voucher_for_another_cookie_is_refused_and_expired(stage: Stage):
    mine, _ = await visit(stage)
    answer = await refusal(stage, f"Cookie: JSESSIONID=another; {mine}")
    (line,) = vouchers(answer)
    assert line.startswith(f"{NAME}=;")
    assert "Secure" in line
    assert "Max-Age=0" in line


async def test_a_voucher_grows_old(stage: Stage):
    mine, _ = await visit(stage)
    stage.later = 3601
    await refusal(stage, f"Cookie: JSESSIONID=V; {mine}")


async def test_a_login_binds_what_was_vouched_for_and_ends_the_voucher(stage: Stage):
    mine, app = await visit(stage)
    client = await stage.client(ask(CALL, f"Cookie: JSESSIONID=V; {mine}"))
    await app.head()
    assert stage.logins.complete("C", session())
    await app.send(message("HTTP/1.1 302 Found", "Location: /", "Set-Cookie: JSESSIONID=W", "Content-Length: 0"))
    answer = await client.answer()
    assert answer.status == 302
    assert vouchers(answer)[0].startswith(f"{NAME}=;")
    answer, _, _ = await exchange(stage, ask("GET / HTTP/1.1", "Cookie: JSESSIONID=W"), ok(), app)
    assert answer.status == 200
    await stage.logout()
    client = await stage.client(ask("GET / HTTP/1.1", "Cookie: JSESSIONID=W"))
    assert (await client.answer()).values("x-logout-sidecar") == [b"revoked"]


async def test_an_app_that_keeps_its_cookie_at_login_needs_the_voucher_no_more(stage: Stage):
    mine, app = await visit(stage)
    client = await stage.client(ask(CALL, f"Cookie: JSESSIONID=V; {mine}"))
    await app.head()
    assert stage.logins.complete("C", session())
    await app.send(ok())
    assert vouchers(await client.answer())[0].startswith(f"{NAME}=;")
    answer, _, _ = await exchange(stage, ask("GET / HTTP/1.1", "Cookie: JSESSIONID=V"), ok(), app)
    assert answer.status == 200


async def test_a_login_in_another_replica_a_moment_ago_is_asked_for_before_anybody_is_refused(stage: Stage):
    """The app keeps its cookie, the voucher is gone, and this replica remembers that nobody knew it."""
    mine, app = await visit(stage)
    await exchange(stage, ask("GET / HTTP/1.1", f"Cookie: JSESSIONID=V; {mine}"), ok(), app)
    digest = stage.digester.credential(b"V")
    assert stage.directory.cached(digest) is None
    await stage.store.put_binding(digest, stage.digester.bound(session()), 3600)
    answer, _, _ = await exchange(stage, ask("GET / HTTP/1.1", "Cookie: JSESSIONID=V"), ok(), app)
    assert answer.status == 200


async def test_a_cookie_that_changes_before_the_login_stays_vouched_for_from_the_first_one_on(stage: Stage):
    mine, app = await visit(stage)
    stage.later = 1800
    answer, _, _ = await exchange(
        stage, ask("GET / HTTP/1.1", f"Cookie: JSESSIONID=V; {mine}"), ok(b"", "Set-Cookie: JSESSIONID=W"), app
    )
    next_one = voucher(answer)
    assert "Max-Age=1800;" in vouchers(answer)[0] or "Max-Age=1799;" in vouchers(answer)[0]
    for value in ("W", "V"):  # what was in flight meanwhile is not refused
        answer, _, _ = await exchange(
            stage, ask("GET / HTTP/1.1", f"Cookie: JSESSIONID={value}; {next_one}"), ok(), app
        )
        assert answer.status == 200
    stage.later = 3601
    await refusal(stage, f"Cookie: JSESSIONID=W; {next_one}")


async def test_a_cookie_that_the_app_only_sets_again_gets_no_second_voucher(stage: Stage):
    mine, app = await visit(stage)
    answer, _, _ = await exchange(stage, ask("GET / HTTP/1.1", f"Cookie: JSESSIONID=V; {mine}"), ok(b"", GIVEN), app)
    assert not vouchers(answer)


async def test_a_known_session_gets_no_voucher_for_its_new_cookie(stage: Stage):
    await stage.bind("live")
    answer, _, app = await exchange(
        stage, ask("GET / HTTP/1.1", "Cookie: JSESSIONID=live"), ok(b"", "Set-Cookie: JSESSIONID=W")
    )
    assert not vouchers(answer)
    answer, _, _ = await exchange(stage, ask("GET / HTTP/1.1", "Cookie: JSESSIONID=W"), ok(), app)
    assert answer.status == 200


async def test_a_deletion_of_the_app_is_nothing_to_vouch_for(stage: Stage):
    answer, _, _ = await exchange(stage, ask(), ok(b"", "Set-Cookie: JSESSIONID=; Max-Age=0"))
    assert not vouchers(answer)


async def test_where_unknown_is_allowed_nobody_gets_a_voucher(open_stage: Open):
    stage = await open_stage()
    answer, _, _ = await exchange(stage, ask(), ok(b"", GIVEN))
    assert len(answer.values("set-cookie")) == 1


async def test_a_visitor_costs_no_write(stage: Stage):
    mine, app = await visit(stage)
    await exchange(stage, ask("GET / HTTP/1.1", f"Cookie: JSESSIONID=V; {mine}"), ok(b"", GIVEN), app)
    assert await stage.store.get_binding(stage.digester.credential(b"V")) is None


# -- the way back in ------------------------------------------------------------------------------------------------


async def test_with_redirect_an_unknown_cookie_leads_to_the_login_and_into_the_app_without_a_loop(open_stage: Open):
    stage = await open_stage(deny_unbound=True, action="redirect", login_url="/login")
    answer = await refusal(stage, "Cookie: JSESSIONID=old", *PAGE)
    assert (answer.status, answer.value("location")) == (302, b"/login")
    assert any(line.startswith(b"JSESSIONID=;") for line in answer.values("set-cookie"))
    # A browser that keeps it all the same is not sent there again.
    answer, head, app = await exchange(
        stage, ask("GET /login HTTP/1.1", "Cookie: JSESSIONID=old", *PAGE), ok(b"", GIVEN)
    )
    assert b"old" not in head
    mine = voucher(answer)
    client = await stage.client(ask(CALL, f"Cookie: JSESSIONID=V; {mine}", *PAGE))
    await app.head()
    assert stage.logins.complete("C", session())
    await app.send(message("HTTP/1.1 302 Found", "Location: /", "Content-Length: 0"))
    assert (await client.answer()).value("location") == b"/"


async def test_an_unknown_cookie_is_expired_wherever_it_may_come_from(stage: Stage):
    """A neighbour's host has planted it: where the app keeps its own is no guide."""
    await exchange(stage, ask(), ok(b"", GIVEN))
    answer = await refusal(stage, "Cookie: JSESSIONID=planted", first="GET /a/b HTTP/1.1")
    lines = answer.values("set-cookie")
    assert any(b"Domain=" in line for line in lines)
    assert any(b"Path=/a;" in line for line in lines)


async def test_a_stripped_request_begins_a_visit(open_stage: Open):
    stage = await open_stage(deny_unbound=True, action="strip")
    answer, head, app = await exchange(stage, ask("GET / HTTP/1.1", "Cookie: JSESSIONID=old"), ok(b"", GIVEN))
    assert b"old" not in head
    mine = voucher(answer)
    answer, head, _ = await exchange(stage, ask("GET / HTTP/1.1", f"Cookie: JSESSIONID=V; {mine}"), ok(), app)
    assert b"JSESSIONID=V" in head


async def test_a_stripped_request_that_gets_no_cookie_loses_its_voucher(open_stage: Open):
    stage = await open_stage(deny_unbound=True, action="strip")
    mine, app = await visit(stage)
    answer, head, _ = await exchange(stage, ask("GET / HTTP/1.1", f"Cookie: JSESSIONID=old; {mine}"), ok(), app)
    assert b"cookie" not in head.lower()
    assert vouchers(answer)[0].startswith(f"{NAME}=;")


# -- routes ---------------------------------------------------------------------------------------------------------


def route(path: str, **rule: Any) -> Route:
    return Route(compile_pattern(path), Rule(Action.REJECT, name=path, **rule))


async def test_a_route_may_deny_what_others_allow(open_stage: Open):
    stage = await open_stage(vouches=True, routes=[route("/admin/*", deny_unbound=True)])
    answer, _, app = await exchange(stage, ask("GET / HTTP/1.1", "Cookie: JSESSIONID=V"), ok())
    assert answer.status == 200
    await refusal(stage, "Cookie: JSESSIONID=V", first="GET /admin/ HTTP/1.1")
    answer, _, _ = await exchange(stage, ask(), ok(b"", GIVEN), app)  # a voucher from where all is allowed
    mine = voucher(answer)
    request = ask("GET /admin/ HTTP/1.1", f"Cookie: JSESSIONID=V; {mine}")
    answer, _, _ = await exchange(stage, request, ok(), app)
    assert answer.status == 200


async def test_a_route_may_allow_what_others_deny(open_stage: Open):
    stage = await open_stage(deny_unbound=True, routes=[route("/shop/*", deny_unbound=False)])
    answer, _, _ = await exchange(stage, ask("GET /shop/ HTTP/1.1", "Cookie: JSESSIONID=V"), ok())
    assert answer.status == 200
    await refusal(stage, "Cookie: JSESSIONID=V")


async def test_a_visit_may_begin_on_an_allowed_route(open_stage: Open):
    stage = await open_stage(deny_unbound=True, routes=[Route(compile_pattern("/static/*"), Rule(None))])
    answer, _, app = await exchange(stage, ask("GET /static/x HTTP/1.1"), ok(b"", GIVEN))
    mine = voucher(answer)
    answer, _, _ = await exchange(stage, ask("GET / HTTP/1.1", f"Cookie: JSESSIONID=V; {mine}"), ok(), app)
    assert answer.status == 200


async def test_what_was_never_vouched_for_cannot_be_exchanged_for_what_is(open_stage: Open):
    """The app may have put a session without a login that we know into the new cookie."""
    routes = [route("/shop/*", deny_unbound=False), Route(compile_pattern("/static/*"), Rule(None))]
    stage = await open_stage(deny_unbound=True, routes=routes)
    app = None
    for path in ("/shop/", "/static/x"):
        request = ask(f"GET {path} HTTP/1.1", "Cookie: JSESSIONID=unnoticed")
        answer, _, app = await exchange(stage, request, ok(b"", "Set-Cookie: JSESSIONID=W"), app)
        assert answer.status == 200
        assert not vouchers(answer)
    await refusal(stage, "Cookie: JSESSIONID=W")


async def test_the_refusal_says_why(stage: Stage):
    answer = await refusal(stage, "Cookie: JSESSIONID=V")
    assert json.loads(answer.body)["reason"] == "unbound_credential"
    await until(lambda: stage.counts.decisions["unbound_credential"] == 1)
