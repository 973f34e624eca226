"""What happens to a denied request, as the client and the app see it, and which requests are judged at all."""

import json

import pytest
from bench_plane import CALLBACK, LOGOUT, Stage, revoked_cookie, session
from wire import Wire, ask, message, ok, seen, until

from sidecar.core.denial import Action
from sidecar.core.freshness import State
from sidecar.core.paths import compile_pattern
from sidecar.core.routes import Route, Rule
from sidecar.stores.interface import StoreError

PAGE = ("Sec-Fetch-Mode: navigate", "Accept: text/html")
LIVE = revoked_cookie(value="live")


async def dead(stage: Stage) -> None:
    """The cookie `dead` belongs to a session that is over."""
    await stage.bind("dead")
    await stage.logout("s-1")


async def denied(stage: Stage, request: bytes) -> tuple[Wire, bytes]:
    client = await stage.client(request)
    answer = await client.answer()
    assert stage.is_app_untouched()
    return client, answer


# -- reject --------------------------------------------------------------------------------------------------------


async def test_a_revoked_session_is_rejected_its_cookie_expired_and_the_connection_goes_on(stage: Stage):
    await dead(stage)
    client, answer = await denied(stage, revoked_cookie("GET /app/page HTTP/1.1"))
    assert answer.status == 401
    assert answer.value("content-type") == b"application/problem+json"
    assert json.loads(answer.body)["reason"] == "revoked"
    assert answer.value("cache-control") == b"no-store"
    assert any(b"JSESSIONID=;" in line and b"Max-Age=0" in line for line in answer.values("set-cookie"))
    await client.send(ask())
    await (await stage.app()).expect(seen())


async def test_somebody_who_navigates_gets_a_page(stage: Stage):
    await dead(stage)
    _, answer = await denied(stage, revoked_cookie("GET / HTTP/1.1", *PAGE))
    assert answer.status == 401
    assert b"<h1>You have been signed out</h1>" in answer.body


async def test_a_head_request_gets_the_head_of_the_denial_only(stage: Stage):
    await dead(stage)
    client = await stage.client(revoked_cookie("HEAD / HTTP/1.1") + revoked_cookie())
    assert (await client.answer(to_head=True)).status == 401
    assert (await client.answer()).body


async def test_cookies_are_expired_with_the_path_and_domain_that_the_app_used(stage: Stage):
    await stage.bind("dead")
    client, app = await stage.asks(LIVE)
    await app.send(ok(b"", "Set-Cookie: JSESSIONID=new; Path=/shop; Domain=example.com; Secure; HttpOnly"))
    await client.answer()
    await stage.logout("s-1")
    await client.send(revoked_cookie())
    (line,) = (await client.answer()).values("set-cookie")
    assert b"Path=/shop" in line
    assert b"Domain=example.com" in line
    assert b"Secure" in line


async def test_a_cookie_set_without_a_path_is_expired_in_every_folder_that_the_browser_may_keep_it_for(stage: Stage):
    await stage.bind("dead")
    client, app = await stage.asks(LIVE)
    await app.send(ok(b"", "Set-Cookie: JSESSIONID=new; Domain=example.com"))  # kept for the folder of that page
    await client.answer()
    await stage.logout("s-1")
    await client.send(revoked_cookie("GET /shop/cart/view;jsessionid=x HTTP/1.1"))
    lines = (await client.answer()).values("set-cookie")
    assert [line.split(b"; ")[1] for line in lines] == [b"Path=/", b"Path=/shop", b"Path=/shop/cart"]
    assert all(b"Domain=example.com" in line for line in lines)


@pytest.mark.parametrize(
    ("host", "domains"),
    [
        ("app.example.com:8443", [b"app.example.com", b"example.com"]),
        ("localhost", []),
        ("10.0.0.7:8080", []),
        ("[::1]:80", []),
    ],
)
async def test_before_the_app_set_any_cookie_every_folder_and_domain_that_could_hold_it_is_tried(
    stage: Stage, host: str, domains: list[bytes]
):
    await dead(stage)
    request = message("GET /shop HTTP/1.1", f"Host: {host}", "Cookie: JSESSIONID=dead")
    _, answer = await denied(stage, request)
    scopes = [line.partition(b"; ")[2].partition(b"; Expires")[0] for line in answer.values("set-cookie")]
    suffixes = [b"", *(b"; Domain=" + domain for domain in domains)]
    assert scopes == [path + suffix for suffix in suffixes for path in (b"Path=/", b"Path=/shop")]


