"""Declared names, and every spelling under which some stack takes another name for one of them.

Without regard to case, trimmed, percent-decoded, folded as PHP folds them (reference cases 138-142). A `*` in a
declared name stands for any characters: the user, the guard or the app's own name in the middle of it.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping

from sidecar.core.paths import percent_decoded
from sidecar.core.spelling import Step, strip_blanks

Form = tuple[Step, ...]  # how the values of a name are compared, beyond their canonical spelling

PHP_BLANKS = bytes.maketrans(b"+", b" ")
_PHP_UNDERSCORE = bytes.maketrans(b" .[", b"___")
_SPELLED_UNDERSCORE = rb"[_ .\[+]"
# For a `*`. A search in text must not run past what may begin another name, or a long text takes a pass for each.
_SPELLED_ANYTHING = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]*"
_ANYTHING = rb"[^\s;,=]*"
_NOT_TOKEN = re.compile(rb"[^!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Names:
    """The names declared for one carrier, with the form of each."""

    __slots__ = ("_longest", "_wild", "exact", "is_wild", "spelled")

    def __init__(self, names: Iterable[bytes], forms: Mapping[bytes, Form]) -> None:
        lowered = sorted({name.lower() for name in names})
        self.exact = {name: forms.get(name, ()) for name in lowered if b"*" not in name}
        wild = [name for name in lowered if b"*" in name]
        self._wild = tuple((re.compile(_pattern(name, _ANYTHING, b"_")), forms.get(name, ())) for name in wild)
        self.is_wild = bool(wild)
        self._longest = max(map(len, lowered), default=0)
        # For a search in text, whatever the case; the longest first, so that no name ends another's match too early.
        spelled = (_pattern(name, _SPELLED_ANYTHING, _SPELLED_UNDERSCORE) for name in reversed(lowered))
        self.spelled = b"|".join(spelled)

    @property
    def are_several(self) -> bool:
        """Whether there is more than one."""
        return len(self.exact) + 2 * len(self._wild) > 1

    def form(self, name: bytes) -> Form | None:
        """The form of a name that is read exactly so, in lower case; None: it is not declared."""
        form = self.exact.get(name)
        if form is not None or not self._wild:
            return form
        return next((form for pattern, form in self._wild if pattern.fullmatch(name)), None)

    def form_of(self, name: bytes) -> Form | None:
        """The form of what some stack takes for a declared name; None: no stack does."""
        form = self.form(name.lower())
        if form is not None:
            return form
        for reading in sorted(name_readings(name)):  # the same one in every process
            form = self.form(reading)
            if form is not None:
                return form
        return None

    def is_disguised(self, name: bytes) -> bool:
        """A name that turns into a declared one when odd bytes are dropped or letters are folded (case 139)."""
        if _NOT_TOKEN.search(name) is None and b"%" not in name:
            return False
        for text in decoded(name):
            if self.form(_NOT_TOKEN.sub(b"", text).lower()) is not None or self._folds_to_declared(strip_blanks(text)):
                return True
        return False

    def _folds_to_declared(self, name: bytes) -> bool:
        # Folding never shortens to ASCII: four bytes a character are the most. Longer names would only cost time,
        # which grows with the square of a run of combining marks.
        if len(name) > 4 * self._longest:
            return False
        folded = unicodedata.normalize("NFKC", name.decode("utf-8", "replace")).casefold()
        return self.form(folded.encode().strip()) is not None


def name_readings(name: bytes) -> set[bytes]:
    """The lower-case names that some stack reads: trimmed, percent-decoded, folded as PHP does (cases 138-142)."""
    texts = [part for text in decoded(name) for part in (text, text.partition(b"\0")[0])]  # PHP: a NUL ends a name
    readings = {strip_blanks(text).lower() for text in texts}
    return readings | {php_name(reading) for reading in readings}


def php_name(name: bytes) -> bytes:
    """The variable that PHP makes of a name."""
    return name.translate(PHP_BLANKS).strip(b" ").translate(_PHP_UNDERSCORE)


def decoded(text: bytes) -> Iterator[bytes]:
    """The text with none, one and two layers of percent-encoding undone."""
    yield text
    for _ in range(2):
        undone = percent_decoded(text)
        if undone == text:
            return
        text = undone
        yield text


def _pattern(name: bytes, anything: bytes, underscore: bytes) -> bytes:
    return anything.join(re.escape(part).replace(b"_", underscore) for part in name.split(b"*"))
