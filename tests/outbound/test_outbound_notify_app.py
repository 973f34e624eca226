"""The app hears of sessions that are over: a real app with sessions and CSRF tokens, once for all pods."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from sidecar.bindings.remembered import Remembered
from sidecar.bindings.sealer import Sealer
from sidecar.core.csrf import Csrf
from sidecar.core.identity import BoundSession, Kind
from sidecar.core.revocation import Revocation
from sidecar.outbound import notify_app as module
from sidecar.outbound.app_call import AppCall, LogoutCall, Told
from sidecar.outbound.notify_app import NotifyApp
from sidecar.stores.interface import Store, StoreError
from sidecar.stores.open import open_store

FAR = 4_000_000_000
SESSION = BoundSession(b"1" * 16, b"s" * 16, 1000, 1000)
OVER = Revocation(Kind.SID, SESSION.own, 5000, FAR)
COOKIES = b"sid=mine"


class App:
    """Keeps sessions, logs out by POST, and may want a CSRF token that belongs to another cookie."""

    def __init__(self) -> None:
        self.sessions = {"mine", "other"}
        self.requests: list[web.Request] = []
        self.forms: list[dict[str, str]] = []
        self.faults: list[int] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.wants_csrf = False
        self.token = secrets.token_urlsafe(8)
        self.url = ""

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/account", self.account)
        app.router.add_route("*", "/logout", self.logout)
        return app

    async def account(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        if request.cookies.get("sid") not in self.sessions:
            return web.Response(status=401)
        page = f'<meta name="token" content="{self.token}"><form><input name="csrf" value="{self.token}"></form>'
        response = web.Response(text=page, content_type="text/html")
        response.set_cookie("csrf-of", self.token)
        return response

    async def logout(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        await self.go_on.wait()
        if self.faults:
            return web.Response(status=self.faults.pop(0))
        shown = form.get("csrf") or request.headers.get("X-Csrf")
        if self.wants_csrf and not (shown == self.token == request.cookies.get("csrf-of")):
            return web.Response(status=403)
        self.sessions.discard(request.cookies.get("sid", ""))
        raise web.HTTPFound("/")


@pytest.fixture
async def app() -> AsyncIterator[App]:
    app = App()
    runner = web.AppRunner(app.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    app.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield app
    app.go_on.set()
    await runner.cleanup()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield http


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = open_store("sqlite://")
    await store.open()
    yield store
    await store.aclose()


def call(http: aiohttp.ClientSession, app: App, how: LogoutCall | None = None, *, timeout_s: float = 5.0) -> AppCall:
    how = how or LogoutCall("POST", "/logout")
    return AppCall(http, how, url=app.url, origin="https://app.example.com", timeout_s=timeout_s)


@pytest.fixture
async def notify(http, app: App, store: Store) -> AsyncIterator[Callable[..., NotifyApp]]:
    made: list[NotifyApp] = []

    def make(of=None, *, attempts: int = 3, on: Store = store) -> NotifyApp:
        remembered = Remembered(on, Sealer(b"k" * 32), ttl_s=3600)
        of = of or call(http, app).log_out
        ours = NotifyApp(of, remembered=remembered, store=on, attempts=attempts, later_s=(0.0, 0.02), pause_s=0.01)
        made.append(ours)
        return ours

    yield make
    for each in made:
        await each.aclose()


async def done(*notifiers: NotifyApp) -> None:
    async with asyncio.timeout(5):
        while any(each._looking or len(each._errands) for each in notifiers):
            await asyncio.sleep(0.005)


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.fields["reason"] for record in caplog.records if record.message == "app_not_notified"]


# -- the call -------------------------------------------------------------------------------------------------------


async def test_the_app_ends_its_session_and_sees_a_browser_of_its_own_site(http, app: App) -> None:
    assert await call(http, app).log_out(b"sid=mine; remember=r") == Told("ok")
    assert app.sessions == {"other"}
    (request,) = app.requests
    assert (request.method, request.host) == ("POST", "app.example.com")
    assert request.headers["Cookie"] == "sid=mine; remember=r"
    assert request.headers["Origin"] == "https://app.example.com"
    assert request.headers["Referer"] == "https://app.example.com/logout"
    assert request.headers["X-Forwarded-Proto"] == "https"
    assert app.forms == [{}]


async def test_how_it_is_called_and_what_counts_can_be_chosen(http, app: App) -> None:
    how = LogoutCall("GET", "/logout?next=%2Fx&all", frozenset((302,)))
    assert (await call(http, app, how).log_out(COOKIES)).is_done
    assert (app.requests[0].method, app.requests[0].raw_path) == ("GET", "/logout?next=%2Fx&all")
    assert await call(http, app, LogoutCall("POST", "/logout", frozenset((200,)))).log_out(COOKIES) == Told("http_302")


@pytest.mark.parametrize(("status", "may_pass"), [(500, True), (503, True), (429, True), (400, False), (403, False)])
async def test_what_the_app_refuses_may_pass_or_not(http, app: App, status: int, may_pass: bool) -> None:
    app.faults = [status]
    assert await call(http, app).log_out(COOKIES) == Told(f"http_{status}", may_pass=may_pass)


async def test_an_app_that_is_silent_or_away_may_come_back(http, app: App) -> None:
    app.go_on.clear()
    assert await call(http, app, timeout_s=0.1).log_out(COOKIES) == Told("timeout", may_pass=True)
    app.url = "http://127.0.0.1:1"
    assert await call(http, app).log_out(COOKIES) == Told("unreachable", may_pass=True)


async def test_cookies_that_could_be_written_in_two_ways_are_not_sent(http, app: App) -> None:
    assert await call(http, app).log_out(b"sid=\xe9") == Told("cookies_unusable")
    assert app.requests == []


@pytest.mark.parametrize(
    "csrf",
    [
        Csrf("/account", "input", "csrf", field="csrf"),
        Csrf("/account", "meta", "token", field="csrf"),
        Csrf("/account", "meta", "token", header="X-Csrf"),
        Csrf("/account", "cookie", "csrf-of", header="X-Csrf"),
    ],
)
async def test_a_csrf_token_comes_from_a_page_of_the_app(http, app: App, csrf: Csrf) -> None:
    app.wants_csrf = True
    assert await call(http, app).log_out(COOKIES) == Told("http_403")
    assert await call(http, app, LogoutCall("POST", "/logout", csrf=csrf)).log_out(COOKIES) == Told("ok")
    assert app.sessions == {"other"}


async def test_a_page_without_a_token_is_told(http, app: App) -> None:
    how = LogoutCall("POST", "/logout", csrf=Csrf("/account", "input", "nothing", field="csrf"))
    assert await call(http, app, how).log_out(COOKIES) == Told("csrf_missing")
    assert await call(http, app, how).log_out(b"sid=gone") == Told("csrf_http_401")
    assert app.forms == []


async def test_an_app_on_a_unix_socket_is_called_as_well(app: App, tmp_path: Path) -> None:
    path = str(tmp_path / "app.sock")
    runner = web.AppRunner(app.application(), access_log=None)
    await runner.setup()
    await web.UnixSite(runner, path).start()
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as http:
        ours = AppCall(http, LogoutCall("POST", "/logout"), url="http://localhost", origin=None, timeout_s=5)
        assert await ours.log_out(COOKIES) == Told("ok")
    await runner.cleanup()


# -- for revocations ------------------------------------------------------------------------------------------------


async def test_a_revocation_ends_the_session_in_the_app_and_only_that_one(notify, app: App) -> None:
    ours = notify()
    await ours.remember(SESSION, COOKIES, b"")
    await ours.remember(BoundSession(b"2" * 16, b"s" * 16, 1000, 1000), b"sid=other", b"")
    ours.revoked(OVER, True)
    await done(ours)
    assert app.sessions == {"other"}
    ours.revoked(Revocation(Kind.SUB, b"s" * 16, 5000, FAR), True)
    await done(ours)
    assert app.sessions == set()


async def test_of_many_pods_that_hear_of_it_one_calls(notify, app: App) -> None:
    pods = [notify() for _ in range(5)]
    await pods[0].remember(SESSION, COOKIES, b"")
    for number, pod in enumerate(pods):
        pod.revoked(OVER, number == 0)
        pod.revoked(OVER, False)
    await done(*pods)
    assert len(app.requests) == 1


async def test_a_pod_that_only_heard_of_it_calls_when_nobody_else_does(notify, app: App) -> None:
    ours = notify()
    await ours.remember(SESSION, COOKIES, b"")
    ours.revoked(OVER, False)
    await done(ours)
    assert app.sessions == {"other"}


async def test_the_next_login_with_the_same_cookie_is_another_session(notify, app: App) -> None:
    ours = notify()
    for login_time in (1000, 2000):
        await ours.remember(BoundSession(SESSION.own, SESSION.sub, login_time, login_time), COOKIES, b"")
        ours.revoked(Revocation(Kind.SID, SESSION.own, login_time, FAR), True)
        await done(ours)
    assert len(app.requests) == 2


@pytest.mark.parametrize(
    "revocation",
    [
        Revocation(Kind.CREDENTIAL, SESSION.own, 5000, FAR),
        Revocation(Kind.SID, b"9" * 16, 5000, FAR),
        Revocation(Kind.SID, SESSION.own, 999, FAR),
    ],
)
async def test_what_does_not_end_the_session_calls_nobody(notify, app: App, revocation: Revocation) -> None:
    ours = notify()
    await ours.remember(SESSION, COOKIES, b"")
    ours.revoked(revocation, True)
    await done(ours)
    assert app.requests == []


async def test_an_app_that_fails_is_tried_again_within_bounds(notify, app: App, caplog) -> None:
    ours = notify(attempts=3)
    app.faults = [500, 500]
    await ours.remember(SESSION, COOKIES, b"")
    ours.revoked(OVER, True)
    await done(ours)
    assert app.sessions == {"other"}
    app.faults = [500] * 9
    await ours.remember(SESSION, b"sid=other", b"")
    ours.revoked(OVER, True)
    await done(ours)
    assert len(app.requests) == 6
    assert reasons(caplog) == ["http_500"]


async def test_an_app_that_hangs_is_not_called_by_more_than_a_few_and_nobody_waits(
    notify, app: App, monkeypatch
) -> None:
    ours = notify()
    app.go_on.clear()
    sessions = [BoundSession(bytes((number,)) * 16, None, 1000, 1000) for number in range(20)]
    for number, session in enumerate(sessions):
        await ours.remember(session, b"sid=%d" % number, b"")
        ours.revoked(Revocation(Kind.SID, session.own, 5000, FAR), True)
    async with asyncio.timeout(5):
        while len(app.requests) < module.AT_ONCE or ours._looking:
            await asyncio.sleep(0.005)
    assert len(app.requests) == module.AT_ONCE
    app.go_on.set()
    await done(ours)
    assert len(app.requests) == 20


async def test_a_flood_of_revocations_is_bounded(notify, monkeypatch, caplog) -> None:
    monkeypatch.setattr(module, "WAITING", 10)
    ours = notify()
    for number in range(15):
        ours.revoked(Revocation(Kind.SID, bytes((number,)) * 16, 5000, FAR), True)
    assert reasons(caplog) == ["too_many"] * 5
    await done(ours)


async def test_a_store_that_fails_is_told_and_a_login_does_not_fail(notify, store: Store, caplog) -> None:
    ours = notify()
    await store.aclose()
    await ours.remember(SESSION, COOKIES, b"")
    ours.revoked(OVER, True)
    await done(ours)
    assert [record.message for record in caplog.records] == ["cookies_not_kept", "app_not_notified"]
    assert reasons(caplog) == ["store_closed"]


async def test_a_defect_is_told_and_ends_nothing(notify, app: App, caplog) -> None:
    async def broken(_cookies: bytes) -> Told:
        raise RuntimeError("a defect")

    ours = notify(broken)
    await ours.remember(SESSION, COOKIES, b"")
    ours.revoked(OVER, True)
    await done(ours)
    assert [record.levelno for record in caplog.records if record.message == "app_notification_fault"] == [
        logging.ERROR
    ]


async def test_after_the_end_nothing_begins(notify, app: App, caplog) -> None:
    ours = notify()
    app.go_on.clear()
    await ours.remember(SESSION, COOKIES, b"")
    ours.revoked(OVER, True)
    async with asyncio.timeout(5):
        while not app.requests:
            await asyncio.sleep(0.005)
    await ours.aclose()
    assert reasons(caplog) == ["stopped"]
    ours.revoked(OVER, True)
    assert not ours._looking


async def test_nothing_secret_is_in_the_log(notify, app: App, caplog) -> None:
    caplog.set_level("DEBUG")
    ours = notify()
    app.faults = [500, 403]
    await ours.remember(SESSION, b"sid=secret-cookie", b"")
    ours.revoked(OVER, True)
    await done(ours)
    assert "app_not_notified" in [record.message for record in caplog.records]
    assert "secret-cookie" not in str([record.__dict__ for record in caplog.records])


async def test_errors_of_the_store_between_claim_and_call_are_bounded(
    notify, store: Store, monkeypatch, caplog
) -> None:
    async def fails(_name: bytes, _ttl: int) -> bool:
        raise StoreError("store_unavailable")

    ours = notify()
    await ours.remember(SESSION, COOKIES, b"")
    monkeypatch.setattr(store, "claim", fails)
    ours.revoked(OVER, True)
    await done(ours)
    assert reasons(caplog) == ["store_unavailable"]
