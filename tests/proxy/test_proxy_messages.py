"""Messages as each side sees them: what passes byte for byte, what is framed anew, what is refused."""

from collections.abc import Awaitable, Callable

import pytest
from bench_plane import Stage
from wire import FORWARDED, HOST, ask, message, ok, seen, until

Open = Callable[..., Awaitable[Stage]]


async def test_a_plain_get_reaches_the_app_with_the_client_named_and_its_answer_comes_back_unchanged(stage: Stage):
    client = await stage.client(ask("GET /a?b=c HTTP/1.1", "Accept: */*"))
    app = await stage.app()
    await app.expect(seen("GET /a?b=c HTTP/1.1", "Accept: */*"))
    await app.send(ok(b"hello", "Server: legacy", "Set-Cookie: a=1", "Set-Cookie: b=2"))
    await client.expect(ok(b"hello", "Server: legacy", "Set-Cookie: a=1", "Set-Cookie: b=2"))
    assert client.is_silent()


async def test_a_client_and_the_app_each_keep_one_connection_for_many_requests(stage: Stage):
    client = await stage.client()
    app = None
    for number in range(3):
        await client.send(ask(f"GET /{number} HTTP/1.1"))
        app = app or await stage.app()
        await app.expect(seen(f"GET /{number} HTTP/1.1"))
        await app.send(ok(b"%d" % number))
        await client.expect(ok(b"%d" % number))
    assert stage.is_app_untouched()


async def test_another_client_gets_the_connection_that_the_first_has_left(stage: Stage):
    one, app = await stage.asks(ask())
    await app.send(ok())
    await one.expect(ok())
    other = await stage.client(ask("GET /other HTTP/1.1"))
    await app.expect(seen("GET /other HTTP/1.1"))
    await app.send(ok(b"2"))
    await other.expect(ok(b"2"))


