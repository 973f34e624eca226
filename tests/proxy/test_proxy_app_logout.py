"""The app's own logout as it passes: what the user has ended there is over here too, and the answer always arrives."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from bench_plane import CLIENT, ISSUER, LOGOUT, Stage, revoked_cookie, session
from joserfc import jwt
from joserfc.jwk import ECKey
from wire import Answer, ask, message, ok, until

from sidecar import clock
from sidecar.bindings.token import TokenBinder
from sidecar.core.app_logout import Ended
from sidecar.core.identity import Digester, shared
from sidecar.gate.identify import TokenCarrier
from sidecar.oidc.jwks import import_keys
from sidecar.oidc.provider import ProviderKeys
from sidecar.oidc.source import Loaded
from sidecar.oidc.verifier import Verifier
from sidecar.stores.interface import StoreError

NAVIGATES = ("Sec-Fetch-Mode: navigate", "Content-Length: 0")
GOODBYE = message(
    "HTTP/1.1 302 Found",
    "Location: /",
    "Set-Cookie: JSESSIONID=; Max-Age=0",
    "Set-Cookie: theme=dark",
    "Content-Length: 0",
)
ELSEWHERE = "https://idp.example/end?state=s"


async def leave(stage: Stage, answer: bytes = GOODBYE, *, value: str = "mine", first: str = "") -> Answer:
    """The user of a cookie logs out in the app, which answers so."""
    client, app = await stage.asks(revoked_cookie(first or f"POST {LOGOUT} HTTP/1.1", *NAVIGATES, value=value))
    await app.send(answer)
    return await client.answer()


async def sent_elsewhere(_ended: Ended) -> str | None:
    return ELSEWHERE


async def status(stage: Stage, value: str = "mine") -> int:
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


async def test_the_session_that_the_app_ended_is_refused_from_then_on_and_the_answer_is_the_apps(stage: Stage):
    await stage.bind("mine")
    client, app = await stage.asks(revoked_cookie(f"POST {LOGOUT} HTTP/1.1", *NAVIGATES, value="mine"))
    await app.send(GOODBYE)
    await client.expect(GOODBYE)
    assert await status(stage) == 401


async def test_a_cookie_that_the_app_leaves_in_the_browser_is_taken_out_for_the_next_page_s_sake(
    stage: Stage,
):
    await stage.bind("mine")
    answer = await leave(stage, message("HTTP/1.1 302 Found", "Location: /", "Content-Length: 0"))
    expired = answer.values("set-cookie")
    assert answer.status == 302
    assert expired
    assert all(value.startswith(b"JSESSIONID=;") and b"Max-Age=0" in value for value in expired)


async def test_a_cookie_that_the_app_leaves_beside_an_answer_that_ends_nothing_stays(stage: Stage):
    await stage.bind("mine")
    plain = message("HTTP/1.1 200 OK", "Content-Length: 0")
    client, app = await stage.asks(revoked_cookie(f"POST {LOGOUT} HTTP/1.1", *NAVIGATES, value="mine"))
    await app.send(plain)
    await client.expect(plain)


async def test_it_is_in_the_log_before_the_answer_goes_out(stage: Stage):
    await stage.bind("mine")
    await leave(stage)
    logged = [each async for page in stage.store.snapshot() for each in page]
    assert [each.digest for each in logged] == [stage.digester.credential(b"mine")]


async def test_another_browser_of_the_same_user_lives_on_even_with_the_same_sid(stage: Stage):
    await stage.bind("mine", session("s-1"))
    await stage.bind("twin", session("s-1"))
    await stage.bind("phone", session("s-2"))
    await leave(stage)
    assert await status(stage) == 401
    assert await status(stage, "twin") == 200
    assert await status(stage, "phone") == 200


async def test_a_later_login_with_the_same_cookie_lives(stage: Stage):
    await stage.bind("mine", session(age=60))
    await leave(stage)
    await stage.bind("mine", session("s-2", age=10))
    assert await status(stage) == 200


async def test_losing_the_binding_does_not_bring_it_back(stage: Stage):
    await stage.bind("mine")
    await leave(stage)
    stage.lose("mine")
    assert await status(stage) == 401


@pytest.mark.parametrize(
    "answer",
    [
        ok(b"are you sure?"),
        ok(b"are you sure?", "Set-Cookie: theme=; Max-Age=0"),
        message("HTTP/1.1 403 Forbidden", "Set-Cookie: JSESSIONID=; Max-Age=0", "Content-Length: 0"),
        message("HTTP/1.1 500 Oh", "Content-Length: 0"),
    ],
)
async def test_an_answer_that_does_not_say_so_ends_nothing(stage: Stage, answer: bytes):
    stage.after = sent_elsewhere
    await stage.bind("mine")
    client, app = await stage.asks(revoked_cookie(f"GET {LOGOUT} HTTP/1.1", "Sec-Fetch-Mode: navigate", value="mine"))
    await app.send(answer)
    await client.expect(answer)
    assert await status(stage) == 200
    assert not stage.ended


async def test_a_page_that_deletes_the_cookie_says_so(stage: Stage):
    await stage.bind("mine")
    await leave(stage, ok(b"bye", "Set-Cookie: JSESSIONID=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT"))
    assert await status(stage) == 401


async def test_a_path_that_only_looks_like_the_logout_is_none(stage: Stage):
    await stage.bind("mine")
    await leave(stage, first="POST /logout/x HTTP/1.1")
    assert await status(stage) == 200


async def test_somebody_whom_nobody_knows_ends_nothing(stage: Stage):
    stage.after = sent_elsewhere
    assert (await leave(stage, value="unknown")).value("location") == b"/"
    assert not stage.ended
    assert await status(stage, "unknown") == 200


async def test_of_two_sessions_at_once_both_are_over_and_nobody_is_shown_the_others_hints(stage: Stage):
    stage.after = sent_elsewhere
    await stage.bind("mine")
    await stage.bind("other", session("s-9", sub="bob"))
    cookies = "Cookie: JSESSIONID=mine; JSESSIONID=other"
    client, app = await stage.asks(ask(f"POST {LOGOUT} HTTP/1.1", cookies, *NAVIGATES))
    await app.send(GOODBYE)
    await client.expect(GOODBYE)
    assert not stage.ended
    assert await status(stage) == 401
    assert await status(stage, "other") == 401


async def test_of_a_cookie_that_may_belong_to_several_sessions_nobody_is_shown_the_hints_either(stage: Stage):
    stage.after = sent_elsewhere
    either = [stage.digester.bound(session(sid, sub=sub)) for sid, sub in (("s-1", "alice"), ("s-9", "bob"))]
    digest = stage.digester.credential(b"mine")
    await stage.directory.bind(digest, shared(either[0], either[1:]), binder="form_post")
    assert (await leave(stage)).status == 302
    assert not stage.ended
    assert await status(stage) == 401


# -- what follows ---------------------------------------------------------------------------------------------------


async def test_what_follows_hears_of_the_session_and_of_the_apps_own_way_on(stage: Stage):
    bound = stage.digester.bound(await stage.bind("mine"))
    await leave(stage, first=f"POST {LOGOUT}?next=/x HTTP/1.1")
    (ended,) = stage.ended
    assert (ended.session, ended.proof) == (bound, None)
    assert (ended.target, ended.location, ended.is_navigation) == (b"/logout?next=/x", b"/", True)


async def test_a_browser_is_sent_elsewhere_with_the_apps_cookies_and_without_a_session(stage: Stage):
    stage.after = sent_elsewhere
    await stage.bind("mine")
    answer = await leave(
        stage,
        message(
            "HTTP/1.1 200 OK",
            "Location: /",
            "Set-Cookie: theme=dark",
            "Set-Cookie: JSESSIONID=; Path=/shop; Max-Age=0",
            'Clear-Site-Data: "cache"',
            "X-App: yes",
            "Content-Length: 3",
            body=b"bye",
        ),
    )
    assert (answer.status, answer.body) == (303, b"")
    assert answer.values("location") == [ELSEWHERE.encode()]
    assert answer.values("set-cookie") == [b"theme=dark", b"JSESSIONID=; Path=/shop; Max-Age=0"]
    assert answer.value("clear-site-data") == b'"cache"'
    assert answer.value("cache-control") == b"no-store"
    assert answer.value("referrer-policy") == b"no-referrer"
    assert not answer.values("x-app")
    assert await status(stage) == 401


async def test_cookies_that_the_app_writes_without_a_blank_stay_as_they_are(stage: Stage):
    stage.after = sent_elsewhere
    await stage.bind("mine")
    gone = ("Set-Cookie:theme=dark", "SET-COOKIE:\tJSESSIONID=; Path=/; Max-Age=0")
    answer = await leave(stage, message("HTTP/1.1 302 Found", "Location:/", *gone, "Content-Length: 0"))
    assert answer.status == 303
    assert answer.values("set-cookie") == [b"theme=dark", b"JSESSIONID=; Path=/; Max-Age=0"]
    assert stage.ended[0].location == b"/"


async def test_a_new_session_cookie_beside_the_logout_is_taken_out_of_a_browser_that_goes_elsewhere(stage: Stage):
    stage.after = sent_elsewhere
    await stage.bind("mine")
    answer = await leave(
        stage, message("HTTP/1.1 302 Found", "Location: /", "Set-Cookie: JSESSIONID=fresh; Path=/", "Content-Length: 0")
    )
    (cookie,) = answer.values("set-cookie")
    assert cookie.startswith(b"JSESSIONID=; Path=/;")
    assert b"Max-Age=0" in cookie


async def test_a_cookie_that_the_app_sets_beside_its_logout_stays_within_reach_of_the_provider(stage: Stage):
    """An app that answers so without ending anything would else hand out a cookie that no logout reaches."""
    await stage.bind("mine")
    await leave(
        stage, message("HTTP/1.1 302 Found", "Location: /", "Set-Cookie: JSESSIONID=fresh", "Content-Length: 0")
    )
    assert await status(stage) == 401
    assert await status(stage, "fresh") == 200
    await stage.logout("s-1")
    assert await status(stage, "fresh") == 401


async def test_where_nothing_is_enforced_yet_a_logout_of_the_app_is_the_apps_alone(open_stage: Callable[..., Any]):
    stage: Stage = await open_stage(observes=True)
    stage.after = sent_elsewhere
    await stage.bind("mine")
    client, app = await stage.asks(revoked_cookie(f"POST {LOGOUT} HTTP/1.1", *NAVIGATES, value="mine"))
    await app.send(GOODBYE)
    await client.expect(GOODBYE)
    assert not stage.ended
    assert await status(stage) == 200


async def test_the_answer_arrives_when_what_follows_fails(stage: Stage, caplog: pytest.LogCaptureFixture):
    async def broken(_ended: Ended) -> str | None:
        raise RuntimeError("a defect")

    stage.after = broken
    await stage.bind("mine")
    client, app = await stage.asks(revoked_cookie(f"POST {LOGOUT} HTTP/1.1", *NAVIGATES, value="mine"))
    await app.send(GOODBYE)
    await client.expect(GOODBYE)
    assert "app_logout_fault" in [record.message for record in caplog.records]


async def test_the_answer_arrives_when_the_store_fails_and_the_session_is_refused_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    async def fails(_revocations: Any) -> None:
        raise StoreError("store_unavailable")

    await stage.bind("mine")
    monkeypatch.setattr(stage.store, "append", fails)
    client, app = await stage.asks(revoked_cookie(f"POST {LOGOUT} HTTP/1.1", *NAVIGATES, value="mine"))
    await app.send(GOODBYE)
    await client.expect(GOODBYE)
    assert await status(stage) == 401


@pytest.mark.parametrize("framing", ["Content-Length: 4", "Transfer-Encoding: chunked"])
async def test_the_providers_own_message_may_come_while_the_browser_waits_and_cuts_nothing(stage: Stage, framing: str):
    """A form whose body is still on its way when everything is over; then an answer that flows."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(_ended: Ended) -> str | None:
        begun.set()
        await go_on.wait()
        return None

    stage.after = slow
    await stage.bind("mine")
    post = (f"POST {LOGOUT} HTTP/1.1", "Host: example.com", "Cookie: JSESSIONID=mine", framing)
    client = await stage.client(message(*post))
    app = await stage.app()
    await app.until(b"\r\n\r\n")
    await app.send(message("HTTP/1.1 302 Found", "Location: /", "Set-Cookie: theme=dark", "Content-Length: 4"))
    await begun.wait()
    await stage.logout("s-1")
    assert client.is_silent()
    go_on.set()
    answer = await client.answer(to_head=True)
    theme, *expired = answer.values("set-cookie")
    assert (answer.status, theme) == (302, b"theme=dark")
    assert all(value.startswith(b"JSESSIONID=; ") for value in expired)
    await stage.logout("s-1")
    await app.send(b"done")
    assert await client.read(4) == b"done"


