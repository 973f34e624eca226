"""What people, logs and graphs are told: error pages, access log entries, traces, metrics."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from bench_plane import Stage, revoked_cookie
from prometheus_client import Metric
from test_proxy_upgrade import SWITCHED, UPGRADE
from wire import ask, message, ok, until

from sidecar.metrics import registry
from sidecar.proxy.access_log import Entry

# -- pages ---------------------------------------------------------------------------------------------------------

NAVIGATION = ("Sec-Fetch-Mode: navigate", "Accept: text/html")


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        (NAVIGATION, b"text/html; charset=utf-8"),
        (("Accept: text/html,*/*",), b"text/html; charset=utf-8"),
        (("Sec-Fetch-Mode: cors", "Accept: text/html"), b"application/problem+json"),
        ((), b"application/problem+json"),
    ],
)
async def test_a_failing_app_is_a_page_for_a_navigation_and_json_for_the_rest(
    stage: Stage, fields: tuple[str, ...], kind: bytes
):
    stage.stop_app()
    answer = await (await stage.client(ask("GET / HTTP/1.1", *fields))).answer()
    assert (answer.status, answer.value("content-type")) == (502, kind)
    assert answer.value("x-logout-sidecar") == b"upstream_unreachable"
    assert answer.value("cache-control") == b"no-store"
    assert (b"<h1>" in answer.body) == (kind != b"application/problem+json")
    assert answer.values("retry-after")
    assert b"127.0.0.1" not in answer.body  # nothing about what is behind it


@pytest.mark.parametrize(
    ("settings", "status"), [({"response_timeout": 0.1}, 504), ({"pool": {"queue_timeout": 0.1}}, 503)]
)
async def test_a_slow_or_busy_app_is_a_page_as_well(
    open_stage: Callable[..., Any], settings: dict[str, Any], status: int
):
    settings["pool"] = {"max_connections": 1} | settings.get("pool", {})
    stage = await open_stage(**settings)
    first = await stage.client(ask("GET / HTTP/1.1", *NAVIGATION))
    client = first if status == 504 else await stage.client(ask("GET / HTTP/1.1", *NAVIGATION))
    answer = await client.answer()
    assert (answer.status, answer.value("content-type")) == (status, b"text/html; charset=utf-8")
    assert bool(answer.values("retry-after")) == (status == 503)


async def test_a_page_for_head_has_no_body(stage: Stage):
    stage.stop_app()
    client = await stage.client(ask("HEAD / HTTP/1.1", *NAVIGATION))
    answer = await client.answer(to_head=True)
    assert (answer.status, answer.value("content-type")) == (502, b"text/html; charset=utf-8")
    await client.send(ask("GET /%5Fsidecar HTTP/1.1"))
    assert (await client.answer()).status == 404


# -- access log ----------------------------------------------------------------------------------------------------


class Log:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def write(self, entry: Entry) -> None:
        self.entries.append(entry)


async def logged(open_stage: Callable[..., Any], **settings: Any) -> tuple[Stage, Log]:
    log = Log()
    return await open_stage(access_log=log, **settings), log


async def only(log: Log) -> Entry:
    await until(lambda: log.entries)
    (entry,) = log.entries
    return entry


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (ok(b"12345"), 5),
        (message("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), 5),
        (message("HTTP/1.1 204 No Content"), 0),
    ],
)
@pytest.mark.interpreted
async def test_an_exchange_is_logged_with_the_bytes_of_its_content(
    open_stage: Callable[..., Any], answer: bytes, sent: int
):
    stage, log = await logged(open_stage)
    client = await stage.client(ask("POST /p HTTP/1.1", "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n"))
    app = await stage.app()
    await app.until(b"0\r\n\r\n")
    await app.send(answer)
    await client.answer()
    entry = await only(log)
    assert (entry.status, entry.decision, entry.received, entry.sent) == (int(answer[9:12]), "allow", 3, sent)
    assert (entry.request.target, entry.peer, entry.session) == (b"/p", b"127.0.0.1", None)
    assert entry.upstream_s is not None
    assert 0 < entry.upstream_s <= entry.total_s


@pytest.mark.interpreted
async def test_an_answer_that_comes_in_pieces_is_counted_to_its_end(open_stage: Callable[..., Any]):
    stage, log = await logged(open_stage)
    client, app = await stage.asks(ask())
    await app.send(message("HTTP/1.1 200 OK", "Content-Length: 6"), b"abc")
    await client.until(b"abc")
    await app.send(b"def")
    await client.expect(b"def")
    assert (await only(log)).sent == 6


@pytest.mark.interpreted
async def test_a_denial_is_logged_with_its_session_and_without_a_time_of_the_app(open_stage: Callable[..., Any]):
    stage, log = await logged(open_stage)
    session = await stage.bind("dead")
    await stage.logout("s-1")
    answer = await (await stage.client(revoked_cookie())).answer()
    entry = await only(log)
    assert (entry.status, entry.decision, entry.sent) == (401, "revoked", len(answer.body))
    assert entry.session == stage.digester.bound(session)
    assert entry.upstream_s is None


@pytest.mark.interpreted
async def test_a_client_that_left_is_logged_as_499(open_stage: Callable[..., Any]):
    stage, log = await logged(open_stage)
    client, _ = await stage.asks(ask())
    client.abort()
    entry = await only(log)
    assert (entry.status, entry.upstream_s) == (499, None)


@pytest.mark.interpreted
async def test_a_tunnel_is_logged_once_when_it_ends_with_the_bytes_of_both_directions(open_stage: Callable[..., Any]):
    stage, log = await logged(open_stage)
    client, app = await stage.asks(UPGRADE)
    await app.send(SWITCHED + b"early")
    await client.expect(SWITCHED + b"early")
    await client.send(b"four")
    await app.expect(b"four")
    assert not log.entries
    client.abort()
    entry = await only(log)
    assert (entry.status, entry.received, entry.sent) == (101, 4, 5)


async def test_without_an_access_log_nothing_counts(stage: Stage):
    assert stage.plane.new_exchange.__name__ == "Exchange"


# -- traces --------------------------------------------------------------------------------------------------------

PARENT = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def forwarded(stage: Stage, *fields: str) -> list[bytes]:
    """The traceparent lines that the app gets."""
    await stage.client(ask("GET / HTTP/1.1", *fields))
    head = await (await stage.app()).head()
    return [line for line in head.split(b"\r\n") if line.lower().startswith(b"traceparent")]


@pytest.mark.parametrize("fields", [(), ("traceparent: nonsense",), (PARENT, PARENT)])
async def test_where_traces_are_created_the_app_gets_exactly_one_valid_parent(
    open_stage: Callable[..., Any], fields: tuple[str, ...]
):
    stage = await open_stage(creates_trace=True)
    first, second = await forwarded(stage, *fields), await forwarded(stage, *fields)
    assert [len(lines) for lines in (first, second)] == [1, 1]
    assert first != second
    assert first[0].startswith(b"traceparent: 00-")


async def test_a_valid_parent_goes_on_as_it_is(open_stage: Callable[..., Any]):
    assert await forwarded(await open_stage(creates_trace=True), PARENT) == [PARENT.encode()]


async def test_where_traces_are_forwarded_whatever_came_goes_on(stage: Stage):
    assert await forwarded(stage) == []
    assert await forwarded(stage, "traceparent: nonsense") == [b"traceparent: nonsense"]


# -- metrics -------------------------------------------------------------------------------------------------------


def value(stage: Stage, name: str) -> float:
    families: list[Metric] = [*stage.stats.collect(), *registry.collect()]
    (sample,) = [sample for family in families for sample in family.samples if sample.name == name]
    return float(sample.value)


async def test_the_time_to_the_apps_first_byte_is_measured_apart_from_the_whole(stage: Stage):
    client, app = await stage.asks(ask())
    await asyncio.sleep(0.05)  # how long the app takes to begin
    await app.send(message("HTTP/1.1 200 OK", "Content-Length: 1"))
    await client.head()
    await asyncio.sleep(0.1)  # and to finish
    await app.send(b"x")
    await client.expect(b"x")
    first = value(stage, "logout_sidecar_upstream_first_byte_seconds_sum")
    whole = value(stage, "logout_sidecar_http_request_duration_seconds_sum")
    assert 0.04 < first < whole - 0.08
    assert value(stage, "logout_sidecar_upstream_first_byte_seconds_count") == 1


async def test_an_exchange_that_the_app_never_answered_has_no_first_byte(stage: Stage):
    stage.stop_app()
    await (await stage.client(ask())).answer()
    assert value(stage, "logout_sidecar_upstream_first_byte_seconds_count") == 0
    assert value(stage, "logout_sidecar_http_request_duration_seconds_count") == 1


async def test_a_request_that_was_sent_twice_is_counted(stage: Stage):
    client, app = await stage.asks(ask())
    await app.send(ok())
    await client.expect(ok())
    await client.send(ask())
    await app.head()
    app.close()
    await (await stage.app()).head()
    assert value(stage, "logout_sidecar_upstream_retries_total") == 1


async def test_a_loop_that_was_blocked_shows_and_the_peak_fades(stage: Stage):
    stage.stats.loop_was_late(0.3)
    assert value(stage, "logout_sidecar_event_loop_lag_seconds") == 0.3
    for _ in range(40):  # ten seconds of sweeps
        stage.stats.loop_was_late(0.001)
    assert value(stage, "logout_sidecar_event_loop_lag_seconds") == pytest.approx(0.15)


async def test_the_sweep_measures_how_late_it_is(stage: Stage):
    import time

    await asyncio.sleep(0)
    time.sleep(0.4)  # the fault that is to be seen
    await until(lambda: value(stage, "logout_sidecar_event_loop_lag_seconds") > 0.1)


async def test_open_file_descriptors_are_exported(stage: Stage):
    assert value(stage, "process_open_fds") > 5
