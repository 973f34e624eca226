"""Bodies for the control application: it hears of none that is not complete, so nobody can keep its connections."""

import gc
import json

import pytest
from bench_plane import CALLBACK, Stage
from wire import Wire, ask, message, ok, seen, until

from sidecar.proxy import ending
from sidecar.proxy.collect import MAX_BODY, Collector
from sidecar.proxy.exchange import Exchange

POST = "POST /_sidecar/backchannel-logout HTTP/1.1"
CHUNKED = "Transfer-Encoding: chunked"


async def is_handled(stage: Stage) -> bool:
    """Whether a logout comes through."""
    client = await stage.client(ask(POST, "Content-Length: 2", body=b"x="))
    control = await stage.control()
    await control.expect(seen(POST, framing=("Content-Length: 2",), body=b"x="))
    await control.send(ok())
    await client.expect(ok())
    return True


async def refused(client: Wire) -> tuple[int, str]:
    answer = await client.answer()
    assert answer.value("cache-control") == b"no-store"
    return answer.status, json.loads(answer.body)["error_description"]


async def test_the_control_application_is_not_connected_to_before_a_body_is_complete(stage: Stage):
    client = await stage.client(ask(POST, "Content-Length: 4", body=b"ab"))
    assert await is_handled(stage)
    assert stage.is_control_untouched()
    await client.send(b"cd", ask("GET /next HTTP/1.1"))
    control = stage._control.wires[0]  # free again
    await control.expect(seen(POST, framing=("Content-Length: 4",), body=b"abcd"))
    await control.send(ok())
    await client.expect(ok())
    app = await stage.app()
    await app.expect(seen("GET /next HTTP/1.1"))


async def test_a_chunked_body_goes_to_the_control_application_with_its_length(stage: Stage):
    client = await stage.client(ask(POST, CHUNKED), b"2\r\nab\r\n", b"1\r\nc\r\n0\r\nX: 1\r\n\r\n")
    control = await stage.control()
    await control.expect(seen(POST, framing=("Content-Length: 3",), body=b"abc"))
    await control.send(ok())
    await client.expect(ok())
    assert stage.plane.collector.held == 0


async def test_an_empty_chunked_body_goes_there_too(stage: Stage):
    await stage.client(ask(POST, CHUNKED, body=b"0\r\n\r\n"))
    await (await stage.control()).expect(seen(POST, framing=("Content-Length: 0",)))


async def test_a_provider_that_waits_for_a_100_gets_it_and_the_control_application_does_not_hear_of_it(stage: Stage):
    client = await stage.client(ask(POST, "Expect: 100-continue", "Content-Length: 2"))
    await client.expect(message("HTTP/1.1 100 Continue"))
    await client.send(b"x=")
    control = await stage.control()
    await control.expect(seen(POST, framing=("Content-Length: 2",), body=b"x="))
    await control.send(ok())
    await client.expect(ok())


@pytest.mark.parametrize("framing", [f"Content-Length: {MAX_BODY + 1}", CHUNKED])
async def test_a_body_that_is_too_large_is_refused_and_never_reaches_the_control_application(
    stage: Stage, framing: str
):
    client = await stage.client(ask(POST, framing))
    if framing == CHUNKED:
        await client.send(b"%x\r\n%b" % (MAX_BODY + 1, b"x" * (MAX_BODY + 1)))
    assert await refused(client) == (400, "too_large")
    assert stage.is_control_untouched()
    assert stage.plane.collector.held == 0
    assert await is_handled(stage)


async def test_a_body_of_the_greatest_size_passes(stage: Stage):
    await stage.client(ask(POST, f"Content-Length: {MAX_BODY}", body=b"x" * MAX_BODY))
    await (await stage.control()).until(b"x" * MAX_BODY)


async def test_a_body_that_does_not_come_in_time_is_refused(open_stage):
    stage = await open_stage(collector=Collector(timeout=0.1))
    client = await stage.client(ask(POST, "Content-Length: 4", body=b"ab"))
    assert await refused(client) == (400, "body_timeout")
    assert stage.is_control_untouched()


async def test_who_has_waited_longest_makes_room_for_others(open_stage):
    stage = await open_stage(collector=Collector(max_held=2000))
    first = await stage.client(ask(POST, "Content-Length: 2000", body=b"a" * 1000))
    await until(lambda: stage.plane.collector.held == 1000)
    second = await stage.client(ask(POST, "Content-Length: 2000", body=b"b" * 999))
    await until(lambda: stage.plane.collector.held == 1999)
    assert await is_handled(stage)
    assert await refused(first) == (503, "control_busy")
    assert stage.plane.collector.held == 999
    assert second.is_silent()


async def test_what_a_client_sent_before_it_left_is_not_held(stage: Stage):
    client = await stage.client(ask(POST, "Content-Length: 4", body=b"ab"))
    await until(lambda: stage.plane.collector.held == 2)
    client.abort()
    await until(stage.is_quiet)
    assert stage.plane.collector.held == 0


async def test_a_malformed_body_is_refused_and_never_reaches_the_control_application(stage: Stage):
    client = await stage.client(ask(POST, CHUNKED, body=b"1\r\naXX"))
    assert (await client.answer()).status == 400
    assert stage.is_control_untouched()
    assert stage.plane.collector.held == 0


# -- logins whose client has left ----------------------------------------------------------------------------------


def exchanges() -> int:
    return sum(type(each) is Exchange for each in gc.get_objects())  # `isinstance` wakes lazy objects of others


async def test_a_login_that_was_abandoned_and_answered_is_not_held_any_longer(stage: Stage):
    gc.collect()
    before = exchanges()
    client, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1"))
    assert exchanges() == before + 1
    client.abort()
    await until(lambda: stage.plane.abandoned)
    await app.send(ok())
    await until(stage.is_quiet)
    assert not stage.plane.abandoned
    gc.collect()
    assert exchanges() == before


async def test_more_abandoned_logins_than_may_be_awaited_are_given_up(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ending, "MAX_ABANDONED", 1)
    first, app = await stage.asks(ask(f"GET {CALLBACK}?code=C HTTP/1.1"))
    second, other = await stage.asks(ask(f"GET {CALLBACK}?code=D HTTP/1.1"))
    first.abort()
    await until(lambda: stage.plane.abandoned)
    second.abort()
    await other.gone()
    assert app.is_silent()
