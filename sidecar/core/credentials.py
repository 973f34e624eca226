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

from sidecar.core.paths import percent_decoded
from sidecar.field_names import fold

MAX_PAIRS = 300  # cookies in a line that is not plain; browsers keep 180 for a site
MAX_CANDIDATES = 32  # a browser sends a handful; more is somebody hiding one among many
MAX_BYTES = 64 * 1024  # of all candidates of a request, in every spelling; a browser keeps 4 KiB a cookie
MAX_ENCODED = 5000  # percent signs and back slashes in a line; that is 15 KiB, and most servers stop at 8 KiB
MAX_LAYERS = 4  # of encoding around a value; an app undoes one or two

# `name=value` pairs that every stack reads alike: token names, no quotes, escapes, commas, percent signs or blanks.
_TOKEN_BYTE = rb"[!#&'*+\-.^_`|~0-9A-Za-z]"  # without `$` (RFC 2109 attributes) and `%`
_PLAIN_VALUE = rb"[!#$&-+\--:<-\[\]-~]*"
_PLAIN_COOKIES = re.compile(
    rb"%b+=%b(?:; ?%b+=%b)*" % (_TOKEN_BYTE, _PLAIN_VALUE, _TOKEN_BYTE, _PLAIN_VALUE)
)  # `&-+` spans & ' ( ) * +

