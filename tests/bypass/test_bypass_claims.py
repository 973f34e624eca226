"""Callbacks that name a session themselves, honest ones and crafted ones: by Keycloak's code, and by an ID token.

A claim is believed by the app's answer, and never takes a session away: a credential that may belong to two dies with
either. V is the victim, M the attacker.
"""

import re
from collections.abc import Awaitable, Callable
from urllib.parse import quote

import pytest
from bench_plane import CALLBACK, CLIENT, ISSUER, Stage, revoked_cookie
from wire import Answer, Wire, ask, message, ok, until

from sidecar import clock
from sidecar.bindings.keycloak_code import KeycloakCodeReader
from sidecar.core.callback import CallbackRefused, Parameters
from sidecar.core.completion import Completion
from sidecar.core.identity import Session
from sidecar.core.paths import compile_pattern
from sidecar.core.routes import Route, Rule
from sidecar.gate.callbacks import Claimant

Open = Callable[..., Awaitable[Stage]]

FORM = "Content-Type: application/x-www-form-urlencoded"
LOGGED_IN = message("HTTP/1.1 302 Found", "Location: /", "Set-Cookie: JSESSIONID=new; Path=/", "Content-Length: 0")
FAILED = message("HTTP/1.1 400 Bad Request", "Set-Cookie: JSESSIONID=new; Path=/", "Content-Length: 0")
NO_COOKIE = message("HTTP/1.1 302 Found", "Location: /", "Content-Length: 0")


def code(sid: str) -> str:
    """Keycloak's code of a session."""
    return f"1f0c-a.{sid}.9d1b-c"


def keycloak(**completion: object) -> Claimant:
    reader = KeycloakCodeReader(issuer=ISSUER, client_id=CLIENT, provider_now=clock.wall)
    return Claimant("keycloak_code", compile_pattern(CALLBACK), reader, Completion(**completion))


class TokenReader:
    """ID tokens that say whose they are, and are good when they do. What verifies for real is in tests/bindings."""

    async def read(self, carried: Parameters) -> Session | None:
        if not carried.id_tokens:
            return None
        (token,) = carried.id_tokens
        if not token.startswith("token-of-"):
            raise CallbackRefused("bad_token")
        sid = token.removeprefix("token-of-")
        return Session(ISSUER, CLIENT, sid, f"sub-{sid}", int((clock.wall() - 1) * 1000))


def form_post(**completion: object) -> Claimant:
    return Claimant("form_post", compile_pattern(CALLBACK), TokenReader(), Completion(**completion), reads_tokens=True)


def by_code(sid: str, *fields: str) -> bytes:
    return ask(f"GET {CALLBACK}?state=x&code={code(sid)} HTTP/1.1", *fields)


def by_code_in_body(sid: str, *fields: str) -> bytes:
    body = f"state=x&code={code(sid)}".encode()
    return ask(f"POST {CALLBACK} HTTP/1.1", *fields, FORM, f"Content-Length: {len(body)}", body=body)


def by_token(sid: str, *fields: str) -> bytes:
    body = f"state=x&id_token=token-of-{sid}".encode()
    return ask(f"POST {CALLBACK} HTTP/1.1", *fields, FORM, f"Content-Length: {len(body)}", body=body)


WAYS = {"code": (keycloak, by_code), "code in the body": (keycloak, by_code_in_body), "token": (form_post, by_token)}
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


async def opened(open_stage: Open, way: tuple, **completion: object) -> tuple[Stage, Callable[..., bytes]]:
    claimant, request = way
    return await open_stage(claimants=[claimant(**completion)], relayed=()), request


async def answered(stage: Stage, request: bytes, answer: bytes) -> Answer:
    client, app = await stage.asks(request)
    await app.send(answer)
    got = await client.answer()
    client.close()
    app.close()
    return got


async def is_refused(stage: Stage, value: str) -> bool:
    client = await stage.client(revoked_cookie(value=value))
    await until(lambda: not client.is_silent() or not stage.is_app_untouched())
    if client.is_silent():
        app = await stage.app()
        await app.head()
        await app.send(ok())
        app.close()
    answer = await client.answer()
    client.close()
    return answer.status == 401


