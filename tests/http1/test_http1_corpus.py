"""Attacks on the wire, each with its verdict: what a scanner for request smuggling would send, and what an evil app.

A verdict is what gets out: `POST / <body>` for each message, then `!reason` where the stream is refused, or `...`
where more is waited for. Most are refused. Of those that are not, h11 reads every message that goes out as the one that
we read, so that nothing is hidden in it.
"""

import pytest
from http1_wire import Reader, by_h11, on_the_wire, read_requests, read_responses, response_by_h11

HOST = b"Host: a\r\n"
HIDDEN = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
TE = b"Transfer-Encoding: chunked\r\n"
LAST = b"0\r\n\r\n"


def post(fields: bytes, body: bytes = b"", *, version: bytes = b"1.1", method: bytes = b"POST") -> bytes:
    return method + b" / HTTP/" + version + b"\r\n" + HOST + fields + b"\r\n" + body


def get(fields: bytes = b"", *, target: bytes = b"/", version: bytes = b"HTTP/1.1", host: bytes = HOST) -> bytes:
    return b"GET " + target + b" " + version + b"\r\n" + host + fields + b"\r\n"


def chunked(body: bytes, fields: bytes = b"") -> bytes:
    return post(TE + fields, body)


def upgrade(protocol: bytes, fields: bytes = b"", body: bytes = b"") -> bytes:
    return get(b"Connection: Upgrade\r\nUpgrade: " + protocol + b"\r\n" + fields) + body


# Both framings in one message. One hop counts, the other looks for the last chunk.
BOTH_FRAMINGS = [
    ("!bad_transfer_encoding", post(b"Content-Length: 37\r\n" + TE, LAST + HIDDEN)),
    ("!bad_transfer_encoding", post(TE + b"Content-Length: 4\r\n", b"1e\r\n" + HIDDEN + LAST)),
    ("!bad_transfer_encoding", post(b"Content-Length: 0\r\n" + TE, LAST)),
    ("!bad_transfer_encoding", post(b"CONTENT-LENGTH: 5\r\ntransfer-encoding: CHUNKED\r\n", LAST)),
    ("!bad_transfer_encoding", post(b"Content-Length: 6\r\nTransfer-Encoding: identity\r\n", b"hidden")),
    ("!bad_transfer_encoding", post(b"Content-Length: 6\r\nTransfer-Encoding: \r\n", b"hidden")),
    ("!bad_transfer_encoding", post(b"Content-Length: abc\r\n" + TE, LAST)),
    ("!bad_transfer_encoding", post(b"Content-Length: 5\r\n" + TE, LAST, method=b"GET")),
    ("!bad_transfer_encoding", post(b"Content-Length: 5\r\nX: y\r\n" + TE + b"Connection: close\r\n", LAST)),
    ("!protected_field_nominated", post(b"Content-Length: 5\r\n" + TE + b"Connection: content-length\r\n", LAST)),
    ("!bad_transfer_encoding", post(b"Content-Length: 5\r\n" + TE + b"Connection: transfer-encoding\r\n", LAST)),
    ("!ambiguous_field_name", post(b"Content_Length: 5\r\n" + TE, LAST)),
    ("!ambiguous_field_name", post(b"Content-Length: 5\r\nTransfer_Encoding: chunked\r\n", LAST)),
    ("!ambiguous_field_name", post(b"Content.Length: 5\r\n" + TE, LAST)),
    ("!ambiguous_field_name", post(b"Content-Length: 5\r\nTransfer~Encoding: chunked\r\n", LAST)),
    ("!ambiguous_field_name", post(b"Content-Length: 5\r\nTransfer'Encoding: chunked\r\n", LAST)),
]