# What some stack trims: everything up to the space (Java), what Unicode calls blank, in UTF-8 or Latin-1 (case 139).
# Multi-byte blanks come first, and backwards for the end, so that each run is read in one pass. A first byte without
# the rest is what Latin-1 stacks leave of a UTF-8 blank at the end.
_LEADING = re.compile(
    rb"(?:[\x00-\x20\x85\xa0]|\xc2[\x80-\xa0]|\xe1(?:\x9a\x80|\xa0\x8e)"
    rb"|\xe2(?:\x80[\x80-\x8f\xa8\xa9\xaf]|\x81[\x9f\xa0])|\xe3\x80\x80|\xef\xbb\xbf)++"
)
_TRAILING_BACKWARDS = re.compile(
    rb"(?:[\x80-\xa0]\xc2|(?:\x80\x9a|\x8e\xa0)\xe1|(?:[\x80-\x8f\xa8\xa9\xaf]\x80|[\x9f\xa0]\x81)\xe2"
    rb"|\x80\x80\xe3|\xbf\xbb\xef|[\x00-\x20\x85\xa0\xc2\xe1\xe2\xe3\xef])++"
)
_NOT_TOKEN = re.compile(rb"[^!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_REPEATED_PERCENT = re.compile(rb"%(?:25)++")  # `%252525`: every layer of it at once, or a long one takes a pass each
_OCTAL = re.compile(rb"\\([0-3][0-7][0-7])")
_ESCAPED = re.compile(rb"\\(?![0-3][0-7][0-7])(.)", re.DOTALL)
_PHP_BLANKS = bytes.maketrans(b"+", b" ")
_PHP_UNDERSCORE = bytes.maketrans(b" .[", b"___")
_SPELLED_UNDERSCORE = rb"[_ .\[+]"
_OPENING = re.compile(rb'[\x00-\x20"]++')
_QUOTED = re.compile(rb'[\x00-\x20]*+("[^\\"]*+(?:\\.[^\\"]*+)*+")', re.DOTALL)
_VALUE_ENDS = tuple(map(re.compile, (rb";", rb"[;,]", rb"[;\s]", rb"[;,\s\"]")))
_PATH_END = re.compile(rb"[;/]")
_QUERY_END = re.compile(rb"[&;]")
# The value is looked at, not taken: another pair may begin inside what one stack takes for it.
_SEPARATED_PAIR = re.compile(rb'(?<![^\s;,="])([^\s;,="]++)\s*+=(?=[\s"]*+([^\s;,"=]*+=*+))')
_ENCODED_QUERY_PAIR = re.compile(rb"(?<![^?&;])([^?&;=%]*+%[^&;=]*+)=([^&;]*+)")
_ENCODED_COOKIE_PAIR = re.compile(rb"(?<![^;,])([^;,=%]*+%[^;,=]*+)=([^;,]*+)")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a request may present: canonical values, and whether something could not be read safely."""

    values: tuple[bytes, ...] = field(repr=False)
    is_ambiguous: bool = False


NOTHING = Reading(())
AMBIGUOUS = Reading((), is_ambiguous=True)


class Carriers:
    """Where the app looks for its session: the names declared in `session.credentials`."""

    __slots__ = (
        "_cookie_names",
        "_cookie_search",
        "_longest_name",
        "_path_search",
        "_query_names",
        "_query_search",
        "cookies",
        "headers",
    )

    def __init__(
        self,
        *,
        cookies: Iterable[str] = (),
        path_parameters: Iterable[str] = (),
        query_parameters: Iterable[str] = (),
        headers: Iterable[str] = (),
    ) -> None:
        self.cookies = tuple(name.encode() for name in cookies)
        # CGI-like app servers fold `_` to `-`, so either spelling of the declaration means both (reference case 17).
        self.headers = tuple(fold(name.lower().encode()) for name in headers)
        self._cookie_names = frozenset(name.lower() for name in self.cookies)
        query_names = tuple(name.encode() for name in query_parameters)
        self._query_names = frozenset(name.lower() for name in query_names)
        self._longest_name = max(map(len, self.cookies), default=0)
        # A blank is no token byte: no need to look for blanks before a cookie's name.
        self._cookie_search = _search(rb"(?:^|[^!#$&'*+\-.^_`|~0-9A-Za-z])", self.cookies)
        self._path_search = _search(rb";[\x00-\x20\x80-\xff]*+", (name.encode() for name in path_parameters))
        self._query_search = _search(rb"(?:^|[?&;])[\x00-\x20+\x80-\xff]*+", query_names)

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
        if self._query_search is not None and _is_overloaded(query):
            return AMBIGUOUS
        found = _Found()
        if self._path_search is not None and (b";" in path or b"%" in path):
            _search_decoded(self._path_search, path, _PATH_END, found)
        if self._query_search is not None and query:
            for spelled in (query, query.translate(_PHP_BLANKS)) if b"+" in query else (query,):
                _search_decoded(self._query_search, spelled, _QUERY_END, found)
                _read_encoded(_ENCODED_QUERY_PAIR, spelled, self._query_names, found)
        return found.reading()

    @property
    def reads_target(self) -> bool:
        """Whether path or query parameters are declared at all."""
        return self._path_search is not None or self._query_search is not None

    def in_header(self, value: bytes) -> Reading:
        """The candidates in one declared header field: the value, and what follows a scheme such as `Bearer`."""
        if _is_overloaded(value):
            return AMBIGUOUS
        found = _Found()
        found.add(value)
        parts = value.split(None, 1)  # any run of blanks or tabs ends the scheme
        if len(parts) == 2 and parts[0].isalpha():
            found.add(parts[1])
        return found.reading()

    def is_cookie(self, name: bytes) -> bool:
        """Whether some app would take this cookie name for a declared one."""
        return not self._cookie_names.isdisjoint(name_readings(name))

    def _plain(self, line: bytes) -> Reading:
        names = self._cookie_names
        values: dict[bytes, None] = {}  # a plain value is canonical as it is
        for pair in line.split(b";"):
            name, _, value = pair.partition(b"=")
            name = name.lstrip(b" ").lower()
            if value and (name in names or ((b"." in name or b"+" in name) and _php_name(name) in names)):
                values[value] = None
        return Reading(tuple(values), len(values) > MAX_CANDIDATES) if values else NOTHING

    def _read_line(self, line: bytes, found: "_Found") -> None:
        split = line.split(b";", MAX_PAIRS)
        if len(split) > MAX_PAIRS or _is_overloaded(line) or found.is_ambiguous:
            found.is_ambiguous = True
            return
        for pair in split:
            name, _, value = pair.lstrip(b"= ").partition(b"=")  # `=S=R` is a nameless cookie in a browser (case 159)
            if self.is_cookie(name):
                found.add(value)
                value = value.strip(b" \t")
                if value[:1] == b'"':  # jshttp/cookie 0.x cuts off the last byte, quote or not
                    found.add(value[1:-1])
            elif self._is_disguised(name):
                found.is_ambiguous = True
        _read_encoded(_ENCODED_COOKIE_PAIR, line, self._cookie_names, found)
        assert self._cookie_search is not None  # noqa: S101 - narrowed by the only caller
        for text in _decoded(line):
            for start in found.starts(self._cookie_search, text):
                for begin, end in _spans(text, start):
                    found.add(text[begin:end])

    def _is_disguised(self, name: bytes) -> bool:
        """A name that turns into a declared one when odd bytes are dropped or letters are folded (case 139)."""
        if _NOT_TOKEN.search(name) is None and b"%" not in name:
            return False
        for text in _decoded(name):
            if _NOT_TOKEN.sub(b"", text).lower() in self._cookie_names:
                return True
            if self._folds_to_declared(strip_blanks(text)):
                return True
        return False

    def _folds_to_declared(self, name: bytes) -> bool:
        # Folding never shortens to ASCII: four bytes a character are the most. Longer names would only cost time,
        # which grows with the square of a run of combining marks.
        if len(name) > 4 * self._longest_name:
            return False
        folded = unicodedata.normalize("NFKC", name.decode("utf-8", "replace")).casefold()
        return folded.encode().strip() in self._cookie_names


class _Found:
    """Candidates so far, bounded: past the bounds the request is ambiguous and the rest does not matter."""

    __slots__ = ("_bytes_left", "_seen", "is_ambiguous", "values")

    def __init__(self) -> None:
        self._bytes_left = MAX_BYTES
        self._seen: set[bytes] = set()
        self.values: dict[bytes, None] = {}
        self.is_ambiguous = False

    def starts(self, search: re.Pattern[bytes], text: bytes) -> Iterator[int]:
        """Where the values of declared names begin in `text`, up to the bounds."""
        for count, match in enumerate(search.finditer(text)):
            if count >= MAX_CANDIDATES or self._bytes_left < 0:
                self.is_ambiguous = True
                return
            yield match.end()

    def add(self, spelled: bytes) -> None:
        """One more candidate, as it was spelled."""
        if self.is_ambiguous or spelled in self._seen:
            return
        self._bytes_left -= len(spelled)
        if self._bytes_left < 0:
            self.is_ambiguous = True
            return
        self._seen.add(spelled)
        value = canonical(spelled)
        if value:
            self.values[value] = None
            # The second: more layers than were undone.
            self.is_ambiguous = len(self.values) > MAX_CANDIDATES or _peeled(value) != value

    def reading(self) -> Reading:
        """All of it."""
        if not self.values and not self.is_ambiguous:
            return NOTHING
        return Reading(tuple(self.values), self.is_ambiguous)


def canonical(value: bytes) -> bytes:
    """The one spelling of a credential value: no blanks around it, no quotes, no escapes, no percent-encoding."""
    for _ in range(MAX_LAYERS):
        peeled = _peeled(value)
        if peeled == value:
            break
        value = peeled
    return value


def strip_blanks(value: bytes) -> bytes:
    """Without ASCII or Unicode blanks at either end, in UTF-8 or Latin-1 (reference case 139)."""
    if value and 0x20 < value[0] < 0x80 and 0x20 < value[-1] < 0x80:
        return value
    leading = _LEADING.match(value)
    if leading:
        value = value[leading.end() :]
    trailing = _TRAILING_BACKWARDS.match(value[::-1])
    return value[: -trailing.end()] if trailing else value


def pairs(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Cookie pairs as any stack reads them, names and values made canonical; for cookies that carry a token.

    A token holds no separator. So a line that is not plain is cut at commas, blanks and quotes too, not at semicolons
    only, and what some stack takes for a pair of its own is one (reference section 3).
    """
    for line in lines:
        spelled = [pair.partition(b"=")[::2] for pair in line.split(b";") if b"=" in pair]
        if not _PLAIN_COOKIES.fullmatch(line):
            spelled = list(dict.fromkeys((*spelled, *_SEPARATED_PAIR.findall(line))))
        for spelled_name, spelled_value in spelled:
            name, value = canonical(spelled_name), canonical(spelled_value)
            yield name, value
            if (folded := _php_name(name)) != name:
                yield folded, value


def merged(readings: Iterable[Reading]) -> Reading:
    """All readings of one request as one."""
    values: dict[bytes, None] = {}
    ambiguous = False
    for reading in readings:
        values.update(dict.fromkeys(reading.values))
        ambiguous = ambiguous or reading.is_ambiguous
    return Reading(tuple(values), ambiguous) if values or ambiguous else NOTHING


def _search(before: bytes, names: Iterable[bytes]) -> re.Pattern[bytes] | None:
    spelled = b"|".join(re.escape(name).replace(b"_", _SPELLED_UNDERSCORE) for name in sorted(names))
    if not spelled:
        return None
    return re.compile(rb"%b(?:%b)[\x00-\x20+\x80-\xff]*+=" % (before, spelled), re.IGNORECASE)


def _search_decoded(search: re.Pattern[bytes], text: bytes, end: re.Pattern[bytes], found: _Found) -> None:
    for reading in _decoded(text):
        for start in found.starts(search, reading):
            found.add(reading[start : _end(end, reading, start)])


def _read_encoded(pairs: re.Pattern[bytes], text: bytes, names: frozenset[bytes], found: _Found) -> None:
    """Pairs with an encoded name: decoding all of `text` first would cut a value at an encoded separator."""
    for count, pair in enumerate(pairs.finditer(text)):
        if count >= MAX_PAIRS:
            found.is_ambiguous = True
            return
        if not names.isdisjoint(name_readings(pair[1])):
            found.add(pair[2])


def _is_overloaded(text: bytes) -> bool:
    """So much encoding that to undo it, layer by layer, costs more than a request may cost."""
    return text.count(b"%") + text.count(b"\\") > MAX_ENCODED


def _spans(text: bytes, start: int) -> dict[tuple[int, int], None]:
    """Where the value that begins at `start` may lie, as stacks with other separators or with quotes read it."""
    opening = _OPENING.match(text, start)
    begins = (start, opening.end()) if opening else (start,)
    spans = {(begin, _end(end, text, begin)): None for begin in begins for end in _VALUE_ENDS}
    quoted = _QUOTED.match(text, start)  # may hold semicolons (reference case 134)
    return spans | {quoted.span(1): None} if quoted else spans


def _end(end: re.Pattern[bytes], text: bytes, begin: int) -> int:
    match = end.search(text, begin)
    return match.start() if match else len(text)


def _decoded(text: bytes) -> Iterator[bytes]:
    yield text
    for _ in range(2):
        decoded = percent_decoded(text)
        if decoded == text:
            return
        text = decoded
        yield text


def name_readings(name: bytes) -> set[bytes]:
    """The lower-case names that some stack reads: trimmed, percent-decoded, folded as PHP does (cases 138-142)."""
    texts = [part for text in _decoded(name) for part in (text, text.partition(b"\0")[0])]  # PHP: a NUL ends a name
    readings = {strip_blanks(text).lower() for text in texts}
    return readings | {_php_name(reading) for reading in readings}


def _php_name(name: bytes) -> bytes:
    return name.translate(_PHP_BLANKS).strip(b" ").translate(_PHP_UNDERSCORE)


def _peeled(value: bytes) -> bytes:
    """Without one layer of quotes, escapes and percent-encoding."""
    value = strip_blanks(value)
    if value[:1] == b'"' or value[-1:] == b'"':
        value = strip_blanks(value.strip(b'"'))
    if b"\\" in value:  # SimpleCookie's octal escapes, and quoted pairs
        value = _ESCAPED.sub(rb"\1", _OCTAL.sub(_from_octal, value))
    if b"%" in value:
        value = percent_decoded(_REPEATED_PERCENT.sub(b"%", value))
    return value


def _from_octal(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[1], 8),))
