"""The provider's clock as its answers show it: never ahead of the truth."""

import email.utils
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import clock
from sidecar.core.identity import BoundSession, Kind
from sidecar.core.revocation import Revocation, covers
from sidecar.oidc.jwks import EMPTY
from sidecar.oidc.provider import ProviderKeys
from sidecar.oidc.provider_clock import UNHEARD_S, Heard, heard
from sidecar.oidc.source import Loaded

BOOT = 5000.0


def date(seconds: float) -> str:
    return email.utils.formatdate(int(seconds), usegmt=True)


@given(
    st.floats(1e9, 2e9), st.floats(-1e6, 1e6), st.floats(0, 5), st.floats(0, 5), st.floats(0, 86400), st.floats(0, 100)
)
def test_no_login_is_later_than_it_was_and_a_logout_right_after_it_reaches_it(
    epoch: float, skew: float, there: float, back: float, later: float, until_logout: float
) -> None:
    """`epoch + skew` is the provider's time when we ask. It answers after `there`, which takes `back` to reach us."""
    provider_at_boot = epoch + skew - BOOT
    known = heard({"Date": date(provider_at_boot + BOOT + there)}, BOOT + there + back)
    assert known is not None
    truth = provider_at_boot + BOOT + there + back + later
    login = int(known.now(BOOT + there + back + later)) * 1000
    assert truth - 2 - back - 1e-3 <= login / 1000 <= truth + 1e-3
    iat = int(truth + until_logout + 1e-3)
    session = BoundSession(b"o" * 16, None, login, login)
    assert covers(Revocation(Kind.SID, b"o" * 16, iat * 1000, 1), session)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Date": ""},
        {"Date": "soon"},
        {"Date": "Mon, 29 Dec 2025 09:20:00 -0000"},  # no zone: it would be read in ours
        {"Date": date(1.7e9), "Age": "7"},  # a cache's
    ],
)
def test_an_answer_that_says_nothing_of_now_is_not_believed(headers: Mapping[str, str]) -> None:
    assert heard(headers, BOOT) is None


def test_a_fresh_answer_of_a_cache_is_one() -> None:
    assert heard({"Date": date(1.7e9), "Age": "0"}, BOOT) == Heard(1.7e9 - BOOT)


class Source:
    metadata = None

    def __init__(self, *clocks: Heard | None) -> None:
        self._clocks = list(clocks)

    async def load(self, now: float) -> Loaded:
        return Loaded(EMPTY, None, self._clocks.pop(0))


async def test_the_last_answer_that_said_something_counts() -> None:
    source = Source(Heard(100.0), None)
    keys = ProviderKeys(issuer="x", source=source, may_be_empty=True, now=lambda: BOOT)
    before = clock.early()
    assert before - UNHEARD_S - 1 <= keys.provider_now() <= clock.early() - UNHEARD_S
    await keys.renew(1.0)
    assert keys.provider_now() == BOOT + 100
    keys._forced_at = float("-inf")
    await keys.renew(1.0)
    assert keys.provider_now() == BOOT + 100