@each_way
async def test_a_login_that_the_app_completes_ends_with_its_logout(open_stage: Open, way: tuple):
    stage, request = await opened(open_stage, way)
    assert (await answered(stage, request("alice"), LOGGED_IN)).values("set-cookie")
    assert not await is_refused(stage, "new")
    await stage.logout("someone-else")
    assert not await is_refused(stage, "new")
    await stage.logout("alice")
    assert await is_refused(stage, "new")


@each_way
async def test_the_cookie_is_bound_before_the_browser_has_it(open_stage: Open, way: tuple):
    stage, request = await opened(open_stage, way)
    client, app = await stage.asks(request("alice"))
    stage.bindings.go_on.clear()
    await app.send(LOGGED_IN)
    await until(lambda: stage.bindings.waiting)
    assert client.is_silent()
    stage.bindings.go_on.set()
    await client.expect(LOGGED_IN)


@each_way
async def test_a_login_whose_logout_came_first_is_dead_on_arrival(open_stage: Open, way: tuple):
    stage, request = await opened(open_stage, way)
    client, app = await stage.asks(request("alice"))
    await stage.logout("alice")
    await app.send(LOGGED_IN)
    answer = await client.answer()
    assert answer.status == 401
    assert b"new" not in answer.head


@each_way
async def test_a_cookie_that_comes_with_an_error_is_not_given_out(open_stage: Open, way: tuple):
    """Nobody can say whether the app has logged somebody in: some stacks do, and fail afterwards."""
    stage, request = await opened(open_stage, way)
    answer = await answered(stage, request("alice"), FAILED)
    assert (answer.status, answer.values("set-cookie")) == (400, [])
    assert not await is_refused(stage, "new")


@each_way
@pytest.mark.parametrize("answer", [LOGGED_IN, ok(b"", "Set-Cookie: JSESSIONID=new")])
@pytest.mark.parametrize("ended", ["victim", "mallory"])
async def test_a_known_session_is_not_shed_by_a_callback_of_another_sid(
    open_stage: Open, way: tuple, answer: bytes, ended: str
):
    """V's or M's browser, the crafted callback names the other: the cookie that the app renews dies with either."""
    stage, request = await opened(open_stage, way)
    mine, other = ("victim", "mallory") if ended == "victim" else ("mallory", "victim")
    await stage.bind("old", Session(ISSUER, CLIENT, mine, f"sub-{mine}", int((clock.wall() - 60) * 1000)))
    await answered(stage, request(other, "Cookie: JSESSIONID=old"), answer)
    assert not await is_refused(stage, "new")
    await stage.logout(mine)
    assert await is_refused(stage, "new")
    assert await is_refused(stage, "old")


@each_way
async def test_a_subject_is_not_shed_either(open_stage: Open, way: tuple):
    stage, request = await opened(open_stage, way)
    await stage.bind("old", Session(ISSUER, CLIENT, "mine", "mallory", int((clock.wall() - 60) * 1000)))
    await answered(stage, request("other", "Cookie: JSESSIONID=old"), LOGGED_IN)
    await stage.logout(None, "mallory")
    assert await is_refused(stage, "new")


@each_way
async def test_the_same_sid_again_makes_no_session_younger(open_stage: Open, way: tuple):
    """A logout that is on its way would miss a cookie that has just been renewed by a replayed callback."""
    stage, request = await opened(open_stage, way)
    login = int((clock.wall() - 60) * 1000)
    await stage.bind("old", Session(ISSUER, CLIENT, "mine", "sub-mine", login))
    await answered(stage, request("mine", "Cookie: JSESSIONID=old"), LOGGED_IN)
    bound = stage.directory.cached(stage.digester.credential(b"new"))
    assert min(each.login_time for each in bound.all) == login


@each_way
async def test_a_victims_cookie_is_not_given_to_the_attacker_by_a_failed_login(open_stage: Open, way: tuple):
    stage, request = await opened(open_stage, way)
    await stage.bind("victims", Session(ISSUER, CLIENT, "victim", "sub-victim", int((clock.wall() - 60) * 1000)))
    await answered(stage, request("mallory", "Cookie: JSESSIONID=victims"), FAILED)
    await stage.logout("mallory")
    assert not await is_refused(stage, "victims")
    await stage.logout("victim")
    assert await is_refused(stage, "victims")


