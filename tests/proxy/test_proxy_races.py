"""Logins, rotations and logouts that meet: each order is forced, and each ends with the logged-out session denied.

Other orders of the same races are in test_proxy_login.py (a logout before the binding, during the code exchange),
test_proxy_revocation.py (between request and answer) and test_proxy_waiting.py (while waiting for a connection).
"""

import time

import pytest
from bench_plane import CALLBACK, CLIENT, ISSUER, MAX_AGE_S, Stage, revoked_cookie, session
from wire import ask, message, ok, until

from sidecar import clock
from sidecar.core.identity import Session
from sidecar.core.revocation import expiry, of_logout

CALL = f"GET {CALLBACK}?state=x&code=C HTTP/1.1"
LOGGED_IN = message("HTTP/1.1 302 Found", "Location: /", "Set-Cookie: JSESSIONID=new; Path=/", "Content-Length: 0")


async def refused(stage: Stage, value: str) -> bool:
    """Whether a request with this cookie is refused without the app."""
    client = await stage.client(revoked_cookie(value=value))
    await until(lambda: not client.is_silent() or not stage.is_app_untouched())
    return not client.is_silent() and (await client.answer()).status == 401


async def end(stage: Stage, *, sid: str | None = None, sub: str | None = None, cutoff: int) -> None:
    """The provider ends sessions that began at `cutoff` (in ms) or before."""
    expires = expiry(time.time(), MAX_AGE_S)
    await stage.publisher.publish(of_logout(stage.digester, ISSUER, CLIENT, sid, sub, cutoff=cutoff, expires=expires))


@pytest.mark.parametrize("logout", [("s-1", None), (None, "alice")])
async def test_a_logout_while_the_binding_is_being_written_withholds_the_cookie(
    stage: Stage, logout: tuple[str | None, str | None]
):
    client, app = await stage.asks(ask(CALL))
    assert stage.logins.complete("C", session())
    stage.bindings.go_on.clear()
    await app.send(LOGGED_IN)
    await until(lambda: stage.bindings.waiting)
    await stage.logout(*logout)
    stage.bindings.go_on.set()
    answer = await client.answer()
    assert answer.status == 401
    assert b"new" not in answer.head
    assert await refused(stage, "new")


async def test_a_logout_before_the_code_is_exchanged_ends_the_login(stage: Stage):
    client, app = await stage.asks(ask(CALL))
    await stage.logout("s-1")
    assert stage.logins.complete("C", session())
    await app.send(LOGGED_IN)
    assert (await client.answer()).status == 401
    assert await refused(stage, "new")


@pytest.mark.parametrize(("difference", "is_over"), [(-1000, True), (0, True), (1000, False)])
async def test_a_logout_of_the_subject_ends_the_login_of_the_same_second_and_not_the_next(
    stage: Stage, difference: int, is_over: bool
):
    """`iat` has whole seconds: a login in the second of the logout may be the one that was meant."""
    cutoff = int(time.time()) * 1000
    await end(stage, sub="alice", cutoff=cutoff)
    await stage.bind("cookie", Session(ISSUER, CLIENT, "s-2", "alice", cutoff + difference))

    assert await refused(stage, "cookie") is is_over


async def test_a_logout_while_the_rotated_cookie_is_being_bound_withholds_it(stage: Stage):
    await stage.bind("old")
    client, app = await stage.asks(revoked_cookie(value="old"))
    stage.bindings.go_on.clear()
    await app.send(ok(b"", "Set-Cookie: JSESSIONID=rotated"))
    await until(lambda: stage.bindings.waiting)
    await stage.logout("s-1")
    stage.bindings.go_on.set()
    answer = await client.answer()
    assert answer.status == 401
    assert b"rotated" not in answer.head
    assert await refused(stage, "rotated")
    assert await refused(stage, "old")


async def test_a_logout_right_after_the_rotation_ends_both_cookies(stage: Stage):
    await stage.bind("old")
    client, app = await stage.asks(revoked_cookie(value="old"))
    await app.send(ok(b"", "Set-Cookie: JSESSIONID=rotated"))
    assert (await client.answer()).status == 200
    await stage.logout("s-1")
    assert await refused(stage, "rotated")
    assert await refused(stage, "old")


async def test_an_old_cookie_stays_dead_after_a_new_login_under_the_same_sid(stage: Stage):
    """A new login revives nothing."""
    now = int(time.time()) * 1000
    await stage.bind("old", Session(ISSUER, CLIENT, "s-1", "alice", now - 60_000))
    await end(stage, sid="s-1", cutoff=now - 30_000)
    await stage.bind("new", Session(ISSUER, CLIENT, "s-1", "alice", now))
    assert await refused(stage, "old")
    assert not await refused(stage, "new")


@pytest.mark.interpreted
@pytest.mark.parametrize("step", [3600, -3600])
async def test_a_step_of_the_wall_clock_revives_nobody_and_ends_nobody(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, step: int
):
    await stage.bind("dead")
    await stage.bind("live", session("s-2", sub="bob"))
    await stage.logout("s-1")
    wall = clock.wall
    monkeypatch.setattr(clock, "wall", lambda: wall() + step)
    for _ in range(256):
        stage.replica.sweep(clock.early())
    assert await refused(stage, "dead")
    assert not await refused(stage, "live")