# A coding that one hop takes for `chunked` and the other does not.
OBFUSCATED_CODINGS = [
    ("!" + reason, post(fields, LAST + HIDDEN))
    for reason, fields in (
        ("bad_transfer_encoding", b"Transfer-Encoding: xchunked\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: chunkedx\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: x, chunked\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: chunked, x\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: gzip, chunked\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: chunked, identity\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: identity, chunked\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: chunked, chunked\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: ,chunked\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: chunked,\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: chunked;q=1\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: chunked ; a=b\r\n"),
        ("bad_transfer_encoding", b'Transfer-Encoding: "chunked"\r\n'),
        ("bad_transfer_encoding", b"Transfer-Encoding: 'chunked'\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: chunked chunked\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: chunk\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: compress\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: \xa0chunked\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: chunked\x85\r\n"),
        ("bad_transfer_encoding", b"Transfer-Encoding: \xe2\x80\x83chunked\r\n"),
        ("bad_transfer_encoding", "Transfer-Encoding: chun\u212aed\r\n".encode()),  # the Kelvin sign
        ("bad_header", b"Transfer-Encoding: \x0bchunked\r\n"),
        ("bad_header", b"Transfer-Encoding: chunked\x0c\r\n"),
        ("bad_header", b"Transfer-Encoding: chunked\x00\r\n"),
        ("bad_header", b"Transfer-Encoding: chunked\r, identity\r\n"),
        ("bad_header", b"Transfer-Encoding\x00: chunked\r\n"),
        ("bad_header", b"Transfer-Encoding : chunked\r\n"),
        ("bad_header", b"Transfer-Encoding\t: chunked\r\n"),
        ("bad_header", b"Transfer-Encoding\x0b: chunked\r\n"),
        ("bad_header", b"Transfer-Encoding\xa0: chunked\r\n"),
        ("bad_header", b"Transfer Encoding: chunked\r\n"),
        ("bad_header", b" Transfer-Encoding: chunked\r\n"),
        ("bad_header", b"X: y\r\n Transfer-Encoding: chunked\r\n"),
        ("bad_header", b"X: y\r\n\tTransfer-Encoding: chunked\r\n"),
        ("bad_header", b"X: y\nTransfer-Encoding: chunked\r\n"),
        ("bad_header", b"X: y\rTransfer-Encoding: chunked\r\n"),
        ("bad_header", b"X: y\r\r\nTransfer-Encoding: chunked\r\n"),
        ("bad_header", b"Transfer-Encoding:\r\n chunked\r\n"),
        ("bad_header", b"Transfer-Encoding\r\n: chunked\r\n"),
        ("bad_header", b"Transfer-Encoding; chunked\r\n"),
        ("bad_header", b"\x00Transfer-Encoding: chunked\r\n"),
        ("bad_header", b"\xef\xbb\xbfTransfer-Encoding: chunked\r\n"),
        ("repeated_field", TE + TE),
        ("repeated_field", TE + b"Transfer-Encoding: identity\r\n"),
        ("repeated_field", b"Transfer-Encoding: gzip\r\n" + TE),
        ("repeated_field", TE + b"transfer-encoding: x\r\n"),
        ("ambiguous_field_name", b"Transfer_Encoding: chunked\r\n"),
        ("ambiguous_field_name", b"TRANSFER_ENCODING: chunked\r\n"),
        ("ambiguous_field_name", b"Transfer.Encoding: chunked\r\n"),
        ("ambiguous_field_name", b"Transfer*Encoding: chunked\r\n"),
        ("ambiguous_field_name", TE + b"Transfer_Encoding: identity\r\n"),
    )
]

