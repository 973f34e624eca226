"""Digests that keep everybody apart, and values that name nobody."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.identity import DIGEST_BYTES, BoundSession, Digester, Kind, Session, shared

DIGESTER = Digester(b"0123456789abcdef")
TEXT = st.text(max_size=20)


@given(st.tuples(TEXT, TEXT, TEXT), st.tuples(TEXT, TEXT, TEXT))
def test_two_names_have_one_digest_only_when_they_are_equal(one, other):
    assert (DIGESTER.sid(*one) == DIGESTER.sid(*other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "bc", "d"), ("ab", "c", "d")),
        (("a|", "b", "c"), ("a", "|b", "c")),
        (("", "a", "b"), ("a", "", "b")),
        (("a", "b", ""), ("a", "", "b")),
    ],
)
def test_moving_the_borders_between_parts_changes_the_digest(one, other):
    assert DIGESTER.sub(*one) != DIGESTER.sub(*other)


def test_the_same_text_in_different_roles_has_different_digests():
    digests = {
        DIGESTER.sid("i", "c", "x"),
        DIGESTER.sub("i", "c", "x"),
        DIGESTER.sub_without_sid("i", "c", "x"),
        DIGESTER.credential(b"x"),
    }

    assert len(digests) == 4
    assert {len(digest) for digest in digests} == {DIGEST_BYTES}


def test_another_secret_gives_other_digests_and_another_key_id():
    other = Digester(b"fedcba9876543210")

    assert other.sid("i", "c", "s") != DIGESTER.sid("i", "c", "s")
    assert other.credential(b"x") != DIGESTER.credential(b"x")
    assert other.key_id != DIGESTER.key_id


def test_digests_are_the_same_in_every_process_and_release():
    # Stored values: a change of these would make every stored revocation worthless.
    assert DIGESTER.sid("https://idp.example.com", "app", "s1").hex() == "e717b1b1ea30603813a5bea23543a5a7"
    assert DIGESTER.credential(b"value").hex() == "821dba428fb24dc21b3a1a7896e63247"
    assert DIGESTER.key_id == 56


def test_the_numbers_of_the_kinds_are_stored_and_stay():
    assert {kind.name: kind.value for kind in Kind} == {"SID": 1, "SUB": 2, "CREDENTIAL": 3, "SUB_WITHOUT_SID": 4}


@pytest.mark.parametrize("length", [0, 1, 15])
def test_a_short_secret_is_refused(length):
    with pytest.raises(ValueError, match="16 bytes"):
        Digester(b"x" * length)


def test_a_session_without_sid_is_known_by_its_sub_alone():
    bound = DIGESTER.bound(Session("i", "c", None, "alice", 5))

    assert bound.own == DIGESTER.sub_without_sid("i", "c", "alice")
    assert bound.sub == DIGESTER.sub("i", "c", "alice")


def test_a_session_without_sub_cannot_be_reached_by_sub():
    bound = DIGESTER.bound(Session("i", "c", "s1", None, 5))

    assert bound.own == DIGESTER.sid("i", "c", "s1")
    assert bound.sub is None


@pytest.mark.parametrize(("sid", "sub"), [(None, None), ("", ""), (None, "")])
def test_a_session_of_nobody_is_refused(sid, sub):
    with pytest.raises(ValueError, match="sid or a sub"):
        DIGESTER.bound(Session("i", "c", sid, sub, 5))


@pytest.mark.parametrize(("auth_time", "sid_time"), [(None, 1000), (900, 900), (1000, 1000), (1100, 1000)])
def test_against_its_sid_a_session_is_as_old_as_the_earlier_of_login_and_authentication(auth_time, sid_time):
    bound = DIGESTER.bound(Session("i", "c", "s1", "alice", 1000, auth_time))

    assert (bound.login_time, bound.sid_time) == (1000, sid_time)


def test_no_repr_names_a_person_or_a_digest():
    session = Session("i", "c", "the-sid", "alice", 5)
    bound = DIGESTER.bound(session)

    assert "the-sid" not in repr(session)
    assert "alice" not in repr(session)
    assert repr(bound) == "BoundSession(login_time=5, sid_time=5)"
    assert repr(DIGESTER) == f"<Digester key_id={DIGESTER.key_id}>"


# -- several keys ----------------------------------------------------------------------------------------------------


NEXT, BEFORE = Digester(b"next next next next"), Digester(b"before before before")
CHANGING = Digester(b"next next next next", [b"before before before"])


def test_a_session_is_the_same_under_every_accepted_key():
    login = Session("https://idp.example", "legacy", "s", "alice", 1000)
    now, then = CHANGING.bound(login), BEFORE.bound(login)
    assert now == NEXT.bound(login)
    assert now.is_same(then)
    assert now.is_of_same_subject(then)
    assert not NEXT.bound(login).is_same(then)


def test_other_sessions_and_other_subjects_stay_others_under_every_key():
    mine = CHANGING.bound(Session("https://idp.example", "legacy", "s", "alice", 1000))
    for sid, sub in (("s2", "bob"), ("s2", None)):
        for key in (NEXT, BEFORE):
            other = key.bound(Session("https://idp.example", "legacy", sid, sub, 1000))
            assert not mine.is_same(other)
            assert not mine.is_of_same_subject(other)


OLD = BoundSession(b"own-old".ljust(16), b"sub-old".ljust(16), 1000, 1000)
NEW = BoundSession(b"own-new".ljust(16), None, 2000, 2000)


def test_a_shared_session_is_the_new_one_and_keeps_the_old_ones() -> None:
    both = shared(NEW, [OLD])
    assert both.all == (both, OLD)
    assert (both.own, both.login_time) == (NEW.own, NEW.login_time)
    third = BoundSession(b"own-third".ljust(16), None, 3000, 3000)
    assert shared(third, [both]).all[1:] == (NEW, OLD)


def test_what_was_no_other_session_is_not_shared() -> None:
    assert type(shared(NEW, [])) is BoundSession
    assert shared(NEW, [NEW]) == NEW
    assert type(shared(NEW, [replace(NEW, login_time=2001, sid_time=2001)])) is BoundSession


def test_the_same_session_again_keeps_its_first_login_time() -> None:
    again = replace(NEW, login_time=5000, sid_time=5000)
    once_more = replace(NEW, login_time=9000, sid_time=9000)
    assert shared(again, [NEW]).all[1:] == (NEW,)
    assert shared(once_more, [shared(again, [NEW])]).all[1:] == (NEW,)


def test_an_old_session_of_a_known_subject_outlives_a_new_one_of_an_unknown() -> None:
    known = replace(NEW, sub=b"sub".ljust(16), login_time=2000)
    assert shared(NEW, [known]).all[1:] == (known,)  # a logout of the subject alone must go on reaching it


def test_what_is_shared_already_is_shared_on() -> None:
    third = BoundSession(b"own-third".ljust(16), None, 3000, 3000)
    assert shared(shared(NEW, [OLD]), [third]).all[1:] == (OLD, third)
