"""What is over and what lives: the covering table of promise 3, and the laws of the merge."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.identity import Digester, Kind, Session
from sidecar.core.revocation import SLACK_S, Revocation, covers, expiry, merge, of_logout

DIGESTER = Digester(b"0123456789abcdef")
ISSUER, CLIENT = "https://idp.example.com", "app"
LOGIN = 1_790_000_000_000
DIGEST = b"d" * 16

REVOCATIONS = st.builds(
    lambda cutoff, expires: Revocation(Kind.SID, DIGEST, cutoff, expires), st.integers(), st.integers()
)


@given(REVOCATIONS)
def test_merge_is_idempotent(one):
    assert merge(one, one) == one


@given(REVOCATIONS, REVOCATIONS)
def test_merge_is_commutative(one, other):
    assert merge(one, other) == merge(other, one)


@given(REVOCATIONS, REVOCATIONS, REVOCATIONS)
def test_merge_is_associative(a, b, c):
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(REVOCATIONS, REVOCATIONS)
def test_a_merge_takes_nothing_away(one, other):
    merged = merge(one, other)

    assert merged.cutoff == max(one.cutoff, other.cutoff)
    assert merged.expires == max(one.expires, other.expires)


def test_only_revocations_of_the_same_digest_merge():
    with pytest.raises(ValueError, match="same digest"):
        merge(Revocation(Kind.SID, b"a" * 16, 1, 1), Revocation(Kind.SID, b"b" * 16, 1, 1))


def session(sid="s1", sub="alice", *, issuer=ISSUER, client=CLIENT, login=LOGIN, auth_time=None):
    return DIGESTER.bound(Session(issuer, client, sid, sub, login, auth_time))


def is_over(bound, sid, sub, cutoff=LOGIN):
    revocations = of_logout(DIGESTER, ISSUER, CLIENT, sid, sub, cutoff=cutoff, expires=2**31)
    return any(covers(each, bound) for each in revocations)


@pytest.mark.parametrize(
    ("bound", "sid", "sub", "over"),
    [
        # a logout by sid
        (session(), "s1", None, True),
        (session(sub=None), "s1", None, True),
        (session(sid="s2"), "s1", None, False),
        (session(sid=None), "s1", None, False),
        # a logout by sub: every session of the subject
        (session(), None, "alice", True),
        (session(sid="s2"), None, "alice", True),
        (session(sid=None), None, "alice", True),
        (session(sub="bob"), None, "alice", False),
        (session(sub=None), None, "alice", False),
        # both: that sid only, and sessions of the sub that know no sid
        (session(), "s1", "alice", True),
        (session(sid="s2"), "s1", "alice", False),
        (session(sid=None), "s1", "alice", True),
        (session(sid=None, sub="bob"), "s1", "alice", False),
        # the same names elsewhere
        (session(issuer="https://other.example.com"), "s1", "alice", False),
        (session(client="other"), "s1", "alice", False),
        (session(issuer="https://other.example.com"), None, "alice", False),
        # a sid that reads like a sub, and the other way round
        (session(sid="alice", sub="bob"), None, "alice", False),
        (session(sid="s9", sub="s1"), "s1", None, False),
    ],
)
def test_a_logout_ends_exactly_the_sessions_it_means(bound, sid, sub, over):
    assert is_over(bound, sid, sub) is over


@pytest.mark.parametrize(("sid", "sub"), [("s1", None), (None, "alice"), ("s1", "alice")])
@pytest.mark.parametrize(("difference", "over"), [(-1, False), (0, True), (1, True)])
def test_a_login_at_the_cut_off_is_over_and_a_later_one_lives(sid, sub, difference, over):
    assert is_over(session(), sid, sub, cutoff=LOGIN + difference) is over


def test_a_refreshed_token_of_a_revoked_sid_is_over_unless_it_authenticated_later():
    later = LOGIN + 60_000

    assert is_over(session(login=later, auth_time=LOGIN), "s1", None)
    assert not is_over(session(login=later, auth_time=later), "s1", None)
    assert not is_over(session(login=later, auth_time=LOGIN), None, "alice")


def test_an_authentication_time_after_the_login_makes_the_session_no_younger():
    assert is_over(session(auth_time=LOGIN + 60_000), "s1", None)


def test_a_logout_of_nobody_is_refused():
    with pytest.raises(ValueError, match="sid or a sub"):
        list(of_logout(DIGESTER, ISSUER, CLIENT, None, None, cutoff=1, expires=1))


@pytest.mark.parametrize(
    ("sid", "sub", "kinds"),
    [
        ("s1", None, [Kind.SID]),
        (None, "alice", [Kind.SUB]),
        ("s1", "alice", [Kind.SID, Kind.SUB_WITHOUT_SID]),
    ],
)
def test_a_logout_is_written_down_under_what_it_names(sid, sub, kinds):
    revocations = list(of_logout(DIGESTER, ISSUER, CLIENT, sid, sub, cutoff=7, expires=9))

    assert [each.kind for each in revocations] == kinds
    assert {(each.cutoff, each.expires) for each in revocations} == {(7, 9)}


def test_a_revocation_is_kept_as_long_as_a_session_plus_what_may_be_in_flight():
    assert expiry(1000.9, 3600) == 1000 + 3600 + SLACK_S
    assert SLACK_S >= 15 * 60


def test_the_repr_names_nobody():
    assert "digest" not in repr(Revocation(Kind.SID, DIGEST, 1, 1))
