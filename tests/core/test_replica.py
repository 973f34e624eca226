"""The replica against a model, its laws, its expiry; and the three states of freshness."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.freshness import Freshness, State
from sidecar.core.identity import Kind
from sidecar.core.replica import SHARDS, Replica
from sidecar.core.revocation import Revocation

NOW = 1_790_000_000


def revocation(digest: bytes = b"d" * 16, *, kind=Kind.SID, cutoff=NOW * 1000, expires=NOW + 3600) -> Revocation:
    return Revocation(kind, digest, cutoff, expires)


# Few digests, so that they meet; the kind is part of what a digest is made from.
DIGESTS = {bytes((shard, n)) + bytes(14): Kind(n) for shard in (0, 1, 255) for n in (1, 2, 3, 4)}
REVOCATIONS = st.builds(
    lambda digest, cutoff, expires: Revocation(DIGESTS[digest], digest, cutoff, expires),
    st.sampled_from(sorted(DIGESTS)),
    st.one_of(st.integers(0, 5), st.integers(0, 2**63 - 1)),
    st.one_of(st.integers(0, 5), st.integers(0, 2**32 - 1)),
)


def content(replica: Replica) -> set[Revocation]:
    return set(replica.live(-1))


def filled(revocations) -> Replica:
    replica = Replica()
    for each in revocations:
        replica.apply(each)
    return replica


@given(st.lists(REVOCATIONS))
def test_a_replica_holds_per_digest_the_latest_cut_off_and_the_latest_expiry(revocations):
    model: dict[bytes, tuple[int, int]] = {}
    for each in revocations:
        cutoff, expires = model.get(each.digest, (0, 0))
        model[each.digest] = (max(cutoff, each.cutoff), max(expires, each.expires))

    replica = filled(revocations)

    assert content(replica) == {Revocation(DIGESTS[d], d, *times) for d, times in model.items()}
    assert len(replica) == len(model)
    assert all(replica.cutoff(digest) == cutoff for digest, (cutoff, _) in model.items())


@given(st.lists(REVOCATIONS), st.randoms(use_true_random=False))
def test_order_and_repetition_of_the_log_do_not_matter(revocations, random):
    again = revocations + random.choices(revocations, k=3) if revocations else []
    random.shuffle(again)

    assert content(filled(again)) == content(filled(revocations))


LOGS = st.lists(REVOCATIONS)


def merged(*replicas: Replica) -> Replica:
    """One replica that heard everything from each of these, as a resync and a healing do."""
    return filled(each for replica in replicas for each in replica.live(-1))


@given(LOGS)
def test_the_merge_of_replicas_is_idempotent(log):
    assert content(merged(filled(log), filled(log))) == content(filled(log))


@given(LOGS, LOGS)
def test_the_merge_of_replicas_is_commutative(one, other):
    assert content(merged(filled(one), filled(other))) == content(merged(filled(other), filled(one)))


@given(LOGS, LOGS, LOGS)
def test_the_merge_of_replicas_is_associative(one, two, three):
    a, b, c = filled(one), filled(two), filled(three)

    assert content(merged(merged(a, b), c)) == content(merged(a, merged(b, c)))


@given(LOGS, st.lists(st.integers(0, 5)), st.randoms(use_true_random=False))
def test_sweeps_in_between_take_nothing_that_is_live_in_the_end(log, times, random):
    """A log that is replayed in another order beside expiry passes: what lives is the same."""
    steps = [*log, *times]
    random.shuffle(steps)
    swept = Replica()
    for step in steps:
        if isinstance(step, int):
            for _ in range(SHARDS):
                swept.sweep(step)
        else:
            swept.apply(step)
    now = max(times, default=0)
    found = {each.digest: each for each in swept.live(now)}
    whole = {each.digest: each for each in filled(log).live(now)}
    # A cut-off may be gone that came with a shorter life and had expired; nothing that is live by itself may.
    least = filled(each for each in log if each.expires > now)

    assert {digest: each.expires for digest, each in found.items()} == {d: each.expires for d, each in whole.items()}
    assert all(least.cutoff(digest) <= found[digest].cutoff <= whole[digest].cutoff for digest in whole)


@given(st.lists(REVOCATIONS), REVOCATIONS)
def test_applying_says_truly_whether_anything_changed(revocations, one):
    replica = filled(revocations)
    before = content(replica)

    assert replica.apply(one) == (content(replica) != before)
    assert replica.apply(one) is False


@given(st.lists(REVOCATIONS), REVOCATIONS)
def test_a_cut_off_never_goes_back(revocations, one):
    replica = filled(revocations)
    before = {digest: replica.cutoff(digest) for digest in DIGESTS}
    replica.apply(one)

    assert all(known is None or replica.cutoff(digest) >= known for digest, known in before.items())


def test_what_was_never_revoked_has_no_cut_off():
    replica = filled([revocation(b"a" * 16)])

    assert replica.cutoff(b"b" * 16) is None
    assert replica.cutoff(b"a" * 15 + b"b") is None  # the same shard


def test_a_cut_off_of_zero_is_not_the_same_as_none():
    assert filled([revocation(cutoff=0)]).cutoff(b"d" * 16) == 0


@pytest.mark.parametrize(("offset", "left"), [(-1, 1), (0, 0), (1, 0)])
def test_a_revocation_is_dropped_in_the_second_it_expires(offset, left):
    replica = filled([revocation(expires=NOW)])
    dropped = sum(replica.sweep(NOW + offset) for _ in range(SHARDS))

    assert len(replica) == left
    assert dropped == 1 - left


def test_a_full_pass_reaches_every_shard_once():
    replica = filled(revocation(bytes((shard,)) * 16, expires=NOW) for shard in range(SHARDS))

    assert [replica.sweep(NOW) for _ in range(SHARDS)] == [1] * SHARDS
    assert len(replica) == 0
    assert replica.sweep(NOW) == 0


def test_an_expired_revocation_still_denies_until_it_is_swept():
    replica = filled([revocation(expires=0)])

    assert replica.cutoff(b"d" * 16) is not None


def test_a_clock_that_goes_back_drops_nothing():
    replica = filled([revocation(expires=NOW)])
    for _ in range(SHARDS):
        replica.sweep(NOW - 3600)

    assert len(replica) == 1


@pytest.mark.parametrize("expires", [2**32 - 1, 2**32, 2**40])
def test_an_expiry_beyond_what_can_be_kept_is_kept_as_the_latest_that_can(expires):
    (kept,) = content(filled([revocation(expires=expires)]))

    assert kept == revocation(expires=2**32 - 1)


@pytest.mark.parametrize(("expires", "is_live"), [(NOW - 1, False), (NOW, False), (NOW + 1, True)])
def test_only_what_has_not_expired_is_live(expires, is_live):
    assert list(filled([revocation(expires=expires)]).live(NOW)) == [revocation(expires=expires)] * is_live


@given(st.lists(REVOCATIONS), st.lists(REVOCATIONS), st.integers(0, SHARDS - 1))
def test_what_another_lacks_is_exactly_what_makes_it_complete(ours, theirs, first_shard):
    mine, other = filled(ours), filled(theirs)
    lacking = list(mine.lacking(other, -1, first_shard))
    assert all(other.apply(each) for each in lacking)

    assert content(other) == content(filled(ours + theirs))
    assert list(mine.lacking(other, -1, first_shard)) == []


def test_the_replica_may_change_while_it_is_listed():
    replica = filled(revocation(bytes((0, n)) + bytes(14)) for n in range(10))
    listing = replica.live(NOW)
    next(listing)
    for n in range(10, 200):
        replica.apply(revocation(bytes((0, n)) + bytes(14)))

    assert len(list(listing)) >= 9


def test_listing_begins_in_the_shard_that_is_asked_for():
    replica = filled(revocation(bytes((shard,)) * 16) for shard in range(SHARDS))
    order = [each.digest[0] for each in replica.lacking(Replica(), NOW, first_shard=200)]

    assert order == [*range(200, SHARDS), *range(200)]


def test_the_repr_names_nobody():
    assert repr(filled([revocation()])) == "<Replica of 1 revocations>"


# Freshness


@pytest.mark.parametrize(
    ("age", "state"),
    [
        (0, State.FRESH),
        (2, State.FRESH),
        (2.001, State.STALE),
        (60, State.STALE),
        (60.001, State.BLIND),
        (math.inf, State.BLIND),
    ],
)
def test_the_state_follows_from_the_age_of_the_last_proof(age, state):
    freshness = Freshness(fresh=2, grace=60)
    freshness.proved(1000)

    assert freshness.state(1000 + age) is state
    assert freshness.age(1000 + age) == pytest.approx(age)


def test_before_the_first_proof_it_is_blind():
    freshness = Freshness(fresh=2, grace=60)

    assert freshness.state(0) is State.BLIND
    assert freshness.state(1e12) is State.BLIND
    assert freshness.age(0) == math.inf


def test_a_proof_that_arrives_late_makes_nothing_older():
    freshness = Freshness(fresh=2, grace=60)
    freshness.proved(1000)
    freshness.proved(900)

    assert freshness.state(1001) is State.FRESH


def test_fresh_may_equal_grace_so_that_nothing_is_ever_stale():
    freshness = Freshness(fresh=3, grace=3)
    freshness.proved(0)

    assert [freshness.state(at) for at in (3, 3.001)] == [State.FRESH, State.BLIND]


@pytest.mark.parametrize(("fresh", "grace"), [(0, 60), (-1, 60), (3, 2), (math.nan, 60), (2, math.nan)])
def test_limits_that_make_no_sense_are_refused(fresh, grace):
    with pytest.raises(ValueError, match="fresh"):
        Freshness(fresh, grace)
