"""Keycloak's admin messages: what it sends, what is refused, and that no other token of the realm is taken for one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.admin_action import LIFETIME_S, AdminAction, AdminPolicy, validate
from sidecar.core.claims import TokenError
from sidecar.core.identity import Digester, Kind
from sidecar.core.revocation import meant_by

NOW = 1_767_000_000.0
ISSUER = "https://sso.example/realms/main"
POLICY = AdminPolicy(issuer=ISSUER, client_ids=frozenset({"wiki"}))
HEADER = {"alg": "RS256", "kid": "k1", "typ": "JWT"}
# As Keycloak sends them: all sessions of a client, and the sessions of one user.
ALL: dict[str, Any] = {
    "id": "7a793249-7ac3-4d49",
    "expiration": NOW + LIFETIME_S,
    "resource": "wiki",
    "action": "LOGOUT",
    "adapterSessionIds": None,
    "notBefore": NOW - 1,
    "keycloakSessionIds": None,
}
SOME = {**ALL, "notBefore": 0, "adapterSessionIds": ["JS1"], "keycloakSessionIds": ["s-1", "s-2"]}
PUSHED = {"id": "x", "expiration": NOW + LIFETIME_S, "resource": "wiki", "action": "PUSH_NOT_BEFORE", "notBefore": NOW}
GONE = object()


def check(claims: dict[str, Any], header: dict[str, Any] = HEADER, now: float = NOW, **changes: Any) -> AdminAction:
    claims = {name: value for name, value in {**claims, **changes}.items() if value is not GONE}
    action = "PUSH_NOT_BEFORE" if claims.get("action") == "PUSH_NOT_BEFORE" else "LOGOUT"
    return validate(header, claims, policy=POLICY, action=action, now=now)  # type: ignore[arg-type]


def test_sign_out_all_ends_everybody_up_to_the_date() -> None:
    for claims in (ALL, {**ALL, "notBefore": NOW - 1, "keycloakSessionIds": []}, {**PUSHED, "notBefore": NOW - 1}):
        (logout,) = check(claims).logouts
        assert (logout.issuer, logout.client_ids, logout.scope) == (ISSUER, ("wiki",), "everybody")
        assert logout.cutoff == (NOW - 1) * 1000
        digester = Digester(bytes(16))
        (revocation,) = meant_by(logout, digester, expires=9)
        assert (revocation.kind, revocation.digest) == (Kind.EVERYBODY, digester.everybody(ISSUER, "wiki"))


def test_the_sessions_of_a_user_end_one_by_one() -> None:
    logouts = check(SOME).logouts
    assert [(each.sid, each.sub, each.everybody) for each in logouts] == [("s-1", None, False), ("s-2", None, False)]
    assert {each.cutoff for each in logouts} == {NOW * 1000}


@pytest.mark.parametrize(("provider_ahead", "until"), [(0, 0), (20, 20), (80, 60), (-20, 0), (-25, 0), (-50, -20)])
def test_sessions_end_until_the_message_was_made_whatever_the_clocks_say(provider_ahead: int, until: int) -> None:
    """A provider's clock that is ahead has later logins; one that is behind is no reason to miss any."""
    (logout, _) = check(SOME, expiration=NOW + provider_ahead + LIFETIME_S).logouts
    assert logout.cutoff == (NOW + until) * 1000


def test_a_date_in_the_future_is_now() -> None:
    (logout,) = check(PUSHED, notBefore=NOW + 10**6).logouts
    assert logout.cutoff == (NOW + POLICY.leeway) * 1000


def test_a_date_that_was_taken_back_ends_nobody() -> None:
    for nothing in (0, 0.0, None, GONE):
        assert check(PUSHED, notBefore=nothing).logouts == ()


REFUSED = [
    ("typ of another token", ALL, {"header": {**HEADER, "typ": "logout+jwt"}}, "wrong_type"),
    ("typ a number", ALL, {"header": {**HEADER, "typ": 1}}, "wrong_type"),
    ("alg", ALL, {"header": {**HEADER, "alg": "HS256"}}, "alg_not_allowed"),
    *((f"has {name}", ALL, {name: "x"}, "wrong_type") for name in ("iss", "aud", "sub", "iat", "exp", "typ", "events")),
    ("another action", ALL, {"action": "TEST_AVAILABILITY"}, "wrong_action"),
    ("no action", ALL, {"action": GONE}, "wrong_action"),
    ("another client", ALL, {"resource": "shop"}, "wrong_audience"),
    ("no client", ALL, {"resource": GONE}, "wrong_audience"),
    ("client a list", ALL, {"resource": ["wiki"]}, "wrong_audience"),
    ("no expiration", ALL, {"expiration": GONE}, "exp_missing"),
    ("expired", ALL, {"expiration": NOW - 60}, "expired"),
    ("expiration far ahead", ALL, {"expiration": NOW + 361}, "exp_far_ahead"),
    ("expiration NaN", ALL, {"expiration": float("nan")}, "bad_claim"),
    ("no id", ALL, {"id": GONE}, "jti_missing"),
    ("nobody", ALL, {"notBefore": 0}, "no_sub_or_sid"),
    ("nobody by omission", ALL, {"notBefore": GONE}, "no_sub_or_sid"),
    ("notBefore negative", ALL, {"notBefore": -1}, "bad_claim"),
    ("notBefore false", ALL, {"notBefore": False}, "bad_claim"),
    ("notBefore text", PUSHED, {"notBefore": "now"}, "bad_claim"),
    ("only sessions of an adapter", SOME, {"keycloakSessionIds": None}, "no_session_ids"),
    ("sessions a text", SOME, {"keycloakSessionIds": "s-1"}, "bad_claim"),
    ("sessions of numbers", SOME, {"keycloakSessionIds": [1]}, "bad_claim"),
    ("too many sessions", SOME, {"keycloakSessionIds": ["s"] * 1001}, "bad_claim"),
]


@pytest.mark.parametrize(("claims", "changes", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_wrong_with_a_message(claims: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenError) as caught:
        check(claims, **changes)
    assert caught.value.reason == reason


def test_each_endpoint_takes_its_own_action_only() -> None:
    for claims, action in ((ALL, "PUSH_NOT_BEFORE"), (PUSHED, "LOGOUT")):
        with pytest.raises(TokenError) as caught:
            validate(HEADER, claims, policy=POLICY, action=action, now=NOW)  # type: ignore[arg-type]
        assert caught.value.reason == "wrong_action"


def test_claims_that_are_no_object_are_malformed() -> None:
    with pytest.raises(TokenError):
        validate(HEADER, "x", policy=POLICY, action="LOGOUT", now=NOW)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(list(ALL)), JSON_VALUES))
def test_any_claims_are_valid_or_a_token_error(changes: dict[str, Any]) -> None:
    for base in (ALL, SOME, PUSHED):
        try:
            action = check(base, **changes)
        except TokenError:
            continue
        # Nobody is locked out beyond now.
        assert all(logout.cutoff <= (NOW + POLICY.leeway) * 1000 for logout in action.logouts)
