"""Security events: each step of the validation by a table, what each event ends, and no confusion with other tokens."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core import logout_token
from sidecar.core.claims import TokenError
from sidecar.core.logout_token import LogoutPolicy
from sidecar.core.security_event import EVENTS, EventPolicy, SecurityEvent, validate
from sidecar.core.subject import Reach

NOW = 1_767_000_000.0
IDP = "https://idp.example"
AUDIENCE = "https://app.example/_sidecar/events"
POLICY = EventPolicy(
    issuer=IDP,
    audiences=frozenset({AUDIENCE}),
    reach=Reach(IDP, {IDP: ("wiki",)}),
    acts_on=("session-revoked", "account-disabled", "credential-change"),
)
HEADER = {"alg": "RS256", "kid": "k1", "typ": "secevent+jwt"}
USER = {"format": "iss_sub", "iss": IDP, "sub": "u-1"}
REVOKED, DISABLED, CHANGED = (EVENTS[name] for name in POLICY.acts_on)
CLAIMS: dict[str, Any] = {
    "iss": IDP,
    "aud": AUDIENCE,
    "iat": NOW,
    "jti": "j-1",
    "sub_id": USER,
    "events": {REVOKED: {"event_timestamp": NOW - 10}},
}
GONE = object()


def check(header: dict[str, Any] | None = None, policy: EventPolicy = POLICY, **changes: Any) -> SecurityEvent:
    claims = {name: value for name, value in {**CLAIMS, **changes}.items() if value is not GONE}
    return validate(HEADER if header is None else header, claims, policy=policy, now=NOW)


def test_a_good_event_ends_the_sessions_of_its_subject_until_it_happened() -> None:
    event = check()
    (logout,) = event.logouts
    assert (logout.issuer, logout.client_ids, logout.sid, logout.sub) == (IDP, ("wiki",), None, "u-1")
    assert logout.cutoff == (NOW - 10) * 1000
    assert (event.jti, event.notes) == ("j-1", ())


REFUSED = [
    ("typ absent", {"header": {"alg": "RS256"}}, "wrong_type"),
    ("typ JWT", {"header": {**HEADER, "typ": "JWT"}}, "wrong_type"),
    ("typ of a logout token", {"header": {**HEADER, "typ": "logout+jwt"}}, "wrong_type"),
    ("typ a number", {"header": {**HEADER, "typ": 5}}, "wrong_type"),
    ("alg of another kind", {"header": {**HEADER, "alg": "ES256"}}, "alg_not_allowed"),
    ("alg none", {"header": {**HEADER, "alg": "none"}}, "alg_not_allowed"),
    ("issuer of somebody else", {"iss": IDP + "/"}, "wrong_issuer"),
    ("no issuer", {"iss": GONE}, "wrong_issuer"),
    ("no audience", {"aud": GONE}, "wrong_audience"),
    ("another audience", {"aud": AUDIENCE + "/"}, "wrong_audience"),
    ("audience a number", {"aud": [5, AUDIENCE]}, "wrong_audience"),
    ("no iat", {"iat": GONE}, "iat_missing"),
    ("iat in the future", {"iat": NOW + 61}, "iat_in_future"),
    ("iat too old", {"iat": NOW - 86401}, "iat_too_old"),
    ("iat NaN", {"iat": float("nan")}, "bad_claim"),
    ("iat true", {"iat": True}, "bad_claim"),
    ("exp passed", {"exp": NOW - 60}, "expired"),
    ("nbf ahead", {"nbf": NOW + 61}, "not_yet_valid"),
    ("no jti", {"jti": GONE}, "jti_missing"),
    ("jti empty", {"jti": ""}, "jti_missing"),
    ("sub beside", {"sub": "u-1"}, "sub_present"),
    ("no events", {"events": GONE}, "events_missing"),
    ("events empty", {"events": {}}, "events_missing"),
    ("events a list", {"events": [REVOKED]}, "events_missing"),
    ("event a string", {"events": {REVOKED: "yes"}}, "events_missing"),
    ("too many events", {"events": {f"urn:{number}": {} for number in range(17)}}, "events_missing"),
    ("a back-channel logout", {"events": {logout_token.EVENT: {}, REVOKED: {}}}, "wrong_event"),
    ("no subject", {"sub_id": GONE}, "subject_missing"),
    ("two subjects", {"events": {REVOKED: {"subject": {**USER, "sub": "u-2"}}}}, "subject_ambiguous"),
    ("event_timestamp a text", {"events": {REVOKED: {"event_timestamp": "now"}}}, "bad_claim"),
    ("event_timestamp false", {"events": {REVOKED: {"event_timestamp": False}}}, "bad_claim"),
    ("toe a text", {"toe": "now", "events": {REVOKED: {}}}, "bad_claim"),
    ("subject of a stranger", {"sub_id": {**USER, "iss": "https://else.example"}}, "subject_foreign"),
    ("an address", {"sub_id": {"format": "email", "email": "a@b.example"}}, "subject_unusable"),
]


@pytest.mark.parametrize(("changes", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_wrong_with_an_event(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(TokenError) as caught:
        check(**changes)
    assert caught.value.reason == reason


def test_claims_that_are_no_object_are_malformed() -> None:
    with pytest.raises(TokenError) as caught:
        validate(HEADER, [CLAIMS], policy=POLICY, now=NOW)
    assert caught.value.reason == "malformed"


ACCEPTED = [
    {"header": {**HEADER, "typ": "application/SECEVENT+JWT"}},
    {"aud": ["https://else.example", AUDIENCE]},
    {"exp": NOW - 59},
    {"txn": 8675309, "unknown": {"x": 1}},
    {"sub_id": GONE, "events": {REVOKED: {"subject": USER}}},
    {"events": {REVOKED: {"subject": USER}}},
]


@pytest.mark.parametrize("changes", ACCEPTED, ids=range(len(ACCEPTED)))
def test_what_is_tolerated(changes: dict[str, Any]) -> None:
    assert [logout.sub for logout in check(**changes).logouts] == ["u-1"]


CUTOFFS = [
    ("none: when it was told", {"events": {REVOKED: {}}}, NOW),
    ("milliseconds", {"events": {REVOKED: {"event_timestamp": int((NOW - 10) * 1000) + 643}}}, NOW - 10 + 0.643),
    ("the future", {"events": {REVOKED: {"event_timestamp": NOW + 3600}}}, NOW),
    ("the future in milliseconds", {"events": {REVOKED: {"event_timestamp": (NOW + 3600) * 1000}}}, NOW),
    ("toe", {"toe": NOW - 5, "events": {REVOKED: {}}}, NOW - 5),
    ("its own time before toe", {"toe": NOW - 5, "events": {REVOKED: {"event_timestamp": NOW - 7}}}, NOW - 7),
]


@pytest.mark.parametrize(("changes", "until"), [row[1:] for row in CUTOFFS], ids=[row[0] for row in CUTOFFS])
def test_until_when_logins_are_over(changes: dict[str, Any], until: float) -> None:
    assert check(**changes).logouts[0].cutoff == int(until * 1000)


IGNORED = [
    ({"https://schemas.openid.net/secevent/ssf/event-type/verification": {"state": "x"}}, ("verification",)),
    ({"https://schemas.openid.net/secevent/risc/event-type/verification": {}}, ("verification",)),
    ({"https://schemas.openid.net/secevent/ssf/event-type/stream-updated": {}}, ("event_ignored",)),
    ({EVENTS["account-purged"]: {}}, ("event_ignored",)),  # not among those that this policy acts on
    ({CHANGED: {"credential_type": "fido2-roaming", "change_type": "create"}}, ("event_ignored",)),
]


@pytest.mark.parametrize(("events", "notes"), IGNORED)
def test_events_that_end_nothing_are_acknowledged(events: dict[str, Any], notes: tuple[str, ...]) -> None:
    for subject in (GONE, USER, {"format": "opaque", "id": "stream"}):
        event = check(sub_id=subject, events=events)
        assert (event.logouts, event.notes) == ((), notes)


@pytest.mark.parametrize("change", ["update", "revoke", "delete", "something new", None])
def test_a_changed_credential_ends_sessions_unless_it_is_one_more(change: str | None) -> None:
    assert len(check(events={CHANGED: {"credential_type": "password", "change_type": change}}).logouts) == 1


def test_a_bare_name_is_a_session_or_a_user_for_session_revoked_and_a_user_for_the_rest() -> None:
    opaque = {"format": "opaque", "id": "x-1"}
    both = check(sub_id=opaque).logouts
    assert [(each.sid, each.sub) for each in both] == [("x-1", None), (None, "x-1")]
    assert [(each.sid, each.sub) for each in check(sub_id=opaque, events={DISABLED: {}}).logouts] == [(None, "x-1")]


def test_a_session_with_its_user_ends_that_session_or_as_chosen_all_of_the_user() -> None:
    subject = {"format": "complex", "session": {"format": "opaque", "id": "s-1"}, "user": USER}
    wide = replace(POLICY, reach=replace(POLICY.reach, whole_subject=True))
    assert [each.whole_subject for each in check(sub_id=subject).logouts] == [False]
    assert [each.whole_subject for each in check(sub_id=subject, policy=wide).logouts] == [True]


def test_several_events_in_one_token_are_all_obeyed() -> None:  # RFC 8417 section 2.2
    events = {REVOKED: {"event_timestamp": NOW - 9}, DISABLED: {}, "urn:else": {}}
    event = check(events=events)
    assert [each.cutoff for each in event.logouts] == [(NOW - 9) * 1000, NOW * 1000]
    assert event.notes == ("event_ignored",)


def test_an_event_is_no_logout_token_and_a_logout_token_no_event() -> None:
    policy = LogoutPolicy(issuer=IDP, client_ids=frozenset({"wiki", AUDIENCE}))
    both = {**CLAIMS, "exp": NOW + 60, "sid": "s-1", "events": {**CLAIMS["events"], logout_token.EVENT: {}}}
    with pytest.raises(TokenError) as caught:
        logout_token.validate(HEADER, both, policy=policy, now=NOW)
    assert caught.value.reason == "wrong_type"
    for header in (HEADER, {**HEADER, "typ": "logout+jwt"}, {"alg": "RS256"}):
        with pytest.raises(TokenError) as caught:
            validate(header, both, policy=POLICY, now=NOW)
        assert caught.value.reason in {"wrong_type", "wrong_event"}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from([*CLAIMS, "nbf", "exp", "toe", "sub"]), JSON_VALUES),
    st.dictionaries(st.sampled_from(["subject", "event_timestamp", "change_type"]), JSON_VALUES),
)
def test_any_claims_are_valid_or_a_token_error(claims: dict[str, Any], payload: dict[str, Any]) -> None:
    for changes in (claims, {"events": {REVOKED: payload, CHANGED: payload}}):
        try:
            event = validate(HEADER, {**CLAIMS, **changes}, policy=POLICY, now=NOW)
        except TokenError:
            continue
        assert all(logout.cutoff <= (NOW + 60) * 1000 for logout in event.logouts)
        assert not any(logout.everybody for logout in event.logouts)
