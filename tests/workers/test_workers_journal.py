"""The journal: whatever is appended, expired or missed, a reader that says that it has something has it."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.identity import Kind
from sidecar.core.replica import Replica
from sidecar.core.revocation import Revocation
from sidecar.stores.interface import PAGE
from sidecar.workers.journal import Journal, Reader

NOW = 1_790_000_000


def revocation(number: int, cutoff: int = 1) -> Revocation:
    return Revocation(Kind.SID, number.to_bytes(16), cutoff, NOW + 3600)


class Bench:
    """A journal with one reader, and the replica that the reader's worker has."""

    def __init__(self, *, capacity: int, before: int = 0) -> None:
        self.ours, self.theirs = Replica(), Replica()
        for number in range(before):  # loaded, and not in the journal
            self.ours.apply(revocation(100_000 + number))
        self.journal = Journal(self.ours, capacity=capacity)
        self.reader = Reader(self.journal)
        self.pending: list[Revocation] = []
        self.at: dict[int, Revocation] = {}

    def append(self, number: int) -> None:
        change = revocation(number, cutoff=self.journal.head + 1)
        self.ours.apply(change)
        self.journal.append(change)
        self.at[self.journal.head] = change

    def ask(self, *, is_loaded: bool = True) -> bool:
        for each in self.pending:  # the answer before has been applied
            self.theirs.apply(each)
        page = self.reader.next(is_loaded=is_loaded, now=NOW)
        assert len(page.revocations) <= PAGE
        self.pending = page.revocations
        return page.complete

    def enforces(self, change: Revocation) -> bool:
        return (self.theirs.cutoff(change.digest) or 0) >= change.cutoff

    def is_the_same(self) -> bool:
        return not list(self.ours.lacking(self.theirs, NOW))


STEPS = st.lists(st.one_of(st.integers(0, 30), st.just("ask"), st.just("ask early")), max_size=80)


@given(steps=STEPS, capacity=st.integers(1, 12), before=st.sampled_from([0, 3, PAGE, PAGE + 1]))
def test_what_a_reader_says_it_has_its_worker_enforces(steps: list[int | str], capacity: int, before: int) -> None:
    bench = Bench(capacity=capacity, before=before)
    for step in steps:
        if isinstance(step, int):
            bench.append(step)
        else:
            bench.ask(is_loaded=step == "ask")
        for position, change in bench.at.items():
            assert bench.enforces(change) or not bench.reader.has(position)
    for _ in range(10):
        is_complete = bench.ask()
    bench.ask()
    assert is_complete
    assert bench.is_the_same()
    assert bench.reader.has(bench.journal.head)


def test_nothing_is_complete_before_the_control_process_has_loaded() -> None:
    bench = Bench(capacity=100, before=3)
    bench.append(1)
    assert not bench.ask(is_loaded=False)
    assert not bench.ask(is_loaded=False)
    assert bench.reader.has(1)
    assert len(bench.theirs) == 1
    assert bench.ask()


def test_changes_go_before_the_whole() -> None:
    bench = Bench(capacity=100, before=5 * PAGE)
    bench.ask()
    bench.append(1)
    bench.ask()
    bench.ask()
    assert bench.reader.has(1)
    assert not bench.is_the_same()


def test_a_reader_that_was_overtaken_does_not_have_what_it_missed() -> None:
    bench = Bench(capacity=5)
    bench.ask()
    bench.ask()
    for number in range(20):
        bench.append(number)
    bench.ask()
    assert not bench.reader.has(1)
    assert not bench.reader.has(20)
    bench.ask()
    assert bench.reader.has(20)
    assert bench.reader.has(1)


def test_what_a_page_holds_is_not_had_before_the_next_question() -> None:
    bench = Bench(capacity=5)
    bench.ask()
    bench.append(1)
    bench.ask()
    assert not bench.reader.has(1)
    bench.ask()
    assert bench.reader.has(1)
