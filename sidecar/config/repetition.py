"""The same entry twice, where each may be there once."""

from collections.abc import Hashable, Iterator, Sequence


def duplicates(values: Sequence[Hashable | None]) -> Iterator[tuple[int, int]]:
    """Each repetition with the first of its kind; linear, because the lists are as long as the file allows."""
    first: dict[Hashable, int] = {}
    for index, value in enumerate(values):
        if value is not None and first.setdefault(value, index) != index:
            yield first[value], index