# A length that one hop reads differently, or not at all.
LENGTHS = [
    ("!" + reason, post(fields, b"hello" + HIDDEN))
    for reason, fields in (
        ("repeated_field", b"Content-Length: 5\r\nContent-Length: 5\r\n"),
        ("repeated_field", b"Content-Length: 5\r\nContent-Length: 37\r\n"),
        ("repeated_field", b"Content-Length: 0\r\nX: y\r\ncontent-length: 5\r\n"),
        ("bad_content_length", b"Content-Length: 5, 5\r\n"),
        ("bad_content_length", b"Content-Length: 5,\r\n"),
        ("bad_content_length", b"Content-Length: 5 5\r\n"),
        ("bad_content_length", b"Content-Length: 5;a=b\r\n"),
        ("bad_content_length", b"Content-Length: +5\r\n"),
        ("bad_content_length", b"Content-Length: -5\r\n"),
        ("bad_content_length", b"Content-Length: 05\r\n"),
        ("bad_content_length", b"Content-Length: 0x5\r\n"),
        ("bad_content_length", b"Content-Length: 5e0\r\n"),
        ("bad_content_length", b"Content-Length: 5.0\r\n"),
        ("bad_content_length", b"Content-Length: 5_0\r\n"),
        ("bad_content_length", b'Content-Length: "5"\r\n'),
        ("bad_content_length", b"Content-Length:\r\n"),
        ("bad_content_length", b"Content-Length: five\r\n"),
        ("bad_content_length", "Content-Length: \uff15\r\n".encode()),
        ("bad_content_length", b"Content-Length: 5\xa0\r\n"),
        ("bad_content_length", b"Content-Length: 18446744073709551621\r\n"),
        ("bad_content_length", b"Content-Length: 9223372036854775813\r\n"),
        ("bad_content_length", b"Content-Length: " + b"1" * 5000 + b"\r\n"),
        ("bad_header", b"Content-Length: 5\x00\r\n"),
        ("bad_header", b"Content-Length: 5\x0b\r\n"),
        ("bad_header", b"Content-Length : 5\r\n"),
        ("bad_header", b"Content-Length\xa0: 5\r\n"),
        ("bad_header", b"Content Length: 5\r\n"),
        ("bad_header", b" Content-Length: 5\r\n"),
        ("bad_header", b"Content-Length:\r\n 5\r\n"),
        ("bad_header", b"Content-Length: 5\nX: y\r\n"),
        ("bad_header", b"X\r: y\r\nContent-Length: 5\r\n"),
        ("ambiguous_field_name", b"Content_Length: 5\r\n"),
        ("ambiguous_field_name", b"CONTENT_LENGTH: 5\r\n"),
        ("ambiguous_field_name", b"Content|Length: 5\r\n"),
        ("protected_field_nominated", b"Content-Length: 5\r\nConnection: close, content-length\r\n"),
        ("protected_field_nominated", b"Content-Length: 5\r\nConnection:\tContent-Length ,\r\n"),
    )
]

# A hop that ignores a body (CL.0), or one that waits for a body that another says is not there (0.CL).
IGNORED_BODIES = [
    ("POST / <GET /admin HTTP/1.1\r\nHost: a\r\n\r\n>", post(b"Content-Length: 32\r\n", HIDDEN)),
    ("GET / <GET /admin HTTP/1.1\r\nHost: a\r\n\r\n>", post(b"Content-Length: 32\r\n", HIDDEN, method=b"GET")),
    ("HEAD / <hello> | GET /admin <>", post(b"Content-Length: 5\r\n", b"hello" + HIDDEN, method=b"HEAD")),
    ("OPTIONS / <hello> | GET /admin <>", post(b"Content-Length: 5\r\n", b"hello" + HIDDEN, method=b"OPTIONS")),
    ("DELETE / <hello>", post(TE, b"5\r\nhello\r\n" + LAST, method=b"DELETE")),
    ("POST / <> | GET /admin <>", post(b"", HIDDEN)),
    ("POST / <> | GET /admin <>", post(b"Content-Length: 0\r\n", HIDDEN)),
    ("GET / <> | GET /admin <>", post(b"Content-Length: 0\r\n", HIDDEN, method=b"GET")),
    ("POST / <> | !bad_request_line", post(b"", b"hello\r\n\r\n")),
    ("POST / <> | ...", post(b"", b"hello")),
    ("POST / <hello> | GET /admin <>", post(b"Content-Length: 5\r\nExpect: 100-continue\r\n", b"hello" + HIDDEN)),
    ("!unknown_expectation", post(b"Content-Length: 5\r\nExpect: y 100-continue\r\n", b"hello")),
    ("!unknown_expectation", post(b"Content-Length: 5\r\nExpect: 100-continue, x\r\n", b"hello")),
    ("!unknown_expectation", post(b"Content-Length: 5\r\nExpect: \xa0100-continue\r\n", b"hello")),
    ("!unknown_expectation", post(b"Content-Length: 5\r\nExpect: \r\n", b"hello")),
    ("!repeated_field", post(b"Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 5\r\n", b"hello")),
    ("!bad_header", post(b"Expect: 100-continue\r\n Content-Length: 5\r\n", b"hello")),
    ("!bad_header", post(b"Content-Length: 5\r\nExpect:\r\n 100-continue\r\n", b"hello")),
    ("POST / <hello>", post(b"Content-Length: 5\r\n", b"hello" + HIDDEN, version=b"1.0")),
    ("POST / <>", post(b"", b"hello" + HIDDEN, version=b"1.0")),
    ("POST / <hello>", post(b"Content-Length: 5\r\nConnection: close\r\n", b"hello" + HIDDEN)),
    ("!bad_transfer_encoding", post(TE, LAST + HIDDEN, version=b"1.0")),
    ("!bad_transfer_encoding", post(TE + b"Connection: keep-alive\r\n", LAST + HIDDEN, version=b"1.0")),
]

