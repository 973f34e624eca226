"""A logout that arrives while an exchange is under way: what is pending is withheld, what flows is cut."""

import asyncio
import time

import pytest
from bench_plane import CLIENT, ISSUER, Stage, revoked_cookie, session
from wire import ask, message, ok, until

from sidecar.core.revocation import Logout, meant_by

SSE = message("HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Transfer-Encoding: chunked")


async def test_an_answer_that_comes_after_the_logout_is_withheld(stage: Stage):
    await stage.bind("dead")
    client, app = await stage.asks(revoked_cookie())
    await stage.logout("s-1")
    await app.send(ok(b"secret", "Set-Cookie: JSESSIONID=new"))
    answer = await client.answer()
    assert answer.status == 401
    assert b"secret" not in answer.body
    assert b"new" not in answer.head
    await app.gone()
    await client.send(ask())
    await (await stage.app()).head()


async def test_an_answer_to_another_session_passes(stage: Stage):
    await stage.bind("live", session("s-2"))
    client, app = await stage.asks(revoked_cookie(value="live"))
    await stage.logout("s-1")
    await app.send(ok(b"mine"))
    await client.expect(ok(b"mine"))


@pytest.mark.parametrize(
    "head", [SSE, message("HTTP/1.1 200 OK", "Content-Length: 9999"), message("HTTP/1.1 200 OK", "X-Until: the end")]
)
@pytest.mark.parametrize("logout", [("s-1", None), (None, "alice")])
async def test_an_answer_that_flows_is_cut_within_a_second(
    stage: Stage, head: bytes, logout: tuple[str | None, str | None]
):
    await stage.bind("dead")
    client, app = await stage.asks(revoked_cookie())
    await app.send(head + b"3\r\nabc\r\n")
    await client.until(b"abc\r\n")
    await stage.logout(*logout)
    assert b"0\r\n\r\n" not in await client.reset(within=1)
    await app.gone(within=1)
    await until(stage.is_quiet)


async def test_an_answer_that_waits_for_its_reader_is_cut_as_well(stage: Stage):
    await stage.bind("dead")
    _, app = await stage.asks(revoked_cookie())
    sending = asyncio.create_task(app.send(message("HTTP/1.1 200 OK", "Content-Length: 99999999"), b"x" * 64_000_000))
    await until(stage.is_behind)
    await stage.logout("s-1")
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await sending
    await until(stage.is_quiet)