@each_way
async def test_an_unknown_cookie_that_the_app_keeps_is_nobodys_by_a_claim_alone(open_stage: Open, way: tuple):
    stage, request = await opened(open_stage, way)
    await answered(stage, request("mallory", "Cookie: JSESSIONID=visitor"), NO_COOKIE)
    await stage.logout("mallory")
    assert not await is_refused(stage, "visitor")


@each_way
async def test_an_app_that_keeps_its_cookie_is_understood_when_the_operator_says_so(open_stage: Open, way: tuple):
    stage, request = await opened(open_stage, way, keeps_cookie=True)
    await answered(stage, request("alice", "Cookie: JSESSIONID=kept"), NO_COOKIE)
    await stage.logout("alice")
    assert await is_refused(stage, "kept")


@each_way
@pytest.mark.parametrize("ended", ["first", "second"])
async def test_a_known_cookie_that_the_app_keeps_belongs_to_both_logins(open_stage: Open, way: tuple, ended: str):
    """Whoever logs in twice must not have the second session in the binding of the first."""
    stage, request = await opened(open_stage, way)
    await stage.bind("kept", Session(ISSUER, CLIENT, "first", "sub-first", int((clock.wall() - 60) * 1000)))
    await answered(stage, request("second", "Cookie: JSESSIONID=kept"), NO_COOKIE)
    assert not await is_refused(stage, "kept")
    await stage.logout(ended)
    assert await is_refused(stage, "kept")


@each_way
async def test_what_the_operator_knows_of_the_answer_decides(open_stage: Open, way: tuple):
    home = compile_pattern("/home*")
    stage, request = await opened(open_stage, way, statuses=frozenset({302, 303}), location=home)
    for where in ("/login?error", "/", "https://app.example/elsewhere/home"):
        answer = LOGGED_IN.replace(b"Location: /", b"Location: " + where.encode())
        assert not (await answered(stage, request("alice"), answer)).values("set-cookie")
    assert not (await answered(stage, request("alice"), ok(b"", "Set-Cookie: JSESSIONID=new"))).values("set-cookie")
    for where in ("/home", "https://app.example/home/x?y", "//app.example/home#z"):
        answer = LOGGED_IN.replace(b"Location: /", b"Location: " + where.encode())
        assert (await answered(stage, request("alice"), answer)).values("set-cookie")
    await stage.logout("alice")
    assert await is_refused(stage, "new")


@each_way
async def test_where_the_user_wants_to_go_changes_nothing(open_stage: Open, way: tuple):
    stage, request = await opened(open_stage, way)
    answer = LOGGED_IN.replace(b"Location: /", b"Location: /login?error=access_denied")
    await answered(stage, request("alice"), answer)
    await stage.logout("alice")
    assert await is_refused(stage, "new")


@each_way
async def test_more_sessions_than_one_credential_may_have_are_too_many(open_stage: Open, way: tuple):
    """They are not pushed out: the browser has to begin with new cookies."""
    stage, request = await opened(open_stage, way)
    await stage.bind("old", Session(ISSUER, CLIENT, "s-0", "mallory", int((clock.wall() - 60) * 1000)))
    for count in range(1, 4):
        answer = await answered(stage, request(f"s-{count}", "Cookie: JSESSIONID=old"), NO_COOKIE)
        assert answer.status == 302
    answer = await answered(stage, request("s-4", "Cookie: JSESSIONID=old"), NO_COOKIE)
    assert (answer.status, answer.value("x-logout-sidecar")) == (401, b"ambiguous_credential")
    assert answer.values("set-cookie")
    await stage.logout("s-0")
    assert await is_refused(stage, "old")


@each_way
async def test_two_cookies_are_not_mixed(open_stage: Open, way: tuple):
    """V's stolen cookie beside M's own: nobody can say which of them the app has logged in, so that both end."""
    stage, request = await opened(open_stage, way)
    for who in ("victim", "mallory"):
        await stage.bind(who, Session(ISSUER, CLIENT, who, f"sub-{who}", int((clock.wall() - 60) * 1000)))
    mixed = request("other", "Cookie: JSESSIONID=victim; JSESSIONID=mallory")
    answer = await answered(stage, mixed, NO_COOKIE)
    assert answer.value("x-logout-sidecar") == b"ambiguous_credential"
    assert await is_refused(stage, "victim")
    assert await is_refused(stage, "mallory")


