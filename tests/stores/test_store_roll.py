"""Who may be serving, by what replicas write about themselves: leases by the looker's own clock, positions in a log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.stores.interface import Mark
from sidecar.stores.redis_roll import FORGET_S, OUTDATED_MS, Report, Roll, unpack

LOG = b"run.epoch"
MARK = Mark(LOG, (5, 1))


def report(entry: tuple[int, int] = (0, 0), *, log: bytes = LOG, beat: int = 1, lease: int = 2000) -> bytes:
    return Report(beat, lease, False, Mark(log, entry)).pack()


@given(
    st.builds(
        Report,
        st.integers(0, 2**43),
        st.integers(0, 2**40),
        st.booleans(),
        st.builds(Mark, st.binary(min_size=1).map(lambda raw: raw.hex().encode()), st.tuples(*[st.integers(0)] * 2)),
    )
)
def test_a_report_is_read_as_it_was_written(written: Report) -> None:
    assert unpack(written.pack()) == written


@given(st.binary(max_size=60))
def test_a_report_that_cannot_be_read_is_of_somebody_who_may_be_serving(text: bytes) -> None:
    roll = Roll(b"me")
    roll.saw({b"other": text + b" ?"}, 100.0)

    assert roll.behind(MARK, 101.0) == 1


@pytest.mark.parametrize(
    ("text", "is_behind"),
    [
        (report((5, 1)), False),
        (report((5, 2)), False),
        (report((10, 0)), False),  # numbers, not text
        (report((5, 0)), True),
        (report((4, 9)), True),
        (report((9, 9), log=b"run.other"), True),  # ids of another log mean nothing here
        (report(lease=0), False),  # it has ended
    ],
)
def test_who_confirms_is_who_has_applied_that_entry_of_that_log(text: bytes, is_behind: bool) -> None:
    roll = Roll(b"me")
    roll.saw({b"me": report(), b"other": text}, 0.0)

    assert roll.behind(MARK, 0.5) == is_behind


def test_a_lease_counts_from_when_the_report_was_seen_to_change() -> None:
    roll = Roll(b"me")
    roll.saw({b"other": report(beat=1)}, 100.0)
    roll.saw({b"other": report(beat=1)}, 101.9)
    assert roll.behind(MARK, 101.9) == 1
    assert roll.behind(MARK, 102.0) == 0

    roll.saw({b"other": report(beat=2)}, 103.0)  # it was only cut off
    assert roll.behind(MARK, 104.9) == 1


def test_a_report_that_vanished_counts_until_its_lease_is_over() -> None:
    roll = Roll(b"me")
    roll.saw({b"other": report()}, 100.0)
    roll.saw({}, 101.0)
    assert roll.serving(101.9) == 1
    roll.saw({}, 102.0)
    assert roll.serving(102.0) == 0


def test_no_step_of_the_servers_clock_ends_a_lease() -> None:
    roll = Roll(b"me")
    roll.saw({b"other": report(beat=10**12)}, 100.0)

    assert roll.ended(101.0, 10**12 + 3_600_000) == []
    assert roll.behind(MARK, 101.0) == 1


def test_reports_that_nobody_needs_are_named_for_deletion() -> None:
    roll = Roll(b"me")
    roll.saw({b"dead": report(beat=10**12), b"ancient": report(beat=1)}, 100.0)
    assert roll.ended(100.0, 10**12) == [b"ancient"]
    assert roll.ended(102.0 + FORGET_S, 10**12) == [b"ancient"]
    assert roll.ended(102.1 + FORGET_S, 10**12) == [b"dead", b"ancient"]
    assert roll.ended(100.0, 10**12 + 2001 + OUTDATED_MS) == [b"dead", b"ancient"]


def test_it_is_known_whether_somebody_asks() -> None:
    roll = Roll(b"me")
    roll.saw({b"other": report()}, 0.0)
    assert not roll.is_asked(0.0)
    roll.saw({b"other": Report(2, 2000, asks=True).pack()}, 1.0)
    assert roll.is_asked(1.0)
    assert not roll.is_asked(3.1)
