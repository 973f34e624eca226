"""Subject identifiers (RFC 9493): each format, what can be found of it, and what must not be taken for nobody."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.claims import MAX_ID_BYTES, TokenError
from sidecar.core.subject import MAX_ALIASES, Reach, Target, targets_of

IDP, OTHER, SENDER = "https://idp.example", "https://other.example", "https://signals.example"
REACH = Reach(SENDER, {IDP: ("wiki",), OTHER: ("shop", "blog")})
BY_EMAIL = Reach(SENDER, {IDP: ("wiki",)}, email_as_sub="{email}")
USER = {"format": "iss_sub", "iss": IDP, "sub": "u-1"}
SESSION = {"format": "opaque", "id": "s-1"}


READ = [
    ("iss_sub of a provider", USER, [Target(None, "u-1", IDP)]),
    ("iss_sub of the sender", {**USER, "iss": SENDER}, [Target(None, "u-1")]),
    ("Google's name for it", {"subject_type": "iss-sub", "iss": IDP, "sub": "u-1"}, [Target(None, "u-1", IDP)]),
    ("opaque", {"format": "opaque", "id": "u-1"}, [Target(None, "u-1")]),
    ("complex with a user", {"format": "complex", "user": USER}, [Target(None, "u-1", IDP)]),
    ("complex with a session", {"format": "complex", "session": SESSION}, [Target("s-1", None)]),
    ("complex with both", {"format": "complex", "session": SESSION, "user": USER}, [Target("s-1", "u-1", IDP)]),
    ("complex without a name", {"session": SESSION, "user": USER}, [Target("s-1", "u-1", IDP)]),
    (
        "complex with a session and a user that cannot be found",
        {"format": "complex", "session": SESSION, "user": {"format": "email", "email": "a@b.example"}},
        [Target("s-1", None)],
    ),
    # A device is nothing that we know: all of the user's sessions, rather than none.
    (
        "complex with a device",
        {"format": "complex", "user": USER, "device": {"format": "opaque", "id": "d"}, "tenant": SESSION},
        [Target(None, "u-1", IDP)],
    ),
    (
        "aliases, of which one can be read",
        {"format": "aliases", "identifiers": [{"format": "email", "email": "a@b.example"}, USER]},
        [Target(None, "u-1", IDP)],
    ),
    ("aliases that say the same", {"format": "aliases", "identifiers": [USER, USER]}, [Target(None, "u-1", IDP)]),
]


@pytest.mark.parametrize(("value", "expected"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_whom_a_subject_names(value: Any, expected: list[Target]) -> None:
    assert list(targets_of(value, REACH, opaque="subject")) == expected


REFUSED = [
    ("nothing", None, "subject_missing"),
    ("text", "u-1", "subject_missing"),
    ("a list", [USER], "subject_missing"),
    ("no format", {}, "subject_unusable"),
    ("format a number", {"format": 5}, "subject_unusable"),
    ("phone_number", {"format": "phone_number", "phone_number": "+1"}, "subject_unusable"),
    ("account", {"format": "account", "uri": "acct:a@b"}, "subject_unusable"),
    ("did", {"format": "did", "url": "did:x"}, "subject_unusable"),
    ("saml_assertion_id", {"format": "saml_assertion_id", "issuer": IDP, "assertion_id": "a"}, "subject_unusable"),
    ("email without a way", {"format": "email", "email": "a@b.example"}, "subject_unusable"),
    ("iss_sub of a stranger", {**USER, "iss": "https://else.example"}, "subject_foreign"),
    ("iss with another slash", {**USER, "iss": IDP + "/"}, "subject_foreign"),
    ("iss_sub without sub", {"format": "iss_sub", "iss": IDP}, "subject_missing"),
    ("sub empty", {**USER, "sub": ""}, "subject_missing"),
    ("sub a number", {**USER, "sub": 5}, "bad_claim"),
    ("sub too long", {**USER, "sub": "x" * (MAX_ID_BYTES + 1)}, "bad_claim"),
    ("opaque without id", {"format": "opaque"}, "subject_missing"),
    ("complex without anybody", {"format": "complex", "tenant": SESSION}, "subject_unusable"),
    ("complex with odd user", {"format": "complex", "user": "u-1"}, "subject_missing"),
    ("complex in complex", {"format": "complex", "user": {"format": "complex", "user": USER}}, "subject_missing"),
    ("session that is none", {"format": "complex", "session": USER}, "subject_unusable"),
    ("session unreadable beside a user", {"format": "complex", "session": 5, "user": USER}, "subject_unusable"),
    ("aliases empty", {"format": "aliases", "identifiers": []}, "subject_missing"),
    ("aliases many", {"format": "aliases", "identifiers": [USER] * (MAX_ALIASES + 1)}, "subject_missing"),
    (
        "aliases in aliases",
        {"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": [USER]}]},
        "subject_unknown",
    ),
    (
        "aliases of which none can be read",
        {"format": "aliases", "identifiers": [{"format": "did", "url": "did:x"}]},
        "subject_unusable",
    ),
]


@pytest.mark.parametrize(("value", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_cannot_be_found_is_an_error_and_not_nobody(value: Any, reason: str) -> None:
    with pytest.raises(TokenError) as caught:
        targets_of(value, REACH, opaque="subject")
    assert caught.value.reason == reason
    assert "u-1" not in str(caught.value)


def test_a_bare_name_may_be_a_session_where_sessions_are_named_so() -> None:  # CAEP 1.0 section 3.1.2
    assert list(targets_of(SESSION, REACH, opaque="session_or_subject")) == [Target("s-1", None), Target(None, "s-1")]


EMAILS = [
    ("{email}", "Jane@B.example", {"Jane@B.example", "jane@b.example"}),
    ("{local}", "jane@b.example", {"jane"}),
    ("corp|{domain}|{local}", "jane@b.example", {"corp|b.example|jane"}),
    ("{email}", "{local}@{domain}.example", {"{local}@{domain}.example"}),  # an address is not a template
    ("{local}", "a@b@c.example", {"a@b"}),
]


@pytest.mark.parametrize(("template", "address", "subs"), EMAILS)
def test_an_address_becomes_the_sub_that_the_provider_makes_of_it(template: str, address: str, subs: set[str]) -> None:
    reach = Reach(SENDER, {IDP: ("wiki",)}, email_as_sub=template)
    found = targets_of({"format": "email", "email": address}, reach, opaque="subject")
    assert {target.sub for target in found} == subs


@pytest.mark.parametrize("address", ["jane", "@b.example", "jane@", "@"])
def test_what_is_no_address_names_nobody(address: str) -> None:
    with pytest.raises(TokenError) as caught:
        targets_of({"format": "email", "email": address}, BY_EMAIL, opaque="subject")
    assert caught.value.reason == "subject_unknown"


def test_a_target_concerns_the_provider_that_it_names_or_all_that_the_sender_may_end() -> None:
    one, every = REACH.logouts([Target(None, "u", OTHER)], 7), REACH.logouts([Target("s", "u")], 7)
    assert [(each.issuer, each.client_ids, each.sub, each.cutoff) for each in one] == [
        (OTHER, ("shop", "blog"), "u", 7)
    ]
    assert [each.issuer for each in every] == [IDP, OTHER]
    assert not any(each.everybody or each.whole_subject for each in (*one, *every))


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([IDP, SENDER, "iss_sub"])
KEYS = st.sampled_from(["format", "iss", "sub", "id", "email", "user", "session", "identifiers", "subject_type", "x"])
FORMATS = st.sampled_from(["iss_sub", "opaque", "email", "aliases", "complex"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=5)
        | st.builds(lambda name, rest: {**rest, "format": name}, FORMATS, st.dictionaries(KEYS, inner, max_size=5))
    ),
    max_leaves=12,
)


@given(VALUES)
def test_any_value_names_somebody_or_is_a_token_error(value: Any) -> None:
    for reach in (REACH, BY_EMAIL):
        try:
            found = targets_of(value, reach, opaque="session_or_subject")
        except TokenError:
            continue
        assert found
        assert all(target.sid or target.sub for target in found)
        assert reach.logouts(found, 1)


def test_where_a_session_means_its_user_the_user_has_to_be_found() -> None:
    wide = replace(REACH, whole_subject=True)
    value = {"format": "complex", "session": SESSION, "user": {"format": "email", "email": "a@b.example"}}
    with pytest.raises(TokenError) as caught:
        targets_of(value, wide, opaque="subject")
    assert caught.value.reason == "subject_unusable"
