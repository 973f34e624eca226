"""The claims table: every MUST and every decision, by case number, and what real providers send."""

import contextlib
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.claims import MAX_ID_BYTES, TokenError, decode_json
from sidecar.core.identity import Digester, Kind
from sidecar.core.logout_token import EVENT, LogoutPolicy, LogoutToken, validate
from sidecar.core.revocation import meant_by

NOW = 1_767_000_000.0
ISSUER = "https://idp.example/realms/main"
POLICY = LogoutPolicy(issuer=ISSUER, client_ids=frozenset({"wiki"}))
HEADER = {"alg": "RS256", "kid": "k1", "typ": "logout+jwt"}
CLAIMS = {
    "iss": ISSUER,
    "aud": "wiki",
    "iat": NOW,
    "exp": NOW + 120,
    "jti": "6a0f3a0e",
    "sub": "user-1",
    "sid": "session-1",
    "events": {EVENT: {}},
}
GONE = object()  # the member is absent
HUGE = 10**4000


def changed(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**base, **changes}.items() if value is not GONE}


def check(
    claims: dict[str, Any] | None = None,
    *,
    header: dict[str, Any] | None = None,
    policy: LogoutPolicy = POLICY,
    now: float = NOW,
) -> LogoutToken:
    return validate(changed(HEADER, header or {}), changed(CLAIMS, claims or {}), policy=policy, now=now)


