"""A whole data plane with a profile: every spelling of a session dies with it, and so do its companions."""

import pytest
from bench_plane import CALLBACK, Stage, session
from wire import Answer, Wire, ask, message, ok, until

from sidecar.core.profiles import carriers_of

ID = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
EACH_ITS_OWN = {"keepalive": 0.0}  # connection to the app, for each request
LONG = "CfDJ8" + "kZqx7" * 20


async def answer_to(stage: Stage, *fields: str, target: str = "/") -> Answer:
    client = await stage.client(ask(f"GET {target} HTTP/1.1", *fields))
    return await client.answer()


async def logs_in(stage: Stage, *set_cookies: str, cookie: str = "") -> None:
    """The app's answer to its callback sets these cookies."""
    fields = (f"Cookie: {cookie}",) if cookie else ()
    client, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1", *fields))
    assert stage.logins.complete("C", session())
    cookies = [f"Set-Cookie: {line}" for line in set_cookies]
    await app.send(message("HTTP/1.1 302 Found", "Location: /", *cookies, "Content-Length: 0"))
    assert (await client.answer()).status == 302


async def served(stage: Stage, *fields: str, answer: bytes = b"", target: str = "/") -> Wire:
    client, app = await stage.asks(ask(f"GET {target} HTTP/1.1", *fields))
    await app.send(answer or ok())
    assert (await client.answer()).status == 200
    return app


@pytest.mark.parametrize(
    ("profile", "set_cookie", "cookie", "target"),
    [
        ("tomcat", f"JSESSIONID={ID}.a", f"JSESSIONID={ID}.b", "/"),
        ("tomcat", f"JSESSIONID={ID}.a", "x=1", f"/p;jsessionid={ID}"),
        ("jetty", f"JSESSIONID={ID}.node0", f"JSESSIONID={ID}", "/"),
        ("jetty", f"JSESSIONID={ID}.node0", f"JSESSIONID={ID.upper()}.NODE0", "/"),
        ("php", f"PHPSESSID={ID}", "x=1", f"/?PHPSESSID={ID}"),
        ("django", f"sessionid={ID}", f"sessionid={ID.upper()}", "/"),
        ("django", f"__Host-sessionid={ID}", f"__Host-sessionid={ID}", "/"),
        ("aspnet", f"ASP.NET_SessionId={ID}", "x=1", f"/(S({ID}))/page.aspx"),
        ("express", f"connect.sid=s%3A{ID}.sig", f"connect.sid=s:{ID}.sig", "/"),
        ("flask", "session=eyJhIjoxfQ.aSoAAA.c2lnbmF0dXJlMQ", "session=eyJhIjoxfQ.aSoAAA.c2lnbmF0dXJlMR", "/"),
        (
            "aspnetcore",
            f".AspNetCore.Cookies={LONG}",
            ".AspNetCore.Cookies=chunks-1; .AspNetCore.CookiesC1=" + LONG,
            "/",
        ),
    ],
)
async def test_a_session_dies_in_every_spelling(
    open_stage, profile: str, set_cookie: str, cookie: str, target: str
) -> None:
    stage = await open_stage(carriers=carriers_of([profile], []), pool=EACH_ITS_OWN)
    await logs_in(stage, f"{set_cookie}; Path=/")
    await served(stage, f"Cookie: {set_cookie}")
    await stage.logout()
    answer = await answer_to(stage, f"Cookie: {cookie}", target=target)
    assert answer.status == 401
    assert stage.is_app_untouched()


async def test_a_companion_dies_with_its_session_and_leaves_the_browser(open_stage) -> None:
    stage = await open_stage(carriers=carriers_of(["laravel"], []), pool=EACH_ITS_OWN)
    await logs_in(stage, "laravel_session=one; Path=/", "remember_web_59ba=kept; Path=/; HttpOnly")
    await stage.logout()
    answer = await answer_to(stage, "Cookie: remember_web_59ba=kept")
    assert answer.status == 401
    expired = [line.split(b"=")[0] for line in answer.values("set-cookie")]
    assert set(expired) == {b"remember_web_59ba", b"laravel_session", b"laravel-session"}


async def test_a_session_that_a_companion_brings_back_is_the_same_session(open_stage) -> None:
    stage = await open_stage(carriers=carriers_of(["spring"], []), pool=EACH_ITS_OWN)
    await logs_in(stage, "SESSION=one; Path=/", "remember-me=kept; Path=/")
    await served(stage, "Cookie: remember-me=kept", answer=ok(b"", "Set-Cookie: SESSION=two; Path=/"))
    await served(stage, "Cookie: SESSION=two")
    await stage.logout()
    assert (await answer_to(stage, "Cookie: SESSION=two")).status == 401


async def test_a_companion_is_stripped_with_its_session(open_stage) -> None:
    stage = await open_stage(action="strip", carriers=carriers_of(["rails"], []), pool=EACH_ITS_OWN)
    await logs_in(stage, "_session_id=one; Path=/", "remember_user_token=kept; Path=/")
    await stage.logout()
    client = await stage.client(ask("GET / HTTP/1.1", "Cookie: a=1; _session_id=one; remember_user_token=kept"))
    app = await stage.app()
    head = await app.head()
    assert b"Cookie: a=1\r\n" in head
    assert b"kept" not in head
    await app.send(ok())
    assert (await client.answer()).status == 200