# Chunks that another reader would cut elsewhere.
CHUNKS = [
    ("POST / <hello> | GET /admin <>", chunked(b"5\r\nhello\r\n" + LAST + HIDDEN)),
    ("POST / <hello>", chunked(b"0005\r\nhello\r\n00\r\n\r\n")),
    ("POST / <hello>", chunked(b"5;a=b;c\r\nhello\r\n" + LAST)),
    ("POST / <GET /admin HTTP/1.1\r\nHost: a\r\n\r\n>", chunked(b"20\r\n" + HIDDEN + b"\r\n" + LAST)),
    ("...", chunked(b"5\r\nhello\r\n0\r\n")),
    ("...", chunked(b"ffffffff\r\nhello")),
    *(
        ("!" + reason, chunked(body))
        for reason, body in (
            ("bad_chunk", b"0x5\r\nhello\r\n" + LAST),
            ("bad_chunk", b"+5\r\nhello\r\n" + LAST),
            ("bad_chunk", b"-0\r\n\r\n" + HIDDEN),
            ("bad_chunk", b"5 \r\nhello\r\n" + LAST),
            ("bad_chunk", b" 5\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5\t\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5\x0b\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5\xa0\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5\x00\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5_0\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5h\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5,5\r\nhello\r\n" + LAST),
            ("bad_chunk", b"\r\nhello\r\n" + LAST),
            ("bad_chunk", b";a\r\nhello\r\n" + LAST),
            ("bad_chunk", b"10000000000000005\r\nhello\r\n" + LAST),  # 5 where it overflows
            ("bad_chunk", b"fffffffffffffffb\r\nhello\r\n" + LAST),  # negative there
            ("bad_chunk", b"00000000000000005\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5\nhello\r\n" + LAST),
            ("bad_chunk", b"5\rhello\r\n" + LAST),
            ("bad_chunk", b"5\r\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5\n\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5\r\nhello\n" + LAST),
            ("bad_chunk", b"5\r\nhello\r" + LAST),
            ("bad_chunk", b"5\r\nhello" + LAST),
            ("bad_chunk", b"5\r\nhelloXX" + LAST),
            ("bad_chunk", b"5\r\nhello!\r\n" + LAST),
            ("bad_chunk", b"5\r\nhell\r\n" + LAST),
            ("bad_chunk", b"5;\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5; a=b\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5 ;a=b\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5;a =b\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5;a=b;;c\r\nhello\r\n" + LAST),
            ("bad_chunk", b'5;a="b"\r\nhello\r\n' + LAST),
            ("bad_chunk", b'5;a="\r\nhello\r\n' + LAST),
            ("bad_chunk", b'5;a="\r\n0\r\n\r\n"\r\nhello\r\n' + LAST),
            ("bad_chunk", b"5;a\n0\r\n\r\n" + HIDDEN),
            ("bad_chunk", b"5;a\rb\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5;a\r\n\nhello\r\n" + LAST),
            ("bad_chunk", b"5;\xff\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5;a=\x00\r\nhello\r\n" + LAST),
            ("bad_chunk", b"5;" + b"a" * 5000 + b"\r\nhello\r\n" + LAST),
            ("bad_chunk", (b"1;" + b"a" * 4000 + b"\r\nx\r\n") * 5 + LAST),
            ("bad_trailer", b"0\r\n\n" + HIDDEN),
            ("bad_trailer", b"0\r\nX: y\n\r\n" + HIDDEN),
        )
    ),
]