async def test_an_upload_that_flows_is_cut_within_a_second(stage: Stage):
    await stage.bind("dead")
    client = await stage.client(revoked_cookie("POST / HTTP/1.1", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n"))
    app = await stage.app()
    await app.until(b"abc\r\n")
    await stage.logout("s-1")
    await client.gone(within=1)
    assert await app.gone(within=1) == b""
    await until(stage.is_quiet)


async def test_an_upload_that_ended_before_the_logout_leaves_its_answer_withheld(stage: Stage):
    await stage.bind("dead")
    client, app = await stage.asks(revoked_cookie("POST / HTTP/1.1", "Content-Length: 2", body=b"hi"))
    await app.read(2)
    await stage.logout("s-1")
    assert await client.gone(within=1) == b""
    await app.gone(within=1)


async def test_streams_of_other_sessions_and_of_nobody_flow_on(stage: Stage):
    await stage.bind("dead")
    await stage.bind("live", session("s-2"))
    flowing = []
    for request in (revoked_cookie(value="live"), ask(), revoked_cookie(value="unknown")):
        client, app = await stage.asks(request)
        await app.send(SSE)
        await client.head()
        flowing.append((client, app))
    await stage.logout("s-1")
    for client, app in flowing:
        await app.send(b"1\r\nx\r\n")
        await client.expect(b"1\r\nx\r\n")


async def test_a_later_login_of_the_same_person_flows_on_when_an_earlier_one_is_over(stage: Stage):
    await stage.bind("dead", session("s-1", age=600))
    await stage.bind("live", session("s-1", age=-60))  # the same sid again, after the logout's time
    client, app = await stage.asks(revoked_cookie(value="live"))
    await app.send(SSE)
    await client.head()
    await stage.logout("s-1")
    await app.send(b"1\r\nx\r\n")
    await client.expect(b"1\r\nx\r\n")


async def test_a_long_download_leaves_nothing_behind_when_it_ends_by_itself(stage: Stage):
    await stage.bind("live")
    client, app = await stage.asks(revoked_cookie(value="live"))
    await app.send(SSE, b"1\r\nx\r\n")
    await client.until(b"1\r\nx\r\n")
    assert len(stage.live) == 1
    await app.send(b"0\r\n\r\n")
    await client.expect(b"0\r\n\r\n")
    assert not stage.live


async def test_a_revoked_cookie_stays_dead_when_its_binding_is_lost(stage: Stage):
    """The credential itself is revoked when the session is."""
    await stage.bind("dead")
    await stage.logout("s-1")
    credential = stage.digester.credential(b"dead")
    await until(lambda: stage.replica.cutoff(credential) is not None)
    stage.lose("dead")
    client = await stage.client(revoked_cookie())
    assert (await client.answer()).status == 401
    assert stage.is_app_untouched()


# -- everybody of a client


async def everybody_out(stage: Stage, client: str = CLIENT) -> None:
    now = time.time()
    logout = Logout(ISSUER, (client,), None, None, int(now * 1000), everybody=True)
    await stage.publisher.publish(meant_by(logout, stage.digester, expires=int(now) + 3600))


async def served(stage: Stage, value: str) -> int:
    """The status of the app's answer."""
    client, app = await stage.asks(revoked_cookie(value=value))
    await app.send(ok(b"", "Connection: close"))
    return (await client.answer()).status


async def refused(stage: Stage, value: str) -> int:
    """The status of an answer that the app has nothing to do with."""
    client = await stage.client(revoked_cookie(value=value))
    return (await client.answer()).status


async def test_a_logout_of_everybody_ends_every_session_and_spares_later_logins(stage: Stage):
    stage.digester.names_parties = True
    for value, age in (("one", 600), ("two", 5), ("later", -5)):
        await stage.bind(value, session(f"s-{value}", age=age))
    assert [await served(stage, value) for value in ("one", "two", "later")] == [200] * 3
    await everybody_out(stage)
    assert [await refused(stage, value) for value in ("one", "two")] == [401, 401]
    assert await served(stage, "later") == 200


async def test_a_logout_of_everybody_of_another_client_ends_nobody_here(stage: Stage):
    stage.digester.names_parties = True
    await stage.bind("live")
    await everybody_out(stage, "another-client")
    assert await served(stage, "live") == 200


async def test_a_logout_of_everybody_cuts_what_flows_and_revokes_the_credentials(stage: Stage):
    stage.digester.names_parties = True
    await stage.bind("dead", session("s-1", age=5))
    client, app = await stage.asks(revoked_cookie())
    await app.send(SSE + b"3\r\nabc\r\n")
    await client.until(b"abc\r\n")
    await everybody_out(stage)
    await client.reset(within=1)
    credential = stage.digester.credential(b"dead")
    await until(lambda: stage.replica.cutoff(credential) is not None)


async def test_a_defect_while_a_credential_is_revoked_is_logged_and_it_stays_revoked_here(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    publish = stage.condemner._publish

    async def defective(revocations: object) -> None:
        await publish(revocations)  # type: ignore[arg-type]
        raise ZeroDivisionError

    monkeypatch.setattr(stage.condemner, "_publish", defective)
    await stage.bind("dead")
    await stage.logout("s-1")
    await until(lambda: "credential_revocation_fault" in caplog.text)
    assert stage.replica.cutoff(stage.digester.credential(b"dead")) is not None
