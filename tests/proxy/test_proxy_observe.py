"""`mode: observe`: everything is judged, nothing is denied, and what would have been denied is known."""

from collections.abc import Callable
from typing import Any

import pytest
from bench_plane import CALLBACK, Stage, revoked_cookie, session
from test_proxy_upgrade import HANDSHAKE, SWITCHED
from wire import Wire, ask, message, ok, seen, until

from sidecar.core.credentials import Carriers
from sidecar.core.denial import Action
from sidecar.core.freshness import State
from sidecar.core.paths import compile_pattern
from sidecar.core.routes import Route, Rule
from sidecar.stores.interface import StoreError

Open = Callable[..., Any]
PAGE = ("Sec-Fetch-Mode: navigate", "Accept: text/html")
EVENTS = message("HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
ROTATED = ok(b"hello", "Set-Cookie: JSESSIONID=rotated; Path=/")


@pytest.fixture
async def stage(open_stage: Open) -> Stage:
    return await open_stage(observes=True)


def would_deny(stage: Stage) -> dict[tuple[str, ...], int]:
    """What would have been denied so far, by route and reason."""
    return dict(stage.counts._would_deny())


async def passes(stage: Stage, request: bytes, answer: bytes, head: bytes, app: Wire | None = None) -> Wire:
    """Request and answer pass unchanged; the app's connection."""
    client = await stage.client(request)
    app = app or await stage.app()
    await app.expect(head)
    await app.send(answer)
    await client.expect(answer)
    client.close()
    return app


@pytest.mark.parametrize("action", ["reject", "redirect", "strip"])
async def test_a_revoked_session_passes_with_all_that_is_in_it(open_stage: Open, action: str):
    stage = await open_stage(observes=True, action=action, login_url="/login")
    await stage.bind("dead")
    await stage.logout()
    head = seen("GET /x HTTP/1.1", "Cookie: JSESSIONID=dead", *PAGE)
    await passes(stage, revoked_cookie("GET /x HTTP/1.1", *PAGE), ROTATED, head)
    assert would_deny(stage) == {("default", "revoked"): 1}
    assert stage.counts.decisions == {"observed": 1}


async def test_what_would_not_be_denied_is_not_counted(stage: Stage):
    await stage.bind("live")
    app = await passes(stage, revoked_cookie(value="live"), ok(), seen("GET / HTTP/1.1", "Cookie: JSESSIONID=live"))
    await passes(stage, ask(), ok(), seen(), app)
    assert would_deny(stage) == {}
    assert stage.counts.coverage == {"bound": 1, "anonymous": 1, "unbound": 0}


async def test_a_session_that_ends_while_the_app_works_gets_its_answer_and_its_cookie(stage: Stage):
    await stage.bind("live")
    client, app = await stage.asks(revoked_cookie(value="live"))
    await stage.logout()
    await app.send(ROTATED)
    await client.expect(ROTATED)
    assert would_deny(stage) == {("default", "late_revoked"): 1}
    # What was learned meanwhile is not forgotten: with `enforce` the new cookie is as dead as the old one.
    assert await stage.store.get_binding(stage.digester.credential(b"rotated")) is not None


async def test_streams_go_on(stage: Stage):
    await stage.bind("live")
    client, app = await stage.asks(revoked_cookie(value="live"))
    await app.send(EVENTS)
    await client.expect(EVENTS)
    socket, behind = await stage.asks(revoked_cookie("GET /ws HTTP/1.1", *HANDSHAKE, value="live"))
    await behind.send(SWITCHED)
    await socket.expect(SWITCHED)
    await stage.logout()
    await until(lambda: would_deny(stage) == {("default", "late_revoked"): 2})
    await app.send(b"1\r\nx\r\n")
    await client.expect(b"1\r\nx\r\n")
    await behind.send(b"\x81\x01x")
    await socket.expect(b"\x81\x01x")
    await stage.logout(sid=None, sub="alice")
    assert would_deny(stage) == {("default", "late_revoked"): 2}  # each stream would have been cut once


async def test_a_logout_is_recorded_and_what_it_meets_stays_marked(stage: Stage):
    await stage.bind("dead")
    await stage.logout()
    credential = stage.digester.credential(b"dead")
    await until(lambda: stage.replica.cutoff(credential))
    stage.lose("dead")
    await passes(stage, revoked_cookie(), ok(), seen("GET / HTTP/1.1", "Cookie: JSESSIONID=dead"))
    assert would_deny(stage) == {("default", "revoked"): 1}


async def test_a_session_that_is_met_after_its_logout_is_marked_as_well(stage: Stage):
    """Its binding was not in memory when the logout came, and may be lost before anything is enforced."""
    credential = stage.digester.credential(b"dead")
    await stage.store.put_binding(credential, stage.digester.bound(session()), 3600)
    await stage.logout()
    assert stage.replica.cutoff(credential) is None
    await passes(stage, revoked_cookie(), ok(), seen("GET / HTTP/1.1", "Cookie: JSESSIONID=dead"))
    await until(lambda: stage.replica.cutoff(credential))


async def test_nothing_but_a_logout_leaves_a_mark(stage: Stage):
    """A login that is too old now is not, with another `session.max_age`."""
    await stage.bind("old", session(age=5 * 3600))
    await passes(stage, revoked_cookie(value="old"), ok(), seen("GET / HTTP/1.1", "Cookie: JSESSIONID=old"))
    assert would_deny(stage) == {("default", "session_too_old"): 1}
    assert not stage.condemner._tasks
    assert stage.replica.cutoff(stage.digester.credential(b"old")) is None


async def test_a_later_login_in_another_replica_is_asked_for_before_anything_is_counted(stage: Stage):
    await stage.bind("kept")
    await stage.logout()
    later = stage.digester.bound(session("s-2", age=-5))
    await stage.store.put_binding(stage.digester.credential(b"kept"), later, 3600)
    digest = stage.digester.credential(b"kept")
    stage.directory._known[digest].checked -= 2
    await passes(stage, revoked_cookie(value="kept"), ok(), seen("GET / HTTP/1.1", "Cookie: JSESSIONID=kept"))
    assert would_deny(stage) == {}


# -- what fails closed otherwise --------------------------------------------------------------------------------------


async def test_a_store_that_is_down_at_the_login_costs_nobody_the_login(stage: Stage):
    client, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1", "Cookie: JSESSIONID=V"))
    assert stage.logins.complete("C", session())
    stage.bindings.fault = StoreError("store_unavailable")
    answer = message("HTTP/1.1 302 Found", "Location: /", "Set-Cookie: JSESSIONID=W", "Content-Length: 0")
    await app.send(answer)
    await client.expect(answer)
    assert would_deny(stage) == {("default", "late_login_not_recorded"): 1}
    assert stage.replica.cutoff(stage.digester.credential(b"V")) is None


async def test_a_store_that_does_not_answer_denies_nobody(stage: Stage):
    stage.bindings.fault = StoreError("store_unavailable")
    await passes(stage, revoked_cookie(), ok(), seen("GET / HTTP/1.1", "Cookie: JSESSIONID=dead"))
    assert would_deny(stage) == {("default", "store_unavailable"): 1}


async def test_a_replica_that_hears_nothing_denies_nobody(open_stage: Open):
    stage = await open_stage(observes=True, grace=0.8)
    await stage.bind("live")
    await stage.feed.aclose()
    await until(lambda: stage.feed.state is State.BLIND)
    await passes(stage, revoked_cookie(value="live"), ok(), seen("GET / HTTP/1.1", "Cookie: JSESSIONID=live"))
    assert would_deny(stage) == {("default", "replica_stale"): 1}


async def test_a_login_that_does_not_hold_passes_unlearned(stage: Stage):
    client, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1"))
    assert stage.logins.fail("C")
    await app.send(ROTATED)
    await client.expect(ROTATED)
    assert would_deny(stage) == {("default", "late_login_not_recorded"): 1}
    assert await stage.store.get_binding(stage.digester.credential(b"rotated")) is None


async def test_a_callback_with_too_many_codes_passes_unlearned(stage: Stage):
    first = f"GET {CALLBACK}?" + "&".join(f"code={number}" for number in range(9)) + " HTTP/1.1"
    await passes(stage, ask(first), ok(), seen(first))
    assert would_deny(stage) == {("default", "too_many_codes"): 1}


async def test_a_callback_that_waited_too_long_for_its_turn_passes_unlearned(stage: Stage):
    first = f"GET {CALLBACK}?code=C HTTP/1.1"
    client, app = await stage.asks(ask(first))
    stage.logins._wait_s = 0.01
    await passes(stage, ask(first), ok(), seen(first))
    assert would_deny(stage) == {("default", "login_in_flight"): 1}
    await app.send(ok())
    await client.expect(ok())


async def test_the_lost_answer_of_a_login_leaves_no_mark(stage: Stage):
    client, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1", "Cookie: JSESSIONID=V"))
    assert stage.logins.complete("C", session())
    await app.send(b"no HTTP\r\n\r\n")
    assert (await client.answer()).status == 502
    assert stage.replica.cutoff(stage.digester.credential(b"V")) is None


async def test_what_is_no_judgement_of_a_session_stays(stage: Stage):
    """Malformed HTTP, and paths that only look like the control prefix."""
    assert (await (await stage.client(b"no HTTP\r\n\r\n")).answer()).status == 400
    assert (await (await stage.client(ask("GET /%5Fsidecar/x HTTP/1.1"))).answer()).status == 404
    assert stage.is_app_untouched()


# -- what is learned, and what is shown -----------------------------------------------------------------------------


async def test_logins_and_rotations_are_learned(stage: Stage):
    client, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1"))
    assert stage.logins.complete("C", session())
    answer = ok(b"", "Set-Cookie: JSESSIONID=one")
    await app.send(answer)
    await client.expect(answer)
    again = ok(b"", "Set-Cookie: JSESSIONID=two")
    await passes(stage, revoked_cookie(value="one"), again, seen("GET / HTTP/1.1", "Cookie: JSESSIONID=one"), app)
    await passes(stage, revoked_cookie(value="two"), ok(), seen("GET / HTTP/1.1", "Cookie: JSESSIONID=two"), app)
    assert stage.counts._judged()["default", "bound", "token_endpoint"] == 2
    assert stage.directory.count_by_binder()[2] == 2


async def test_it_is_said_route_by_route(open_stage: Open):
    rule = Rule(Action.REJECT, name="/api/*", deny_unbound=True)
    stage = await open_stage(observes=True, vouches=True, routes=[Route(compile_pattern("/api/*"), rule)])
    await stage.bind("live")
    app = None
    for path, value in (("/", "unknown"), ("/api/x", "unknown"), ("/api/x", "live"), ("/api/y", "live")):
        head = seen(f"GET {path} HTTP/1.1", f"Cookie: JSESSIONID={value}")
        app = await passes(stage, revoked_cookie(f"GET {path} HTTP/1.1", value=value), ok(), head, app)
    assert would_deny(stage) == {("/api/*", "unbound_credential"): 1}
    assert +stage.counts._judged() == {
        ("default", "unbound", "none"): 1,
        ("/api/*", "unbound", "none"): 1,
        ("/api/*", "bound", "token_endpoint"): 2,
    }


async def test_vouchers_are_given_out_so_that_the_numbers_are_those_of_enforcement(open_stage: Open):
    stage = await open_stage(observes=True, deny_unbound=True)
    client, app = await stage.asks(ask())
    await app.send(ok(b"", "Set-Cookie: JSESSIONID=V"))
    (mine,) = [line for line in (await client.answer()).values("set-cookie") if line.startswith(b"__Host-voucher=")]
    cookies = f"Cookie: JSESSIONID=V; {mine.decode().partition(';')[0]}"
    await passes(stage, ask("GET / HTTP/1.1", cookies), ok(), seen("GET / HTTP/1.1", "Cookie: JSESSIONID=V"), app)
    assert would_deny(stage) == {}
    await passes(stage, revoked_cookie(value="V"), ok(), seen("GET / HTTP/1.1", "Cookie: JSESSIONID=V"), app)
    assert would_deny(stage) == {("default", "unbound_credential"): 1}


async def test_an_allowed_route_keeps_the_cookie_of_a_dead_session(open_stage: Open):
    stage = await open_stage(observes=True, routes=[Route(compile_pattern("/public/*"), Rule(None))])
    await stage.bind("dead")
    await stage.logout()
    head = seen("GET /public/x HTTP/1.1", "Cookie: JSESSIONID=dead")
    await passes(stage, revoked_cookie("GET /public/x HTTP/1.1"), ROTATED, head)


async def test_on_the_logout_path_the_cookie_passes_too(stage: Stage):
    await stage.bind("live")
    client, app = await stage.asks(revoked_cookie("POST /logout HTTP/1.1", value="live"))
    await stage.logout()
    await app.send(ROTATED)
    await client.expect(ROTATED)


async def test_the_access_log_names_what_would_have_been(open_stage: Open, caplog: pytest.LogCaptureFixture):
    from sidecar.proxy.access_log import AccessLog

    stage = await open_stage(observes=True, access_log=AccessLog(sample=0.0))
    caplog.set_level("INFO", logger="sidecar.access")
    await stage.bind("dead")
    await stage.logout()
    await passes(stage, revoked_cookie(), ok(), seen("GET / HTTP/1.1", "Cookie: JSESSIONID=dead"))
    await until(lambda: caplog.records)
    assert caplog.records[-1].fields["decision"] == "would_deny_revoked"


async def test_what_is_open_when_the_replica_hears_nothing_any_more_goes_on(open_stage: Open):
    stage = await open_stage(observes=True, grace=0.8)
    await stage.bind("live")
    client, app = await stage.asks(revoked_cookie(value="live"))
    await app.send(EVENTS)
    await client.expect(EVENTS)
    waiting, behind = await stage.asks(revoked_cookie(value="live"))
    await stage.feed.aclose()
    await until(lambda: would_deny(stage).get(("default", "late_replica_stale")) == 1)
    await behind.send(ROTATED)
    await waiting.expect(ROTATED)
    assert would_deny(stage) == {("default", "late_replica_stale"): 2}
    await app.send(b"1\r\nx\r\n")
    await client.expect(b"1\r\nx\r\n")


async def test_a_body_that_no_login_sends_passes_unlearned_on_a_callback_path(stage: Stage):
    first = f"POST {CALLBACK} HTTP/1.1"
    fields = ("Content-Type: image/png", "Content-Length: 3")
    client = await stage.client(ask(first, *fields, body=b"png"))
    app = await stage.app()
    assert (await app.head()).startswith(f"POST {CALLBACK}".encode())
    await app.expect(b"png")
    await app.send(ok())
    await client.expect(ok())
    assert would_deny(stage) == {("default", "callback_body_type"): 1}


async def test_a_form_that_cannot_be_read_passes(open_stage: Open):
    stage = await open_stage(observes=True, carriers=Carriers(cookies=["JSESSIONID"], form_fields=["sid"]))
    fields = ("Content-Type: multipart/form-data; boundary=x", "Content-Length: 5")
    client = await stage.client(ask("POST /x HTTP/1.1", *fields, body=b"--x--"))
    app = await stage.app()
    await app.head()
    await app.expect(b"--x--")
    await app.send(ok())
    await client.expect(ok())
    assert would_deny(stage) == {("default", "ambiguous_credential"): 1}
