"""Every credential that the app might see in a request.

App stacks read the same Cookie header in different ways: first or last of two, quotes that swallow a semicolon, commas,
names without regard to case, percent-encoding, Unicode blanks (reference section 3). This module does not guess which
one the app is. It collects what **any** of them would take for a declared credential, so that one revoked reading is
enough to deny. Extraction may find too much; it must never find too little. What it cannot read is `ambiguous`.

A credential is its value, whatever carries it. Values are made canonical (blanks, quotes, escapes and percent-encoding
removed) both when they are learned and when they are looked up, so that every spelling is the same credential.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

MAX_PAIRS = 300  # cookies in a line that is not plain; browsers keep 180 for a site
MAX_CANDIDATES = 32  # a browser sends a handful; more is somebody hiding one among many

# `name=value` pairs that every stack reads alike: token names, no quotes, escapes, commas, percent signs or blanks.
_TOKEN_BYTE = rb"[!#&'*+\-.^_`|~0-9A-Za-z]"  # without `$` (RFC 2109 attributes) and `%`
_PLAIN_VALUE = rb"[!#$&-+\--:<-\[\]-~]*"
_PLAIN_COOKIES = re.compile(
    rb"%b+=%b(?:; ?%b+=%b)*" % (_TOKEN_BYTE, _PLAIN_VALUE, _TOKEN_BYTE, _PLAIN_VALUE)
)  # `&-+` spans & ' ( ) * +

_BLANKS = b" \t\r\n\x0b\x0c\x00"
_UNICODE_BLANKS = re.compile(
    rb"(?:\xc2[\x80-\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8f\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80|\xef\xbb\xbf)+"
)
_LATIN1_BLANKS = re.compile(rb"[\x80-\xa0]+")
_NOT_TOKEN = re.compile(rb"[^!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_ESCAPE = re.compile(rb"\\([0-3][0-7][0-7]|.)", re.DOTALL)
_PHP_UNDERSCORE = bytes.maketrans(b" .[", b"___")
_VALUE_ENDS = (re.compile(rb"[;]"), re.compile(rb"[;,]"), re.compile(rb"[;,\s\"]"))
_PATH_END = re.compile(rb"[;/]")
_QUERY_END = re.compile(rb"[&;]")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a request may present: canonical values, and whether something could not be read safely."""

    values: tuple[bytes, ...] = field(repr=False)
    is_ambiguous: bool = False


NOTHING = Reading(())


class Carriers:
    """Where the app looks for its session: the names declared in `session.credentials`."""

    __slots__ = ("_cookie_names", "_cookie_search", "_path_search", "_query_search", "cookies", "headers")

    def __init__(
        self,
        *,
        cookies: Iterable[str] = (),
        path_parameters: Iterable[str] = (),
        query_parameters: Iterable[str] = (),
        headers: Iterable[str] = (),
    ) -> None:
        self.cookies = tuple(name.encode() for name in cookies)
        self.headers = tuple(name.lower().encode() for name in headers)
        self._cookie_names = frozenset(name.lower() for name in self.cookies)
        self._cookie_search = _search(rb"(?:^|[^!#$&'*+\-.^_`|~0-9A-Za-z])", self._cookie_names)
        self._path_search = _search(rb";", frozenset(name.lower().encode() for name in path_parameters))
        self._query_search = _search(rb"(?:^|[?&;])", frozenset(name.lower().encode() for name in query_parameters))

    def in_cookies(self, lines: Sequence[bytes]) -> Reading:
        """The candidates in all Cookie lines of a request (reference cases 133-161)."""
        if self._cookie_search is None or not lines:
            return NOTHING
        if len(lines) == 1 and _PLAIN_COOKIES.fullmatch(lines[0]):
            return self._plain(lines[0])
        found = _Found()
        for line in lines:  # each by itself: joining lines makes no value that an app would accept and a line has not
            self._read_line(line, found)
        return found.reading()

    def in_target(self, target: bytes) -> Reading:
        """The candidates among path and query parameters (reference cases 147 and 149)."""
        path, _, query = target.partition(b"?")
        found = _Found()
        if self._path_search is not None and (b";" in path or b"%" in path):
            _search_decoded(self._path_search, path, _PATH_END, found)
        if self._query_search is not None and query:
            _search_decoded(self._query_search, query, _QUERY_END, found)
        return found.reading()

    @property
    def reads_target(self) -> bool:
        """Whether path or query parameters are declared at all."""
        return self._path_search is not None or self._query_search is not None

    @property
    def reads_cookies(self) -> bool:
        """Whether cookies are declared at all."""
        return bool(self.cookies)

    def in_header(self, value: bytes) -> Reading:
        """The candidates in one declared header field: the value, and what follows a scheme such as `Bearer`."""
        found = _Found()
        found.add(value)
        scheme, blank, rest = value.strip(_BLANKS).partition(b" ")
        if blank and scheme.isalpha():
            found.add(rest)
        return found.reading()

    def is_cookie(self, name: bytes) -> bool:
        """Whether some app would take this cookie name for a declared one."""
        return not self._cookie_names.isdisjoint(_name_readings(name))

    def _plain(self, line: bytes) -> Reading:
        found = _Found()
        for pair in line.split(b";"):
            name, _, value = pair.partition(b"=")
            if name.strip(b" ").lower() in self._cookie_names:
                found.add(value)
        # PHP folds `.` to `_` in names; a plain header may still need that reading.
        if b"." in line and not found.values:
            self._read_line(line, found)
        return found.reading()

    def _read_line(self, line: bytes, found: "_Found") -> None:
        split = line.split(b";", MAX_PAIRS)
        found.is_ambiguous |= len(split) > MAX_PAIRS
        for pair in split[:MAX_PAIRS]:
            name, _, value = pair.lstrip(b"= ").partition(b"=")  # `=S=R` is a nameless cookie in a browser (case 159)
            readings = _name_readings(name)
            if not self._cookie_names.isdisjoint(readings):
                found.add(value)
            elif self._is_disguised(name):
                found.is_ambiguous = True
        assert self._cookie_search is not None  # noqa: S101 - narrowed by the only caller
        for text in _decoded(line):
            for start in found.starts(self._cookie_search, text):
                inside_quotes = len(text) - len(text[start:].lstrip(_BLANKS + b'"'))
                for end in _VALUE_ENDS:
                    found.add(_until(end, text, start))
                    found.add(_until(end, text, inside_quotes))

    def _is_disguised(self, name: bytes) -> bool:
        """A name that turns into a declared one when odd bytes are dropped or letters are folded (case 139)."""
        if _NOT_TOKEN.search(name) is None and b"%" not in name:
            return False
        for text in _decoded(name):
            bare = _NOT_TOKEN.sub(b"", text).lower()
            folded = unicodedata.normalize("NFKC", text.decode("utf-8", "replace")).casefold().encode().strip()
            if bare in self._cookie_names or folded in self._cookie_names:
                return True
        return False


