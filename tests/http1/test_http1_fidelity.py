"""What is not the proxy's to change goes out as it came in, byte for byte (promise 5).

Legal heads are generated, parsed and built, and compared field by field with what went in. h11 is the reader at the
other end.
"""

from http1_wire import Fields, by_h11, relay, response_by_h11, sent_fields
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.http1.request import build_request, parse_request
from sidecar.http1.response import parse_response

TCHAR = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
METHODS = st.text(TCHAR, min_size=1, max_size=12).map(str.encode)
# Every byte that a target may have, and every text that a value may have, obs-text and all.
TARGETS = st.binary(max_size=40).map(
    lambda data: b"/" + bytes(byte for byte in data if 0x21 <= byte < 0x7F and byte != 0x23)
)
VALUES = st.binary(max_size=40).map(
    lambda data: bytes(byte for byte in data if (byte >= 0x20 and byte != 0x7F) or byte == 0x09).strip(b" \t")
)
# Repeated in any spelling, with any values: only their own rules may change the others.
ENDS_TO_END = (
    "Accept accept ACCEPT-encoding Accept-Language If-None-Match Range Via Link X-Multi x-multi X_Multi X.Dot~1"
    " Referer User-Agent Origin Access-Control-Request-Method DNT Cache-Control Pragma Trailer Max-Forwards Warning"
    " X-Auth-Token Sec-Fetch-Mode Last-Event-ID traceparent SOAPAction If-Modified-Since"
)
REQUEST_NAMES = st.sampled_from([*ENDS_TO_END.encode().split(), b"Cookie", b"cookie"])
RESPONSE_NAMES = st.sampled_from(
    [
        *ENDS_TO_END.encode().split(),
        *b"Set-Cookie set-cookie Set-Cookie Date Server ETag Location Content-Type WWW-Authenticate".split(),
        *b"Content-Encoding Age Retry-After Alt-Svc Content-Security-Policy Strict-Transport-Security".split(),
    ]
)
REQUEST_FIELDS = st.lists(st.tuples(REQUEST_NAMES, VALUES), max_size=12)
RESPONSE_FIELDS = st.lists(st.tuples(RESPONSE_NAMES, VALUES), max_size=12)
BLANKS = st.sampled_from([b" ", b"", b"\t", b"  \t "])
REASONS = VALUES.filter(lambda reason: not reason.startswith(b"\t"))


def written(line: bytes, fields: Fields, before: bytes, after: bytes) -> bytes:
    return (
        line + b"\r\n" + b"".join(b"%b:%b%b%b\r\n" % (name, before, value, after) for name, value in fields) + b"\r\n"
    )


def lines_of(head: bytes) -> Fields:
    """Name and value of each line, spelled as in the head."""
    return [(name, value) for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n")[1:-2])]


def lower(fields: Fields) -> Fields:
    return [(name.lower(), value) for name, value in fields]


@settings(max_examples=300)
@given(METHODS, TARGETS, REQUEST_FIELDS, BLANKS, BLANKS)
def test_a_request_goes_out_as_it_came_in(
    method: bytes, target: bytes, fields: Fields, before: bytes, after: bytes
) -> None:
    if method.upper() in {b"CONNECT", b"TRACE", b"TRACK", b"PRI"}:
        return
    fields = [(b"hOsT", b"App.test:8080"), *fields]
    for _ in range(3):  # read, then remembered
        request = parse_request(written(b"%b %b HTTP/1.1" % (method, target), fields, before, after), max_headers=128)
        head = build_request(request, request.lines)
        assert head.split(b"\r\n")[0] == b"%b %b HTTP/1.1" % (method, target)
        assert lines_of(head) == fields
        assert by_h11(head) == (method, target, lower(fields), b"")


@settings(max_examples=300)
@given(st.integers(200, 999), REASONS, RESPONSE_FIELDS, BLANKS, BLANKS)
def test_a_response_goes_out_as_it_came_in(
    status: int, reason: bytes, fields: Fields, before: bytes, after: bytes
) -> None:
    for _ in range(3):
        response = parse_response(written(b"HTTP/1.1 %d %b" % (status, reason), fields, before, after))
        head = relay(response)
        framing = [] if status in {204, 304} else [(b"Transfer-Encoding", b"chunked")]
        assert head.split(b"\r\n")[0] == b"HTTP/1.1 %d %b" % (status, reason)
        assert lines_of(head) == [*fields, *framing]
        body = b"0\r\n\r\n" if framing else b""
        assert response_by_h11(head + body)[:3] == (status, reason, lower([*fields, *framing]))


@given(st.lists(VALUES, min_size=1, max_size=6))
def test_cookies_that_an_app_sets_stay_apart_and_in_order(values: list[bytes]) -> None:
    fields = [(b"Set-Cookie", value) for value in values]
    response = parse_response(written(b"HTTP/1.1 200 OK", fields, b" ", b""))
    assert [value for name, value in sent_fields(relay(response)) if name == b"set-cookie"] == values
    assert response.sets_cookies


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_cookies_that_a_client_sends_are_seen_as_they_go_out(values: list[bytes]) -> None:
    """What is judged is what the app gets, line by line."""
    fields = [(b"Host", b"a"), *((b"Cookie", value) for value in values)]
    request = parse_request(written(b"GET / HTTP/1.1", fields, b" ", b""), max_headers=128)
    head = build_request(request, request.lines)
    assert list(request.cookies) == [value for name, value in lines_of(head) if name == b"Cookie"] == values
