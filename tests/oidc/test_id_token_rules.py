"""What the claims of an ID token must say to be a login, and what they must say to be a session token."""

from typing import Any

import pytest

from sidecar.core.claims import TokenError
from sidecar.core.identity import Session
from sidecar.core.logout_token import EVENT
from sidecar.oidc.id_token import Client, login, session_token

NOW = 1_767_000_000
ISSUER = "https://idp.example/realms/main"
CLIENT = Client(ISSUER, ("legacy",))
TWO_CLIENTS = Client(ISSUER, ("one", "two"))
WITH_AUDIENCE = Client(ISSUER, ("legacy",), frozenset({"api"}))
LEEWAY = 60.0
ABSENT = object()


def claims(**changes: Any) -> dict[str, Any]:
    base = {"iss": ISSUER, "aud": "legacy", "sub": "alice", "sid": "s-1", "iat": NOW, "exp": NOW + 300, "nonce": "n"}
    return {name: value for name, value in (base | changes).items() if value is not ABSENT}


def logged_in(client: Client = CLIENT, /, *, header: dict[str, Any] | None = None, **changes: Any) -> Session:
    return login(header or {"alg": "RS256"}, claims(**changes), client=client, now=NOW, leeway=LEEWAY)


def carried(client: Client = CLIENT, /, *, header: dict[str, Any] | None = None, **changes: Any) -> Session:
    return session_token(header or {"alg": "RS256"}, claims(**changes), client=client)


def test_a_login_is_the_session_that_the_token_names() -> None:
    assert logged_in() == Session(ISSUER, "legacy", "s-1", "alice", NOW * 1000)


def test_a_login_without_sid_is_a_session_of_the_subject() -> None:
    assert logged_in(sid=ABSENT) == Session(ISSUER, "legacy", None, "alice", NOW * 1000)


def test_a_login_ignores_auth_time_so_that_single_sign_on_after_a_logout_works() -> None:
    assert logged_in(auth_time=NOW - 3600).auth_time is None


def test_a_session_token_keeps_auth_time_so_that_a_refresh_does_not_outlive_its_sid() -> None:
    assert carried(auth_time=NOW - 3600).auth_time == (NOW - 3600) * 1000


def test_fractions_of_a_second_are_kept() -> None:
    assert logged_in(iat=NOW - 0.5).login_time == NOW * 1000 - 500


BAD_IN_BOTH = [
    ("wrong_issuer", {"iss": ISSUER + "/"}),
    ("wrong_issuer", {"iss": ABSENT}),
    ("wrong_issuer", {"iss": [ISSUER]}),
    ("wrong_audience", {"aud": "other"}),
    ("wrong_audience", {"aud": ABSENT}),
    ("wrong_audience", {"aud": []}),
    ("wrong_audience", {"aud": {"legacy": 1}}),
    ("wrong_audience", {"aud": ["legacy", 5]}),
    ("iat_missing", {"iat": ABSENT}),
    ("bad_claim", {"iat": "1767000000"}),
    ("bad_claim", {"iat": True}),
    ("bad_claim", {"iat": float("nan")}),
    ("bad_claim", {"iat": float("inf")}),
    ("bad_claim", {"iat": 10**400}),
    ("bad_claim", {"iat": 0}),
    ("bad_claim", {"sid": 7}),
    ("bad_claim", {"sub": ["alice"]}),
    ("bad_claim", {"sid": "s" * 1025}),
    ("bad_claim", {"sub": "\ud800"}),
    ("logout_token", {"events": {EVENT: {}}}),
    ("logout_token", {"events": None}),
]


@pytest.mark.parametrize(("reason", "changes"), BAD_IN_BOTH)
def test_neither_reading_accepts(reason: str, changes: dict[str, Any]) -> None:
    for reading in (logged_in, carried):
        with pytest.raises(TokenError) as caught:
            reading(**changes)
        assert caught.value.reason == reason


@pytest.mark.parametrize("typ", ["logout+jwt", "LOGOUT+JWT", "application/logout+jwt"])
def test_a_logout_token_by_its_type_is_neither_login_nor_session(typ: str) -> None:
    for reading in (logged_in, carried):
        with pytest.raises(TokenError) as caught:
            reading(header={"alg": "RS256", "typ": typ})
        assert caught.value.reason == "logout_token"


@pytest.mark.parametrize("claims", [None, [], "text", 5])
def test_claims_that_are_no_object_are_malformed(claims: object) -> None:
    with pytest.raises(TokenError, match="not a JSON object"):
        login({}, claims, client=CLIENT, now=NOW, leeway=LEEWAY)
    with pytest.raises(TokenError, match="not a JSON object"):
        session_token({}, claims, client=CLIENT)


