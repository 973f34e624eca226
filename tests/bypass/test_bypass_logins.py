"""A user who wants a session that no logout reaches: the callback in disguise, without its code, or not waited for."""

import contextlib
import re

import pytest
from bench_plane import CALLBACK, Stage, revoked_cookie, session
from hypothesis import given
from hypothesis import strategies as st
from wire import Wire, ask, message, ok, until

from sidecar.core.callback import CallbackRefused, in_target
from sidecar.core.paths import compile_pattern, may_match
from sidecar.core.routes import Route, Rule
from sidecar.proxy.collect import Collector

LOGGED_IN = message("HTTP/1.1 302 Found", "Location: /", "Set-Cookie: JSESSIONID=new; Path=/", "Content-Length: 0")

CALLBACK_SPELLINGS = [
    f"{CALLBACK}",
    f"{CALLBACK}/",
    "//oidc/callback",
    "/oidc/./callback",
    "/x/../oidc/callback",
    "/oidc/%63allback",
    "/oidc%2fcallback",
    "/%256fidc/callback",
    "/oidc;v=1/callback",
    "/oidc/callback;jsessionid=1",
    "/OIDC/Callback",
    "/oidc\\callback",
    "/oidc/callback.json",
    "/oidc/callback/./",
]
CODE_SPELLINGS = [
    "code=C",
    "%63ode=C",
    "code=%43",
    "code=&code=C",
    "code=C&code=",
    "x=1;code=C",
    "code=C;x=1",
    "x=?code=C",
    "+code=C",
    "code%20=C",
    "Code=C",
    "code[]=C",
    "code%5B0%5D=C",
    "code%00x=C",
]


async def refused(stage: Stage, value: str) -> bool:
    client = await stage.client(revoked_cookie(value=value))
    return (await client.answer()).status == 401


async def login(stage: Stage, target: str, *fields: str) -> tuple[Wire, Wire]:
    client, app = await stage.asks(ask(f"GET {target} HTTP/1.1", *fields))
    stage.logins.complete("C", session())
    return client, app


async def ends_with_the_logout(stage: Stage, target: str) -> None:
    client, app = await login(stage, target)
    await app.send(LOGGED_IN)
    answer = await client.answer()
    await stage.logout()
    assert answer.status == 503 or await refused(stage, "new")


@pytest.mark.parametrize("path", CALLBACK_SPELLINGS)
async def test_a_login_on_any_spelling_of_the_callback_ends_with_its_logout(stage: Stage, path: str):
    await ends_with_the_logout(stage, f"{path}?code=C")
    assert stage.logins.strays == 0


@pytest.mark.parametrize("query", CODE_SPELLINGS)
async def test_a_login_with_any_spelling_of_its_code_ends_with_its_logout(stage: Stage, query: str):
    await ends_with_the_logout(stage, f"{CALLBACK}?{query}")
    assert stage.logins.strays == 0


async def test_a_login_on_an_allowed_route_ends_with_its_logout(open_stage):
    stage = await open_stage(routes=[Route(compile_pattern("/oidc/*"), Rule(None))])
    await ends_with_the_logout(stage, f"{CALLBACK}?code=C")


@pytest.mark.parametrize("path", ["/", "/oidc", "/oidc/callbacks", "/oidc/call", "/callback", "/oidc/callback2/x"])
def test_other_paths_are_no_callback(path: str) -> None:
    assert not may_match(re.compile(rb"/oidc/callback", re.IGNORECASE), path.encode())


SEGMENTS = st.sampled_from(["/", "/./", "//", "/;a=b/", "/%2e/", "/x/../", "/x/%2e%2e/", "\\"])
LETTERS = st.lists(
    st.sampled_from([str, str.upper, lambda c: f"%{ord(c):02x}", lambda c: f"%25{ord(c):02X}"]), min_size=8
)


@given(SEGMENTS, SEGMENTS, LETTERS, st.sampled_from(["", "/", ";x", ";x=/", ".do", ".php/x"]))
def test_no_combination_of_spellings_hides_the_callback(first: str, second: str, spell: list, end: str) -> None:
    name = "".join(each(letter) for each, letter in zip(spell, "callback", strict=False))
    path = f"{first}oidc{second}{name}{end}".encode()
    assert may_match(re.compile(rb"/oidc/callback", re.IGNORECASE), path)