async def test_it_may_also_come_before_the_app_has_answered(stage: Stage):
    await stage.bind("mine")
    head = message(f"POST {LOGOUT} HTTP/1.1", "Host: example.com", "Cookie: JSESSIONID=mine", "Content-Length: 4")
    client = await stage.client(head)
    app = await stage.app()
    await app.until(b"\r\n\r\n")
    await stage.logout("s-1")  # the rest of the form is still on its way: the exchange is one that a logout would cut
    await client.send(b"form")
    assert await app.read(4) == b"form"
    await app.send(GOODBYE)
    answer = await client.answer()
    assert (answer.status, answer.values("set-cookie")) == (302, [b"JSESSIONID=; Max-Age=0", b"theme=dark"])
    assert not stage.ended


async def test_other_streams_of_that_browser_are_cut(stage: Stage):
    await stage.bind("mine")
    client, app = await stage.asks(revoked_cookie("GET /events HTTP/1.1", value="mine"))
    await app.send(message("HTTP/1.1 200 OK", "Content-Type: text/event-stream"), b"data: 1\n\n")
    await client.until(b"data: 1\n\n")
    assert (await leave(stage)).status == 302
    await client.reset()


async def test_a_tunnel_on_the_logout_path_is_cut_like_any_other(stage: Stage):
    await stage.bind("mine")
    upgrade = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: " + "A" * 22 + "==",
    )
    client, app = await stage.asks(revoked_cookie(f"GET {LOGOUT} HTTP/1.1", *upgrade, value="mine"))
    await app.send(message("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket"))
    await client.until(b"\r\n\r\n")
    await stage.logout("s-1")
    await client.rest()