@pytest.mark.parametrize(
    "request_bytes",
    [
        ask("GET / HTTP/1.1", "Cookie: a=b", "Cookie: JSESSIONID=dead"),
        ask("GET / HTTP/1.1", "Cookie: JSESSIONID=live; jsessionid=dead"),
        ask("GET / HTTP/1.1", 'Cookie: x="a; JSESSIONID=dead; y=b"'),
        ask("GET / HTTP/1.1", "Cookie: JSESSIONID=%64ead"),
        ask("GET /page;jsessionid=dead HTTP/1.1"),
        ask("GET /page;JSESSIONID=%64ead/x?a=b HTTP/1.1", "Cookie: JSESSIONID=live"),
    ],
)
async def test_a_revoked_credential_is_found_wherever_it_hides(open_stage, request_bytes: bytes):
    stage = await open_stage(path_parameters=["jsessionid"])
    await dead(stage)
    _, answer = await denied(stage, request_bytes)
    assert answer.status == 401


# -- the body of a denied request ----------------------------------------------------------------------------------


async def test_a_denied_body_that_is_here_is_thrown_away_and_the_connection_goes_on(stage: Stage):
    await dead(stage)
    client, answer = await denied(stage, revoked_cookie("POST / HTTP/1.1", "Content-Length: 4", body=b"data"))
    assert answer.status == 401
    await client.send(ask())
    await (await stage.app()).expect(seen())


@pytest.mark.parametrize("framing", ["Content-Length: 99999999", "Transfer-Encoding: chunked"])
async def test_a_denied_body_that_is_still_to_come_costs_the_connection_and_never_reaches_the_app(
    stage: Stage, framing: str
):
    await dead(stage)
    client, answer = await denied(stage, revoked_cookie("POST / HTTP/1.1", framing, body=b"5\r\nhello\r\n"))
    assert (answer.status, answer.value("connection")) == (401, b"close")
    await client.send(b"0\r\n\r\n" + ask("GET /smuggled HTTP/1.1"))
    await client.ended()
    client.close()
    await until(lambda: not stage.plane.connections)
    assert stage.is_app_untouched()


async def test_a_denied_upload_without_end_is_cut(stage: Stage):
    await dead(stage)
    client, _ = await denied(stage, revoked_cookie("POST / HTTP/1.1", "Content-Length: 99999999"))
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await client.send(*[b"x" * 65_536] * 1000)
    await until(lambda: not stage.plane.connections)


async def test_a_denied_expectation_is_answered_without_a_100(stage: Stage):
    await dead(stage)
    head = revoked_cookie("POST / HTTP/1.1", "Expect: 100-continue", "Content-Length: 4")
    client, answer = await denied(stage, head)
    assert (answer.status, answer.value("connection")) == (401, b"close")
    await client.ended()


# -- redirect and strip --------------------------------------------------------------------------------------------


async def test_redirect_sends_navigations_to_the_login_and_rejects_the_rest(open_stage):
    stage = await open_stage(action="redirect", login_url="/login")
    await dead(stage)
    client, answer = await denied(stage, revoked_cookie("GET / HTTP/1.1", *PAGE))
    assert (answer.status, answer.value("location")) == (302, b"/login")
    assert answer.values("set-cookie")
    await client.send(revoked_cookie())
    assert (await client.answer()).status == 401


async def test_the_login_itself_is_reached_without_the_dead_cookie_instead_of_a_redirect_loop(open_stage):
    stage = await open_stage(action="redirect", login_url="/login?next=/")
    await dead(stage)
    client = await stage.client(revoked_cookie("GET /login?next=/ HTTP/1.1", *PAGE))
    app = await stage.app()
    await app.expect(seen("GET /login?next=/ HTTP/1.1", *PAGE))
    await app.send(ok(b"form"))
    answer = await client.answer()
    assert (answer.status, answer.body) == (200, b"form")
    assert answer.values("set-cookie")  # the dead cookie goes


async def test_strip_forwards_the_request_without_any_credential(open_stage):
    stage = await open_stage(action="strip", path_parameters=["jsessionid"])
    await dead(stage)
    client = await stage.client(
        ask("GET /page;jsessionid=dead?q=1 HTTP/1.1", "Cookie: a=1; JSESSIONID=dead", "Accept: */*", "Cookie: b=2")
    )
    app = await stage.app()
    head = await app.head()
    assert head.startswith(b"GET /page?q=1 HTTP/1.1\r\n")
    assert b"dead" not in head
    assert b"Cookie: a=1; b=2\r\n" in head
    await app.send(ok(b"public"))
    answer = await client.answer()
    assert answer.body == b"public"
    assert any(b"JSESSIONID=;" in line for line in answer.values("set-cookie"))