@each_way
async def test_who_hangs_up_does_not_shed_the_logout(open_stage: Open, way: tuple):
    stage, request = await opened(open_stage, way, keeps_cookie=True)
    client, app = await stage.asks(request("alice", "Cookie: JSESSIONID=kept"))
    client.abort()
    await until(lambda: not stage.plane.connections)
    await app.send(NO_COOKIE)
    await until(lambda: not stage.stats.in_flight)
    assert stage.plane.callbacks.held == 0
    await stage.logout("alice")
    assert await is_refused(stage, "kept")


@each_way
async def test_a_login_whose_answer_is_lost_takes_the_cookie_with_it(open_stage: Open, way: tuple):
    stage, request = await opened(open_stage, way)
    client, app = await stage.asks(request("alice", "Cookie: JSESSIONID=kept"))
    app.abort()
    assert (await client.answer()).status == 502
    await until(lambda: stage.replica.cutoff(stage.digester.credential(b"kept")))
    assert await is_refused(stage, "kept")


@each_way
async def test_on_an_allowed_route_a_claim_sheds_nothing_either(open_stage: Open, way: tuple):
    claimant, request = way
    routes = [Route(compile_pattern("/oidc/*"), Rule(None))]
    stage = await open_stage(claimants=[claimant()], relayed=(), routes=routes)
    await stage.bind("old", Session(ISSUER, CLIENT, "mine", "sub-mine", int((clock.wall() - 60) * 1000)))
    await answered(stage, request("other", "Cookie: JSESSIONID=old"), LOGGED_IN)
    await stage.logout("mine")
    assert await is_refused(stage, "new")


@each_way
@pytest.mark.parametrize(
    "path", ["/OIDC/Callback", f"{CALLBACK}/", "//oidc/callback", "/oidc/%63allback", "/oidc;v=1/callback"]
)
async def test_a_look_alike_of_the_callback_is_one(open_stage: Open, way: tuple, path: str):
    stage, request = await opened(open_stage, way)
    await answered(stage, request("alice").replace(CALLBACK.encode(), path.encode()), LOGGED_IN)
    await stage.logout("alice")
    assert await is_refused(stage, "new")


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_another_method_is_a_callback_all_the_same(open_stage: Open, method: str):
    stage = await open_stage(claimants=[keycloak()], relayed=())
    client, app = await stage.asks(by_code("alice").replace(b"GET", method.encode(), 1))
    await app.send(LOGGED_IN)
    await client.answer(to_head=method == "HEAD")
    await stage.logout("alice")
    assert await is_refused(stage, "new")


async def test_pipelined_callbacks_are_judged_one_by_one(open_stage: Open):
    stage = await open_stage(claimants=[keycloak()], relayed=())
    client = await stage.client(by_code("one") + by_code_in_body("two") + by_code("three"))
    app = await stage.app()
    for sid in ("one", "two", "three"):
        await app.head()
        if sid == "two":
            await app.until(code("two").encode())
        await app.send(LOGGED_IN.replace(b"=new", b"=" + sid.encode()))
        await client.answer()
    app.close()
    await stage.logout("two")
    assert [await is_refused(stage, sid) for sid in ("one", "two", "three")] == [False, True, False]


# -- what cannot be followed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("code=abc", b"callback_unknown_code"),
        ("code=a.b", b"callback_unknown_code"),
        ("code=a..c", b"callback_unknown_code"),
        ("code=%20a.b.c", b"callback_unknown_code"),  # an app may trim it
        ("code=a.b.c%00", b"callback_unknown_code"),
        (f"code={'a' * 200}.b.c", b"callback_unknown_code"),
        ("code=a.b.c&code=d.e.f", b"too_many_codes"),
        ("code=a.b.c&Code=d.e.f", b"too_many_codes"),
        ("code=a.b.c;code[]=d.e.f", b"too_many_codes"),
        ("response=eyJ.eyJ.x", b"callback_with_jarm"),
        ("Response[]=eyJ.eyJ.x", b"callback_with_jarm"),
    ],
)
async def test_a_code_that_nobody_can_follow_is_refused_before_the_app_has_it(
    open_stage: Open, query: str, reason: bytes
):
    stage = await open_stage(claimants=[keycloak()], relayed=())
    client = await stage.client(ask(f"GET {CALLBACK}?{query} HTTP/1.1"))
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (400, reason)
    assert stage.is_app_untouched()