async def test_a_cookie_that_was_bound_before_the_key_changed_is_over_for_those_who_have_the_old_key_alone(
    open_stage: Callable[..., Any],
):
    old = Digester(b"the secret of before")
    stage = await open_stage()
    stage.digester.others = (old,)
    await stage.store.put_binding(old.credential(b"mine"), old.bound(session()), 3600)
    await leave(stage)
    assert await status(stage) == 401


# -- a browser that carries a token ----------------------------------------------------------------------------------

KEY = ECKey.generate_key("P-256", {"kid": "k1"})


class Keys:
    metadata = None

    async def load(self, _now: float) -> Loaded:
        return Loaded(import_keys({"keys": [KEY.as_dict(private=False)]}), None)


def token(*, age: int = 60, **claims: Any) -> str:
    issued = int(clock.wall()) - age
    base = {"iss": ISSUER, "aud": CLIENT, "sub": "alice", "iat": issued, "auth_time": issued}
    return jwt.encode({"alg": "ES256", "kid": "k1"}, base | claims, KEY, algorithms=["ES256"])


@pytest.fixture
async def carrying(open_stage: Callable[..., Any]) -> Stage:
    """A data plane where the browser carries the ID token itself."""
    keys = ProviderKeys(issuer=ISSUER, source=Keys(), retain_s=3600, now=clock.boot)
    binder = TokenBinder(
        {ISSUER: Verifier(keys=keys, algorithms=["ES256"])}, client_ids={ISSUER: [CLIENT]}, clock=clock.boot
    )
    stage: Stage = await open_stage(tokens=[TokenCarrier(binder, cookie=b"id_token")])
    return stage