async def test_after_stripping_the_apps_own_cookie_wins_over_the_expiry(open_stage):
    stage = await open_stage(action="strip")
    await dead(stage)
    client, app = await stage.asks(revoked_cookie())
    await app.send(ok(b"", "Set-Cookie: JSESSIONID=fresh; Path=/"))
    assert (await client.answer()).values("set-cookie") == [b"JSESSIONID=fresh; Path=/"]


# -- routes --------------------------------------------------------------------------------------------------------

STATIC = Route(compile_pattern("/static/*"), Rule(None))


async def test_an_allowed_route_is_forwarded_unjudged(open_stage):
    stage = await open_stage(routes=[STATIC])
    await dead(stage)
    await stage.client(revoked_cookie("GET /static/a.css HTTP/1.1"))
    await (await stage.app()).expect(seen("GET /static/a.css HTTP/1.1", "Cookie: JSESSIONID=dead"))


@pytest.mark.parametrize(
    "target",
    ["/static/../account", "/static/%2e%2e/account", "/static/..;/account", "//static/a", "/static/a;x", "/static%2fa"],
)
async def test_a_path_that_only_looks_like_an_allowed_route_is_judged(open_stage, target: str):
    stage = await open_stage(routes=[STATIC])
    await dead(stage)
    _, answer = await denied(stage, revoked_cookie(f"GET {target} HTTP/1.1"))
    assert answer.status == 401


async def test_a_route_may_have_another_action_for_some_methods(open_stage):
    route = Route(compile_pattern("/shop/*"), Rule(Action.STRIP), frozenset({b"GET"}))
    stage = await open_stage(routes=[route])
    await dead(stage)
    client, app = await stage.asks(revoked_cookie("GET /shop/ HTTP/1.1"))
    await app.send(ok())
    assert (await client.answer()).status == 200
    await client.send(revoked_cookie("POST /shop/ HTTP/1.1", "Content-Length: 0"))
    assert (await client.answer()).status == 401


async def test_a_route_for_a_method_does_not_take_another_that_the_app_may_read_in_its_place(open_stage):
    """Reference case 42: frameworks take the method from X-HTTP-Method-Override in a POST."""
    route = Route(compile_pattern("/api/*"), Rule(None), frozenset({b"POST"}))
    stage = await open_stage(routes=[route])
    await dead(stage)
    override = ("Content-Length: 0", "X-HTTP-Method-Override: GET")
    _, answer = await denied(stage, revoked_cookie("POST /api/account HTTP/1.1", *override))
    assert answer.status == 401
    await stage.client(revoked_cookie("POST /api/account HTTP/1.1", "Content-Length: 0"))
    await (await stage.app()).head()


async def test_a_long_path_that_can_be_read_in_several_ways_never_reaches_the_app(stage: Stage):
    client = await stage.client(ask(f"GET /{'%2e/' * 3000} HTTP/1.1"))
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (400, b"ambiguous_path")
    assert stage.is_app_untouched()
    client, app = await stage.asks(ask(f"GET /{'a/' * 10_000} HTTP/1.1"))
    await app.send(ok())
    await client.expect(ok())


async def test_a_callback_that_is_longer_than_any_is_refused(stage: Stage):
    client = await stage.client(ask(f"GET {CALLBACK}?code=C&state={'x' * 16 * 1024} HTTP/1.1"))
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (400, b"callback_too_long")
    assert stage.is_app_untouched()


# -- the control prefix --------------------------------------------------------------------------------------------


async def test_the_control_prefix_goes_to_the_control_application_and_its_answer_comes_back(stage: Stage):
    client = await stage.client(ask("POST /_sidecar/backchannel-logout HTTP/1.1", "Content-Length: 2", body=b"x="))
    control = await stage.control()
    framing = ("Content-Length: 2",)
    await control.expect(seen("POST /_sidecar/backchannel-logout HTTP/1.1", framing=framing, body=b"x="))
    await control.send(ok())
    await client.expect(ok())
    assert stage.is_app_untouched()


