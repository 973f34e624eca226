"""What a denied client gets to see: status, fields and body, by the kind of client.

A browser that navigates gets a page that a person can read, or the way to the login; everything else gets a status
and `application/problem+json` (RFC 9457) that a front end can act on. Nothing here is cached, and a denial that is not
temporary takes the dead cookies out of the browser. The texts are in `wording.py`, the pages in `page.py`.
"""

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sidecar.core.page import page
from sidecar.core.verdict import Deny, Reason
from sidecar.core.wording import WORDINGS, preferred


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

_RETRY_AFTER_S = b"5"

PAGE_TYPE = b"text/html; charset=utf-8"
PAGE_POLICY = (b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
# A template may show pictures and fonts of the app's own. Scripts and forms it has no use for.
_TEMPLATE_SOURCES = b"default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; font-src 'self' data:"
_TEMPLATE_POLICY = (
    b"Content-Security-Policy",
    _TEMPLATE_SOURCES + b"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)

# Whose data may be cleared: of a session that is over, and not of one that could not be recognised.
_OVER = frozenset((Reason.REVOKED, Reason.EXPIRED))


@dataclass(frozen=True, slots=True)
class Manner:
    """How denials look and what else they do, as the operator chose."""

    template: str | None = None  # of the page, checked (`core/page.py`)
    clear_site_data: tuple[str, ...] = ()  # what the browser is asked to forget (Clear-Site-Data)


PLAIN = Manner()


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
    denial: Deny,
    *,
    action: Action,
    login_url: str | None,
    navigation: bool,
    expired_cookies: Iterable[bytes],
    accept_language: bytes = b"",
    manner: Manner = PLAIN,
) -> Answer:
    """The response to a denied request. `expired_cookies` are complete Set-Cookie values."""
    told = _Told(denial.reason, preferred(accept_language), manner)
    if denial.is_temporary:
        retry = ((b"Retry-After", _RETRY_AFTER_S),)
        return told.answer(503, navigation=navigation, login_url=None, extra=retry)
    extra = tuple((b"Set-Cookie", cookie) for cookie in expired_cookies)
    if manner.clear_site_data and denial.reason in _OVER:
        extra += ((b"Clear-Site-Data", ", ".join(f'"{kind}"' for kind in manner.clear_site_data).encode()),)
    if action is Action.REDIRECT and login_url and navigation:
        headers = ((b"Location", login_url.encode()), *_common(denial.reason), *extra)
        return Answer(302, _PHRASES[302], headers, b"")
    # RFC 9110 section 15.5.2: a 401 names a scheme. Browsers do not know this one and show the page; some libraries
    # fail without it.
    challenge = (b"WWW-Authenticate", f'Session error="{denial.reason}"'.encode())
    return told.answer(401, navigation=navigation, login_url=login_url, extra=(challenge, *extra))


@dataclass(frozen=True, slots=True)
class _Told:
    """One denial, put into words."""

    reason: Reason
    language: str
    manner: Manner

    def answer(
        self, status: int, *, navigation: bool, login_url: str | None, extra: tuple[tuple[bytes, bytes], ...]
    ) -> Answer:
        wording = WORDINGS[self.language]
        title, detail = wording.titles[self.reason], wording.details[self.reason]
        if navigation:
            # Browsers take a second look only when told (bfcache, back button): no-store is in the common fields.
            body = page(
                title,
                detail,
                template=self.manner.template,
                lang=self.language,
                sign_in=wording.sign_in,
                login_url=login_url,
                reason=self.reason.value,
            )
            kind, extra = PAGE_TYPE, (PAGE_POLICY if self.manner.template is None else _TEMPLATE_POLICY, *extra)
        else:
            problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
            problem |= {"reason": self.reason.value} | ({"login_url": login_url} if login_url else {})
            body = json.dumps(problem).encode()
            kind = b"application/problem+json"
            # A script can send the person there without reading the body, which many request libraries throw away.
            extra += ((b"X-Logout-Sidecar-Login", login_url.encode()),) if login_url else ()
        language = (b"Content-Language", self.language.encode())
        headers = ((b"Content-Type", kind), language, *_common(self.reason), *extra)
        return Answer(status, _PHRASES[status], headers, body)


def _common(reason: Reason) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"Cache-Control", b"no-store"),
        (b"X-Logout-Sidecar", reason.value.encode()),  # tells a denial from the app's own 401, for people and scripts
        (b"X-Content-Type-Options", b"nosniff"),
    )
