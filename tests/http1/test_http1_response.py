"""Response heads: what of the app's answer is refused, and what the client gets to see."""

import pytest

from sidecar.http1.errors import ProtocolError
from sidecar.http1.response import ResponseHead, build_response, has_no_body, parse_response


def parse(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> ResponseHead:
    return parse_response(b"\r\n".join([line, *fields]) + b"\r\n\r\n")


def refusal(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> tuple[int, str]:
    with pytest.raises(ProtocolError) as caught:
        parse(*fields, line=line)
    return caught.value.status, caught.value.reason


def outgoing(response: ResponseHead, framing: bytes = b"", *, keep_alive: bool = True, minor: int = 1) -> list[bytes]:
    head = build_response(response, response.lines, framing, keep_alive=keep_alive, minor=minor)
    return head.split(b"\r\n")[:-2]


@pytest.mark.parametrize(
    ("case", "line", "fields", "reason"),
    [
        (6, b"HTTP/1.1 100 Continue", [b"Transfer-Encoding: chunked"], "bad_upstream_framing"),
        (6, b"HTTP/1.1 204 No Content", [b"Transfer-Encoding: chunked"], "bad_upstream_framing"),
        (6, b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked", b"Content-Length: 5"], "bad_upstream_framing"),
        (6, b"HTTP/1.1 200 OK", [b"Content-Length: 5", b"Transfer-Encoding: chunked"], "bad_upstream_framing"),
        (6, b"HTTP/1.1 200 OK", [b"Content-Length: 5", b"Content-Length: 5"], "bad_upstream_framing"),
        (6, b"HTTP/1.1 200 OK", [b"Content-Length: 5", b"Content-Length: 6"], "bad_upstream_framing"),
        (6, b"HTTP/1.1 200 OK", [b"Transfer-Encoding: chunked"] * 2, "bad_upstream_framing"),
        (6, b"HTTP/1.1 200 OK", [b"Transfer-Encoding: gzip, chunked"], "bad_upstream_framing"),
        (6, b"HTTP/1.1 200 OK", [b"Transfer-Encoding: identity"], "bad_upstream_framing"),
        (6, b"HTTP/1.0 200 OK", [b"Transfer-Encoding: chunked"], "bad_upstream_framing"),
        (3, b"HTTP/1.1 200 OK", [b"Content-Length: 5, 5"], "bad_upstream_framing"),
        (3, b"HTTP/1.1 200 OK", [b"Content-Length: +5"], "bad_upstream_framing"),
        (3, b"HTTP/1.1 200 OK", [b"Content-Length: 010"], "bad_upstream_framing"),
        (3, b"HTTP/1.1 200 OK", [b"Content-Length:"], "bad_upstream_framing"),
        (3, b"HTTP/1.1 204 No Content", [b"Content-Length: x"], "bad_upstream_framing"),
        (6, b"HTTP/1.1 103 Early Hints", [b"Content-Length: 5"], "bad_upstream_framing"),
        (6, b"HTTP/1.1 101 Switching Protocols", [b"Content-Length: 5"], "bad_upstream_framing"),
        (17, b"HTTP/1.1 200 OK", [b"Content_Length: 5"], "bad_upstream_framing"),
        (17, b"HTTP/1.1 200 OK", [b"transfer.encoding: chunked"], "bad_upstream_framing"),
        (13, b"HTTP/1.1 200 OK", [b"X: a\x00"], "bad_header"),
        (13, b"HTTP/1.1 200 OK", [b"X: a\rSet-Cookie: S=1"], "bad_header"),
        (13, b"HTTP/1.1 200 OK", [b"X: a\nSet-Cookie: S=1"], "bad_header"),
        (13, b"HTTP/1.1 200 OK", [b"X: \x7f"], "bad_header"),
        (14, b"HTTP/1.1 200 OK", [b"X: a", b" b"], "bad_header"),
        (15, b"HTTP/1.1 200 OK", [b"Content-Length : 5"], "bad_header"),
        (15, b"HTTP/1.1 200 OK", [b": x"], "bad_header"),
        (15, b"HTTP/1.1 200 OK", [b"x"], "bad_header"),
        (55, b"HTTP/1.1 200 a\rb", [], "bad_status_line"),
        (55, b"HTTP/1.1 200 a\x00b", [], "bad_status_line"),
        (55, b"HTTP/1.1 200 a\nX: y", [], "bad_status_line"),
        (55, b"HTTP/1.1 99 low", [], "bad_status_line"),
        (55, b"HTTP/1.1 099 low", [], "bad_status_line"),
        (55, b"HTTP/1.1 1000 high", [], "bad_status_line"),
        (55, b"HTTP/1.1 2xx", [], "bad_status_line"),
        (55, b"HTTP/1.1  200 OK", [], "bad_status_line"),
        (55, b"HTTP/2 200", [], "bad_status_line"),
        (55, b"HTTP/1.1 200OK", [], "bad_status_line"),
        (55, b"GET / HTTP/1.1", [], "bad_status_line"),
        (55, b"", [], "bad_status_line"),
    ],
)
def test_an_answer_that_two_parsers_read_differently_is_the_apps_fault(
    case: int, line: bytes, fields: list[bytes], reason: str
) -> None:
    assert refusal(*fields, line=line) == (502, reason)


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        (b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK"),
        (b"HTTP/1.0 200 OK", b"HTTP/1.1 200 OK"),
        (b"HTTP/1.1 299 Odd  one", b"HTTP/1.1 299 Odd  one"),
        (b"HTTP/1.1 520 M\xfcde\t!", b"HTTP/1.1 520 M\xfcde\t!"),
        (b"HTTP/1.1 999 x", b"HTTP/1.1 999 x"),
        (b"HTTP/1.1 200 ", b"HTTP/1.1 200 "),
        (b"HTTP/1.1 200", b"HTTP/1.1 200 "),  # RFC 9112 section 4: the blank is always sent
    ],
)
def test_status_and_reason_pass_unchanged(line: bytes, sent: bytes) -> None:
    """Reference case 55."""
    assert outgoing(parse(line=line)) == [sent]


def test_field_names_values_order_and_repetitions_pass_unchanged() -> None:
    """Reference cases 37, 39, 46, 47, 49."""
    fields = [
        b"set-cookie: S=1; Path=/",
        b"X-Name: M\xfcller",
        b"Set-Cookie: T=2",
        b"Link: <a>",
        b"Link: <b>",
        b'ETag: W/"x"',
        b"Content-Encoding: br",
        b"X_Custom: y",
        b"Trailer: X-Sum",
    ]
    response = parse(*fields)
    assert outgoing(response)[1:] == fields
    assert response.sets_cookies


def test_nothing_is_added_to_an_answer_without_fields() -> None:
    assert outgoing(parse()) == [b"HTTP/1.1 200 OK"]
    assert not parse().sets_cookies


@pytest.mark.parametrize(
    ("field", "length", "chunked"),
    [
        (b"Content-Length: 5", 5, False),
        (b"Content-Length:  5 \t", 5, False),
        (b"Content-Length: 0", 0, False),
        (b"Transfer-Encoding: Chunked ", None, True),
        (b"X: y", None, False),
    ],
)
def test_the_framing_is_read_and_left_to_the_exchange(field: bytes, length: int | None, chunked: bool) -> None:
    response = parse(field)
    assert (response.content_length, response.chunked) == (length, chunked)
    assert response.lines == ([field] if field == b"X: y" else [])


@pytest.mark.parametrize(
    ("line", "length", "keeps"),
    [
        (b"HTTP/1.1 204 No Content", b"5", False),
        (b"HTTP/1.1 204 No Content", b"0", True),
        (b"HTTP/1.1 304 Not Modified", b"5", True),  # of the page that is not sent (RFC 9110 section 8.6)
        (b"HTTP/1.1 103 Early Hints", b"0", True),
        (b"HTTP/1.1 200 OK", b"5", True),
    ],
)
def test_after_an_answer_whose_content_may_still_come_the_connection_is_not_used_again(
    line: bytes, length: bytes, keeps: bool
) -> None:
    """Reference cases 26 and 53: a 204 has no content, but an app that announces some may send it."""
    response = parse(b"Content-Length: " + length, line=line)
    assert response.keep_alive is keeps
    assert outgoing(response) == [line]


@pytest.mark.parametrize(
    "field",
    [b"Connection: keep-alive", b"Keep-Alive: timeout=5", b"Proxy-Connection: close", b"Upgrade: h2c", b"TE: x"],
)
def test_what_belongs_to_the_apps_connection_stays_there(field: bytes) -> None:
    assert outgoing(parse(b"A: 1", field, b"B: 2"))[1:] == [b"A: 1", b"B: 2"]


def test_nominated_fields_are_removed_but_never_protected_ones() -> None:
    """Reference cases 33 and 34: an app cannot make the proxy drop a cookie by accident."""
    response = parse(b"Connection: X-Hop, set-cookie ,close", b"Set-Cookie: S=1", b"X-Hop: 1", b"connection: date,y")
    assert outgoing(response, keep_alive=False)[1:] == [b"Set-Cookie: S=1", b"Connection: close"]
    assert response.nominated == {b"x-hop", b"y"}
    assert not response.keep_alive


@pytest.mark.parametrize(
    ("line", "connection", "keeps"),
    [
        (b"HTTP/1.1 200 OK", None, True),
        (b"HTTP/1.1 200 OK", b"Close", False),
        (b"HTTP/1.0 200 OK", None, False),
        (b"HTTP/1.0 200 OK", b"Keep-Alive", True),
        (b"HTTP/1.0 200 OK", b"keep-alive, close", False),
    ],
)
def test_the_apps_connection_is_kept_as_the_app_says(line: bytes, connection: bytes | None, keeps: bool) -> None:
    assert parse(*([] if connection is None else [b"Connection: " + connection]), line=line).keep_alive is keeps


@pytest.mark.parametrize(
    ("fields", "upgrade"),
    [
        ([b"Connection: Upgrade", b"Upgrade: WebSocket"], b"websocket"),
        ([b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: h2c"], b"websocket,h2c"),
        ([b"Upgrade: websocket"], b""),
        ([b"Connection: Upgrade"], b""),
    ],
)
def test_the_exchange_is_told_which_protocol_the_app_switches_to(fields: list[bytes], upgrade: bytes) -> None:
    """Reference case 103: whether it was asked for is decided there."""
    assert parse(*fields, line=b"HTTP/1.1 101 Switching Protocols").upgrade == upgrade


@pytest.mark.parametrize(
    ("keep_alive", "minor", "connection"),
    [
        (True, 1, []),
        (False, 1, [b"Connection: close"]),
        (True, 0, [b"Connection: keep-alive"]),
        (False, 0, [b"Connection: close"]),
    ],
)
def test_the_client_is_told_about_its_own_connection(keep_alive: bool, minor: int, connection: list[bytes]) -> None:
    lines = outgoing(parse(b"A: 1"), b"Content-Length: 3", keep_alive=keep_alive, minor=minor)
    assert lines[1:] == [b"A: 1", b"Content-Length: 3", *connection]


@pytest.mark.parametrize("line", [b"X: a\r\nSet-Cookie: S=1", b"X: a\nb", b"X: a\rb", b"X: \x00", b"X: \x7f"])
def test_nothing_unclean_gets_out_whatever_went_wrong_before(line: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        build_response(parse(), [line], b"", keep_alive=True, minor=1)
    assert (caught.value.status, caught.value.reason) == (502, "unclean_head")
    with pytest.raises(ProtocolError):
        build_response(parse(), [], line, keep_alive=True, minor=1)


@pytest.mark.parametrize(
    ("status", "method", "bodiless"),
    [
        (200, b"GET", False),
        (200, b"HEAD", True),
        (404, b"HEAD", True),
        (100, b"POST", True),
        (103, b"GET", True),
        (199, b"GET", True),
        (204, b"GET", True),
        (205, b"GET", False),
        (304, b"GET", True),
        (303, b"GET", False),
    ],
)
def test_some_answers_never_have_content(status: int, method: bytes, bodiless: bool) -> None:
    """Reference case 53."""
    assert has_no_body(status, method) is bodiless