@pytest.mark.parametrize("query", ["code=abc", f"code={code('alice')}"])
async def test_a_form_post_callback_takes_no_code_without_its_token(open_stage: Open, query: str):
    """The app may redeem it, and nobody would know for whom."""
    stage = await open_stage(claimants=[form_post()], relayed=())
    client = await stage.client(ask(f"GET {CALLBACK}?{query} HTTP/1.1"))
    assert (await client.answer()).value("x-logout-sidecar") == b"callback_unknown_code"
    assert stage.is_app_untouched()


BAD_BODIES = [
    ("id_token=forged", FORM, 400, b"bad_token"),
    ("id_token=token-of-a&id_token=token-of-b", FORM, 400, b"too_many_codes"),
    ("id_token=token-of-a;ID_Token=token-of-b", FORM, 400, b"too_many_codes"),
    ("id_token=token-of-a", "Content-Type: text/plain", 415, b"callback_body_type"),
    ("id_token=token-of-a", f"{FORM}; charset=utf-16", 415, b"callback_body_type"),
    ("id_token=token-of-a", f"{FORM}, multipart/form-data; boundary=x", 415, b"callback_body_type"),
    ("id_token=token-of-a", "Content-Type: multipart/form-data; boundary=x", 415, b"callback_body_type"),
    ("id_token=token-of-a", f"{FORM}\r\nContent-Encoding: gzip", 415, b"callback_body_type"),
    ("id_token=token-of-a", f"{FORM}\r\nContent_Encoding: gzip", 415, b"callback_body_type"),
    ('{"id_token": "token-of-a"}', FORM, 415, b"callback_body_type"),
    ('{"id_token": "forged"}', "Content-Type: application/json", 400, b"bad_token"),
    (
        '{"id_token": "token-of-a", "id_token": "token-of-b"}',
        "Content-Type: application/json",
        400,
        b"callback_body_type",
    ),
    ('{"a": ["token-of-a"', "Content-Type: application/json", 400, b"callback_body_type"),
    ("response=eyJ.eyJ.x", FORM, 400, b"callback_with_jarm"),
    ("code=x", FORM, 400, b"callback_unknown_code"),
]


@pytest.mark.parametrize(("body", "fields", "status", "reason"), BAD_BODIES)
async def test_a_body_that_is_no_good_login_is_refused_before_the_app_has_it(
    open_stage: Open, body: str, fields: str, status: int, reason: bytes
):
    stage = await open_stage(claimants=[form_post()], relayed=())
    head = f"POST {CALLBACK} HTTP/1.1", *fields.split("\r\n"), f"Content-Length: {len(body)}"
    client = await stage.client(ask(*head, body=body.encode()))
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (status, reason)
    assert stage.is_app_untouched()
    assert stage.plane.callbacks.held == 0


GOOD_BODIES = [
    ("id_token=token-of-alice&state=%00+%2B", FORM),
    ("state=x&&=&id_token=token-of-alice", "X: no type"),
    ("state=x;id_token=token-of-alice", f'{FORM} ; Charset="UTF-8"'),
    ("ID_token%5B%5D=" + quote("token-of-alice"), FORM.upper()),
    ('{"a": [{"id_token": "token-of-alice"}]}', "Content-Type: application/json; charset=utf-8"),
]


@pytest.mark.parametrize(("body", "field"), GOOD_BODIES)
@pytest.mark.parametrize("is_chunked", [True, False])
async def test_the_body_reaches_the_app_byte_for_byte(open_stage: Open, body: str, field: str, is_chunked: bool):
    stage = await open_stage(claimants=[form_post()], relayed=())
    raw = body.encode()
    framing = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {len(raw)}"
    sent = b"".join(b"1\r\n%c\r\n" % byte for byte in raw) + b"0\r\n\r\n" if is_chunked else raw
    client = await stage.client(ask(f"POST {CALLBACK} HTTP/1.1", field, framing))
    assert stage.is_app_untouched()
    await client.send(sent)
    app = await stage.app()
    head = await app.head()
    assert re.search(rb"\r\nContent-Length: %d\r\n" % len(raw), head)
    assert b"chunked" not in head
    await app.expect(raw)
    await app.send(LOGGED_IN)
    await client.expect(LOGGED_IN)
    app.close()
    await stage.logout("alice")
    assert await is_refused(stage, "new")