REFUSED_CLAIMS = [
    # case, what differs, reason
    ("L118 issuer with a suffix", {"iss": ISSUER + "INVALID"}, "wrong_issuer"),
    ("L118 issuer with a slash more", {"iss": ISSUER + "/"}, "wrong_issuer"),
    ("L118 issuer missing", {"iss": GONE}, "wrong_issuer"),
    ("L118 issuer as a list", {"iss": [ISSUER]}, "wrong_issuer"),
    ("L121 audience missing", {"aud": GONE}, "wrong_audience"),
    ("L121 audience null", {"aud": None}, "wrong_audience"),
    ("L121 audience empty", {"aud": ""}, "wrong_audience"),
    ("L121 audience an empty list", {"aud": []}, "wrong_audience"),
    ("L121 audience an object", {"aud": {}}, "wrong_audience"),
    ("L121 audience a number", {"aud": 5}, "wrong_audience"),
    ("L121 audience a nested list", {"aud": [["wiki"]]}, "wrong_audience"),
    ("L122 audience with a suffix", {"aud": "wikiINVALID"}, "wrong_audience"),
    ("L122 audience in another case", {"aud": "Wiki"}, "wrong_audience"),
    ("L185 another client of the provider", {"aud": "shop"}, "wrong_audience"),
    ("L125 an untrusted audience beside us", {"aud": ["wiki", "shop"]}, "untrusted_audience"),
    ("L128 another authorized party", {"azp": "shop"}, "wrong_azp"),
    ("L128 authorized party null", {"azp": None}, "wrong_azp"),
    ("L130 iat missing", {"iat": GONE}, "iat_missing"),
    ("L130 iat null", {"iat": None}, "iat_missing"),
    ("L131 iat a string", {"iat": "1767000000"}, "bad_claim"),
    ("L131 iat a boolean", {"iat": True}, "bad_claim"),
    ("L131 iat NaN", {"iat": math.nan}, "bad_claim"),
    ("L131 iat negative", {"iat": -1}, "bad_claim"),
    ("L131 iat zero", {"iat": 0}, "bad_claim"),
    ("L131 iat infinite", {"iat": math.inf}, "bad_claim"),
    ("L131 iat with 4000 digits", {"iat": HUGE}, "bad_claim"),
    ("L134 iat an hour ahead", {"iat": NOW + 3600, "exp": NOW + 3720}, "iat_in_future"),
    ("L134 iat a second beyond the leeway", {"iat": NOW + 61}, "iat_in_future"),
    ("L136 iat older than a day", {"iat": NOW - 86401}, "iat_too_old"),
    ("L137 exp missing", {"exp": GONE}, "exp_missing"),
    ("L137 exp null", {"exp": None}, "exp_missing"),
    ("L139 exp NaN", {"exp": math.nan}, "bad_claim"),
    ("L139 exp infinite", {"exp": math.inf}, "bad_claim"),
    ("L139 exp with 4000 digits", {"exp": HUGE}, "bad_claim"),
    ("L139 exp a string", {"exp": str(NOW + 60)}, "bad_claim"),
    ("L142 exp on the boundary", {"exp": NOW - 60}, "expired"),
    ("L143 exp ten minutes ago", {"exp": NOW - 600}, "expired"),
    ("L148 nbf a string", {"nbf": "soon"}, "bad_claim"),
    ("L148 nbf NaN", {"nbf": math.nan}, "bad_claim"),
    ("L148 nbf beyond the leeway", {"nbf": NOW + 61}, "not_yet_valid"),
    ("L149 jti missing", {"jti": GONE}, "jti_missing"),
    ("L149 jti null", {"jti": None}, "jti_missing"),
    ("L149 jti empty", {"jti": ""}, "jti_missing"),
    ("L149 jti a number", {"jti": 7}, "jti_missing"),
    ("L149 jti a list", {"jti": ["a"]}, "jti_missing"),
    ("A6 jti half a surrogate pair", {"jti": "\ud800"}, "bad_claim"),
    ("L155 events missing", {"events": GONE}, "events_missing"),
    ("L155 events null", {"events": None}, "events_missing"),
    ("R09 events a list", {"events": [EVENT]}, "events_missing"),
    ("R09 events a string", {"events": EVENT}, "events_missing"),
    ("R09 event null", {"events": {EVENT: None}}, "events_missing"),
    ("R09 event true", {"events": {EVENT: True}}, "events_missing"),
    ("R09 event a list", {"events": {EVENT: []}}, "events_missing"),
    ("L157 another event", {"events": {"http://schemas.openid.net/event/foobar": {}}}, "events_missing"),
    ("L158 event with https", {"events": {EVENT.replace("http:", "https:"): {}}}, "events_missing"),
    ("L158 event with a slash", {"events": {EVENT + "/": {}}}, "events_missing"),
    ("L158 event in upper case", {"events": {EVENT.upper(): {}}}, "events_missing"),
    (
        "L163 a CAEP event",
        {"events": {"https://schemas.openid.net/secevent/caep/event-type/session-revoked": {}}},
        "events_missing",
    ),
    ("L164 nonce", {"nonce": "n"}, "nonce_present"),
    ("L164 nonce null", {"nonce": None}, "nonce_present"),
    ("L164 nonce empty", {"nonce": ""}, "nonce_present"),
    ("L166 neither sub nor sid", {"sub": GONE, "sid": GONE}, "no_sub_or_sid"),
    ("L166 both null", {"sub": None, "sid": None}, "no_sub_or_sid"),
    ("L170 both empty", {"sub": "", "sid": ""}, "no_sub_or_sid"),
    ("L173 sub a number", {"sub": 5}, "bad_claim"),
    ("L173 sub a list", {"sub": ["user-1"]}, "bad_claim"),
    ("L173 sid a number", {"sid": 5}, "bad_claim"),
    ("L173 sid false", {"sid": False}, "bad_claim"),
    ("L178 sid a byte too long", {"sid": "s" * (MAX_ID_BYTES + 1)}, "bad_claim"),
    ("L178 sub a byte too long", {"sub": "é" * (MAX_ID_BYTES // 2) + "x"}, "bad_claim"),
    ("A6 sid half a surrogate pair", {"sid": "\ud800"}, "bad_claim"),
    ("L184 an ID token", {"events": GONE, "nonce": "n"}, "events_missing"),
    ("L187 a security event token", {"exp": GONE, "sub": GONE, "sid": GONE, "sub_id": {}}, "exp_missing"),
]

REFUSED_HEADERS = [
    ("L73 none", {"alg": "none"}, "alg_not_allowed"),
    ("L73 None", {"alg": "None"}, "alg_not_allowed"),
    ("L73 empty", {"alg": ""}, "alg_not_allowed"),
    ("L73 null", {"alg": None}, "alg_not_allowed"),
    ("L73 missing", {"alg": GONE}, "alg_not_allowed"),
    ("J5 alg a list", {"alg": ["RS256"]}, "alg_not_allowed"),
    ("OIDF wrong-alg", {"alg": "ES256"}, "alg_not_allowed"),
    ("L109 typ a number", {"typ": 5}, "wrong_type"),
    ("L109 typ null", {"typ": None}, "wrong_type"),
    ("L184 an access token", {"typ": "at+jwt"}, "wrong_type"),
    ("L187 a security event token", {"typ": "secevent+jwt"}, "wrong_type"),
    ("L107 application twice", {"typ": "application/application/logout+jwt"}, "wrong_type"),
]

ACCEPTED = [
    ("L1 both names", {}, {}),
    ("R11 unknown claims", {"ignored_claim": 1, "trace_id": "x", "typ": "Logout", "toe": NOW}, {}),
    ("L104 typ absent", {}, {"typ": GONE}),
    ("L109 typ empty", {}, {"typ": ""}),
    ("L106 typ JWT", {}, {"typ": "JWT"}),
    ("L107 typ as a media type", {}, {"typ": "application/logout+jwt"}),
    ("L107 typ in upper case", {}, {"typ": "LOGOUT+JWT"}),
    ("L97 header members that we never read", {}, {"jku": "https://evil.example/", "x5t": "a", "x5c": ["b"]}),
    ("L120 audience a list of one", {"aud": ["wiki"]}, {}),
    ("L127 authorized party", {"azp": "wiki"}, {}),
    ("L134 iat at the leeway", {"iat": NOW + 60}, {}),
    ("L136 iat a day old", {"iat": NOW - 86400}, {}),
    ("L142 exp a second before the boundary", {"exp": NOW - 59}, {}),
    ("L145 exp in a year", {"exp": NOW + 365 * 86400}, {}),
    ("L146 nbf now", {"nbf": NOW}, {}),
    ("L146 nbf at the leeway", {"nbf": NOW + 60}, {}),
    ("L160 an event with content", {"events": {EVENT: {"foo": "bar"}}}, {}),
    ("R11 a boolean beside the event", {"events": {EVENT: {}, "revoke_offline_access": True}}, {}),
    ("L167 sid only", {"sub": GONE}, {}),
    ("L168 sub only", {"sid": GONE}, {}),
    ("L178 sid at the limit", {"sid": "s" * MAX_ID_BYTES}, {}),
    ("R40 sid of printable ASCII", {"sid": "~x! \"{'+/=&%;"}, {}),
    ("R40 jti with a slash and only 8 characters", {"jti": "a/B3dE6g"}, {}),
]


@pytest.mark.parametrize(("claims", "reason"), [row[1:] for row in REFUSED_CLAIMS], ids=[r[0] for r in REFUSED_CLAIMS])
def test_claims_that_break_a_rule_are_refused_with_their_reason(claims: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenError) as caught:
        check(claims)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("header", "reason"), [row[1:] for row in REFUSED_HEADERS], ids=[r[0] for r in REFUSED_HEADERS]
)
def test_a_header_that_breaks_a_rule_is_refused_with_its_reason(header: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenError) as caught:
        check(header=header)
    assert caught.value.reason == reason


@pytest.mark.parametrize(("claims", "header"), [row[1:] for row in ACCEPTED], ids=[r[0] for r in ACCEPTED])
def test_what_the_specification_allows_is_accepted(claims: dict[str, Any], header: dict[str, Any]) -> None:
    assert check(claims, header=header).issuer == ISSUER


@pytest.mark.parametrize("claims", [[1], "x", 5, None, True], ids=repr)
def test_claims_that_are_no_object_are_malformed(claims: object) -> None:
    with pytest.raises(TokenError) as caught:
        validate(HEADER, claims, policy=POLICY, now=NOW)
    assert caught.value.reason == "malformed"


SWITCHES = [
    # case, policy, claims, header, reason or None
    ("L110 typ required and absent", {"require_typ": True}, {}, {"typ": GONE}, "wrong_type"),
    ("L110 typ required and JWT", {"require_typ": True}, {}, {"typ": "JWT"}, "wrong_type"),
    ("L110 typ required and right", {"require_typ": True}, {}, {}, None),
    ("L124 a trusted audience", {"trusted_audiences": frozenset({"shop"})}, {"aud": ["wiki", "shop"]}, {}, None),
    ("L124 only the trusted one", {"trusted_audiences": frozenset({"shop"})}, {"aud": "shop"}, {}, "wrong_audience"),
    ("L125 our other client", {"client_ids": frozenset({"wiki", "shop"})}, {"aud": ["wiki", "shop"]}, {}, None),
    ("L136 max_age at the limit", {"max_age": 300}, {"iat": NOW - 300}, {}, None),
    ("L136 max_age a second more", {"max_age": 300}, {"iat": NOW - 301}, {}, "iat_too_old"),
    ("L134 no leeway", {"leeway": 0}, {"iat": NOW + 1}, {}, "iat_in_future"),
    ("L142 no leeway, exp now", {"leeway": 0}, {"exp": NOW}, {}, "expired"),
    ("L142 no leeway, exp in a second", {"leeway": 0}, {"exp": NOW + 1}, {}, None),
    ("L137 without exp", {"require_exp": False}, {"exp": GONE}, {}, None),
    ("L137 without exp, 5 minutes old", {"require_exp": False}, {"exp": GONE, "iat": NOW - 300}, {}, None),
    ("L137 without exp, older", {"require_exp": False}, {"exp": GONE, "iat": NOW - 301}, {}, "expired"),
    ("L137 exp there and over", {"require_exp": False}, {"exp": NOW - 61}, {}, "expired"),
    ("L79 a secret and one audience", {"algorithms": frozenset({"HS256"})}, {"aud": ["wiki"]}, {"alg": "HS256"}, None),
    (
        "L79 a secret and two audiences",
        {"algorithms": frozenset({"HS256"}), "trusted_audiences": frozenset({"shop"})},
        {"aud": ["wiki", "shop"]},
        {"alg": "HS256"},
        "wrong_audience",
    ),
    ("L80 a configured algorithm", {"algorithms": frozenset({"ES256"})}, {}, {"alg": "ES256"}, None),
    ("L74 none even when configured", {"algorithms": frozenset({"none"})}, {}, {"alg": "none"}, "alg_not_allowed"),
]


@pytest.mark.parametrize(
    ("switches", "claims", "header", "reason"), [row[1:] for row in SWITCHES], ids=[r[0] for r in SWITCHES]
)
def test_a_switch_changes_exactly_its_rule(
    switches: dict[str, Any], claims: dict[str, Any], header: dict[str, Any], reason: str | None
) -> None:
    policy = replace(POLICY, **switches)
    if reason is None:
        check(claims, header=header, policy=policy)
        return
    with pytest.raises(TokenError) as caught:
        check(claims, header=header, policy=policy)
    assert caught.value.reason == reason


HINTS = [
    ({"exp": GONE}, {}, "require_exp: false"),
    ({"aud": ["wiki", "shop"]}, {}, "trusted_audiences"),
    ({"iat": NOW + 600}, {}, "leeway"),
    ({"iat": NOW - 90000}, {}, "max_age"),
    ({}, {"alg": "ES256"}, "algorithms"),
]


@pytest.mark.parametrize(("claims", "header", "switch"), HINTS)
def test_the_error_names_the_switch_that_would_help(
    claims: dict[str, Any], header: dict[str, Any], switch: str
) -> None:
    with pytest.raises(TokenError, match=switch):
        check(claims, header=header)


@pytest.mark.parametrize("claims", [row[1] for row in REFUSED_CLAIMS], ids=[r[0] for r in REFUSED_CLAIMS])
def test_no_error_repeats_what_the_token_says(claims: dict[str, Any]) -> None:
    with pytest.raises(TokenError) as caught:
        check({"sub": "jane@example.org", "sid": "secret-sid"} | claims)
    assert "jane" not in repr(caught.value)
    assert "secret-sid" not in repr(caught.value)


def test_the_repr_of_a_token_names_nobody() -> None:
    shown = repr(check({"sub": "jane@example.org", "sid": "secret-sid", "jti": "secret-jti"}))
    assert "jane" not in shown
    assert "secret" not in shown


def test_a_token_carries_what_the_log_and_the_revocations_need() -> None:
    token = check({"sid": GONE, "aud": ["wiki"], "iat": NOW - 1.5})
    assert token == LogoutToken(
        issuer=ISSUER,
        client_ids=("wiki",),
        sid=None,
        sub="user-1",
        issued_at=int((NOW - 1.5) * 1000),
        cutoff=int((NOW - 1.5) * 1000),
        whole_subject=False,
        jti="6a0f3a0e",
        expires=NOW + 120 + 60,
    )
    assert token.scope == "sub"


@pytest.mark.parametrize(
    ("claims", "scope"), [({}, "both"), ({"sub": GONE}, "sid"), ({"sid": GONE}, "sub"), ({"sid": None}, "sub")]
)
def test_the_scope_says_which_names_the_token_carries(claims: dict[str, Any], scope: str) -> None:
    assert check(claims).scope == scope


@pytest.mark.parametrize(
    ("claims", "notes"),
    [
        ({}, ()),
        ({"sid": None}, ("sid_empty",)),  # case L172
        ({"sid": ""}, ("sid_empty",)),
        ({"exp": NOW + 86400}, ("exp_far_ahead",)),  # case L145
    ],
)
def test_legal_oddities_are_noted(claims: dict[str, Any], notes: tuple[str, ...]) -> None:
    assert check(claims).notes == notes


def test_the_tolerance_widens_the_cutoff_and_not_the_issue_time() -> None:
    token = check(policy=replace(POLICY, iat_tolerance=2.0))
    assert (token.issued_at, token.cutoff) == (int(NOW * 1000), int(NOW * 1000) + 2000)


REVOKED = [
    # case, scope switch, claims, kinds
    ("L167 sid only", "session", {"sub": GONE}, [Kind.SID]),
    ("L169 both: the sid, and the sessions without one", "session", {}, [Kind.SID, Kind.SUB_WITHOUT_SID]),
    ("L190 sub only", "session", {"sid": GONE}, [Kind.SUB]),
    ("L208 both, subject scope", "subject", {}, [Kind.SID, Kind.SUB_WITHOUT_SID, Kind.SUB]),
    ("L208 sid only, subject scope", "subject", {"sub": GONE}, [Kind.SID]),
    ("L208 sub only, subject scope", "subject", {"sid": GONE}, [Kind.SUB]),
]


@pytest.mark.parametrize(("scope", "claims", "kinds"), [row[1:] for row in REVOKED], ids=[r[0] for r in REVOKED])
def test_a_logout_revokes_its_scope_and_no_more(scope: Any, claims: dict[str, Any], kinds: list[Kind]) -> None:
    token = check(claims, policy=replace(POLICY, sid_scope=scope))
    revoked = list(meant_by(token.logout, Digester(bytes(16)), expires=99))
    assert [revocation.kind for revocation in revoked] == kinds
    assert {(revocation.cutoff, revocation.expires) for revocation in revoked} == {(token.cutoff, 99)}


def test_each_of_our_clients_in_the_audience_is_revoked() -> None:  # case L212
    policy = replace(POLICY, client_ids=frozenset({"wiki", "shop", "blog"}))
    token = check({"aud": ["wiki", "shop"], "sub": GONE}, policy=policy)
    digester = Digester(bytes(16))
    expected = {digester.sid(ISSUER, client, "session-1") for client in ("wiki", "shop")}
    assert {revocation.digest for revocation in meant_by(token.logout, digester, expires=99)} == expected


E = {EVENT: {}}
GOLDEN = [
    # provider, switches, header, claims without iss, iat: as the providers send them
    (
        "Keycloak",
        {},
        {"alg": "RS256", "typ": "logout+jwt", "kid": "Zk3"},
        {"exp": 120, "jti": "6a0f", "aud": "wiki", "sub": "f3b0", "typ": "Logout", "sid": "0b7c"}
        | {"events": {**E, "revoke_offline_access": True}},
    ),
    (
        "Keycloak before 24",
        {"require_exp": False, "max_age": 300},
        {"alg": "RS256", "typ": "JWT", "kid": "Zk3"},
        {"jti": "6a0f", "aud": "wiki", "sub": "f3b0", "typ": "Logout", "sid": "0b7c", "events": E},
    ),
    (
        "Auth0",
        {},
        {"alg": "RS256", "typ": "JWT", "kid": "a9"},
        {"sub": "auth0|64f0c1", "aud": "wiki", "exp": 120, "jti": "a1", "events": E, "trace_id": "8f", "sid": "U1"},
    ),
    (
        "Ory Hydra",
        {"require_exp": False, "max_age": 300},
        {"alg": "RS256", "kid": "b6d2", "typ": "JWT"},
        {"aud": ["wiki"], "jti": "4a1f", "sid": "1cb7f0d5", "events": E},
    ),
    (
        "node-oidc-provider",
        {},
        {"alg": "RS256", "typ": "logout+jwt", "kid": "k1"},
        {"sub": "u-81", "sid": "0q3", "exp": 120, "jti": "V1StGXR8_Z5jdHi6B-myT", "aud": "wiki", "events": E},
    ),
    (
        "Duende IdentityServer",
        {},
        {"alg": "RS256", "kid": "C1", "typ": "logout+jwt"},
        {"nbf": 0, "exp": 300, "aud": "wiki", "sub": "88421113", "sid": "F0A1", "jti": "9E7D", "events": E}
        | {"logout_reason": "user"},
    ),
    (
        "IdentityServer4",
        {},
        {"alg": "RS256", "kid": "C1", "typ": "JWT"},
        {"nbf": 0, "exp": 300, "aud": "wiki", "sub": "88421113", "sid": "F0A1", "jti": "9E7D", "events": E},
    ),
    (
        "ZITADEL",
        {"iat_tolerance": 1},
        {"alg": "RS256", "kid": "2871", "typ": "JWT"},
        {"sub": "2871", "aud": ["wiki"], "exp": 300, "jti": "2872", "events": E, "sid": "V2_2872"},
    ),
    (
        "GOV.UK One Login",
        {"algorithms": frozenset({"ES256"}), "jti_replay": "reject"},
        {"kid": "644af5", "alg": "ES256"},
        {"sub": "urn:fdc:gov.uk:2022:56P4CM", "aud": "wiki", "exp": 120, "jti": "30642c87", "events": E},
    ),
    (
        "authentik",
        {"algorithms": frozenset({"HS256"})},
        {"alg": "HS256", "typ": "logout+jwt"},
        {"aud": "wiki", "exp": 120, "jti": "uuid", "sub": "hashed", "sid": None, "events": E},
    ),
    (
        "authentik 2025.8.0",
        {"require_exp": False},
        {"alg": "RS256", "kid": "a"},
        {"aud": "wiki", "jti": "uuid", "sub": "hashed", "sid": "sha256", "events": E},
    ),
    (
        "WSO2",
        {},
        {"alg": "RS256", "kid": "w", "x5t": "Zm9v"},
        {"aud": "wiki", "exp": 120, "jti": "uuid", "sub": "admin", "sid": "s", "events": E},
    ),
    (
        "PingOne AIC",
        {},
        {"alg": "RS256", "kid": "p"},
        {"aud": "wiki", "sub": "a03", "auditTrackingId": "cb52-91288", "cause": "SESSION_IDLE_TIMEOUT", "exp": 120}
        | {"jti": "1cd8", "events": E, "sid": "mTNo/2FC+PkgAJKjzBnZAqvM="},
    ),
    (
        "OpenAM (NHS CIS2)",
        {"algorithms": frozenset({"RS512"}), "require_exp": False},
        {"typ": "JWT", "kid": "n", "alg": "RS512"},
        {"aud": "wiki", "jti": "j", "sub": "5557", "events": E},
    ),
    (
        "Open Liberty",
        {},
        {"alg": "RS256", "kid": "l", "typ": "logout+jwt"},
        {"aud": "wiki", "exp": 120, "jti": "j", "sub": "u", "sid": "s", "events": E},
    ),
    (
        "better-auth",
        {"algorithms": frozenset({"EdDSA"})},
        {"alg": "EdDSA", "kid": "l", "typ": "logout+jwt"},
        {"aud": "wiki", "exp": 120, "jti": "j", "sub": "u", "sid": "s", "events": E},
    ),
    (
        "Rauthy",
        {"algorithms": frozenset({"EdDSA"})},
        {"alg": "EdDSA", "kid": "r", "typ": "logout+jwt"},
        {"typ": "logout+jwt", "aud": "wiki", "azp": "wiki", "nbf": 0, "exp": 30, "jti": "aB3dE6gH", "sub": "u"}
        | {"sid": "s", "events": E},
    ),
    (
        "Casdoor",
        {"require_exp": False},
        {"alg": "RS256", "kid": "c"},
        {"sub": "org/user-uuid", "aud": ["wiki"], "jti": "org/7b0c", "events": E, "sid": "s"},
    ),
    (
        "Gluu",
        {},
        {"alg": "RS256", "kid": "g"},
        {"aud": "wiki", "exp": 3600, "jti": "j", "sub": "pairwise", "events": E},
    ),
    (
        "LemonLDAP::NG",
        {"require_exp": False},
        {"alg": "RS256", "kid": "l"},
        {"aud": "wiki", "jti": "j", "sub": "u", "sid": "s", "events": E},
    ),
    (
        "Apereo CAS",
        {"require_exp": False},
        {"alg": "RS256", "kid": "c"},
        {"aud": "wiki", "jti": "j", "sub": "u", "sid": "s", "events": E},
    ),
    (
        "oidctest",
        {},
        {"alg": "RS256", "kid": "o"},
        {"aud": ["wiki"], "exp": 86400, "jti": "j", "sub": "u", "sid": "s", "kid": "o", "events": E},
    ),
    (
        "OIDF conformance suite",
        {},
        {"kid": "o", "alg": "RS256"},
        {"aud": "wiki", "exp": 120, "jti": "j", "sub": "u", "sid": '~x! "{&', "ignored_claim": "x", "events": E},
    ),
]
ISSUERS = {
    "Auth0": "https://acme.eu.auth0.com/",
    "OpenAM (NHS CIS2)": "https://am.example.nhs.uk:443/openam/oauth2/realms/root",
}


@pytest.mark.parametrize(("name", "switches", "header", "claims"), GOLDEN, ids=[row[0] for row in GOLDEN])
def test_accepts_what_real_providers_send(
    name: str, switches: dict[str, Any], header: dict[str, Any], claims: dict[str, Any]
) -> None:
    issuer = ISSUERS.get(name, ISSUER)
    times = {member: NOW + claims[member] for member in ("exp", "nbf") if member in claims}
    raw = json.dumps({**claims, **times, "iss": issuer, "iat": NOW}).encode()

    token = validate(header, decode_json(raw), policy=replace(POLICY, issuer=issuer, **switches), now=NOW)

    assert token.sid == (claims.get("sid") or None)
    assert token.sub == claims.get("sub")


STRICT_JSON = [
    ("L64 duplicate claim", b'{"sid":"a","sid":"b"}'),
    ("L64 duplicate deep inside", b'{"a":[{"b":1,"b":1}]}'),
    ("L65 duplicate spelt with an escape", b'{"alg":1,"\\u0061lg":2}'),
    ("J1 NaN", b'{"exp":NaN}'),
    ("J1 Infinity", b'{"exp":Infinity}'),
    ("J1 minus Infinity", b'{"exp":-Infinity}'),
    ("J4 deep arrays", b"[" * 60_000),
    ("J4 deep arrays, closed", b"[" * 30_000 + b"]" * 30_000),
    ("J4 deep objects", b'{"a":' * 60_000),
    ("L62 invalid UTF-8", b'{"sid":"\xff"}'),
    ("L62 byte order mark", b'\xef\xbb\xbf{"sid":"a"}'),
    ("L62 UTF-16", '{"sid":"a"}'.encode("utf-16")),
    ("A6 lone surrogate", b'{"sid":"\\ud800"}'),
    ("A6 lone surrogate in upper case", b'{"sid":"\\uDC00x"}'),
    ("A6 lone surrogate as a name", b'{"\\ud800":1}'),
    ("L59 not JSON", b"hello"),
    ("L59 nothing", b""),
    ("L59 more than one value", b"{}{}"),
    ("L59 a trailing comma", b'{"a":1,}'),
    ("L59 a number with too many digits", b"1" * 5000),
]


@pytest.mark.parametrize("raw", [row[1] for row in STRICT_JSON], ids=[row[0] for row in STRICT_JSON])
def test_json_that_two_readers_may_read_differently_is_malformed(raw: bytes) -> None:
    with pytest.raises(TokenError) as caught:
        decode_json(raw)
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a":"\\u00e9\\ud83d\\ude00"}', {"a": "é😀"}),
        ('{"a":"é"}'.encode(), {"a": "é"}),
        (b'[1, 2.5, null, true, "x"]', [1, 2.5, None, True, "x"]),
        (b"[" * 100 + b"]" * 100, None),
    ],
)
def test_ordinary_json_is_read(raw: bytes, value: object) -> None:
    assert value is None or decode_json(raw) == value
    decode_json(raw)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\ud80eE.-+0123nulltrefas ').map(str.encode))
def test_any_bytes_decode_or_are_malformed(raw: bytes) -> None:
    with contextlib.suppress(TokenError):
        json.dumps(decode_json(raw), ensure_ascii=False).encode()


@given(st.dictionaries(st.sampled_from([*CLAIMS, "nbf", "azp", "nonce"]), JSON_VALUES), JSON_VALUES, JSON_VALUES)
def test_any_claims_are_valid_or_a_token_error(claims: dict[str, Any], typ: object, alg: object) -> None:
    header = {"alg": "RS256" if isinstance(alg, list) else alg, "typ": typ}
    for candidate_header in (header, HEADER):
        try:
            token = validate(candidate_header, {**CLAIMS, **claims}, policy=POLICY, now=NOW)
        except TokenError:
            continue
        assert token.sid or token.sub
        assert list(meant_by(token.logout, Digester(bytes(16)), expires=1))