@pytest.mark.parametrize(
    ("method", "sent", "got"),
    [
        ("HEAD", ("HTTP/1.1 200 OK", "Content-Length: 5"), ("HTTP/1.1 200 OK", "Content-Length: 5")),
        ("HEAD", ("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), ("HTTP/1.1 200 OK",)),
        ("HEAD", ("HTTP/1.1 200 OK",), ("HTTP/1.1 200 OK",)),
        ("GET", ("HTTP/1.1 204 No Content",), ("HTTP/1.1 204 No Content",)),
        ("GET", ("HTTP/1.1 204 No Content", "Content-Length: 0"), ("HTTP/1.1 204 No Content",)),
        ("GET", ("HTTP/1.1 304 Not Modified",), ("HTTP/1.1 304 Not Modified",)),
        (
            "GET",
            ("HTTP/1.1 304 Not Modified", "Content-Length: 5"),
            ("HTTP/1.1 304 Not Modified", "Content-Length: 5"),
        ),
        ("HEAD", ("HTTP/1.1 304 Not Modified", "Transfer-Encoding: chunked"), ("HTTP/1.1 304 Not Modified",)),
    ],
)
async def test_an_answer_without_content_ends_with_its_head_and_both_connections_go_on(
    stage: Stage, method: str, sent: tuple[str, ...], got: tuple[str, ...]
):
    client, app = await stage.asks(ask(f"{method} / HTTP/1.1"))
    await app.send(message(*sent))
    await client.expect(message(*got))
    await client.send(ask("GET /next HTTP/1.1"))
    await app.expect(seen("GET /next HTTP/1.1"))
    await app.send(ok(b"next"))
    await client.expect(ok(b"next"))


async def test_a_chunked_answer_is_framed_anew_with_its_trailers(stage: Stage):
    client, app = await stage.asks(ask())
    await app.send(
        message("HTTP/1.1 200 OK", "Transfer-Encoding: Chunked", "Trailer: X-Sum"),
        b"0005;name=value\r\nhel",
        b"lo\r\n",
        b"0\r\nX-Sum: 7\r\nX-More: 8\r\n\r\n",
    )
    await client.expect(message("HTTP/1.1 200 OK", "Trailer: X-Sum", "Transfer-Encoding: chunked"))
    body = await client.until(b"\r\n\r\n")
    assert body.endswith(b"0\r\nX-Sum: 7\r\nX-More: 8\r\n\r\n")
    assert b";" not in body
    await client.send(ask())
    await app.expect(seen())


async def test_a_chunked_request_is_framed_anew_with_its_trailers_but_for_those_that_lie(stage: Stage):
    client = await stage.client(
        ask("POST /up HTTP/1.1", "Transfer-Encoding: chunked", "TE: trailers, deflate"),
        b"5\r\nhello\r\n0\r\nX-Sum: 7\r\nCookie: JSESSIONID=x\r\ncontent_length: 3\r\n\r\n",
    )
    app = await stage.app()
    framing = ("Connection: TE", "TE: trailers", "Transfer-Encoding: chunked")
    await app.expect(seen("POST /up HTTP/1.1", framing=framing, body=b"5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"))
    await app.send(ok())
    await client.expect(ok())


async def test_a_trailer_by_a_name_that_carries_a_credential_never_reaches_the_app(open_stage: Open):
    """A server that merges trailers into the head would show its app a session that nobody has judged."""
    stage = await open_stage(dropped_trailers=frozenset((b"x-session-id", b"x-token")))
    client = await stage.client(
        ask("POST / HTTP/1.1", "Transfer-Encoding: chunked", "Connection: x_hop"),
        b"0\r\nX_Session-ID: dead\r\nX-Sum: 7\r\nX-TOKEN: dead\r\nX-Hop: 1\r\n\r\n",
    )
    app = await stage.app()
    await app.expect(seen("POST / HTTP/1.1", framing=("Transfer-Encoding: chunked",), body=b"0\r\nX-Sum: 7\r\n\r\n"))
    await app.send(ok())
    await client.expect(ok())


async def test_a_trailer_that_the_app_nominates_for_its_connection_goes_no_further(stage: Stage):
    client, app = await stage.asks(ask())
    await app.send(
        message("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Connection: x_hop"),
        b"0\r\nX-Sum: 7\r\nX_Hop: 8\r\n\r\n",
    )
    await client.expect(message("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"0\r\nX-Sum: 7\r\n\r\n"))


async def test_an_answer_until_the_end_of_the_connection_becomes_chunks(stage: Stage):
    client, app = await stage.asks(ask())
    await app.send(message("HTTP/1.1 200 OK", "Connection: close"), b"hello")
    await client.expect(message("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"))
    app.close()
    await client.expect(b"0\r\n\r\n")
    await client.send(ask("GET /next HTTP/1.1"))
    await (await stage.app()).expect(seen("GET /next HTTP/1.1"))


async def test_an_app_that_speaks_http_1_0_is_asked_on_a_new_connection_each_time(stage: Stage):
    client, app = await stage.asks(ask())
    await app.send(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    await client.expect(ok(b"hi"))
    await app.ended()
    await client.send(ask())
    await (await stage.app()).head()


async def test_an_app_that_speaks_http_1_0_may_keep_its_connection(stage: Stage):
    client, app = await stage.asks(ask())
    await app.send(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi")
    await client.expect(ok(b"hi"))
    await client.send(ask())
    await app.expect(seen())


async def test_a_client_that_speaks_http_1_0_gets_one_answer_and_the_end(stage: Stage):
    client, app = await stage.asks(b"GET / HTTP/1.0\r\n\r\n")
    await app.send(ok(b"hi"))
    await client.expect(message("HTTP/1.1 200 OK", "Content-Length: 2", "Connection: close", body=b"hi"))
    await client.ended()


async def test_a_client_that_speaks_http_1_0_goes_on_when_it_asks_for_that(stage: Stage):
    client = await stage.client(b"GET / HTTP/1.0\r\nHost: old.example\r\nConnection: Keep-Alive\r\n\r\n")
    app = await stage.app()
    assert (await app.head()).startswith(b"GET / HTTP/1.1\r\nHost: old.example\r\n")
    await app.send(ok(b"hi"))
    await client.expect(message("HTTP/1.1 200 OK", "Content-Length: 2", "Connection: keep-alive", body=b"hi"))
    await client.send(b"GET /2 HTTP/1.0\r\n\r\n")
    assert (await app.head()).startswith(b"GET /2 HTTP/1.1\r\n")


async def test_chunks_become_plain_bytes_and_the_end_for_a_client_that_speaks_http_1_0(stage: Stage):
    client, app = await stage.asks(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    await app.send(message("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), b"5\r\nhello\r\n0\r\n\r\n")
    await client.expect(message("HTTP/1.1 200 OK", "Connection: close", body=b"hello"))
    await client.ended()


async def test_bodies_of_known_length_pass_in_whatever_pieces_they_come(stage: Stage):
    client = await stage.client(ask("POST / HTTP/1.1", "Content-Length: 6"), b"ab")
    app = await stage.app()
    await app.expect(seen("POST / HTTP/1.1", framing=("Content-Length: 6",), body=b"ab"))
    await client.send(b"cd")
    await app.expect(b"cd")
    await client.send(b"ef")
    await app.expect(b"ef")
    await app.send(message("HTTP/1.1 201 Created", "Content-Length: 4"), b"12")
    await client.expect(message("HTTP/1.1 201 Created", "Content-Length: 4", body=b"12"))
    await app.send(b"34")
    await client.expect(b"34")
    await client.send(ask())
    await app.expect(seen())


async def test_a_request_that_begins_in_the_middle_of_a_segment_is_not_lost(stage: Stage):
    two = ask("POST / HTTP/1.1", "Content-Length: 2", body=b"hi") + ask("GET /2 HTTP/1.1")
    client = await stage.client(two[:60], two[60:])
    app = await stage.app()
    await app.expect(seen("POST / HTTP/1.1", framing=("Content-Length: 2",), body=b"hi"))
    await app.send(ok(b"1"))
    await app.expect(seen("GET /2 HTTP/1.1"))
    await app.send(ok(b"2"))
    await client.expect(ok(b"1") + ok(b"2"))


async def test_a_request_may_be_cut_anywhere(stage: Stage):
    request = ask("GET /cut HTTP/1.1")
    client, app = await stage.asks(ask())
    await app.send(ok())
    await client.expect(ok())
    for cut in range(1, len(request)):
        await client.send(request[:cut])
        await until(lambda cut=cut: stage.buffered() == cut)
        await client.send(request[cut:])
        await app.expect(seen("GET /cut HTTP/1.1"))
        await app.send(ok(b"%d" % cut))
        await client.expect(ok(b"%d" % cut))


@pytest.mark.parametrize("blank", [b"\r\n", b"\r\n\r\n", b"\r\n\r\n\r\n"])
async def test_empty_lines_before_a_request_are_forgiven(stage: Stage, blank: bytes):
    client, app = await stage.asks(ask())
    await app.send(ok())
    await client.expect(ok())
    await client.send(blank)
    await client.send(ask("GET /2 HTTP/1.1"))
    await app.expect(seen("GET /2 HTTP/1.1"))
    await app.send(ok())
    await client.expect(ok())


@pytest.mark.parametrize("blank", [b"\n", b"\r", b"\r\n\n", b"\r\n\r", b"\r\r\n", b"\n\r\n"])
async def test_a_bare_line_end_before_a_request_is_not_forgiven(stage: Stage, blank: bytes):
    """Another parser may take it for the end of something (reference case 13)."""
    client = await stage.client(blank + ask())
    assert (await client.answer()).status == 400
    await client.ended()
    assert stage.is_app_untouched()


async def test_a_request_in_single_bytes_is_read_like_any_other(stage: Stage):
    client = await stage.client()
    await client.send(*(bytes((byte,)) for byte in b"\r\n" + ask("POST / HTTP/1.1", "Content-Length: 2", body=b"hi")))
    app = await stage.app()
    await app.expect(seen("POST / HTTP/1.1", framing=("Content-Length: 2",), body=b"hi"))
    await app.send(*(bytes((byte,)) for byte in ok(b"12")))
    await client.expect(ok(b"12"))


async def test_bytes_beyond_ascii_pass_both_ways_unchanged(stage: Stage):
    client = await stage.client(ask("GET / HTTP/1.1", "X-Name: M\xfcller \xe2\x82\xac", "Cookie: a=\xff"))
    app = await stage.app()
    await app.expect(seen("GET / HTTP/1.1", "X-Name: M\xfcller \xe2\x82\xac", "Cookie: a=\xff"))
    answer = message("HTTP/1.1 299 G\xfcltig genug", "X-Name: \xfc\t\xe9", "Content-Length: 0")
    await app.send(answer)
    await client.expect(answer)


@pytest.mark.parametrize("method", ["PROPFIND", "QUERY", "get", "M-SEARCH", "DELETE"])
async def test_methods_pass_as_they_are_even_unknown_ones(stage: Stage, method: str):
    await stage.client(ask(f"{method} / HTTP/1.1", "Content-Length: 0"))
    app = await stage.app()
    await app.expect(seen(f"{method} / HTTP/1.1", framing=("Content-Length: 0",)))


async def test_fields_of_one_hop_do_not_cross_in_either_direction(stage: Stage):
    hop = ("Keep-Alive: timeout=5", "Connection: keep-alive, X-Secret", "X-Secret: 1", "Proxy-Connection: close")
    client = await stage.client(ask("GET / HTTP/1.1", *hop, "X-Multi: a", "X-Multi: b"))
    app = await stage.app()
    await app.expect(seen("GET / HTTP/1.1", "X-Multi: a", "X-Multi: b"))
    await app.send(message("HTTP/1.1 200 OK", *hop, "Vary: a", "Vary: b", "Content-Length: 0"))
    await client.expect(message("HTTP/1.1 200 OK", "Vary: a", "Vary: b", "Content-Length: 0"))


async def test_what_a_stranger_says_about_himself_is_replaced(stage: Stage):
    lies = ("X-Forwarded-For: 10.0.0.1", "X-Forwarded-Proto: https", "Forwarded: for=10.0.0.1", "X-Real-IP: 10.0.0.1")
    hosts = ("X-Host: a.example", "X-Original-Host: a.example", "X-Original-Method: POST", "X_Host: a.example")
    await stage.client(ask("GET / HTTP/1.1", *lies, *hosts, "Remote-User: root", "X-Original-URL: /admin"))
    app = await stage.app()
    await app.expect(seen())


async def test_what_a_trusted_proxy_says_is_kept_and_its_address_appended(open_stage):
    stage = await open_stage(trusted=["127.0.0.0/8"])
    said = ("X-Forwarded-For: 10.0.0.1", "X-Forwarded-Proto: https", "X-Real-IP: 10.0.0.1")
    await stage.client(ask("GET / HTTP/1.1", *said, "X-Forwarded-For: 10.0.0.2"))
    app = await stage.app()
    told = (
        "X-Forwarded-For: 10.0.0.1, 10.0.0.2, 127.0.0.1",
        "X-Forwarded-Proto: https",
        f"X-Forwarded-Host: {HOST}",
        "X-Forwarded-Port: 443",
    )
    await app.expect(message("GET / HTTP/1.1", f"Host: {HOST}", "X-Real-IP: 10.0.0.1", *told))


async def test_an_absolute_target_is_sent_on_as_a_path_with_its_host(stage: Stage):
    await stage.client(message("GET http://other.example/a?b HTTP/1.1", f"Host: {HOST}"))
    app = await stage.app()
    told = [line.replace(HOST, "other.example") for line in FORWARDED]
    await app.expect(message("GET /a?b HTTP/1.1", "Host: other.example", *told))


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (ask("CONNECT app.example:443 HTTP/1.1"), 405),
        (ask("TRACE / HTTP/1.1"), 405),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (ask("POST / HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked"), 400),
        (ask("POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 1", body=b"x"), 400),
        (ask("GET / HTTP/1.1", "Connection: Cookie", "Cookie: a=b"), 400),
        (ask("GET / HTTP/1.1", "X : y"), 400),
        (ask("GET / HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade"), 400),
        (ask("POST / HTTP/1.1", "Expect: y 100-continue", "Content-Length: 1"), 417),
        (b"GET / HTTP/1.1\nHost: app.example\n\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)
async def test_what_two_parsers_could_read_differently_is_refused_before_the_app_hears_of_it(
    stage: Stage, request_bytes: bytes, status: int
):
    client = await stage.client(request_bytes + ask("GET /smuggled HTTP/1.1"))
    answer = await client.answer()
    assert answer.status == status
    assert answer.value("connection") == b"close"
    await client.ended()
    assert stage.is_app_untouched()


@pytest.mark.parametrize(
    "beginning", [b"GET / HTTP/1.1\nHost: app.example\n\n", b"\x16\x03\x01\x02\x00\x01\xfc", b"GET\t/ HTTP/1.1"]
)
async def test_what_can_never_become_a_request_is_refused_without_waiting_for_its_end(stage: Stage, beginning: bytes):
    client = await stage.client(beginning)
    assert (await client.answer()).status == 400
    await client.ended()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\n\r\n",
        b"HTTP/1.1 2OO OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"hello\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5g\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 17,
    ],
)
async def test_an_answer_that_two_parsers_could_read_differently_is_a_502_and_costs_the_connection(
    stage: Stage, answer: bytes
):
    client, app = await stage.asks(ask())
    await app.send(answer)
    while (got := await client.answer()).status == 100:
        pass
    assert got.status == 502
    await app.gone()
    await client.send(ask())
    await (await stage.app()).head()
