"""The access log: what is written of which request, and what never is; and the trace that it names."""

import json
import logging
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
from bench_plane import CALLBACK, Stage, session
from wire import HOST, ask, message, ok, seen, until

from sidecar import log
from sidecar.core.identity import BoundSession
from sidecar.http1.request import RequestHead, parse_request
from sidecar.proxy.access_log import AccessLog, Entry

Open = Callable[..., Any]
Lines = Callable[[], list[dict[str, Any]]]

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"traceparent: 00-{TRACE}-b7ad6b7169203331-01"
BOUND = BoundSession(bytes(range(16)), bytes(range(16, 32)), 0, 0)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """What the access log has said so far, as it is written."""
    caplog.set_level(logging.INFO, logger=log.ACCESS)
    formatter = log.JsonFormatter()
    return lambda: [json.loads(formatter.format(record)) for record in caplog.records if record.name == log.ACCESS]


def entry(first: bytes = b"GET / HTTP/1.1", *fields: bytes, **given: Any) -> Entry:
    head = b"\r\n".join((first, b"Host: app.example", *fields, b"", b""))
    usual = {"peer": b"192.0.2.1", "status": 200, "decision": "allow", "session": None, "received": 0, "sent": 0}
    return Entry(
        **{"request": parse_request(head, max_headers=100), "upstream_s": 0.001, "total_s": 0.002} | usual | given
    )


async def exchange(stage: Stage, request: bytes, answer: bytes, *, to_head: bool = False) -> None:
    """One request that the app answers."""
    client, app = await stage.asks(request)
    await app.send(answer)
    await client.answer(to_head=to_head)
    client.close()


# On the wire


async def test_a_request_of_a_session_gets_its_line(open_stage: Open, lines: Lines) -> None:
    stage = await open_stage(access_log=AccessLog())
    bound = stage.digester.bound(await stage.bind("abc"))
    await exchange(stage, ask("GET /cart?code=secret HTTP/1.1", "Cookie: JSESSIONID=abc"), ok(b"hello"))
    (line,) = lines()
    assert 0 <= line.pop("upstream_ms") <= line.pop("total_ms") < 5000
    assert line.pop("time")
    assert line == {
        "level": "info",
        "logger": "sidecar.access",
        "event": "request",
        "method": "GET",
        "host": HOST,
        "path": "/cart",
        "status": 200,
        "decision": "allow",
        "session": bound.own.hex()[:16],
        "user": bound.sub.hex()[:16],
        "received": 0,
        "sent": 5,
        "client": "127.0.0.1",
    }


async def test_without_an_access_log_nothing_is_written(stage: Stage, lines: Lines) -> None:
    await exchange(stage, ask(), ok(b"hello"))
    assert lines() == []


async def test_an_anonymous_request_names_nobody(open_stage: Open, lines: Lines) -> None:
    stage = await open_stage(access_log=AccessLog())
    await exchange(stage, ask(), ok())
    (line,) = lines()
    assert not {"user", "session", "trace_id"} & line.keys()


async def test_a_denial_names_its_reason_and_whom_it_met(open_stage: Open, lines: Lines) -> None:
    stage = await open_stage(access_log=AccessLog(sample=0))
    bound = stage.digester.bound(await stage.bind("abc"))
    await stage.logout()
    client = await stage.client(ask("GET / HTTP/1.1", "Cookie: JSESSIONID=abc"))
    answer = await client.answer()
    (line,) = lines()
    assert (line["status"], line["decision"], line["user"]) == (401, "revoked", bound.sub.hex()[:16])
    assert line["sent"] == len(answer.body)
    assert "upstream_ms" not in line


async def test_an_answer_that_was_withheld_is_called_late(open_stage: Open, lines: Lines) -> None:
    stage = await open_stage(access_log=AccessLog(sample=0))
    await stage.bind("abc")
    client, app = await stage.asks(ask("GET / HTTP/1.1", "Cookie: JSESSIONID=abc"))
    await stage.logout()
    await app.send(ok(b"a page of the session"))
    await client.answer()
    (line,) = lines()
    assert (line["status"], line["decision"]) == (401, "late_revoked")


