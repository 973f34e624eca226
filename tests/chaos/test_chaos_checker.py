"""The checker itself: small histories, each with one broken promise or with a good excuse."""

from dataclasses import replace

import pytest
from chaos_checker import report, violations
from chaos_history import Answer, Fault, History, Life, Logout, Outcome

GRACE = 1.0
ONE, OTHER = Life("one", 0.0, could_know=0.0), Life("other", 0.0, could_know=0.0)
UNCONNECTED = Life("unconnected", 0.0, could_know=50.0)
DEAD = Life("dead", 0.0, could_know=0.0, died=12.0)
LOGOUT = Logout(frozenset({"s"}), ONE, 10.0, 10.1, 200)
REFUSED = replace(LOGOUT, status=503)
LOST = Fault("FLUSHALL", 10.5, 10.5, 10.5, 10.6, loses=True)
CUT = Fault("blackhole", 9.0, 9.0, 12.0, 12.0)


def answer(outcome: Outcome, at: float, by: Life = OTHER, session: str = "s", **more: bool) -> Answer:
    return Answer(session, by, at, at + 0.01, outcome, **more)


def served(at: float, by: Life = OTHER, **more: bool) -> Answer:
    return answer(Outcome.SERVED, at, by, **more)


def denied(at: float, by: Life = OTHER, **more: bool) -> Answer:
    return answer(Outcome.DENIED, at, by, **more)


def unknown(at: float, by: Life = OTHER, **more: bool) -> Answer:
    return answer(Outcome.UNKNOWN, at, by, **more)


def rules(*events: Logout | Answer | Fault) -> set[str]:
    return {each.rule for each in violations(history(*events), grace=GRACE)}


def history(*events: Logout | Answer | Fault) -> History:
    return History(
        "test",
        [each for each in events if isinstance(each, Logout)],
        [each for each in events if isinstance(each, Answer)],
        [each for each in events if isinstance(each, Fault)],
    )


@pytest.mark.parametrize(
    ("broken", "events"),
    [
        # I1, while all is well and whatever happens
        (set(), (LOGOUT, served(9.9), denied(10.2))),
        (set(), (LOGOUT, served(10.3))),
        ({"I1"}, (LOGOUT, served(10.5))),
        (set(), (LOGOUT, served(10.5), CUT)),
        (set(), (LOGOUT, unknown(10.5))),
        ({"I1"}, (LOGOUT, served(11.7), CUT)),
        (set(), (replace(LOGOUT, status=None), served(99))),
        # the excuse: lost before it could be told, and not yet healed
        (set(), (LOGOUT, LOST, served(13.0))),
        ({"I1"}, (LOGOUT, LOST, served(13.7))),
        ({"I1"}, (LOGOUT, Fault("FLUSHALL", 9.0, 9.0, 9.0, 9.1, loses=True), served(12.0))),
        # I2
        (set(), (LOGOUT, denied(90, is_final=True))),
        ({"I2"}, (LOGOUT, unknown(90, is_final=True))),
        ({"I2"}, (REFUSED, served(90, is_final=True))),
        (set(), (replace(REFUSED, by=DEAD), served(90, is_final=True))),
        # I3
        ({"I3"}, (replace(LOGOUT, status=None), denied(11), served(12))),
        (set(), (replace(LOGOUT, status=None), denied(11), served(12, ONE))),
        # I4
        ({"I4"}, (denied(5),)),
        ({"I4"}, (LOGOUT, denied(9.5))),
        (set(), (REFUSED, denied(10.5))),
        ({"I4"}, (unknown(90, is_final=True),)),
        # I5
        ({"I5"}, (REFUSED, served(10.2, ONE))),
        (set(), (REFUSED, served(99, OTHER))),
        ({"I5"}, (LOGOUT, Fault("OOM", 9.0, 9.1, 11.0, 11.1, refuses=True))),
        (set(), (LOGOUT, Fault("OOM", 9.0, 10.05, 11.0, 11.1, refuses=True))),
        # I8
        ({"I8"}, (served(5, UNCONNECTED),)),
        (set(), (unknown(5, UNCONNECTED), served(51, UNCONNECTED))),
        # no answer of a sidecar
        ({"I0"}, (answer(Outcome.WRONG, 5),)),
    ],
)
def test_each_broken_promise_is_named(broken: set[str], events: tuple[Logout | Answer | Fault, ...]) -> None:
    assert rules(*events) == broken


def test_faults_that_go_on_leave_no_time_to_heal() -> None:
    again = Fault("blackhole", 12.0, 12.0, 14.0, 14.0)

    assert rules(LOGOUT, LOST, again, served(16.9)) == set()
    assert rules(LOGOUT, LOST, again, served(17.2)) == {"I1"}
    assert rules(LOGOUT, LOST, Fault("blackhole", 13.7, 13.7, 14.0, 14.0), served(16.9)) == {
        "I1"
    }  # it was well before that
    assert rules(LOGOUT, LOST, Fault("blackhole", 12.0), served(99.0)) == set()


def test_a_slow_machine_is_no_broken_promise() -> None:
    slow = replace(unknown(10.2), answered=10.4)

    assert rules(LOGOUT, slow, served(10.6)) == set()
    assert rules(LOGOUT, slow, served(10.9)) == {"I1"}


def test_a_report_shows_the_seed_and_what_happened_around_it() -> None:
    events = history(LOGOUT, CUT, served(10.05), served(13.0))
    text = report(events, violations(events, grace=GRACE))

    assert "seed test: 1 violations" in text
    story = text.split("\n\n")[2]
    assert story.index("blackhole") < story.index("logout of ['s'] at one: 200") < story.rindex("served")
