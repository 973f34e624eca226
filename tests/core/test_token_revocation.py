"""Global Token Revocation: who may ask (section 3.5), and for whom (section 3.2)."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.claims import TokenError
from sidecar.core.subject import Reach, Target
from sidecar.core.token_revocation import Caller, CallerPolicy, read_request, targets, validate_caller

NOW = 1_767_000_000.0
OKTA, IDP = "https://acme.okta.example", "https://acme.okta.example/oauth2/default"
ENDPOINT = "https://app.example/_sidecar/global-token-revocation"
REACH = Reach(OKTA, {IDP: ("wiki",)})
POLICY = CallerPolicy(issuer=OKTA, audiences=frozenset({ENDPOINT}), reach=REACH)
HEADER = {"alg": "RS256", "typ": "global-token-revocation+jwt"}
CLAIMS: dict[str, Any] = {"iss": OKTA, "sub": "0oa1", "aud": ENDPOINT, "jti": "j", "iat": NOW, "exp": NOW + 300}
GONE = object()


def check(header: dict[str, Any] = HEADER, policy: CallerPolicy = POLICY, **changes: Any) -> Caller:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not GONE}
    return validate_caller(header, claims, policy=policy, now=NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"header": {"alg": "RS256"}},
        {"header": {"alg": "RS256", "typ": "JWT"}},
        {"aud": [ENDPOINT, "https://else.example"]},
        {"nbf": NOW - 300},
        {"sub": GONE},
        {"policy": replace(POLICY, callers=frozenset({"0oa1", "0oa2"}))},
        {"exp": NOW - 59},
    ],
)
def test_a_caller_that_is_believed(changes: dict[str, Any]) -> None:
    caller = check(**changes)
    assert (caller.jti, caller.issued_at) == ("j", NOW)
    assert caller.expires > NOW


REFUSED = [
    ("typ of a logout token", {"header": {**HEADER, "typ": "logout+jwt"}}, "wrong_type"),
    ("typ of an access token", {"header": {**HEADER, "typ": "at+jwt"}}, "wrong_type"),
    ("typ null", {"header": {**HEADER, "typ": None}}, "wrong_type"),
    ("alg", {"header": {**HEADER, "alg": "HS256"}}, "alg_not_allowed"),
    ("issuer", {"iss": IDP}, "wrong_issuer"),
    ("the client's id, as in an ID token", {"aud": "wiki"}, "wrong_audience"),
    ("the endpoint with a query", {"aud": ENDPOINT + "?x"}, "wrong_audience"),
    ("no audience", {"aud": GONE}, "wrong_audience"),
    ("caller", {"policy": replace(POLICY, callers=frozenset({"0oa2"}))}, "wrong_caller"),
    ("no caller", {"policy": replace(POLICY, callers=frozenset({"0oa2"})), "sub": GONE}, "wrong_caller"),
    ("no iat", {"iat": GONE}, "iat_missing"),
    ("iat in the future", {"iat": NOW + 61}, "iat_in_future"),
    ("iat too old", {"iat": NOW - 3601}, "iat_too_old"),
    ("no exp", {"exp": GONE}, "exp_missing"),
    ("expired", {"exp": NOW - 60}, "expired"),
    ("good for a day", {"exp": NOW + 86400}, "exp_far_ahead"),
    ("nbf ahead", {"nbf": NOW + 61}, "not_yet_valid"),
    ("no jti", {"jti": GONE}, "jti_missing"),
    ("jti a number", {"jti": 7}, "jti_missing"),
]


@pytest.mark.parametrize(("changes", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_caller_that_is_not(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenError) as caught:
        check(**changes)
    assert caught.value.reason == reason


@pytest.mark.parametrize("name", ["sub_id", "subject"])
def test_the_subject_of_a_request(name: str) -> None:
    assert read_request(b'{"%b": {"format": "opaque", "id": "u"}}' % name.encode()) == {"format": "opaque", "id": "u"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "malformed"),
        (b"x", "malformed"),
        (b"[]", "malformed"),
        (b'{"sub_id": {}, "sub_id": {}}', "malformed"),
        (b'{"a": NaN}', "malformed"),
        (b"{}", "subject_missing"),
        (b'{"sub_id": {}, "subject": {}}', "subject_missing"),
        (b"[" * 60_000, "malformed"),
        (b"\xff", "malformed"),
    ],
)
def test_a_body_that_is_none(body: bytes, reason: str) -> None:
    with pytest.raises(TokenError) as caught:
        read_request(body)
    assert caught.value.reason == reason


def test_a_request_always_means_all_sessions_of_a_user() -> None:
    user = {"format": "iss_sub", "iss": IDP, "sub": "00u1"}
    both = {"format": "complex", "user": user, "session": {"format": "opaque", "id": "s"}}
    for subject in (user, both):
        assert targets(subject, REACH) == (Target(None, "00u1", IDP),)
    assert targets({**user, "iss": OKTA}, REACH) == (Target(None, "00u1"),)
    assert targets({"format": "opaque", "id": "00u1"}, REACH) == (Target(None, "00u1"),)
    with pytest.raises(TokenError) as caught:
        targets({"format": "complex", "session": {"format": "opaque", "id": "s"}}, REACH)
    assert caught.value.reason == "subject_unusable"


@given(st.binary(max_size=200))
def test_any_body_is_read_or_a_token_error(body: bytes) -> None:
    try:
        targets(read_request(body), REACH)
    except TokenError:
        return
