"""Settings of the receivers: what they may not say against each other, and the operator's page."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sidecar.config.load import load_all
from sidecar.config.template import MAX_TEMPLATE_BYTES

if TYPE_CHECKING:
    from conftest import Problems

IDP, ELSE, SENDER = "https://idp.example.com", "https://else.example.com", "https://signals.example.com"
ENVIRON = {"LONG": "sixteen bytes or more", "SHORT": "too short"}


def config(provider: str = "", *, events: str = "", revokers: str = "", more: str = "") -> str:
    return f"""
upstream: {{url: http://127.0.0.1:8080}}
session: {{bind: [{{from: token, cookie: id_token}}]}}
providers:
  - {{issuer: {IDP}, client_id: app, {provider}}}
  - {{issuer: {ELSE}, client_id: app}}
receivers: {{security_events: [{events}], global_token_revocation: [{revokers}]}}
{more}
"""


GOOD = [
    config(),
    config("frontchannel: {enabled: true, allow_missing_iss: true, origins: [https://login.example.com]}"),
    config("keycloak_admin: true, receive_for: [other]"),
    config(events=f"{{issuer: {IDP}, audiences: [a]}}"),
    config(events=f"{{issuer: {SENDER}, audiences: [a], providers: [{IDP}, {ELSE}], email_as_sub: '{{local}}'}}"),
    config(revokers=f"{{issuer: {IDP}, audiences: [a]}}"),
    config(revokers=f"{{issuer: {IDP}}}", more="public_url: https://app.example.com"),
    config(revokers=f"{{issuer: {SENDER}, providers: [{IDP}], secret: {{env: LONG}}}}"),
]


@pytest.mark.parametrize("text", GOOD, ids=range(len(GOOD)))
def test_what_may_be_configured(text: str, problems: "Problems") -> None:
    assert problems(text, ENVIRON) == []


EVENTS, REVOKERS = "receivers.security_events", "receivers.global_token_revocation"
WRONG = [
    (config("receive_for: [app]"), "providers[0].receive_for", "own client"),
    (config("frontchannel: {allow_missing_iss: true}"), "providers[0].frontchannel.allow_missing_iss", "is off"),
    (config("frontchannel: {origins: [https://x.example/path]}"), "providers[0].frontchannel.origins[0]", ""),
    (
        config("frontchannel: {enabled: true, allow_missing_iss: true}").replace(
            f"{ELSE}, client_id: app",
            f"{ELSE}, client_id: app, frontchannel: {{enabled: true, allow_missing_iss: true}}",
        ),
        "providers[1].frontchannel.allow_missing_iss",
        "nobody could say",
    ),
    (config(events=f"{{issuer: {IDP}}}"), f"{EVENTS}[0]", "for"),
    (config(events=f"{{issuer: {SENDER}, audiences: [a]}}"), f"{EVENTS}[0]", "not clear whose"),
    (
        config(events=f"{{issuer: {IDP}, audiences: [a], providers: [{SENDER}]}}"),
        f"{EVENTS}[0].providers[0]",
        "no such issuer",
    ),
    (
        config(events=f"{{issuer: {IDP}, audiences: [a]}}, {{issuer: {IDP}, audiences: [b]}}"),
        f"{EVENTS}[1].issuer",
        "same issuer",
    ),
    (
        config(events=f"{{issuer: {IDP}, audiences: [a], jwks_uri: http://x.example/k}}"),
        f"{EVENTS}[0].jwks_uri",
        "http beyond loopback",
    ),
    (
        config(events=f"{{issuer: {IDP}, audiences: [a], jwks_uri: https://x.example/k, jwks_file: /k}}"),
        f"{EVENTS}[0].jwks_file",
        "one place",
    ),
    (config(events=f"{{issuer: {IDP}, audiences: [a], algorithms: [HS256]}}"), f"{EVENTS}[0].algorithms[0]", ""),
    (config(events=f"{{issuer: {IDP}, audiences: [a], algorithms: [none]}}"), f"{EVENTS}[0].algorithms[0]", "unsigned"),
    (config(events=f"{{issuer: {IDP}, audiences: [a], events: [x]}}"), f"{EVENTS}[0].events[0]", ""),
    *(
        (config(events=f"{{issuer: {IDP}, audiences: [a], email_as_sub: '{text}'}}"), f"{EVENTS}[0].email_as_sub", "")
        for text in ("jane", "{mail}", "{email", "{{email}}", "{local}}")
    ),
    (config(revokers=f"{{issuer: {IDP}}}"), f"{REVOKERS}[0]", "by which URL"),
    (config(revokers=f"{{issuer: {IDP}, secret: {{env: SHORT}}}}"), f"{REVOKERS}[0].secret", "guessed"),
]


@pytest.mark.parametrize(("text", "path", "words"), WRONG, ids=range(len(WRONG)))
def test_what_may_not(text: str, path: str, words: str, problems: "Problems") -> None:
    (problem,) = problems(text, ENVIRON)
    assert problem.path == path
    assert words in problem.what


def test_receiving_for_others_through_a_file_is_worth_a_warning(write: Callable[[str], str]) -> None:
    warnings = load_all(write(config("receive_for: [other]")), ENVIRON).warnings
    assert [warning.path for warning in warnings if "receive_for" in warning.path] == ["providers[0].receive_for"]


PAGES = [
    (b"<p>{{title}}", ""),
    ("<p>\u00fc{{title}}{{#login}}<a href='{{login_url}}'>{{sign_in}}</a>{{/login}}{{lang}}{{reason}}".encode(), ""),
    (b"{{name}}", "there is no {{name}}"),
    (b"{{#login}}{{title}}", "come in pairs"),
    (b"{{/login}}", "come in pairs"),
    (b"{{#login}}{{#login}}{{/login}}{{/login}}", "come in pairs"),
    (b"\xff", "UTF-8"),
    (b"x" * (MAX_TEMPLATE_BYTES + 1), "too large"),
    (None, "cannot be read"),
]


@pytest.mark.parametrize(("content", "words"), PAGES, ids=range(len(PAGES)))
def test_a_page_is_read_and_checked_with_the_configuration(
    content: bytes | None, words: str, tmp_path: Path, problems: "Problems"
) -> None:
    page = tmp_path / "page.html"
    if content is not None:
        page.write_bytes(content)
    found = problems(config(more=f"enforcement: {{page: {page}}}"))
    assert [problem.path for problem in found] == (["enforcement.page"] if words else [])
    assert all(words in problem.what for problem in found)
