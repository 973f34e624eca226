"""Answers to requests that cannot be served at all, whoever sent them."""

import json

from sidecar.core.denial import PAGE_POLICY, PAGE_TYPE, Answer
from sidecar.core.page import page

_PHRASES = {
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    417: b"Expectation Failed",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}

# For a person who waits for a page. Nothing about what is behind it: that is in the metrics and the reason.
_TITLE = "This page cannot be shown at the moment"
_DETAILS = {
    502: "The application did not answer in a usable way. Please try again in a moment.",
    503: "The application is busy or about to restart. Please try again in a moment.",
    504: "The application took too long to answer. Please try again in a moment.",
}
_ANY_DETAIL = "Something went wrong. Please try again in a moment."


def oauth_refusal(status: int, reason: str) -> Answer:
    """The same in the words of the logout endpoint (Back-Channel Logout 1.0 section 2.8, RFC 6749 section 5.2)."""
    error = "invalid_request" if status == 400 else "server_error"
    body = json.dumps({"error": error, "error_description": reason}).encode()
    headers = refusal(status, reason).headers[1:]
    return Answer(status, _PHRASES[status], ((b"Content-Type", b"application/json"), *headers), body)


def refusal(status: int, reason: str, *, navigation: bool = False) -> Answer:
    """The answer with this status and stable reason: `application/problem+json`, or a page for a navigation."""
    phrase = _PHRASES.get(status, b"Error")
    headers = [(b"Cache-Control", b"no-store"), (b"X-Logout-Sidecar", reason.encode())]
    if status == 503 or reason == "upstream_unreachable":  # an app that restarts (reference case 178)
        headers.append((b"Retry-After", b"1"))
    if status == 405:
        headers.append((b"Allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))
    if navigation:
        body, kind = page(_TITLE, _DETAILS.get(status, _ANY_DETAIL)), PAGE_TYPE
        headers.append(PAGE_POLICY)
    else:
        problem = {"type": "about:blank", "title": phrase.decode(), "status": status, "reason": reason}
        body, kind = json.dumps(problem).encode(), b"application/problem+json"
    return Answer(status, phrase, ((b"Content-Type", kind), *headers), body)
