"""The control process's replica as a log that workers can read: what is there, and what has come lately.

The store has one reader in a pod, the control process. What changes its replica is numbered here, the last `CAPACITY`
changes are kept, and each worker has a `Reader` that gives it the changes and, once, the whole replica. A reader that
falls behind what is kept gets the whole replica again: revocations merge, so that hearing twice is harmless.

**A question confirms the answer before it.** A worker asks for the next page when it has applied the last one, so that
its reader knows what it enforces. No I/O, no clock, no policy; one thread.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from sidecar.core.replica import Replica
from sidecar.core.revocation import Revocation
from sidecar.stores.interface import PAGE
from sidecar.workers.bell import Bell

CAPACITY = 16_384  # changes; about 3 MB, and ten seconds of logouts at the rate that one process can verify


class Page(NamedTuple):
    """The next part for one worker. Complete: there is nothing beyond it."""

    revocations: list[Revocation]
    complete: bool


class Journal:
    """The latest changes of a replica. The position of a change is how many there were, itself included."""

    def __init__(self, replica: Replica, *, capacity: int = CAPACITY) -> None:
        self.replica = replica
        self.head = 0
        self._kept: deque[Revocation] = deque(maxlen=capacity)
        self.moved = Bell()

    @property
    def first(self) -> int:
        """Every change after this position is kept."""
        return self.head - len(self._kept)

    def append(self, revocation: Revocation) -> None:
        """A revocation has changed the replica."""
        self._kept.append(revocation)
        self.head += 1
        self.moved.ring()

    def after(self, position: int, limit: int) -> list[Revocation]:
        """The changes after a position that is kept, oldest first."""
        start = position - self.first
        # By index: the end of a deque is near, and a reader is nearly always there.
        return [self._kept[index] for index in range(start, min(start + limit, len(self._kept)))]


class Reader:
    """One worker's place in the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._applied = 0
        self._since = self._position = journal.first  # what came before, only the whole replica can tell
        self._dump: Iterator[Revocation] | None = None
        self._is_dumped = False  # the whole replica has been handed out
        self._is_whole = False  # and applied

    def has(self, position: int) -> bool:
        """Whether the worker has applied the change at this position, whatever page it came in."""
        if position <= self._since:
            return self._is_whole
        return position <= self._applied

    def next(self, *, is_loaded: bool, now: float) -> Page:
        """The worker has applied the page before, and asks for the next one.

        Changes come first, so that a logout is not held up while a worker loads. The whole replica is not begun before
        it is whole itself (`is_loaded`), and nothing is complete until then.
        """
        self._applied, self._is_whole = self._position, self._is_dumped
        if self._position < self._journal.first:
            self._start_over()
        page = self._journal.after(self._position, PAGE)
        self._position += len(page)
        if is_loaded and not self._is_dumped and len(page) < PAGE:
            page += self._rest(PAGE - len(page), now)
        return Page(page, self._is_dumped and self._position == self._journal.head)

    def _rest(self, limit: int, now: float) -> list[Revocation]:
        if self._dump is None:
            self._dump = self._journal.replica.live(now)
        part = list(islice(self._dump, limit))
        self._is_dumped = len(part) < limit
        return part

    def _start_over(self) -> None:
        self._since = self._position = self._journal.first
        self._dump = None
        self._is_dumped = self._is_whole = False