# Fields behind the body that a server puts among the others.
TRAILERS = [
    ("POST / <> {X-Sum: 1}", chunked(b"0\r\nX-Sum: 1\r\n\r\n")),
    ("POST / <> {X-Sum: 1} | GET /admin <>", chunked(b"0\r\nX-Sum: 1\r\n\r\n" + HIDDEN)),
    *(
        ("POST / <>", chunked(b"0\r\n" + trailer + b": x\r\n\r\n"))
        for trailer in (
            b"Content-Length",
            b"content-length",
            b"Content_Length",
            b"Content.Length",
            b"Transfer-Encoding",
            b"TRANSFER_ENCODING",
            b"Host",
            b"Cookie",
            b"Authorization",
            b"X-Auth-Token",
            b"X_Auth_Token",
            b"X-Forwarded-For",
            b"X_Forwarded_For",
            b"X-Real-IP",
            b"Forwarded",
            b"Remote-User",
            b"REMOTE_USER",
            b"SSL_CLIENT_S_DN",
            b"OIDC_CLAIM_sub",
            b"X-Original-URL",
            b"X-HTTP-Method-Override",
            b"X_HTTP_Method_Override",
            b"Connection",
            b"Upgrade",
            b"Trailer",
            b"TE",
            b"Expect",
            b"Range",
            b"If-Match",
            b"Content-Type",
            b"Content-Encoding",
            b"Sec-WebSocket-Key",
            b"Set-Cookie",
            b"Proxy",
        )
    ),
    ("POST / <>", chunked(b"0\r\nX-Hop: 1\r\n\r\n", b"Connection: X-Hop\r\n")),
    ("POST / <>", chunked(b"0\r\nX_Hop: 1\r\n\r\n", b"Connection: x-hop\r\n")),
    ("!bad_trailer", chunked(b"0\r\nContent-Length : 5\r\n\r\n")),
    ("!bad_trailer", chunked(b"0\r\n Cookie: a=b\r\n\r\n")),
    ("!bad_trailer", chunked(b"0\r\nX: a\r\n b\r\n\r\n")),
    ("!bad_trailer", chunked(b"0\r\nX: a\x00\r\n\r\n")),
    ("!bad_trailer", chunked(b"0\r\nX: a\nCookie: b\r\n\r\n")),
    ("!bad_trailer", chunked(b"0\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n")),
]