async def test_content_is_counted_without_heads_and_framing(open_stage: Open, lines: Lines) -> None:
    stage = await open_stage(access_log=AccessLog())
    body = b"5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n"
    client = await stage.client(ask("POST / HTTP/1.1", "Transfer-Encoding: chunked", body=body))
    app = await stage.app()
    await app.until(b"0\r\n\r\n")
    await app.send(message("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"4\r\nfine\r\n0\r\n\r\n"))
    await client.answer()
    (line,) = lines()
    assert (line["received"], line["sent"]) == (8, 4)


async def test_an_answer_to_head_sends_no_content(open_stage: Open, lines: Lines) -> None:
    stage = await open_stage(access_log=AccessLog())
    await exchange(stage, ask("HEAD / HTTP/1.1"), message("HTTP/1.1 200 OK", "Content-Length: 5"), to_head=True)
    (line,) = lines()
    assert (line["method"], line["sent"]) == ("HEAD", 0)


async def test_a_client_that_leaves_is_499(open_stage: Open, lines: Lines) -> None:
    stage = await open_stage(access_log=AccessLog(sample=0))
    client, _ = await stage.asks(ask())
    client.abort()
    await until(lines)
    (line,) = lines()
    assert (line["status"], line["decision"]) == (499, "allow")
    assert "upstream_ms" not in line


async def test_an_app_that_is_down_is_logged_whatever_the_sample_says(open_stage: Open, lines: Lines) -> None:
    stage = await open_stage(access_log=AccessLog(sample=0))
    stage.stop_app()
    client = await stage.client(ask())
    assert (await client.answer()).status == 502
    (line,) = lines()
    assert (line["status"], line["decision"]) == (502, "allow")


async def test_a_look_alike_of_the_control_prefix_is_logged_whatever_the_sample_says(
    open_stage: Open, lines: Lines
) -> None:
    stage = await open_stage(access_log=AccessLog(sample=0))
    client = await stage.client(ask("GET //_sidecar/x HTTP/1.1"))
    assert (await client.answer()).status == 404
    (line,) = lines()
    assert (line["status"], line["decision"]) == (404, "not_found")


async def test_an_ordinary_answer_of_the_app_is_left_out_by_the_sample(open_stage: Open, lines: Lines) -> None:
    stage = await open_stage(access_log=AccessLog(sample=0))
    for status in ("200 OK", "404 Not Found", "302 Found"):
        answer = message(f"HTTP/1.1 {status}", "Content-Length: 0", "Connection: close")
        await exchange(stage, ask(), answer)
    await until(lambda: not stage.stats.in_flight)
    assert lines() == []


async def test_no_secret_of_a_login_is_written(
    open_stage: Open, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    stage = await open_stage(access_log=AccessLog())
    caplog.set_level(logging.DEBUG)
    client, app = await stage.asks(
        ask(
            f"GET {CALLBACK};jsessionid=param?code=the-code HTTP/1.1",
            "Cookie: JSESSIONID=raw",
            "Authorization: Basic pw",
        )
    )
    stage.logins.complete("the-code", session("raw-sid", sub="alice@example"))
    await app.send(message("HTTP/1.1 302 Found", "Set-Cookie: JSESSIONID=new-raw", "Content-Length: 0"))
    await client.answer()
    (line,) = lines()
    assert line["path"] == CALLBACK
    assert line["user"] == stage.digester.bound(session("raw-sid", sub="alice@example")).sub.hex()[:16]
    written = " ".join(log.JsonFormatter().format(record) for record in caplog.records)
    for secret in ("param", "the-code", "raw", "pw", "alice"):
        assert secret not in written


# Traces


async def test_with_forward_trace_context_passes_byte_for_byte(open_stage: Open, lines: Lines) -> None:
    stage = await open_stage(access_log=AccessLog())
    for fields in ([PARENT, "tracestate: a=1"], ["traceparent: nonsense", "Tracestate: a=1"], []):
        client = await stage.client(ask("GET / HTTP/1.1", *fields))
        app = await stage.app()
        await app.expect(seen("GET / HTTP/1.1", *fields))
        await app.send(ok(b"", "Connection: close"))
        await client.answer()
    await until(lambda: len(lines()) == 3)
    assert [line.get("trace_id") for line in lines()] == [TRACE, None, None]


async def test_with_create_each_request_has_a_trace_of_its_own_that_the_log_names(
    open_stage: Open, lines: Lines
) -> None:
    stage = await open_stage(access_log=AccessLog(), creates_trace=True)
    client = await stage.client(ask())
    app = await stage.app()
    heads = [await app.head()]
    for _ in range(2):  # the same block of fields again: what was remembered of it has no trace
        await app.send(ok())
        await client.answer()
        await client.send(ask())
        heads.append(await app.head())
    await app.send(ok())
    await client.answer()
    sent = [re.findall(rb"traceparent: 00-([0-9a-f]{32})-[0-9a-f]{16}-00\r\n", head) for head in heads]
    assert [len(found) for found in sent] == [1, 1, 1]
    ids = [found[0].decode() for found in sent]
    assert len(set(ids)) == 3
    assert [line["trace_id"] for line in lines()] == ids


async def test_with_create_a_valid_parent_goes_on_and_any_other_is_replaced(open_stage: Open) -> None:
    stage = await open_stage(creates_trace=True)
    for fields, kept in (
        ([PARENT, "tracestate: a=1"], True),
        ([PARENT, PARENT, "tracestate: a=1"], False),
        (["traceparent: nonsense", "tracestate: a=1"], False),
    ):
        client = await stage.client(ask("GET / HTTP/1.1", *fields))
        app = await stage.app()
        head = await app.head()
        assert (f"{PARENT}\r\ntracestate: a=1\r\n".encode() in head) is kept
        assert head.count(b"traceparent:") == 1
        assert (b"tracestate" in head) is kept
        client.abort()
        app.close()


# One entry


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a/b?x=1", "/a/b"),
        (b"/a;jsessionid=X/b", "/a"),
        (b"/a%3Bjsessionid=X", "/a"),
        (b"/a%3bjsessionid=X", "/a"),
        (b"/a%253Bjsessionid=X", "/a"),
        (b"/a%253%42jsessionid=X", "/a"),
        (b"/a%3%42jsessionid=X", "/a"),
        (b"/a%%33Bjsessionid=X", "/a"),
        (b"/a%2%353bjsessionid=X", "/a"),
        (b"/a%20b", "/a%20b"),
        (b'/"\\<', '/"\\<'),
        (b"*", "*"),
    ],
)
def test_the_path_goes_without_query_and_parameters(lines: Lines, target: bytes, path: str) -> None:
    AccessLog().write(entry(b"OPTIONS %b HTTP/1.1" % target))
    (line,) = lines()
    assert line["path"] == path


def test_whatever_is_in_a_field_the_line_is_one_line(lines: Lines, caplog: pytest.LogCaptureFixture) -> None:
    vicious = b'x\r\n{"event": "forged"}\x1b[2J\x00\xff\xfe\x9b\x7f'
    request = RequestHead(vicious, b"/" + vicious, 1, [])
    request.host = vicious
    AccessLog().write(entry(request=request, peer=vicious))
    (record,) = caplog.records
    for formatter in (log.JsonFormatter(), log.TextFormatter()):
        assert formatter.format(record).isascii()
        assert formatter.format(record).isprintable()
    (line,) = lines()
    assert line["path"].encode("latin-1") == b"/" + vicious


def test_every_field_that_a_stranger_fills_is_bounded(lines: Lines, caplog: pytest.LogCaptureFixture) -> None:
    request = RequestHead(b"M" * 60_000, b"/" + b'"' * 60_000, 1, [b"traceparent: 01" + b"a" * 60_000])
    request.host = b"h" * 60_000
    AccessLog().write(entry(request=request))
    (record,) = caplog.records
    assert len(log.JsonFormatter().format(record)) < 4096


def test_the_same_trace_is_drawn_alike_everywhere(lines: Lines) -> None:
    """And what else is drawn does not matter."""
    numbers = random.Random(1)
    for _ in range(200):
        parent = f"traceparent: 00-{numbers.getrandbits(128):032x}-b7ad6b7169203331-00".encode()
        before = len(lines())
        for drawn in (0.0, 0.999):
            AccessLog(sample=0.5, draw=lambda drawn=drawn: drawn).write(entry(b"GET / HTTP/1.1", parent))
        assert len(lines()) - before in (0, 2)
    assert 120 < len(lines()) < 280  # of 400


@pytest.mark.parametrize(("sample", "drawn", "count"), [(0.25, 0.24, 1), (0.25, 0.25, 0), (0, 0.0, 0), (1, 0.999, 1)])
def test_without_a_trace_chance_decides(lines: Lines, sample: float, drawn: float, count: int) -> None:
    AccessLog(sample=sample, draw=lambda: drawn).write(entry())
    assert len(lines()) == count


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({}, 0),
        ({"status": 404}, 0),
        ({"status": 101}, 0),
        ({"decision": "revoked", "status": 401}, 1),
        ({"decision": "revoked"}, 1),  # stripped: the app answered
        ({"decision": "none", "status": 499}, 1),
        ({"status": 400, "upstream_s": None}, 1),  # a refusal of ours
        ({"status": 500}, 1),
    ],
)
def test_the_sample_leaves_out_only_what_went_well(lines: Lines, given: dict[str, Any], count: int) -> None:
    AccessLog(sample=0).write(entry(**given))
    assert len(lines()) == count


def test_a_session_without_subject_has_no_user(lines: Lines) -> None:
    AccessLog().write(entry(session=BoundSession(b"\x01" * 16, None, 0, 0)))
    AccessLog().write(entry(session=BOUND))
    one, two = lines()
    assert (one["session"], one.get("user")) == ("01" * 8, None)
    assert (two["session"], two["user"]) == ("0001020304050607", "1011121314151617")


def test_a_unix_socket_has_no_client_address(lines: Lines) -> None:
    AccessLog().write(entry(peer=b""))
    (line,) = lines()
    assert "client" not in line
