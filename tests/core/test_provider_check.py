"""What answers about a token say about a session, and what they do not."""

import pytest

from sidecar.core.provider_check import EXPIRY_MARGIN_S, Standing, has_expired, judge

INVALID = {"error": "invalid_grant"}

ANSWERS = [
    # by, status, answer, standing
    ("introspection", 200, {"active": True}, Standing.ALIVE),
    ("introspection", 200, {"active": False}, Standing.OVER),
    ("introspection", 200, {"active": "false"}, Standing.BROKEN),
    ("introspection", 200, {"active": 0}, Standing.BROKEN),
    ("introspection", 200, {}, Standing.BROKEN),
    ("introspection", 200, None, Standing.BROKEN),
    ("introspection", 400, {"active": False}, Standing.BROKEN),
    ("introspection", 401, {"error": "invalid_client"}, Standing.BROKEN),
    ("introspection", 403, None, Standing.BROKEN),
    ("introspection", 302, {"active": False}, Standing.BROKEN),
    ("userinfo", 200, {"sub": "alice"}, Standing.ALIVE),
    ("userinfo", 200, {}, Standing.ALIVE),
    ("userinfo", 200, None, Standing.ALIVE),  # a signed answer
    ("userinfo", 200, {"sub": "bob"}, Standing.BROKEN),
    ("userinfo", 401, None, Standing.OVER),
    ("userinfo", 403, {"error": "insufficient_scope"}, Standing.BROKEN),
    ("userinfo", 404, None, Standing.BROKEN),
    ("refresh", 200, {"access_token": "a"}, Standing.ALIVE),
    ("refresh", 400, INVALID, Standing.OVER),
    ("refresh", 401, INVALID, Standing.BROKEN),
    ("refresh", 400, {"error": "invalid_client"}, Standing.BROKEN),
    ("refresh", 400, {"error": "unauthorized_client"}, Standing.BROKEN),
    ("refresh", 400, None, Standing.BROKEN),
]


@pytest.mark.parametrize(("by", "status", "answer", "standing"), ANSWERS)
def test_only_the_providers_own_word_ends_a_session(by, status, answer, standing):
    assert judge(by, status, answer, sub="alice") is standing


@pytest.mark.parametrize("by", ["introspection", "userinfo", "refresh"])
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_an_outage_says_nothing(by, status):
    assert judge(by, status, {"active": False} | INVALID, sub="alice") is Standing.UNAVAILABLE


def test_a_login_without_a_sub_has_none_to_compare():
    assert judge("userinfo", 200, {"sub": "bob"}, sub=None) is Standing.ALIVE


@pytest.mark.parametrize(
    ("expires", "expected"),
    [(None, True), (1000.0 + EXPIRY_MARGIN_S, True), (1000.1 + EXPIRY_MARGIN_S, False), (999.0, True)],
)
def test_a_token_that_may_be_over_by_itself_proves_nothing(expires, expected):
    assert has_expired(expires, 1000.0) is expected
