"""What Strivacity's Admin API says, and that nobody's name gets from its errors into a log."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strivacity_standin import problem

from sidecar.core.strivacity import (
    BAD_CREDENTIALS,
    NO_PROBLEM,
    NO_WRITE,
    Answer,
    Outcome,
    Problem,
    outcome_of,
    read_problem,
    session_path,
)

STATUSES = {
    Outcome.ENDED: [204],
    Outcome.UNAUTHORIZED: [401],
    Outcome.FORBIDDEN: [403],
    Outcome.GONE: [404],
    Outcome.UNAVAILABLE: [408, 425, 429, 500, 502, 503, 504, 599],
    Outcome.REFUSED: [200, 202, 301, 302, 307, 400, 405, 409, 410, 422],
}


@pytest.mark.parametrize(("outcome", "status"), [(each, status) for each, row in STATUSES.items() for status in row])
def test_each_status_means_one_thing(outcome, status):
    assert outcome_of(status) is outcome


@pytest.mark.parametrize("outcome", Outcome)
def test_a_session_is_over_only_when_the_api_says_so(outcome):
    assert outcome.is_done == (outcome in {Outcome.ENDED, Outcome.GONE})


@pytest.mark.parametrize("outcome", Outcome)
def test_only_what_an_operator_can_mend_has_advice(outcome):
    expected = {Outcome.UNAUTHORIZED: BAD_CREDENTIALS, Outcome.FORBIDDEN: NO_WRITE}
    assert Answer(outcome, "x").advice == expected.get(outcome)


def test_the_advice_for_a_policy_that_lacks_a_right_names_it():
    assert NO_WRITE == 'the API policy lacks "write" on "account"'


def test_the_path_is_the_published_one():
    assert session_path("customers", "a-1", "s-1") == (
        "/admin/api/v1/identityStores/customers/accounts/a-1/sessions/s-1"
    )


@pytest.mark.parametrize(
    ("part", "encoded"),
    [
        ("a/b", "a%2Fb"),
        ("a?b#c", "a%3Fb%23c"),
        ("50%", "50%25"),
        ("%2F", "%252F"),
        ("a b", "a%20b"),
        ("mTNo/2FC+Pk=", "mTNo%2F2FC%2BPk%3D"),
        ("Bürger", "B%C3%BCrger"),
        ("a;b", "a%3Bb"),
        ("a\\b", "a%5Cb"),
        ("...", "..."),
        ("a\r\nb", "a%0D%0Ab"),
    ],
)
def test_whatever_an_identifier_holds_it_stays_one_segment(part, encoded):
    for parts in ((part, "a", "s"), ("n", part, "s"), ("n", "a", part)):
        wanted = [encoded if each == part else each for each in parts]
        path = session_path(*parts)
        assert path == "/admin/api/v1/identityStores/{}/accounts/{}/sessions/{}".format(*wanted)
        assert path.count("/") == 9


@pytest.mark.parametrize("part", ["", ".", "..", "\ud800"])
def test_what_would_lead_elsewhere_is_no_path(part):
    assert session_path(part, "a", "s") is session_path("n", part, "s") is session_path("n", "a", part) is None


def test_of_an_error_body_only_what_names_nobody_is_kept():
    _, body = problem(403, "forbidden", "/admin/api/v1/identityStores/customers/accounts/alice@example.com/sessions/s")

    found = read_problem(body)

    assert found == Problem("forbidden", "Title of forbidden", "account", ("account.id",))
    assert found.as_fields() == {
        "error_key": "forbidden",
        "title": "Title of forbidden",
        "entity": "account",
        "fields": ["account.id"],
    }
    assert "alice" not in repr(found)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b'"text"', b"{", b"\xff", b'{"errorKey": 7, "title": [], "fieldErrors": {}}'],
)
def test_what_is_no_error_body_says_nothing(body):
    assert read_problem(body) == NO_PROBLEM
    assert read_problem(body).as_fields() == {}


@pytest.mark.parametrize("value", ["alice@example.com", "a b", "x" * 101, "", None, 7, {}])
def test_what_may_be_a_value_is_no_identifier(value):
    body = {"errorKey": value, "entityName": value, "fieldErrors": [{"objectName": value, "field": value}, value]}

    assert read_problem(json.dumps(body).encode()) == NO_PROBLEM


def test_a_long_body_is_cut():
    body = {"title": "t" * 1000, "fieldErrors": [{"objectName": "o", "field": f"f{n}"} for n in range(100)]}
    found = read_problem(json.dumps(body).encode())

    assert len(found.title or "") == 200
    assert len(found.fields) == 10


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["errorKey", "title", "fieldErrors", "objectName", "field"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(_json)
def test_no_body_breaks_the_reader(body):
    read_problem(json.dumps(body).encode())
