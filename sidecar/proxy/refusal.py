"""Answers to requests that cannot be served at all, whoever sent them."""

import json

from sidecar.core.denial import Answer

_PHRASES = {
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}


def refusal(status: int, reason: str) -> Answer:
    """The answer with this status and stable reason, as `application/problem+json`."""
    phrase = _PHRASES.get(status, b"Error")
    body = {"type": "about:blank", "title": phrase.decode(), "status": status, "reason": reason}
    headers = [
        (b"Content-Type", b"application/problem+json"),
        (b"Cache-Control", b"no-store"),
        (b"X-Logout-Sidecar", reason.encode()),
    ]
    if status == 503:
        headers.append((b"Retry-After", b"1"))
    if status == 405:
        headers.append((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
    return Answer(status, phrase, tuple(headers), json.dumps(body).encode())