@given(st.lists(st.sampled_from(["&", ";", "code", "%63ode", "Code", "=", "=", "C", "%43", "x", "", "&&"]), max_size=8))
def test_whatever_separates_pairs_the_code_is_found(pieces: list[str]) -> None:
    query = "".join(pieces) + "&code=C"
    with contextlib.suppress(CallbackRefused):  # it may hold more codes than a login has
        assert "C" in in_target(f"/?{query}".encode()).codes


FORM = "Content-Type: application/x-www-form-urlencoded"


@pytest.mark.parametrize("code", [each for each in CODE_SPELLINGS if each != "code=C;x=1"])
@pytest.mark.parametrize("kind", [FORM, "X: no type"])
async def test_a_login_with_its_code_in_the_body_ends_with_its_logout(stage: Stage, code: str, kind: str):
    body = f"state=x&{code}".encode()
    request = ask(f"POST {CALLBACK} HTTP/1.1", kind, f"Content-Length: {len(body)}", body=body)
    client, app = await stage.asks(request)
    await app.expect(body)
    assert stage.logins.complete("C", session())
    await app.send(LOGGED_IN)
    assert (await client.answer()).status == 302
    await stage.logout()
    assert await refused(stage, "new")


async def test_a_code_in_json_is_one_too(stage: Stage):
    body = b'{"params": {"Code": "C"}, "state": "x"}'
    kind = "Content-Type: application/json"
    client, app = await stage.asks(ask(f"POST {CALLBACK} HTTP/1.1", kind, f"Content-Length: {len(body)}", body=body))
    assert stage.logins.complete("C", session())
    await app.send(LOGGED_IN)
    await client.answer()
    await stage.logout()
    assert await refused(stage, "new")


async def test_a_code_that_was_hidden_from_us_gets_no_session_that_nobody_knows(stage: Stage):
    """An app that trims, or reads what no other reads: the login fails openly instead of staying unbound in silence."""
    body = b"code=%20C&state=x"
    fields = FORM, f"Content-Length: {len(body)}"
    client, app = await stage.asks(ask(f"POST {CALLBACK} HTTP/1.1", "Cookie: JSESSIONID=kept", *fields, body=body))
    stage.logins.complete("C", session())
    await app.send(LOGGED_IN)
    answer = await client.answer()
    assert answer.status == 503
    assert b"new" not in answer.head
    await until(lambda: stage.replica.cutoff(stage.digester.credential(b"kept")))
    assert await refused(stage, "kept")  # the app may have logged in the cookie that the browser had


async def test_the_body_of_a_callback_keeps_the_order_of_its_code(stage: Stage):
    """A second callback with the same code waits, wherever it carries it."""
    first, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1"))
    second = await stage.client(ask(f"POST {CALLBACK} HTTP/1.1", FORM, "Content-Length: 6", body=b"code=C"))
    await until(lambda: next(iter(stage.logins._flights.values())).waiting)
    assert stage.is_app_untouched()
    assert stage.logins.complete("C", session())
    await app.send(LOGGED_IN)
    assert (await first.answer()).status == 302
    await app.until(b"code=C")
    await app.send(ok(b"spent"))
    assert (await second.answer()).body == b"spent"


@pytest.mark.parametrize(
    ("body", "kind", "status", "reason"),
    [
        (b"code=C&code=D", FORM, 400, b"too_many_codes"),
        (b"code=C;x=1", FORM, 400, b"too_many_codes"),  # C, or C;x=1: no provider writes such a code
        (b"code=C;code[]=D", FORM, 400, b"too_many_codes"),
        (b'["code", {"code": ["C", "D"]}]', "Content-Type: application/json", 400, b"too_many_codes"),
        (b"&" * 1001, FORM, 400, b"too_many_codes"),
        (b"--x\r\n", "Content-Type: multipart/form-data; boundary=x", 415, b"callback_body_type"),
        (b"code=C", "Content-Type: application/octet-stream", 415, b"callback_body_type"),
        (b"x" * (64 * 1024 + 1), FORM, 413, b"too_large"),
    ],
)
async def test_a_body_that_no_login_sends_is_refused(stage: Stage, body: bytes, kind: str, status: int, reason: bytes):
    client = await stage.client(ask(f"POST {CALLBACK} HTTP/1.1", kind, f"Content-Length: {len(body)}"), body)
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (status, reason)
    assert stage.is_app_untouched()
    assert not stage.logins._flights


async def test_a_body_that_does_not_come_keeps_neither_the_app_nor_a_turn(open_stage):
    stage = await open_stage(callbacks=Collector(timeout=0.1))
    client = await stage.client(ask(f"POST {CALLBACK} HTTP/1.1", FORM, "Content-Length: 9", body=b"code=C"))
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (408, b"body_timeout")
    assert stage.is_app_untouched()
    assert not stage.logins._flights


