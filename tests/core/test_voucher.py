"""Vouchers: what is believed of one, and what is not."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.identity import Digester
from sidecar.core.voucher import MOST_TAGS, SKEW_S, Voucher, build_voucher, parse_voucher, visiting_since

OURS = Digester(b"the deployment's secret")
NOW, MAX_AGE = 1_790_000_000, 3600
V, W = (OURS.credential(value) for value in (b"V", b"W"))


def since(*vouchers: bytes, of: tuple[bytes, ...] = (V,), now: float = NOW, digester: Digester = OURS) -> int | None:
    return visiting_since(vouchers, [(credential,) for credential in of], digester, now=now, max_age=MAX_AGE)


@pytest.mark.parametrize(
    ("what", "age", "is_good"),
    [
        ("just made", 0, True),
        ("nearly too old", MAX_AGE - 1, True),
        ("too old", MAX_AGE, False),
        ("another replica's clock is ahead", -SKEW_S, True),
        ("from the future", -SKEW_S - 1, False),
    ],
)
def test_a_voucher_holds_for_a_bounded_time(what: str, age: int, is_good: bool) -> None:
    voucher = build_voucher([V], NOW, OURS)
    assert since(voucher, now=NOW + age) == (NOW if is_good else None), what


def test_every_credential_needs_one() -> None:
    voucher = build_voucher([V], NOW, OURS)
    assert since(voucher, of=(V, W)) is None
    assert since(build_voucher([W, V], NOW, OURS), of=(V, W)) == NOW
    assert since(voucher, of=()) is None  # and nothing is vouched for by chance


def test_two_vouchers_are_none_even_if_each_is_good() -> None:
    voucher = build_voucher([V], NOW, OURS)
    assert since(voucher, voucher) is None
    assert since(voucher, b"") is None
    assert since() is None


def test_a_voucher_of_another_deployment_says_nothing() -> None:
    theirs = Digester(b"somebody else's secret")
    assert since(build_voucher([V], NOW, theirs)) is None


def test_the_time_cannot_be_moved() -> None:
    raw = base64.urlsafe_b64decode(build_voucher([V], NOW - MAX_AGE, OURS) + b"=")
    moved = base64.urlsafe_b64encode(NOW.to_bytes(4) + raw[4:]).rstrip(b"=")
    assert parse_voucher(moved) == Voucher(NOW, (OURS.voucher(V, NOW - MAX_AGE),))
    assert since(moved) is None


def test_while_the_key_is_changed_both_count() -> None:
    before, after = Digester(b"the secret of before"), Digester(b"the secret of after", [b"the secret of before"])
    voucher = build_voucher([before.credential(b"V")], NOW, before)
    readings = tuple(key.credential(b"V") for key in after.all)
    assert visiting_since([voucher], [readings], after, now=NOW, max_age=MAX_AGE) == NOW
    assert visiting_since([voucher], [(b"another spelling", *readings)], after, now=NOW, max_age=MAX_AGE) == NOW
    assert visiting_since([voucher], [readings[:1]], after, now=NOW, max_age=MAX_AGE) is None


def test_a_tag_is_neither_a_digest_of_the_store_nor_made_with_its_key() -> None:
    """Else whoever reads the store, or a log, could write vouchers."""
    assert OURS.voucher(V, NOW) not in (V, OURS.credential(NOW.to_bytes(8) + V))


def test_too_many_credentials_get_no_tag() -> None:
    many = [OURS.credential(b"%d" % number) for number in range(MOST_TAGS + 1)]
    voucher = build_voucher(many, NOW, OURS)
    assert since(voucher, of=tuple(many[:-1])) == NOW
    assert since(voucher, of=tuple(many)) is None


@pytest.mark.parametrize(
    "value", [b"", b"AAAA", b"AAAAAA==", b"!" * 27, b"A" * 28, b"A" * 5, b"A" * 2000, b"\xff" * 27]
)
def test_what_no_sidecar_has_written_is_no_voucher(value: bytes) -> None:
    assert parse_voucher(value) is None


@given(
    st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=MOST_TAGS, unique=True),
    st.integers(0, 2**32 - 1),
)
def test_what_is_written_can_be_read(credentials: list[bytes], began: int) -> None:
    voucher = parse_voucher(build_voucher(credentials, began, OURS))
    assert voucher == Voucher(began, tuple(OURS.voucher(credential, began) for credential in credentials))


@given(st.binary(max_size=200))
def test_nothing_that_a_stranger_makes_up_is_believed(value: bytes) -> None:
    assert since(value) is None
    assert since(base64.urlsafe_b64encode(value).rstrip(b"=")) is None
