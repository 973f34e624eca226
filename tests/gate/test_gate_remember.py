"""Which session cookies a browser has before and after an answer."""

import pytest

from sidecar.gate.remember import cookies_of
from sidecar.http1.request import RequestHead
from sidecar.http1.response import ResponseHead


def read(sent: list[bytes], answered: list[bytes]) -> tuple[bytes, bytes]:
    request = RequestHead(b"GET", b"/", 1, [])
    request.cookies = tuple(sent)
    response = ResponseHead(200, b"OK", 1, [b"Content-Type: text/html", *(b"Set-Cookie: " + line for line in answered)])
    return cookies_of(request, response, lambda name: name.lower() in {b"sid", b"remember"})


@pytest.mark.parametrize(
    ("sent", "answered", "after", "before"),
    [
        ([], [], b"", b""),
        ([], [b"sid=new; Path=/; HttpOnly"], b"sid=new", b""),
        ([b"theme=dark; sid=old"], [], b"sid=old", b"sid=old"),
        ([b"sid=old"], [b"sid=new"], b"sid=new", b"sid=old"),
        ([b"sid=old; remember=r"], [b"sid=new"], b"sid=new; remember=r", b"sid=old; remember=r"),
        ([b"sid=old"], [b"remember=r", b"theme=x"], b"sid=old; remember=r", b"sid=old"),
        ([b"sid=old"], [b"sid=; Max-Age=0"], b"", b"sid=old"),
        (
            [b"sid=old", b"remember=r"],
            [b"remember=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT"],
            b"sid=old",
            b"sid=old; remember=r",
        ),
        ([b'sid="quoted"; ; =; nothing'], [], b'sid="quoted"', b'sid="quoted"'),
    ],
)
def test_the_browsers_session_cookies_are_read_as_they_are(sent, answered, after, before) -> None:
    assert read(sent, answered) == (after, before)


def test_only_so_many_are_looked_at() -> None:
    after, _ = read([b"; ".join(b"x=%d" % number for number in range(100_000)) + b"; sid=late"], [])
    assert after == b""