class _Found:
    """Candidates so far, bounded: past the bound the request is ambiguous and the rest does not matter."""

    __slots__ = ("is_ambiguous", "values")

    def __init__(self) -> None:
        self.values: dict[bytes, None] = {}
        self.is_ambiguous = False

    def starts(self, search: re.Pattern[bytes], text: bytes) -> Iterator[int]:
        """Where the values of declared names begin in `text`, up to the bound."""
        for count, match in enumerate(search.finditer(text)):
            if count >= MAX_CANDIDATES:
                self.is_ambiguous = True
                return
            yield match.end()

    def add(self, value: bytes) -> None:
        value = canonical(value)
        if value:
            self.values[value] = None

    def reading(self) -> Reading:
        if not self.values and not self.is_ambiguous:
            return NOTHING
        return Reading(tuple(self.values), self.is_ambiguous or len(self.values) > MAX_CANDIDATES)


def canonical(value: bytes) -> bytes:
    """The one spelling of a credential value: no blanks around it, no quotes, no escapes, no percent-encoding."""
    for _ in range(4):  # each round undoes one layer; an app undoes one or two
        before = value
        value = strip_blanks(value)
        if value[:1] == b'"' or value[-1:] == b'"':
            value = value.strip(b'"')
            if b"\\" in value:
                value = _ESCAPE.sub(_unescape, value)
        if b"%" in value:
            value = unquote_to_bytes(value)
        if value == before:
            break
    return value


def strip_blanks(value: bytes) -> bytes:
    """Without ASCII or Unicode blanks at either end, in UTF-8 or Latin-1 (reference case 139)."""
    while True:
        stripped = value.strip(_BLANKS)
        for blanks in (_UNICODE_BLANKS, _LATIN1_BLANKS):
            start = blanks.match(stripped)
            if start:
                stripped = stripped[start.end() :]
            stripped = _strip_end(blanks, stripped)
        if stripped == value:
            return value
        value = stripped


def pairs(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Cookie pairs as RFC 6265 reads them, names and values made canonical; for cookies that carry a token."""
    for line in lines:
        for pair in line.split(b";"):
            name, equals, value = pair.partition(b"=")
            if equals:
                yield canonical(name), canonical(value)


def merged(readings: Iterable[Reading]) -> Reading:
    """All readings of one request as one."""
    values: dict[bytes, None] = {}
    ambiguous = False
    for reading in readings:
        values.update(dict.fromkeys(reading.values))
        ambiguous = ambiguous or reading.is_ambiguous
    return Reading(tuple(values), ambiguous) if values or ambiguous else NOTHING


def _search(before: bytes, names: frozenset[bytes]) -> re.Pattern[bytes] | None:
    if not names:
        return None
    spelled = b"|".join(re.escape(name) for name in sorted(names))
    return re.compile(rb"%b[\s\x00\x80-\xff]*(?:%b)[\s\x00\x80-\xff]*=" % (before, spelled), re.IGNORECASE)


def _search_decoded(search: re.Pattern[bytes], text: bytes, end: re.Pattern[bytes], found: _Found) -> None:
    for reading in _decoded(text):
        for start in found.starts(search, reading):
            found.add(_until(end, reading, start))


def _until(end: re.Pattern[bytes], text: bytes, start: int) -> bytes:
    match = end.search(text, start)
    return text[start : match.start()] if match else text[start:]


def _decoded(text: bytes) -> Iterator[bytes]:
    yield text
    for _ in range(2):
        decoded = unquote_to_bytes(text)
        if decoded == text:
            return
        text = decoded
        yield text


def _name_readings(name: bytes) -> set[bytes]:
    """The lower-case names that some stack reads: trimmed, percent-decoded, folded as PHP does (cases 138-142)."""
    readings = {strip_blanks(text).lower() for text in _decoded(name)}
    return readings | {reading.translate(_PHP_UNDERSCORE) for reading in readings}


def _unescape(match: re.Match[bytes]) -> bytes:
    escaped = match[1]
    return bytes((int(escaped, 8),)) if len(escaped) == 3 else escaped


def _strip_end(blanks: re.Pattern[bytes], value: bytes) -> bytes:
    for match in blanks.finditer(value, max(0, len(value) - 64)):
        if match.end() == len(value):
            return value[: match.start()]
    return value
