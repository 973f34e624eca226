"""What a denied client gets to see, by the kind of client (reference case 169)."""

import html.parser
import json
from collections.abc import Mapping

import pytest

from sidecar.core.denial import Action, Answer, answer, is_navigation
from sidecar.core.verdict import TEMPORARY, Deny, Reason

PERMANENT = [reason for reason in Reason if reason not in TEMPORARY]
EXPIRED = (b"S=; Path=/; Max-Age=0", b"S=; Path=/app; Max-Age=0")
CHROME = {b"accept": b"text/html,application/xhtml+xml,*/*;q=0.8"}


def answered(
    reason: Reason,
    action: Action = Action.REJECT,
    *,
    login_url: str | None = "/login",
    navigation: bool = True,
    expired: tuple[bytes, ...] = EXPIRED,
) -> Answer:
    return answer(Deny(reason), action=action, login_url=login_url, navigation=navigation, expired_cookies=expired)


def values(shown: Answer, name: bytes) -> list[bytes]:
    return [value for key, value in shown.headers if key == name]


@pytest.mark.parametrize(
    ("client", "method", "fields", "expected"),
    [
        ("a browser", b"GET", CHROME, True),
        ("a browser that posts a form", b"POST", CHROME, True),
        ("a browser that looks ahead", b"HEAD", CHROME, True),
        ("a browser, any case", b"GET", {b"accept": b"Text/HTML"}, True),
        ("a browser that says so", b"GET", {**CHROME, b"sec-fetch-mode": b"navigate"}, True),
        ("a navigation without Accept", b"GET", {b"sec-fetch-mode": b"navigate"}, True),
        ("a frame", b"GET", {**CHROME, b"sec-fetch-mode": b"navigate", b"sec-fetch-dest": b"iframe"}, True),
        ("fetch()", b"GET", {**CHROME, b"sec-fetch-mode": b"cors"}, False),
        ("fetch() on the same origin", b"POST", {**CHROME, b"sec-fetch-mode": b"same-origin"}, False),
        ("an image", b"GET", {**CHROME, b"sec-fetch-mode": b"no-cors"}, False),
        ("a WebSocket", b"GET", {**CHROME, b"sec-fetch-mode": b"websocket"}, False),
        ("an old WebSocket", b"GET", {**CHROME, b"upgrade": b"websocket"}, False),
        ("XMLHttpRequest of jQuery", b"GET", {**CHROME, b"x-requested-with": b"XMLHttpRequest"}, False),
        ("an API client", b"GET", {b"accept": b"application/json"}, False),
        ("an event stream", b"GET", {b"accept": b"text/event-stream"}, False),
        ("curl", b"GET", {b"accept": b"*/*"}, False),
        ("a client that says nothing", b"GET", {}, False),
        ("a WebDAV client", b"PROPFIND", CHROME, False),
        ("a script that deletes", b"DELETE", CHROME, False),
        ("a preflight", b"OPTIONS", CHROME, False),
    ],
)
def test_a_navigation_is_told_from_everything_else(
    client: str, method: bytes, fields: Mapping[bytes, bytes], expected: bool
) -> None:
    assert is_navigation(method, fields) is expected


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("navigation", [True, False])
def test_status_kind_and_cookies_by_reason_action_and_client(reason: Reason, action: Action, navigation: bool) -> None:
    shown = answered(reason, action, navigation=navigation)
    if reason in TEMPORARY:  # "not now": the session and its cookies are kept
        assert (shown.status, shown.phrase) == (503, b"Service Unavailable")
        assert values(shown, b"Retry-After") == [b"5"]
        assert values(shown, b"Set-Cookie") == []
    else:
        redirected = action is Action.REDIRECT and navigation
        assert (shown.status, shown.phrase) == ((302, b"Found") if redirected else (401, b"Unauthorized"))
        assert values(shown, b"Location") == ([b"/login"] if redirected else [])
        assert values(shown, b"Retry-After") == []
        assert values(shown, b"Set-Cookie") == list(EXPIRED)
    if shown.status != 302:
        kind = b"text/html; charset=utf-8" if navigation else b"application/problem+json"
        assert values(shown, b"Content-Type") == [kind]
    assert values(shown, b"Cache-Control") == [b"no-store"]
    assert values(shown, b"X-Logout-Sidecar") == [reason.encode()]
    assert values(shown, b"X-Content-Type-Options") == [b"nosniff"]
    assert values(shown, b"Content-Length") == []  # framing is the exchange's