async def carried(stage: Stage, value: str, first: str = "GET / HTTP/1.1", answer: bytes = b"") -> int:
    """The status of a request with this token, which the app answers so if it gets to see it."""
    for wire in stage._app.wires:
        wire.close()
    client = await stage.client(ask(first, f"Cookie: id_token={value}", "Sec-Fetch-Mode: navigate"))
    await until(lambda: not client.is_silent() or not stage._app.is_untouched())
    if client.is_silent():
        app = await stage.app()
        await app.head()
        await app.send(answer or ok())
    return (await client.answer()).status


async def test_the_session_of_a_token_is_over_by_its_sid_and_no_other_is(carrying: Stage):
    mine = token(sid="s-1")
    assert await carried(carrying, mine, f"GET {LOGOUT} HTTP/1.1", GOODBYE) == 302
    (ended,) = carrying.ended
    assert ended.proof is not None
    assert (ended.proof[0].sid, ended.proof[1]) == ("s-1", mine)
    assert await carried(carrying, mine) == 401
    assert await carried(carrying, token(sid="s-1", age=0, auth_time=int(clock.wall()) - 90)) == 401  # refreshed
    assert await carried(carrying, token(sid="s-2")) == 200
    assert await carried(carrying, token(sid="s-1", age=0)) == 200  # a later login


async def test_a_token_without_a_sid_ends_nothing_here_because_that_would_end_all_devices(carrying: Stage):
    carrying.after = sent_elsewhere  # the provider knows which session it is
    assert await carried(carrying, token(), f"GET {LOGOUT} HTTP/1.1", GOODBYE) == 303
    (ended,) = carrying.ended
    assert ended.proof is not None
    assert await carried(carrying, token()) == 200