async def test_a_chunked_session_dies_however_it_is_cut_and_all_its_pieces_leave_the_browser(open_stage) -> None:
    stage = await open_stage(carriers=carriers_of(["aspnetcore"], []), pool=EACH_ITS_OWN)
    name = ".AspNetCore.Cookies"
    await logs_in(stage, f"{name}=chunks-2; Path=/", f"{name}C1={LONG[:60]}; Path=/", f"{name}C2={LONG[60:]}; Path=/")
    await served(stage, f"Cookie: {name}=chunks-2; {name}C1={LONG[:60]}; {name}C2={LONG[60:]}")
    await stage.logout()
    for line in (
        f"{name}=chunks-2; {name}C1={LONG[:9]}; {name}C2={LONG[9:]}",
        f"{name}=chunks-3; {name}C1={LONG[:9]}; {name}C2={LONG[9:30]}; {name}C3={LONG[30:]}",
        f"{name}={LONG}",
    ):
        answer = await answer_to(stage, f"Cookie: {line}")
        assert answer.status == 401
        expired = {bytes(value).split(b"=")[0] for value in answer.values("set-cookie")}
        assert {pair.split("=")[0].encode() for pair in line.split("; ")} <= expired


async def test_two_users_with_chunks_have_two_sessions(open_stage) -> None:
    """Both browsers send `chunks-2`."""
    stage = await open_stage(carriers=carriers_of(["aspnetcore"], []), pool=EACH_ITS_OWN)
    name = ".AspNetCore.Cookies"
    await logs_in(stage, f"{name}=chunks-2; Path=/", f"{name}C1={LONG[:60]}; Path=/", f"{name}C2={LONG[60:]}; Path=/")
    await stage.logout()
    await served(stage, f"Cookie: {name}=chunks-2; {name}C1={LONG[10:60]}; {name}C2={LONG[60:]}")


class TestSwitchedOn:
    """A profile that is switched on while sessions live (decision 020)."""

    OLD = f"{ID}.node0"

    async def test_a_session_that_was_bound_before_is_known(self, open_stage) -> None:
        stage = await open_stage(carriers=carriers_of(["jetty"], []), pool=EACH_ITS_OWN)
        await stage.bind(self.OLD)
        await served(stage, f"Cookie: JSESSIONID={self.OLD}")
        assert stage.counts.coverage["bound"] == 1
        await stage.logout()
        assert (await answer_to(stage, f"Cookie: JSESSIONID={self.OLD}")).status == 401

    async def test_what_was_revoked_before_stays_revoked_though_its_binding_is_lost(self, open_stage) -> None:
        stage = await open_stage(carriers=carriers_of(["jetty"], []), pool=EACH_ITS_OWN)
        await stage.bind(self.OLD)
        await stage.logout()
        old = stage.digester.credential(self.OLD.encode())
        await until(lambda: stage.replica.cutoff(old) is not None)
        assert (await answer_to(stage, f"Cookie: JSESSIONID={self.OLD}")).status == 401
        stage.evict(old)
        stage.lose(ID)
        assert (await answer_to(stage, f"Cookie: JSESSIONID={self.OLD}")).status == 401

    async def test_a_known_session_is_served_from_memory_under_its_new_form(self, open_stage) -> None:
        stage = await open_stage(carriers=carriers_of(["jetty"], []), pool=EACH_ITS_OWN)
        await stage.bind(self.OLD)
        await served(stage, f"Cookie: JSESSIONID={self.OLD}")
        stage.bindings.fault = AssertionError("the store was asked")
        await served(stage, f"Cookie: JSESSIONID={self.OLD}")

    async def test_a_revocation_of_the_old_form_counts_for_a_session_that_is_served_from_memory(
        self, open_stage
    ) -> None:
        stage = await open_stage(carriers=carriers_of(["jetty"], []), pool=EACH_ITS_OWN)
        await stage.bind(ID)
        await served(stage, f"Cookie: JSESSIONID={self.OLD}")
        old = stage.digester.credential(self.OLD.encode())
        stage.condemner.login_lost([old])
        await until(lambda: stage.replica.cutoff(old) is not None)
        assert (await answer_to(stage, f"Cookie: JSESSIONID={self.OLD}")).status == 401


async def test_each_spelling_of_a_dead_session_is_denied_and_one_credential_is_written_down(open_stage) -> None:
    """Else whoever holds a dead cookie could fill the log with spellings of it."""
    stage = await open_stage(carriers=carriers_of(["flask"], []))
    signature = "c2lnbmF0dXJlMQ"
    credential = stage.digester.credential(f"eyJhIjoxfQ.aSoAAA.{signature}".encode())
    await stage.store.put_binding(credential, stage.digester.bound(session()), 600)  # by another replica
    await stage.logout()
    before = len(stage.replica)
    for place in range(len(signature) + 1):
        spelled = f"{signature[:place]}%{signature[place:]}"
        assert (await answer_to(stage, f"Cookie: session=eyJhIjoxfQ.aSoAAA.{spelled}")).status == 401
    await until(lambda: not stage.condemner._tasks)
    assert len(stage.replica) == before + 1