BAD_LOGINS = [
    ("exp_missing", {"exp": ABSENT}),
    ("bad_claim", {"exp": float("inf")}),
    ("expired", {"exp": NOW - LEEWAY}),
    ("expired", {"exp": NOW - LEEWAY - 1}),
    ("iat_in_future", {"iat": NOW + LEEWAY + 1}),
    ("not_yet_valid", {"nbf": NOW + LEEWAY + 1}),
    ("bad_claim", {"nbf": "soon"}),
    ("sub_missing", {"sub": ABSENT}),
    ("sub_missing", {"sub": ""}),
    ("wrong_azp", {"azp": "other"}),
    ("wrong_azp", {"azp": None}),
    ("wrong_azp", {"azp": ["legacy"]}),
    ("untrusted_audience", {"aud": ["legacy", "stranger"]}),
]


@pytest.mark.parametrize(("reason", "changes"), BAD_LOGINS)
def test_no_login_with(reason: str, changes: dict[str, Any]) -> None:
    with pytest.raises(TokenError) as caught:
        logged_in(**changes)
    assert caught.value.reason == reason


GOOD_LOGINS = [
    {"exp": NOW - LEEWAY + 1},
    {"iat": NOW + LEEWAY},
    {"nbf": NOW + LEEWAY},
    {"azp": "legacy"},
    {"aud": ["legacy"]},
    {"aud": ["legacy", "stranger"], "azp": "legacy"},
    {"unknown": {"deep": [1]}},
]


@pytest.mark.parametrize("changes", GOOD_LOGINS)
def test_a_login_with(changes: dict[str, Any]) -> None:
    assert logged_in(**changes).client_id == "legacy"


def test_an_audience_that_the_operator_listed_may_stand_beside_the_client() -> None:
    assert logged_in(WITH_AUDIENCE, aud=["legacy", "api"]).client_id == "legacy"


def test_a_listed_audience_alone_is_no_login() -> None:
    with pytest.raises(TokenError) as caught:
        logged_in(WITH_AUDIENCE, aud="api")
    assert caught.value.reason == "wrong_audience"


@pytest.mark.parametrize("exp", [ABSENT, 1, NOW - 10**6, "never"])
def test_the_exp_of_a_session_token_is_not_read(exp: object) -> None:
    assert carried(exp=exp).login_time == NOW * 1000


@pytest.mark.parametrize(
    ("changes", "sid", "sub"),
    [({"sub": ABSENT}, "s-1", None), ({"sid": None}, None, "alice"), ({"sid": ""}, None, "alice")],
)
def test_a_session_token_names_a_sid_or_a_sub(changes: dict[str, Any], sid: str | None, sub: str | None) -> None:
    session = carried(**changes)
    assert (session.sid, session.sub) == (sid, sub)


def test_a_session_token_without_sid_and_sub_names_nothing() -> None:
    with pytest.raises(TokenError) as caught:
        carried(sid=ABSENT, sub=ABSENT)
    assert caught.value.reason == "no_sub_or_sid"


@pytest.mark.parametrize("auth_time", ["yesterday", -1, float("nan"), False])
def test_a_session_token_with_an_unreadable_auth_time_is_refused(auth_time: object) -> None:
    with pytest.raises(TokenError) as caught:
        carried(auth_time=auth_time)
    assert caught.value.reason == "bad_claim"


@pytest.mark.parametrize(
    ("client", "changes", "client_id"),
    [
        (CLIENT, {"aud": ["stranger", "legacy"]}, "legacy"),
        (CLIENT, {"azp": "other"}, "legacy"),
        (WITH_AUDIENCE, {"aud": "api"}, "legacy"),
        (TWO_CLIENTS, {"aud": "two"}, "two"),
        (TWO_CLIENTS, {"aud": ["one", "two"], "azp": "two"}, "two"),
        (Client(ISSUER, ("one", "two"), frozenset({"api"})), {"aud": "api", "azp": "one"}, "one"),
    ],
)
def test_a_session_token_belongs_to_the_client(client: Client, changes: dict[str, Any], client_id: str) -> None:
    assert carried(client, **changes).client_id == client_id


@pytest.mark.parametrize("azp", [ABSENT, "other", ["one"]])
def test_a_session_token_for_two_clients_without_azp_is_refused(azp: object) -> None:
    with pytest.raises(TokenError) as caught:
        carried(TWO_CLIENTS, aud=["one", "two"], azp=azp)
    assert caught.value.reason == "audience_ambiguous"


@pytest.mark.parametrize(("reason", "changes"), [*BAD_IN_BOTH, *BAD_LOGINS])
def test_no_error_repeats_what_the_token_says(reason: str, changes: dict[str, Any]) -> None:
    with pytest.raises(TokenError) as caught:
        logged_in(**{"sid": "secret-sid", "sub": "secret-sub"} | changes)
    assert "secret" not in str(caught.value)