# -- beside the relay ----------------------------------------------------------------------------------------------


async def redeemed(stage: Stage, request: bytes, session: Session) -> tuple[Wire, Wire]:
    client, app = await stage.asks(request)
    (login,) = [flight.login for flight in stage.logins._flights.values()]
    login.session = session
    return client, app


@pytest.mark.parametrize("claimant", [keycloak, form_post])
async def test_what_the_relay_has_seen_is_better_than_a_claim(open_stage: Open, claimant: Callable[[], Claimant]):
    stage = await open_stage(claimants=[claimant()], relayed=(CALLBACK,))
    seen = Session(ISSUER, CLIENT, "alice", "sub-alice", int(clock.wall() * 1000) + 5000)
    body = f"code={code('alice')}" + ("&id_token=token-of-alice" if claimant is form_post else "")
    request = ask(f"POST {CALLBACK} HTTP/1.1", FORM, f"Content-Length: {len(body)}", body=body.encode())
    client, app = await redeemed(stage, request, seen)
    await app.send(FAILED)  # the relay knows better: the app has logged somebody in
    assert (await client.answer()).values("set-cookie")
    bound = stage.directory.cached(stage.digester.credential(b"new"))
    assert bound.is_same(stage.digester.bound(seen))
    assert bound.login_time < seen.login_time  # the first token of this login was the one before


@pytest.mark.parametrize("claimant", [keycloak, form_post])
async def test_two_tokens_of_two_logins_are_none(open_stage: Open, claimant: Callable[[], Claimant]):
    stage = await open_stage(claimants=[claimant()], relayed=(CALLBACK,))
    body = f"code={code('alice')}" + ("&id_token=token-of-alice" if claimant is form_post else "")
    request = ask(f"POST {CALLBACK} HTTP/1.1", FORM, f"Content-Length: {len(body)}", body=body.encode())
    client, app = await redeemed(
        stage, request, Session(ISSUER, CLIENT, "mallory", "mallory", int(clock.wall() * 1000))
    )
    await app.send(LOGGED_IN)
    answer = await client.answer()
    assert (answer.status, answer.value("x-logout-sidecar")) == (503, b"login_not_recorded")
    assert b"new" not in answer.head


def together(sid_in_code: str, sid_in_token: str) -> bytes:
    body = f"code={code(sid_in_code)}&id_token=token-of-{sid_in_token}"
    return ask(f"POST {CALLBACK} HTTP/1.1", FORM, f"Content-Length: {len(body)}", body=body.encode())


@pytest.mark.parametrize("order", [(form_post, keycloak), (keycloak, form_post)])
async def test_what_several_binders_find_is_one_login(open_stage: Open, order: tuple):
    stage = await open_stage(claimants=[claimant() for claimant in order], relayed=())
    await answered(stage, together("alice", "alice"), LOGGED_IN)
    await answered(stage, by_code("carol"), LOGGED_IN.replace(b"=new", b"=carols"))
    await stage.logout(None, "sub-alice")  # known by one of them only
    assert await is_refused(stage, "new")
    await stage.logout("carol")
    assert await is_refused(stage, "carols")


@pytest.mark.parametrize("order", [(form_post, keycloak), (keycloak, form_post)])
async def test_a_code_and_a_token_of_two_logins_are_none(open_stage: Open, order: tuple):
    stage = await open_stage(claimants=[claimant() for claimant in order], relayed=())
    client = await stage.client(together("mallory", "alice"))
    assert (await client.answer()).value("x-logout-sidecar") == b"bad_token"
    assert stage.is_app_untouched()