@pytest.mark.parametrize(
    "target",
    [
        "//_sidecar/backchannel-logout",
        "/%5Fsidecar/backchannel-logout",
        "/%255Fsidecar/x",
        "/./_sidecar/x",
        "/a/../_sidecar/x",
        "/_Sidecar/x",
        "/_sidecar;x/y",
        "/\\_sidecar/x",
        "http://app.example//_sidecar/x",
    ],
)
async def test_a_look_alike_of_the_control_prefix_is_a_404_for_everybody(stage: Stage, target: str):
    _, answer = await denied(stage, ask(f"GET {target} HTTP/1.1"))
    assert answer.status == 404
    assert stage.is_control_untouched()


async def test_a_name_that_begins_like_the_control_prefix_belongs_to_the_app(stage: Stage):
    await stage.client(ask("GET /_sidecars HTTP/1.1"))
    await (await stage.app()).expect(seen("GET /_sidecars HTTP/1.1"))


# -- unbound, stale, store ----------------------------------------------------------------------------------------


async def test_a_cookie_that_nobody_knows_passes_by_default_and_is_counted(stage: Stage):
    await stage.client(LIVE)
    await (await stage.app()).expect(seen("GET / HTTP/1.1", "Cookie: JSESSIONID=live"))
    assert stage.counts.coverage["unbound"] == 1


async def test_with_unbound_deny_a_cookie_that_nobody_knows_is_rejected_and_anonymous_requests_pass(open_stage):
    stage = await open_stage(deny_unbound=True)
    client, answer = await denied(stage, LIVE)
    assert json.loads(answer.body)["reason"] == "unbound_credential"
    await client.send(ask())
    await (await stage.app()).expect(seen())


async def blind(stage: Stage) -> None:
    await stage.bind("live", session("s-2"))
    await stage.feed.aclose()
    await until(lambda: stage.feed.state is State.BLIND)


async def test_a_replica_that_is_cut_off_answers_503_to_sessions_and_lets_the_others_pass(open_stage):
    stage = await open_stage(grace=0.8)
    await blind(stage)
    client, answer = await denied(stage, LIVE)
    assert answer.status == 503
    assert answer.values("retry-after")
    assert not answer.values("set-cookie")  # the session is not over
    await client.send(ask())
    await (await stage.app()).expect(seen())


async def test_what_is_known_to_be_revoked_stays_so_when_the_replica_is_cut_off(open_stage):
    stage = await open_stage(grace=0.8, fail_open=True)
    await dead(stage)
    await blind(stage)
    _, answer = await denied(stage, revoked_cookie())
    assert answer.status == 401


async def test_fail_open_lets_sessions_pass_and_counts_them(open_stage):
    stage = await open_stage(grace=0.8, fail_open=True)
    await blind(stage)
    await stage.client(LIVE)
    await (await stage.app()).head()
    assert stage.counts.decisions["failed_open"] == 1


async def test_a_store_that_cannot_name_the_session_is_a_503(stage: Stage):
    stage.bindings.fault = StoreError("store_unavailable")
    client, answer = await denied(stage, LIVE)
    assert answer.status == 503
    stage.bindings.fault = None
    await client.send(LIVE)
    await (await stage.app()).head()


# -- faults of ours ------------------------------------------------------------------------------------------------


async def test_a_fault_while_judging_is_a_500_and_not_a_hang(stage: Stage, caplog: pytest.LogCaptureFixture):
    stage.bindings.fault = ZeroDivisionError()
    client, answer = await denied(stage, LIVE)
    assert answer.status == 500
    assert b"ZeroDivision" not in answer.head + answer.body
    assert [record.message for record in caplog.records] == ["exchange_failed"]
    await client.send(ask())
    await (await stage.app()).expect(seen())


async def test_a_fault_while_learning_is_a_500_and_the_cookie_is_withheld(stage: Stage):
    await stage.bind("live")
    client, app = await stage.asks(LIVE)
    stage.bindings.fault = ZeroDivisionError()
    await app.send(ok(b"secret", "Set-Cookie: JSESSIONID=new"))
    answer = await client.answer()
    assert answer.status == 500
    assert b"new" not in answer.head
    await app.gone()


async def test_on_the_apps_own_logout_the_answer_passes_without_a_new_session(stage: Stage):
    await stage.bind("live")
    client, app = await stage.asks(revoked_cookie(f"POST {LOGOUT} HTTP/1.1", "Content-Length: 0", value="live"))
    await stage.logout("s-1")
    await app.send(message("HTTP/1.1 302 Found", "Location: /", "Set-Cookie: JSESSIONID=x", "Set-Cookie: theme=dark"))
    answer = await client.answer(to_head=True)
    assert answer.status == 302
    assert answer.values("set-cookie") == [b"theme=dark"]