async def test_callbacks_that_wait_for_their_bodies_push_out_each_other_and_no_logout(open_stage):
    stage = await open_stage(callbacks=Collector(max_held=1000, busy="too_many_logins"))
    head = ask(f"POST {CALLBACK} HTTP/1.1", FORM, "Content-Length: 900", body=b"x" * 600)
    first = await stage.client(head)
    await until(lambda: stage.plane.callbacks.held == 600)
    await stage.client(head)
    answer = await first.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (503, b"too_many_logins")
    assert stage.plane.collector.held == 0


async def test_a_callback_that_belongs_to_no_login_passes_while_others_log_in(stage: Stage):
    client, app = await stage.asks(ask(f"GET {CALLBACK}?error=login_required HTTP/1.1"))
    other, other_app = await login(stage, f"{CALLBACK}?code=C")
    await app.send(ok(b"sorry", "Set-Cookie: JSESSIONID=anonymous"))
    assert (await client.answer()).status == 200
    await other_app.send(LOGGED_IN)
    assert (await other.answer()).status == 302


@pytest.mark.parametrize("is_joined_first", [True, False])
async def test_who_hangs_up_on_the_callback_does_not_shed_the_logout(stage: Stage, is_joined_first: bool):
    """An app that keeps the cookie goes on with the login when nobody waits for its answer any more."""
    client, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1", "Cookie: JSESSIONID=kept"))
    if is_joined_first:
        assert stage.logins.complete("C", session())
    client.abort()
    await until(lambda: not stage.plane.connections)
    if not is_joined_first:
        assert stage.logins.complete("C", session())
    await app.send(ok(b"welcome"))
    await until(lambda: not stage.stats.in_flight)
    await stage.logout()
    assert await refused(stage, "kept")


async def test_an_abandoned_callback_is_given_up_in_the_end(open_stage):
    stage = await open_stage(response_timeout=0.2)
    client, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1"))
    client.abort()
    await until(lambda: not stage.plane.connections)
    await until(lambda: not stage.stats.in_flight)
    assert not stage.logins.complete("C", session())
    await app.gone()


async def test_two_callbacks_with_one_code_do_not_share_a_login(stage: Stage):
    thief, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1"))
    victim = await stage.client(ask(f"GET {CALLBACK}?code=C HTTP/1.1", "Cookie: JSESSIONID=victim"))
    await until(lambda: next(iter(stage.logins._flights.values())).waiting)
    assert stage.logins.complete("C", session("s-thief", sub="mallory"))
    await app.send(LOGGED_IN)
    assert (await thief.answer()).status == 302
    await app.head()  # only now: the code is spent, and the app says so
    await app.send(ok(b"", "Set-Cookie: JSESSIONID=victim2"))
    assert (await victim.answer()).status == 200
    await stage.logout("s-thief")
    assert await refused(stage, "new")
    own = stage.identifier.bound(session("s-thief", sub="mallory")).own
    assert set(stage.directory.credentials_of(own)) == {stage.digester.credential(b"new")}


async def test_a_session_that_the_app_puts_into_the_address_is_bound_too(open_stage):
    """A user may send no cookies: some stacks then write the session into URLs."""
    stage = await open_stage(path_parameters=["jsessionid"])
    client, app = await login(stage, f"{CALLBACK}?code=C", "Cookie: JSESSIONID=kept")
    await app.send(message("HTTP/1.1 302 Found", "Location: /home;jsessionid=new", "Content-Length: 0"))
    assert (await client.answer()).status == 302
    await stage.logout()
    client = await stage.client(ask("GET /home;jsessionid=new HTTP/1.1"))
    assert (await client.answer()).status == 401
    assert await refused(stage, "kept")  # an app that keeps its cookie goes where the user has chosen


async def test_a_cookie_that_the_app_keeps_beside_one_that_it_sets_is_bound_too(open_stage):
    """`Remember me` is the user's choice, and so is to drop that cookie afterwards."""
    stage = await open_stage(path_parameters=["jsessionid"])
    client, app = await login(stage, f"{CALLBACK};jsessionid=kept?code=C")
    await app.send(LOGGED_IN)
    assert (await client.answer()).status == 302
    await stage.logout()
    client = await stage.client(ask("GET /;jsessionid=kept HTTP/1.1"))
    assert (await client.answer()).status == 401
    assert await refused(stage, "new")