@pytest.mark.parametrize("parameter", ["id_token=token-of-alice", "access_token=at", "ID_TOKEN[]=x"])
@pytest.mark.parametrize("claimants", [(), (keycloak,)])
async def test_a_token_that_nobody_verifies_reaches_no_app(open_stage: Open, parameter: str, claimants: tuple):
    """The app may take it for a login, whatever else it was told to expect."""
    stage = await open_stage(claimants=[claimant() for claimant in claimants], relayed=(CALLBACK,))
    body = f"code={code('mallory')}&{parameter}".encode()
    in_body = ask(f"POST {CALLBACK} HTTP/1.1", FORM, f"Content-Length: {len(body)}", body=body)
    for request in (in_body, ask(f"GET {CALLBACK}?{parameter} HTTP/1.1")):
        client = await stage.client(request)
        assert (await client.answer()).value("x-logout-sidecar") == b"callback_unknown_token"
    assert stage.is_app_untouched()


async def test_a_login_that_passes_a_crafted_callback_on_the_way_is_not_overwritten(open_stage: Open):
    """Both in flight with one cookie that the app keeps. The crafted one is answered last."""
    stage = await open_stage(claimants=[keycloak(keeps_cookie=True)], relayed=())
    client, app = await stage.asks(by_code("other", "Cookie: JSESSIONID=kept"))
    digest = stage.digester.credential(b"kept")
    mine = stage.digester.bound(Session(ISSUER, CLIENT, "mine", "mallory", int((clock.wall() - 1) * 1000)))
    await stage.store.put_binding(digest, mine, 60)  # by another process, which has answered the login
    await app.send(NO_COOKIE)
    await client.answer()
    assert {each.own for each in stage.directory.cached(digest).all} == {
        mine.own,
        stage.digester.sid(ISSUER, CLIENT, "other"),
    }


@each_way
async def test_a_session_that_the_app_puts_into_the_address_is_bound_too(open_stage: Open, way: tuple):
    """A user may send no cookies: some stacks then write the session into URLs."""
    claimant, request = way
    stage = await open_stage(claimants=[claimant()], relayed=(), path_parameters=["jsessionid"])
    moved = message("HTTP/1.1 302 Found", "Location: https://app.example/home;jsessionid=new", "Content-Length: 0")
    await answered(stage, request("alice"), moved)
    await stage.logout("alice")
    assert await is_refused(stage, "new")


@each_way
async def test_an_address_that_the_user_has_chosen_leads_nowhere(open_stage: Open, way: tuple):
    """`?next=/;jsessionid=x`: the cookie that the app keeps is bound all the same."""
    claimant, request = way
    stage = await open_stage(claimants=[claimant()], relayed=(), path_parameters=["jsessionid"])
    moved = message("HTTP/1.1 302 Found", "Location: /;jsessionid=chosen", "Content-Length: 0")
    await answered(stage, request("alice", "Cookie: JSESSIONID=kept"), moved)
    await stage.logout("alice")
    assert await is_refused(stage, "kept")


async def test_a_failed_login_gets_no_address_with_a_session_out(open_stage: Open):
    claimant = keycloak(location=compile_pattern("/home"))
    stage = await open_stage(claimants=[claimant], relayed=(), path_parameters=["jsessionid"])
    moved = message("HTTP/1.1 302 Found", "Location: /else;jsessionid=new", "Content-Length: 0")
    answer = await answered(stage, by_code("alice"), moved)
    assert (answer.status, answer.value("x-logout-sidecar")) == (503, b"login_not_recorded")
    assert b"new" not in answer.head


async def test_a_login_that_a_crafted_callback_has_overtaken_is_not_left_out(open_stage: Open):
    """The relay has seen the real one; the crafted one, of a later time, was answered first."""
    stage = await open_stage(claimants=[keycloak(keeps_cookie=True)], relayed=(CALLBACK,))
    kept = "Cookie: JSESSIONID=kept"
    real = Session(ISSUER, CLIENT, "mine", "mallory", int((clock.wall() - 30) * 1000))
    client, app = await redeemed(stage, by_code("mine", kept), real)
    await answered(stage, by_code("other", kept), NO_COOKIE)
    await app.send(NO_COOKIE)
    await client.answer()
    app.close()
    assert not await is_refused(stage, "kept")
    await stage.logout("mine")
    assert await is_refused(stage, "kept")