# The start of a request: method, target, version.
START_LINES = [
    ("!bad_request_line", get(version=b"HTTP/2.0")),
    ("!bad_request_line", get(version=b"HTTP/0.9")),
    ("!bad_request_line", get(version=b"HTTP/1.01")),
    ("!bad_request_line", get(version=b"HTTP/1.1 HTTP/1.1")),
    ("!bad_request_line", get(version=b"HTTP/1.1\x00")),
    ("!bad_request_line", get(version=b"HTTP/1.1\t")),
    ("!bad_request_line", get(version=b"HTTP /1.1")),
    ("!bad_request_line", get(version="HTTP/\u0661.1".encode())),
    ("!bad_request_line", b"GET /\r\n\r\n" + HIDDEN),
    ("!bad_request_line", b"GET /\r\nHost: a\r\n\r\n"),
    ("!bad_request_line", b"GET\r\n / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("!bad_request_line", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    ("!bad_request_line", b"GET / HTTP/1.1\rHost: a\r\n\r\n"),
    ("!bad_request_line", get(target=b"/a b")),
    ("!bad_request_line", get(target=b"/\x00")),
    ("!bad_request_line", get(target=b"/\x0b")),
    ("!bad_request_line", get(target=b"/#/../admin")),
    ("!bad_request_line", get(target=b"/\xff")),
    ("!bad_target", get(target=b"admin")),
    ("!bad_target", get(target=b"*")),
    ("!bad_target", get(target=b"http:/admin")),
    ("!bad_target", get(target=b"http:///admin")),
    ("!bad_target", get(target=b"http://a@b/")),
    ("!bad_target", get(target=b"http://a\\@b/")),
    ("!bad_target", get(target=b"http://a:b/")),
    ("!bad_target", get(target=b"http://a,b/")),
    ("!bad_target", get(target=b"http://[::1/")),
    ("!bad_target", get(target=b"?a/../b")),
    ("!bad_target", get(target=b"unix:/run/app.sock")),
    ("!bad_target", get(target=b"file:///etc/passwd")),
    ("GET //evil.test/x <>", get(target=b"//evil.test/x")),
    ("GET /\\evil.test <>", get(target=b"/\\evil.test")),
    ("GET /a?http://evil.test <>", get(target=b"http://a/a?http://evil.test")),
    ("GET /@evil.test <>", get(target=b"http://a/@evil.test")),
    ("!missing_host", get(target=b"http://evil.test/", host=b"")),
    ("!method_not_allowed", b"CONNECT evil.test:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("!method_not_allowed", b"connect / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("!method_not_allowed", post(b"", method=b"TRACE")),
    ("!method_not_allowed", post(b"", method=b"Trace")),
    ("!method_not_allowed", post(b"", method=b"TRACK")),
    ("!method_not_allowed", post(b"", method=b"PRI")),
    ("!bad_request_line", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("!bad_request_line", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    ("!bad_request_line", post(b"", method=b"GET\x00")),
    ("!bad_request_line", post(b"", method=b"G(T")),
    ("!bad_request_line", post(b"", method=b"GET\xa0")),
    ("!bad_request_line", post(b"", method=b"")),
    ("GPOST / <>", post(b"", method=b"GPOST")),
    ("GET / <> | GET /admin <>", get() + b"\r\n" + HIDDEN),
]

# Whose request this is.
HOSTS = [
    ("!missing_host", get(host=b"")),
    ("!repeated_field", get(b"Host: b\r\n")),
    ("!repeated_field", get(b"hOST: a\r\n")),
    *(
        ("!bad_host", get(host=b"Host: " + host + b"\r\n"))
        for host in (
            b"",
            b":80",
            b"a,b",
            b"a b",
            b"u@a",
            b"a:80:80",
            b"a:x",
            b"a:+80",
            b"a:-1",
            b"a/b",
            b"a?b",
            b"a#b",
            b"a\\b",
            b'"a"',
            b"a\xa0",
            b"\x85a",
            b"a\xc3\xa9",
            b"[::1",
            b"::1",
            b"[::1]x",
            b"[fe80::1%25eth0]",
            b"[fe80::1%eth0]",
            b"[:]",
            b"[1.2.3.4]",
            b"[v1.x]",
            b"[1:2:3:4:5:6:7:8:9]",
            b"<script>",
        )
    ),
    ("!bad_header", get(host=b"Host : a\r\n")),
    ("!bad_header", get(host=b" Host: a\r\n")),
    ("!bad_header", get(host=b"Host: a\x00b\r\n")),
    ("!bad_header", get(host=b"Host:\r\n a\r\n")),
    ("!protected_field_nominated", get(b"Connection: host\r\n")),
    ("GET / <>", get(host=b"Host: a.\r\n")),
    ("GET / <>", get(host=b"Host: a:\r\n")),
    ("GET / <>", get(host=b"Host: a:0\r\n")),
    ("GET / <>", get(host=b"Host: [::ffff:1.2.3.4]:80\r\n")),
]

# What a client says about itself, and what it asks to be dropped.
CLAIMS = [
    *(
        ("!ambiguous_field_name", get(name + b": x\r\n"))
        for name in (
            b"X_Forwarded_For",
            b"X-Forwarded_User",
            b"X.Forwarded.For",
            b"Remote_User",
            b"REMOTE_USER",
            b"SSL_CLIENT_VERIFY",
            b"X_Real_IP",
            b"X_Original_URL",
            b"X_Rewrite_URL",
            b"X_HTTP_Method_Override",
            b"Content_Type",
            b"Proxy_Authorization",
            b"Sec_WebSocket_Key",
        )
    ),
    *(
        ("!protected_field_nominated", get(b"Connection: close, " + name + b"\r\n"))
        for name in (
            b"Cookie",
            b"authorization",
            b"X-Forwarded-For",
            b"x-forwarded-user",
            b"X-Real-IP",
            b"Forwarded",
            b"Remote-User",
            b"SSL-Client-Verify",
            b"Content-Type",
            b"Origin",
            b"Sec-WebSocket-Key",
            b"X-HTTP-Method-Override",
        )
    ),
    ("GET / <>", get(b"Connection: X-Other\r\nX-Other: 1\r\n")),
]

# Out of HTTP altogether.
UPGRADES = [
    ("GET / <>", upgrade(b"h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n")),
    ("GET / <> | !bad_request_line", upgrade(b"h2c", body=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")),
    ("GET / <>", upgrade(b"TLS/1.0")),
    ("GET / <>", upgrade(b"websocket2", b"Sec-WebSocket-Key: x\r\n")),
    ("!repeated_field", upgrade(b"websocket", b"Upgrade: h2c\r\nSec-WebSocket-Key: x\r\n")),
    ("!bad_websocket_handshake", upgrade(b"websocket")),
    ("!bad_websocket_handshake", upgrade(b"websocket", b"Sec-WebSocket-Key: x\r\nContent-Length: 5\r\n", b"hello")),
    ("!bad_websocket_handshake", upgrade(b"websocket", b"Sec-WebSocket-Key: x\r\n" + TE, LAST)),
    ("!bad_websocket_handshake", post(b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n")),
]

REQUESTS = [
    *BOTH_FRAMINGS,
    *OBFUSCATED_CODINGS,
    *LENGTHS,
    *IGNORED_BODIES,
    *CHUNKS,
    *TRAILERS,
    *START_LINES,
    *HOSTS,
    *CLAIMS,
    *UPGRADES,
]


def answer(fields: bytes = b"", body: bytes = b"", *, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return line + b"\r\n" + fields + b"\r\n" + body


SECOND = answer(b"Content-Length: 5\r\n", b"stale")
HINT = b"HTTP/1.1 103 Early Hints"
NONE = b"HTTP/1.1 204 No Content"

# What an app, or an attacker behind it, sends to leave an answer in the queue.
RESPONSES = [
    ("!bad_upstream_framing", answer(b"Content-Length: 5\r\n" + TE, LAST + SECOND)),
    ("!bad_upstream_framing", answer(TE + b"Content-Length: 5\r\n", LAST + SECOND)),
    ("!bad_upstream_framing", answer(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello")),
    ("!bad_upstream_framing", answer(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello")),
    ("!bad_upstream_framing", answer(b"Content-Length: 5, 5\r\n", b"hello")),
    ("!bad_upstream_framing", answer(b"Content-Length: +5\r\n", b"hello")),
    ("!bad_upstream_framing", answer(b"Content-Length: 005\r\n", b"hello")),
    ("!bad_upstream_framing", answer(b"Content-Length: -1\r\n", b"hello")),
    ("!bad_upstream_framing", answer(b"Content-Length:\r\n", b"hello")),
    ("!bad_upstream_framing", answer(b"Content-Length: 99999999999999999999\r\n", b"hello")),
    ("!bad_upstream_framing", answer(b"Content_Length: 5\r\n", b"hello")),
    ("!bad_upstream_framing", answer(b"Transfer_Encoding: chunked\r\n", LAST)),
    ("!bad_upstream_framing", answer(b"Transfer-Encoding: gzip, chunked\r\n", LAST)),
    ("!bad_upstream_framing", answer(b"Transfer-Encoding: chunked, gzip\r\n", LAST)),
    ("!bad_upstream_framing", answer(b"Transfer-Encoding: identity\r\n", b"hello")),
    ("!bad_upstream_framing", answer(b"Transfer-Encoding: \r\n", b"hello")),
    ("!bad_upstream_framing", answer(b"Transfer-Encoding: xchunked\r\n", LAST)),
    ("!bad_upstream_framing", answer(TE + TE, LAST)),
    ("!bad_upstream_framing", answer(TE, LAST, line=b"HTTP/1.0 200 OK")),
    ("!bad_upstream_framing", answer(TE, LAST + SECOND, line=HINT)),
    ("!bad_upstream_framing", answer(b"Content-Length: 5\r\n", b"hello" + SECOND, line=HINT)),
    ("!bad_upstream_framing", answer(b"Content-Length: 5\r\n", SECOND, line=b"HTTP/1.1 100 Continue")),
    ("!bad_upstream_framing", answer(b"Content-Length: 5\r\n", b"hello", line=b"HTTP/1.1 101 Switching Protocols")),
    ("!bad_upstream_framing", answer(TE, LAST, line=NONE)),
    ("204 <>", answer(b"Content-Length: 52\r\n", SECOND, line=NONE)),  # and the connection is not used again
    ("204 <> | 200 <stale>", answer(b"Content-Length: 0\r\n", SECOND, line=NONE)),
    ("103 <> | 200 <stale>", answer(b"Content-Length: 0\r\nLink: <a>\r\n", SECOND, line=HINT)),
    ("304 <> | 200 <stale>", answer(b"Content-Length: 500\r\n", SECOND, line=b"HTTP/1.1 304 Not Modified")),
    ("304 <> | 200 <stale>", answer(TE, SECOND, line=b"HTTP/1.1 304 Not Modified")),
    ("205 <> | 200 <stale>", answer(b"Content-Length: 0\r\n", SECOND, line=b"HTTP/1.1 205 Reset Content")),
    ("200 <hello>", answer(b"Connection: close\r\nContent-Length: 5\r\n", b"hello" + SECOND)),
    ("200 <hello>", answer(b"Content-Length: 5\r\n", b"hello" + SECOND, line=b"HTTP/1.0 200 OK")),
    ("200 <hello>", answer(b"", b"hello")),
    ("200 <> {X-Sum: 1}", answer(TE, b"0\r\nX-Sum: 1\r\n\r\n")),
    ("200 <>", answer(TE, b"0\r\nSet-Cookie: S=1\r\nContent-Length: 5\r\n\r\n")),
    ("200 <>", answer(TE + b"Connection: x-sum\r\n", b"0\r\nX-Sum: 1\r\n\r\n")),
    ("!bad_chunk", answer(TE, b"5 \r\nhello\r\n" + LAST)),
    ("!bad_chunk", answer(TE, b"5\nhello\r\n" + LAST)),
    ("!bad_chunk", answer(TE, b"5\r\nhello!" + LAST)),
    ("!bad_trailer", answer(TE, b"0\r\nX: y\rZ: w\r\n\r\n")),
    ("!bad_header", answer(b"X: a\r\n b\r\n")),
    ("!bad_header", answer(b"X: a\nSet-Cookie: S=1\r\n")),
    ("!bad_header", answer(b"X: a\rSet-Cookie: S=1\r\n")),
    ("!bad_header", answer(b"X: a\x00\r\n")),
    ("!bad_header", answer(b"X : a\r\n")),
    ("!bad_header", answer(b": a\r\n")),
    ("!bad_header", answer(b"Content-Length : 5\r\n", b"hello")),
    ("!bad_header", answer(b"\xa0Content-Length: 5\r\n", b"hello")),
    *(
        ("!bad_status_line", answer(line=line))
        for line in (
            b"HTTP/2 200 OK",
            b"HTTP/1.2 200 OK",
            b"HTTP/0.9 200 OK",
            b"http/1.1 200 OK",
            b"HTTP/1.1 000 x",
            b"HTTP/1.1 099 x",
            b"HTTP/1.1 1000 x",
            b"HTTP/1.1 20 x",
            b"HTTP/1.1 +20 x",
            b"HTTP/1.1 2e1 x",
            b"HTTP/1.1  200 OK",
            b"HTTP/1.1\t200 OK",
            b"HTTP/1.1 200\tOK",
            b" HTTP/1.1 200 OK",
            b"HTTP/1.1 200 O\x00K",
            b"HTTP/1.1 200 O\rK",
            b"HTTP/1.1 200 O\nK",
            b"ICY 200 OK",
            b"GET / HTTP/1.1",
        )
    ),
]


def verdict(read: Reader, skip: int) -> str:
    told = []
    for (head, content), trailers in zip(read.forwarded, read.trailers, strict=True):
        words = head.split(b"\r\n")[0].decode("latin-1").split(" ")
        behind = "".join(f" {{{name.decode()}: {value.decode()}}}" for name, value in trailers)
        told.append(f"{' '.join(words[skip : skip + 2 - skip])} <{content.decode('latin-1')}>{behind}")
    if read.refusal:
        told.append("!" + read.refusal)
    elif read.is_waiting:
        told.append("...")
    return " | ".join(told)


@pytest.mark.parametrize(("expected", "stream"), REQUESTS, ids=map(str, range(len(REQUESTS))))
def test_a_client_that_smuggles_gets_its_verdict(expected: str, stream: bytes) -> None:
    read = read_requests(stream)
    assert verdict(read, 0) == expected
    for (head, content), trailers in zip(read.forwarded, read.trailers, strict=True):
        if b"\r\nUpgrade: " not in head:
            assert by_h11(on_the_wire(head, content, trailers))[3] == content
    assert verdict(read_requests(stream, range(len(stream))), 0) == expected, "cut at every byte"


@pytest.mark.parametrize(("expected", "stream"), RESPONSES, ids=map(str, range(len(RESPONSES))))
def test_an_app_that_smuggles_gets_its_verdict(expected: str, stream: bytes) -> None:
    read = read_responses(stream)
    assert verdict(read, 1) == expected
    for (head, content), trailers in zip(read.forwarded, read.trailers, strict=True):
        assert response_by_h11(on_the_wire(head, content, trailers))[3] == content
    assert verdict(read_responses(stream, cuts=range(len(stream))), 1) == expected, "cut at every byte"


def test_the_corpus_is_as_large_as_it_should_be() -> None:
    assert len(REQUESTS) + len(RESPONSES) > 300
