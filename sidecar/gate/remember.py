"""The session cookies that a browser has once an answer has reached it: those that it sent, and those that it gets.

For who has to tell the app of the end of the session. Raw cookies, so that nothing here keeps or logs them.
"""

from collections.abc import Awaitable, Callable, Iterable
from itertools import islice

from sidecar.core.cookies import parse_set_cookie
from sidecar.core.credentials import MAX_PAIRS
from sidecar.core.identity import BoundSession
from sidecar.http1.fields import parse_line
from sidecar.http1.request import RequestHead
from sidecar.http1.response import ResponseHead

# A session, its cookies, and those that they take the place of. Bounded in time, and never raises.
Remember = Callable[[BoundSession, bytes, bytes], Awaitable[None]]


def cookies_of(
    request: RequestHead, response: ResponseHead, is_declared: Callable[[bytes], bool]
) -> tuple[bytes, bytes]:
    """The session cookies that the browser has from now on, and those that it had; as in a Cookie field."""
    before = {name: pair for name, pair in _sent(request.cookies) if is_declared(name)}
    after = dict(before)
    for name, value in map(parse_line, response.lines):
        if name == b"set-cookie":
            pair = value.partition(b";")[0].strip()
            cookie = parse_set_cookie(value)
            if cookie.is_deletion:
                after.pop(cookie.name, None)
            elif is_declared(cookie.name):
                after[cookie.name] = pair
    return b"; ".join(after.values()), b"; ".join(before.values())


def _sent(lines: Iterable[bytes]) -> Iterable[tuple[bytes, bytes]]:
    pairs = (pair.strip(b" \t") for line in lines for pair in line.split(b";"))
    return ((pair.partition(b"=")[0].strip(), pair) for pair in islice(pairs, MAX_PAIRS) if b"=" in pair)
