"""What a denied client gets to see: status, fields and body, by the kind of client.

A browser that navigates gets a page that a person can read, or the way to the login; everything else gets a status
and `application/problem+json` (RFC 9457) that a front end can act on. Nothing here is cached, and a denial that is not
temporary takes the dead cookies out of the browser.
"""

import enum
import html
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sidecar.core.verdict import Deny, Reason


class Action(enum.StrEnum):
    """What the operator wants to happen to a denied request (`enforcement.action`)."""

    REJECT = "reject"
    REDIRECT = "redirect"
    STRIP = "strip"


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete response, still without framing."""

    status: int
    phrase: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


_PHRASES = {302: b"Found", 401: b"Unauthorized", 503: b"Service Unavailable"}

_TITLES = {
    Reason.REVOKED: "You have been signed out",
    Reason.EXPIRED: "Your session has ended",
    Reason.BAD_TOKEN: "Your session is not valid",
    Reason.AMBIGUOUS: "Your session is not valid",
    Reason.UNVOUCHED: "This request is not allowed",
    Reason.UNBOUND: "Please sign in again",
}
_TEMPORARY_TITLE = "Please try again in a moment"

_DETAILS = {
    Reason.REVOKED: "Your session was ended at the identity provider. Sign in again to go on.",
    Reason.EXPIRED: "Your session has reached its maximum age. Sign in again to go on.",
    Reason.BAD_TOKEN: "The session token of this request could not be verified. Sign in again to go on.",
    Reason.AMBIGUOUS: "The cookies of this request cannot be read safely. Sign in again to go on.",
    Reason.UNVOUCHED: "The session was named by somebody who may not name it. Sign in again to go on.",
    Reason.UNBOUND: "This session is not known here. Sign in again to go on.",
    Reason.STALE: "It cannot be checked at present whether your session is still valid. You stay signed in.",
    Reason.STORE: "It cannot be checked at present whether your session is still valid. You stay signed in.",
    Reason.KEYS: "The identity provider cannot be reached to check your session. You stay signed in.",
    Reason.LOGIN: "Your sign-in could not be recorded. Please sign in again in a moment.",
}

_RETRY_AFTER_S = b"5"

PAGE_TYPE = b"text/html; charset=utf-8"
PAGE_POLICY = (b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1.1rem/1.6 system-ui, sans-serif; max-width: 32rem; margin: 16vh auto 0; padding: 0 1.5rem; }}
h1 {{ font-size: 1.6rem; line-height: 1.25; margin: 0 0 .75rem; }}
a {{ display: inline-block; margin-top: .5rem; }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{detail}</p>
{link}</main>
</body>
</html>
"""


def page(title: str, detail: str, link: str = "") -> bytes:
    """A plain page that a person can read. `link` is HTML; the texts are ours."""
    return _PAGE.format(title=title, detail=detail, link=link).encode()


def is_navigation(method: bytes, fields: Mapping[bytes, bytes]) -> bool:
    """Whether a person is waiting for a page. Fetch metadata decides where the browser sends it, else `Accept`."""
    if method not in (b"GET", b"HEAD", b"POST"):
        return False
    mode = fields.get(b"sec-fetch-mode")
    if mode is not None:
        return mode == b"navigate"
    if fields.get(b"x-requested-with") or b"upgrade" in fields:
        return False
    return b"text/html" in fields.get(b"accept", b"").lower()


def answer(
    denial: Deny, *, action: Action, login_url: str | None, navigation: bool, expired_cookies: Iterable[bytes]
) -> Answer:
    """The response to a denied request. `expired_cookies` are complete Set-Cookie values."""
    if denial.is_temporary:
        retry = ((b"Retry-After", _RETRY_AFTER_S),)
        return _told(503, denial.reason, navigation=navigation, login_url=None, extra=retry)
    cookies = tuple((b"Set-Cookie", cookie) for cookie in expired_cookies)
    if action is Action.REDIRECT and login_url and navigation:
        headers = ((b"Location", login_url.encode()), *_common(denial.reason), *cookies)
        return Answer(302, _PHRASES[302], headers, b"")
    # RFC 9110 section 15.5.2: a 401 names a scheme. Browsers do not know this one and show the page; some libraries
    # fail without it.
    challenge = (b"WWW-Authenticate", f'Session error="{denial.reason}"'.encode())
    return _told(401, denial.reason, navigation=navigation, login_url=login_url, extra=(challenge, *cookies))


def _told(
    status: int, reason: Reason, *, navigation: bool, login_url: str | None, extra: tuple[tuple[bytes, bytes], ...]
) -> Answer:
    title = _TITLES.get(reason, _TEMPORARY_TITLE)
    detail = _DETAILS[reason]
    if navigation:
        # Browsers take a second look only when told (bfcache, back button): no-store is in the common fields.
        link = f'<p><a href="{html.escape(login_url)}">Sign in</a></p>\n' if login_url else ""
        body = page(title, detail, link)
        kind, extra = PAGE_TYPE, (PAGE_POLICY, *extra)
    else:
        problem = {"type": "about:blank", "title": title, "status": status, "detail": detail, "reason": reason.value}
        body = json.dumps(problem).encode()
        kind = b"application/problem+json"
    headers = ((b"Content-Type", kind), *_common(reason), *extra)
    return Answer(status, _PHRASES[status], headers, body)


def _common(reason: Reason) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"Cache-Control", b"no-store"),
        (b"X-Logout-Sidecar", reason.value.encode()),  # tells a denial from the app's own 401, for people and scripts
        (b"X-Content-Type-Options", b"nosniff"),
    )
