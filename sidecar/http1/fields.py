"""Header fields of one message: every line read strictly, and read only once if it keeps coming back.

The lines of a head repeat: a browser sends the same User-Agent with every request, an app the same Content-Type with
every response. A line that was read is remembered by its exact bytes, together with what it means, and costs one
look-up from then on. Remembering changes nothing: what a line means depends on its bytes alone. The meaning of a line
is one object as long as it is remembered, so that a whole block can be recognised by the meanings of its lines.

No folding, no blank before the colon, no control character, no bare CR or LF: refused, not repaired (reference cases
13-15). llhttp and h11 are the second and third opinion in the tests.
"""

from collections.abc import Iterable, Mapping

from sidecar.field_names import fold, is_odd
from sidecar.http1.errors import ProtocolError
from sidecar.http1.grammar import FIELD_LINE

# Names whose values are few: only these are worth remembering.
_REPEATING = frozenset(
    b"accept accept-charset accept-encoding accept-language accept-ranges access-control-allow-credentials"
    b" access-control-allow-origin age cache-control content-disposition content-encoding content-language"
    b" content-security-policy content-type date dnt expires keep-alive last-modified origin pragma priority"
    b" referrer-policy sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site"
    b" sec-fetch-user sec-gpc server strict-transport-security upgrade-insecure-requests user-agent vary via"
    b" x-content-type-options x-frame-options x-powered-by x-requested-with x-xss-protection"
    b" host connection cookie content-length te transfer-encoding authorization x-forwarded-for x-forwarded-host"
    b" x-forwarded-port x-forwarded-proto x-forwarded-scheme x-real-ip x-scheme".split()
)
_MAX_KNOWN = 8192
_MAX_KNOWN_LINE = 1024  # so a memory of some 10 MiB at the most
_MAX_NAMES = 1024
_MAX_NAME = 64

Field = tuple[bytes, bytes]


class Meaning:
    """What one line means. `field`: lower-case name and value, where they have to be looked at; `out`: what goes on."""

    __slots__ = ("field", "out")

    def __init__(self, field: Field | None, out: bytes | None) -> None:
        self.field = field
        self.out = out


Known = tuple[Meaning | None, ...]  # what is remembered of the lines of a block
Holes = tuple[tuple[int, int], ...]  # lines that are not: place among those that came, and among those that go on


class FieldReader:
    """Reads the field lines of one kind of message. `special` names what has to be looked at, in lower case.

    A special field maps to True when it is sent on as well, to False when the proxy writes its own or none.
    """

    __slots__ = ("_blame", "_known", "_plain_names", "_prefixes", "_special")

    def __init__(self, special: Mapping[bytes, bool], *, prefixes: tuple[bytes, ...], blame: int) -> None:
        self._special = special
        self._prefixes = prefixes  # of names that are special and sent on
        self._blame = blame  # status of errors: 400 for a client, 502 for the app
        self._known: dict[bytes, Meaning] = {}
        self._plain_names: set[bytes] = set()  # as they were spelled; nothing about their lines is worth a second look

    def recall(self, lines: list[bytes]) -> Known:
        """What is remembered of the lines: equal for two blocks that differ only in lines that are not remembered."""
        return tuple(map(self._known.get, lines))

    def holes(self, lines: list[bytes], known: Known) -> Holes | None:
        """Where the lines are that are not remembered; None when one of them has to be looked at."""
        holes: list[tuple[int, int]] = []
        place = 0
        for index, meaning in enumerate(known):
            if meaning is None:
                if self.read_line(lines[index]).field is not None:
                    return None
                holes.append((index, place))
            place += meaning is None or meaning.out is not None
        return tuple(holes)

    def fill(self, holes: Holes, lines: list[bytes], sent: list[bytes]) -> list[bytes] | None:
        """`sent` with these lines in the holes; None when one has to be looked at. Raises ProtocolError."""
        filled = sent.copy()
        for index, place in holes:
            meaning = self.read_line(lines[index])
            if meaning.field is not None or meaning.out is None:
                return None
            filled[place] = meaning.out
        return filled

    def read(self, lines: list[bytes]) -> tuple[list[bytes], list[Field]]:
        """The lines to send on, in order and spelling, and the special fields. Raises ProtocolError."""
        sent: list[bytes] = []
        special: list[Field] = []
        for line in lines:
            meaning = self._known.get(line) or self.read_line(line)
            if meaning.field is not None:
                special.append(meaning.field)
            if meaning.out is not None:
                sent.append(meaning.out)
        return sent, special

    def read_line(self, line: bytes) -> Meaning:
        """Read one line that is not remembered."""
        match = FIELD_LINE.fullmatch(line)
        if match is None:
            raise ProtocolError(self._blame, "bad_header")
        name, value = match[1], match[2].rstrip(b" \t")
        normal = name + b": " + value
        if name in self._plain_names:
            return Meaning(None, normal)
        folded = name.lower()
        is_sent = self._special.get(folded)
        if is_sent is not None or is_odd(folded) or folded.startswith(self._prefixes):
            meaning = Meaning((folded, value), None if is_sent is False else normal)
        else:
            meaning = Meaning(None, normal)
        if folded not in _REPEATING:
            self._note_name(name, meaning)
        elif len(line) <= _MAX_KNOWN_LINE:
            self._remember(line, meaning)
        return meaning

    def _note_name(self, name: bytes, meaning: Meaning) -> None:
        if meaning.field is None and len(name) <= _MAX_NAME:
            if len(self._plain_names) >= _MAX_NAMES:
                self._plain_names.clear()
            self._plain_names.add(name)

    def _remember(self, line: bytes, meaning: Meaning) -> None:
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()  # a stranger who fills it costs everybody one more reading, no more
        self._known[line] = meaning


def parse_line(line: bytes) -> Field:
    """Lower-case name and value of a line that was read before."""
    name, _, value = line.partition(b":")
    return name.lower(), value.strip(b" \t")


def values_of(lines: Iterable[bytes], name: bytes) -> list[bytes]:
    """A field's values, in every spelling that some server takes for its name (reference case 17)."""
    folded = fold(name)
    return [value for key, value in map(parse_line, lines) if fold(key) == folded]


def without(lines: list[bytes], names: frozenset[bytes] | set[bytes]) -> list[bytes]:
    """The lines whose lower-case name is not among `names`."""
    return [line for line in lines if line.partition(b":")[0].lower() not in names]