def test_without_a_login_url_nobody_is_redirected() -> None:
    assert answered(Reason.REVOKED, Action.REDIRECT, login_url=None).status == 401


@pytest.mark.parametrize("reason", Reason)
def test_a_front_end_gets_a_problem_that_it_can_act_on(reason: Reason) -> None:
    """RFC 9457 section 3.1."""
    shown = answered(reason, navigation=False)
    problem = json.loads(shown.body)
    assert problem["status"] == shown.status
    assert problem["reason"] == reason.value
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"].endswith(".")
    told = {"type", "title", "status", "detail", "reason"}
    assert set(problem) == (told if reason in TEMPORARY else told | {"login_url"})


class Page(html.parser.HTMLParser):
    """Checks that a page is well-formed, and collects what a reader needs to know."""

    VOID = frozenset(("meta", "link", "br"))

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.doctype = ""
        self.feed(body.decode())
        self.close()

    def handle_decl(self, decl: str) -> None:
        self.doctype = decl

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text[self.open[-1]] = self.text.get(self.open[-1], "") + data

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.mark.parametrize("reason", Reason)
def test_a_person_gets_a_page_that_needs_nothing_else(reason: Reason) -> None:
    shown = answered(reason)
    page = Page(shown.body)
    assert page.doctype == "DOCTYPE html"
    assert page.open == []
    assert page.attributes("html") == [{"lang": "en"}]
    assert {"charset": "utf-8"} in page.attributes("meta")
    assert page.text["title"] == page.text["h1"]
    assert page.text["p"].strip()
    assert len(shown.body) < 2000
    # No script, no asset, nothing from elsewhere.
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "img", "link", "iframe", "object", "form"})
    assert b"http" not in shown.body
    assert b"url(" not in shown.body
    assert b"@import" not in shown.body
    policy = values(shown, b"Content-Security-Policy")[0]
    assert b"default-src 'none'" in policy
    assert b"frame-ancestors 'none'" in policy


def test_the_page_leads_to_the_login_only_when_signing_in_helps() -> None:
    assert Page(answered(Reason.REVOKED).body).attributes("a") == [{"href": "/login"}]
    assert Page(answered(Reason.REVOKED, login_url=None).body).attributes("a") == []
    assert Page(answered(Reason.STALE).body).attributes("a") == []


def test_a_login_url_cannot_break_out_of_the_page() -> None:
    url = '/login?a=1&b="><script>alert(1)</script>'
    page = Page(answered(Reason.REVOKED, login_url=url).body)
    assert page.attributes("a") == [{"href": url}]
    assert page.attributes("script") == []


@pytest.mark.parametrize("reason", Reason)
def test_what_is_shown_says_why_in_words_of_its_own(reason: Reason) -> None:
    temporary = Page(answered(reason).body).text["p"]
    assert ("stay signed in" in temporary) is (reason in TEMPORARY - {Reason.LOGIN})
    assert ("Sign in again to go on" in temporary) is (reason in PERMANENT)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason not in TEMPORARY])
def test_a_401_names_a_challenge(reason: Reason) -> None:  # RFC 9110 section 15.5.2
    denied = answer(Deny(reason), action=Action.REJECT, login_url=None, navigation=False, expired_cookies=())
    assert denied.status == 401
    assert (b"WWW-Authenticate", b'Session error="%b"' % reason.value.encode()) in denied.headers
