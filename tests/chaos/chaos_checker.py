"""Judges a history by the promises. Pure: the same history, the same verdict.

    I1  an acknowledged logout is denied by whoever answers: 250 ms later while all is well, and never later than
        `grace` + 0.5 s whatever happens
    I2  in the end everybody denies all that was acknowledged, a process that has just been born too
    I3  a process that has denied a session never serves it again
    I4  a session that nobody logged out is never denied, nor one before its logout
    I5  200 means durable: never while the store takes no writes; and a refused logout is enforced where it was refused
    I8  a process that never reached the store serves nothing bound

The one excuse: what the store has lost may be unknown to a process that had not heard of it,
until everything has been well for the three seconds that healing may take.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from chaos_history import Answer, Fault, History, Life, Logout, Outcome

PROPAGATION_S = 0.25
BEYOND_GRACE_S = 0.5
HEAL_S = 3.0


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken."""

    rule: str
    session: str
    at: float
    text: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}"


def violations(history: History, *, grace: float) -> list[Violation]:
    """Everything in the history that should not be there."""
    logouts: dict[str, list[Logout]] = defaultdict(list)
    for logout in history.logouts:
        for session in logout.sessions:
            logouts[session].append(logout)
    found = list(_writes_refused(history))
    denied: dict[tuple[str, Life], float] = {}
    for answer in sorted(history.answers, key=lambda each: each.answered):
        found += _of_answer(history, answer, logouts[answer.session], grace)
        key = (answer.session, answer.by)
        if answer.outcome is Outcome.SERVED and answer.sent > denied.get(key, math.inf):
            found.append(_violation("I3", answer, f"denied at {denied[key]:.3f}, and served later"))
        if answer.outcome is Outcome.DENIED:
            denied.setdefault(key, answer.answered)
    return found


def _of_answer(history: History, answer: Answer, logouts: list[Logout], grace: float) -> Iterator[Violation]:
    if answer.outcome is Outcome.WRONG:
        yield _violation("I0", answer, f"status {answer.status} is no answer of a sidecar before a healthy app")
    if answer.outcome is Outcome.DENIED and not any(logout.sent <= answer.answered for logout in logouts):
        yield _violation("I4", answer, "denied, and nobody had logged it out")
    if answer.answered < answer.by.could_know and answer.outcome is Outcome.SERVED:
        yield _violation("I8", answer, "served without ever having reached the store")
    if answer.is_final:
        yield from _of_the_end(answer, logouts)
    if answer.outcome is Outcome.SERVED:
        for logout in logouts:
            yield from _of_serving(history, answer, logout, grace)


def _of_the_end(answer: Answer, logouts: list[Logout]) -> Iterator[Violation]:
    # A refused logout waits in the memory of the process that took it; time-outs may have taken effect or not.
    must_hold = [logout for logout in logouts if logout.status == 200 or _is_kept(logout)]
    if must_hold and answer.outcome is not Outcome.DENIED:
        yield _violation("I2", answer, f"not denied in the end, after: {must_hold[0]}")
    if not logouts and answer.outcome is not Outcome.SERVED:
        yield _violation("I4", answer, "not served in the end")


def _is_kept(logout: Logout) -> bool:
    return logout.status is not None and logout.by.died == math.inf


def _of_serving(history: History, answer: Answer, logout: Logout, grace: float) -> Iterator[Violation]:
    if logout.status is None:
        return
    late = answer.sent - logout.answered
    if late > 0 and answer.by is logout.by:
        yield _violation("I5", answer, f"served by the process that had answered: {logout}")
    if logout.status != 200 or late <= PROPAGATION_S:
        return
    if late > grace + BEYOND_GRACE_S and not _is_excused(history, answer, logout):
        yield _violation("I1", answer, f"served {late:.3f} s after: {logout}")
    elif _was_calm(history, logout.sent - HEAL_S, answer.answered):
        slack = 2 * _worst_delay(history, logout.sent, answer.answered)
        if late > PROPAGATION_S + slack:
            yield _violation("I1", answer, f"all was well, and served {late:.3f} s (slack {slack:.3f}) after: {logout}")


def _is_excused(history: History, answer: Answer, logout: Logout) -> bool:
    """Whether the store may have lost this logout before anybody could tell the process that answered."""
    return any(
        fault.loses
        and fault.ended >= logout.sent
        and fault.began < answer.answered
        and not _has_healed(history, fault.ended, answer.sent)
        for fault in history.faults
    )


def _has_healed(history: History, start: float, end: float) -> bool:
    """Whether everything was well for the time of healing, somewhere between."""
    for fault in sorted(history.faults, key=lambda each: each.began):
        if fault.ended > start:
            if min(fault.began, end) - start > HEAL_S:
                return True
            start = fault.ended
    return end - start > HEAL_S


def _was_calm(history: History, start: float, end: float) -> bool:
    return not any(fault.began < end and fault.ended > start for fault in history.faults)


def _worst_delay(history: History, start: float, end: float) -> float:
    """How slow the machine itself was: how late the bench woke up, and how long any answer took."""
    woken = (late for at, late in history.delays if start <= at <= end + 0.1)
    took = (each.answered - each.sent for each in history.answers if each.answered >= start and each.sent <= end)
    return max((*woken, *took), default=0.0)


def _writes_refused(history: History) -> Iterator[Violation]:
    for logout in history.logouts:
        for fault in history.faults:
            if logout.status == 200 and _is_within(logout, fault):
                session = min(logout.sessions)
                yield Violation("I5", session, logout.sent, f"200 while the store took no writes ({fault}): {logout}")


def _is_within(logout: Logout, fault: Fault) -> bool:
    return fault.refuses and fault.applied < logout.sent and logout.answered < fault.mending


def _violation(rule: str, answer: Answer, text: str) -> Violation:
    return Violation(rule, answer.session, answer.sent, f"{answer}: {text}")


def report(history: History, found: list[Violation], *, shown: int = 3) -> str:
    """The seed, what was broken, and what happened around it."""
    parts = [f"seed {history.seed}: {len(found)} violations"]
    for each in found[:shown]:
        parts += [str(each), history.around(each.session, each.at)]
    return "\n\n".join(parts)
