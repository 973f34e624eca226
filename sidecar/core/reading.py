"""What was found in a request: candidates, each in every spelling that counts, within bounds.

Nothing here knows where a credential stands (`core/credentials.py`), nor what a stack makes of a value
(`core/spelling.py`); this puts the two together. Past the bounds a request is ambiguous.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sidecar.core.names import Form, Names
from sidecar.core.spelling import SKIPPING, canonical, formed, is_settled, layers

MAX_CANDIDATES = 32  # a browser sends a handful; more is somebody hiding one among many
MAX_BYTES = 64 * 1024  # of all candidates of a request, in every spelling; a browser keeps 4 KiB a cookie


@dataclass(frozen=True, slots=True)
class Reading:
    """What a request may present: values in their form, and whether something could not be read safely.

    `others` are the same values as they were before there was a profile: what was bound or revoked in that spelling
    counts for them (decision 020).
    """

    values: tuple[bytes, ...] = field(repr=False)
    is_ambiguous: bool = False
    others: tuple[tuple[bytes, tuple[bytes, ...]], ...] = field(default=(), repr=False)


NOTHING = Reading(())
AMBIGUOUS = Reading((), is_ambiguous=True)


class Found:
    """Candidates so far, bounded: past the bounds the request is ambiguous and the rest does not matter."""

    __slots__ = ("_bytes_left", "_seen", "is_ambiguous", "others", "values")

    def __init__(self) -> None:
        self._bytes_left = MAX_BYTES
        self._seen: set[tuple[bytes, Form]] = set()
        self.values: dict[bytes, None] = {}
        self.others: dict[bytes, dict[bytes, None]] = {}
        self.is_ambiguous = False

    def starts(self, search: re.Pattern[bytes], names: Names, text: bytes) -> Iterator[tuple[int, Form]]:
        """Where the values of declared names begin in `text`, and their form, up to the bounds."""
        for count, match in enumerate(search.finditer(text)):
            if count >= MAX_CANDIDATES or self._bytes_left < 0:
                self.is_ambiguous = True
                return
            yield match.end(), names.form_of(match[1]) or ()

    def add(self, spelled: bytes, form: Form = ()) -> None:
        """One more candidate, as it was spelled."""
        if self.is_ambiguous or (spelled, form) in self._seen:
            return
        self._bytes_left -= len(spelled)
        if self._bytes_left < 0:
            self.is_ambiguous = True
            return
        self._seen.add((spelled, form))
        value = canonical(spelled)
        self.add_canonical(value, form)
        if not is_settled(value):  # more layers than were undone
            self.is_ambiguous = True
        elif value != spelled and not SKIPPING.isdisjoint(form):
            self._add_half_decoded(spelled, form)

    def _add_half_decoded(self, spelled: bytes, form: Form) -> None:
        """What a stack reads that skips what it does not know: through an encoding that another one would undo."""
        for layer in layers(spelled):
            read = formed(layer, form)
            if read and read != layer:  # else it is not of that stack
                self.values[read] = None

    def add_canonical(self, value: bytes, form: Form) -> None:
        """One more candidate in its canonical spelling."""
        read = formed(value, form) if form else value
        if read is None:
            self.is_ambiguous = True
        elif read:
            self.values[read] = None
            self.is_ambiguous = self.is_ambiguous or len(self.values) > MAX_CANDIDATES
            if read != value:
                self.others.setdefault(read, {})[value] = None

    def reading(self) -> Reading:
        """All of it."""
        if not self.values and not self.is_ambiguous:
            return NOTHING
        return Reading(tuple(self.values), self.is_ambiguous, _frozen(self.others))


def _frozen(others: dict[bytes, dict[bytes, None]]) -> tuple[tuple[bytes, tuple[bytes, ...]], ...]:
    return tuple((value, tuple(same)) for value, same in others.items())


def merged(readings: Iterable[Reading]) -> Reading:
    """All readings of one request as one."""
    values: dict[bytes, None] = {}
    others: dict[bytes, dict[bytes, None]] = {}
    ambiguous = False
    for reading in readings:
        values.update(dict.fromkeys(reading.values))
        for value, same in reading.others:
            others.setdefault(value, {}).update(dict.fromkeys(same))
        ambiguous = ambiguous or reading.is_ambiguous
    return Reading(tuple(values), ambiguous, _frozen(others)) if values or ambiguous else NOTHING
