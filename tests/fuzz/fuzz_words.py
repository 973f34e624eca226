"""The vocabulary of the fuzzer: what heads and bodies are made of, and what an attacker would write into them."""

METHODS = [b"GET"] * 9 + [b"HEAD"] * 2 + [b"POST"] * 4 + [b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND"]
WITH_BODY = frozenset((b"POST", b"PUT", b"PATCH"))
SIZES = [0, 1, 2, 5, 63, 64, 1000, 1000, 5000, 65_535, 65_536, 70_000]
BIG = 1_500_000  # more than all buffers on the way hold
STATUSES = [200] * 10 + [201, 204, 206, 299, 301, 304, 401, 404, 413, 500, 503]

# Whole blocks that repeat, as those of browsers do: the proxy remembers what it has read.
BROWSERS = [
    [],
    [b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)", b"Accept: */*", b"Accept-Language: de,en;q=0.7"],
    [b"User-Agent: curl/8.5.0", b"Accept: */*"],
    [b"Accept: text/html", b"Sec-Fetch-Mode: navigate", b"Upgrade-Insecure-Requests: 1", b"Cache-Control: no-cache"],
]
CONNECTION = [b"close", b"keep-alive", b"Close", b"keep-alive, X-F-0", b", close ,", b"x-f-1", b"TE"]
MORE = [
    b"X-Forwarded-For: 203.0.113.9",
    b"X-Forwarded-Proto: https",
    b"Forwarded: for=_x",
    b"TE: trailers",
    b"Cookie: other=1",
    b'Cookie: a="b; c=d"',
    b"Content-Type: text/plain",
    b"X-HTTP-Method-Override: DELETE",
    b"Trailer: X-Sum",
    b"Upgrade: h2c",
    b"Range: bytes=0-5",
    b"X-F-0:",
    b"x-f-1:\t tab \t",
    b"X-F-2: \xe4\xf6\xfc\xff\x80",
]

# What an attacker would write into a head or a body.
NASTY = [
    b"\r\nContent-Length: 5",
    b"\r\nContent-Length: 0",
    b"\r\nContent-Length: +5",
    b"\r\nContent-Length: 5, 5",
    b"\r\nContent-Length : 5",
    b"\r\nContent_Length: 5",
    b"\r\nTransfer-Encoding: chunked",
    b"\r\nTransfer-Encoding: xchunked",
    b"\r\nTransfer-Encoding:\x0bchunked",
    b"\r\nTransfer-Encoding: chunked, identity",
    b"\r\nTransfer_Encoding: chunked",
    b"\r\n Transfer-Encoding: chunked",
    b"\nTransfer-Encoding: chunked\n",
    b"\r\nHost: evil.example",
    b"\r\nConnection: Cookie, Content-Length",
    b"\r\nExpect: x 100-continue",
    b"\r\nExpect: 100-continue",
    b"\r\nUpgrade: websocket\r\nConnection: Upgrade",
    b"\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n",
    b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\r\n",
    b"\x00",
    b"\x7f",
    b"\xff",
    b" ",
    b"\t",
    b":",
    b";",
    b";a=b",
    b"#",
    b"0\r\n",
    b"0x",
    b"ffffffffffffffff\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
]

INTERIM = (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x.css>\r\n\r\n")
ANSWER_FIELDS = [
    b"Content-Type: text/plain",
    b"Set-Cookie: a=b; Path=/",
    b"Date: Sun, 06 Nov 1994 08:49:37 GMT",
    b"X-R: \xe4\xff",
    b"Connection: X-R",
    b"Keep-Alive: timeout=5",
]
