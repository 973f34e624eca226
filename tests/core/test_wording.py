"""The languages of a denial, and the operator's page."""

import html
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.denial import PLAIN, Action, Answer, Manner, answer
from sidecar.core.page import page
from sidecar.core.verdict import TEMPORARY, Deny, Reason
from sidecar.core.wording import WORDINGS, preferred
from sidecar.template import PLACEHOLDERS, problem_of

PREFERRED = [
    (b"", "en"),
    (b"de", "de"),
    (b"de-CH, fr;q=0.9", "de"),
    (b"it, fr-CA;q=0.5, es;q=0.7", "es"),
    (b"pt-BR,pt;q=0.9", "en"),
    (b"*", "en"),
    (b"de;q=0, fr;q=0.1", "fr"),
    (b"en;q=0.1, de;q=0.2", "de"),
    (b"FR", "fr"),
    (b"german", "en"),
    (b"de;q=nonsense, es;q=0.3", "es"),
    (b"de;level=1", "en"),
    (b"de;q=9", "de"),
    (b"x," * 40 + b"de", "en"),  # more than a browser sends
    (b"\xff, de", "de"),
]


@pytest.mark.parametrize(("header", "language"), PREFERRED)
def test_the_language_that_is_asked_for_first(header: bytes, language: str) -> None:
    assert preferred(header) == language


@given(st.binary(max_size=600))
def test_any_bytes_choose_one_of_ours(header: bytes) -> None:
    assert preferred(header) in WORDINGS


def test_every_language_says_everything_and_not_in_english() -> None:
    assert set(WORDINGS) == {"en", "de", "fr", "es"}
    english = WORDINGS["en"]
    for language, wording in WORDINGS.items():
        assert set(wording.titles) == set(wording.details) == set(Reason)
        assert all(detail.endswith(".") for detail in wording.details.values())
        if language != "en":
            assert not set(wording.details.values()) & set(english.details.values())
            assert not set(wording.titles.values()) & set(english.titles.values())


def answered(
    reason: Reason = Reason.REVOKED, *, navigation: bool = True, language: bytes = b"", manner: Manner = PLAIN
) -> Answer:
    return answer(
        Deny(reason),
        action=Action.REJECT,
        login_url="/login?a=1&b='<",
        navigation=navigation,
        expired_cookies=(),
        accept_language=language,
        manner=manner,
    )


def values(shown: Answer, name: bytes) -> list[bytes]:
    return [value for key, value in shown.headers if key == name]


@pytest.mark.parametrize("language", WORDINGS)
@pytest.mark.parametrize("navigation", [True, False])
def test_people_and_front_ends_read_their_own_language(language: str, navigation: bool) -> None:
    shown = answered(language=language.encode(), navigation=navigation)
    detail = WORDINGS[language].details[Reason.REVOKED]
    said = html.unescape(shown.body.decode()) if navigation else json.loads(shown.body)["detail"]
    assert detail in said
    assert values(shown, b"Content-Language") == [language.encode()]
    if navigation:
        assert f'<html lang="{language}">' in said
        assert WORDINGS[language].sign_in in said


def test_a_front_end_is_told_where_the_login_is() -> None:
    shown = answered(navigation=False)
    assert values(shown, b"X-Logout-Sidecar-Login") == [b"/login?a=1&b='<"]
    assert json.loads(shown.body)["login_url"] == "/login?a=1&b='<"
    assert values(answered(), b"X-Logout-Sidecar-Login") == []
    assert values(answered(Reason.STORE, navigation=False), b"X-Logout-Sidecar-Login") == []


@pytest.mark.parametrize("reason", Reason)
def test_only_data_of_a_session_that_is_over_is_cleared(reason: Reason) -> None:
    shown = answered(reason, manner=Manner(clear_site_data=("cache", "storage")))
    over = reason in (Reason.REVOKED, Reason.EXPIRED)
    assert values(shown, b"Clear-Site-Data") == ([b'"cache", "storage"'] if over else [])
    assert values(answered(reason), b"Clear-Site-Data") == []


TEMPLATE = "<html lang='{{lang}}'><i>{{title}}</i>{{detail}}{{#login}}<a href='{{login_url}}'>{{sign_in}}</a>{{/login}}"


def test_a_template_is_filled_and_every_text_escaped() -> None:
    shown = answered(manner=Manner(template=TEMPLATE + "{{reason}}"))
    text = shown.body.decode()
    assert "<i>You have been signed out</i>" in text
    assert "<a href='/login?a=1&amp;b=&#x27;&lt;'>Sign in</a>revoked" in text
    (policy,) = values(shown, b"Content-Security-Policy")
    assert b"script-src" not in policy
    assert policy.startswith(b"default-src 'none'; ")
    assert b"frame-ancestors 'none'" in policy


def test_without_a_way_to_the_login_its_part_is_left_out() -> None:
    shown = answered(Reason.STORE, manner=Manner(template=TEMPLATE))
    assert b"<a" not in shown.body
    assert b"{{" not in shown.body
    assert Reason.STORE in TEMPORARY


@given(st.text(alphabet="{}#/abelogintd_ ", max_size=60))
def test_a_template_that_was_checked_can_be_filled(template: str) -> None:
    if problem_of(template) is None:
        page("{{title}}", "<{{detail}}>", template=template)


def test_texts_are_not_filled_again() -> None:
    assert page("{{reason}}", "", template="{{title}}", reason="secret") == b"{{reason}}"
    assert set(PLACEHOLDERS) == {"title", "detail", "sign_in", "login_url", "lang", "reason"}
