"""Every credential that the app might see in a request.

App stacks read the same Cookie header in different ways: first or last of two, quotes that swallow a semicolon, commas,
names without regard to case, percent-encoding, Unicode blanks. This module does not guess which
one the app is. It collects what **any** of them would take for a declared credential, so that one revoked reading is
enough to deny. Extraction may find too much; it must never find too little. What it cannot read is `ambiguous`.

A credential is its value, whatever carries it. Values are made canonical (blanks, quotes, escapes and percent-encoding
removed) both when they are learned and when they are looked up, so that every spelling is the same credential.
"""

import itertools
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sidecar.core.chunks import Chunks
from sidecar.core.names import PHP_BLANKS, Form, Names, decoded, php_name
from sidecar.core.reading import AMBIGUOUS, MAX_CANDIDATES, NOTHING, Found, Reading
from sidecar.core.spelling import canonical
from sidecar.field_names import fold

MAX_PAIRS = 300  # cookies in a line that is not plain; browsers keep 180 for a site
MAX_SPELLINGS = 4 * MAX_PAIRS  # of cookies, each in as many readings at the most; what is more only costs time
MAX_FIELDS = 5000  # of a form; PHP and Tomcat read a thousand
MAX_ENCODED = 5000  # percent signs and back slashes in a line; that is 15 KiB, and most servers stop at 8 KiB

# `name=value` pairs that every stack reads alike: token names, no quotes, escapes, commas, percent signs or blanks.
_TOKEN_BYTE = rb"[!#&'*+\-.^_`|~0-9A-Za-z]"  # without `$` (RFC 2109 attributes) and `%`
_PLAIN_VALUE = rb"[!#$&-+\--:<-\[\]-~]*"
_PLAIN_COOKIES = re.compile(
    rb"%b+=%b(?:; ?%b+=%b)*" % (_TOKEN_BYTE, _PLAIN_VALUE, _TOKEN_BYTE, _PLAIN_VALUE)
)  # `&-+` spans & ' ( ) * +

_OPENING = re.compile(rb'[\x00-\x20"]++')
_QUOTED = re.compile(rb'[\x00-\x20]*+("[^\\"]*+(?:\\.[^\\"]*+)*+")', re.DOTALL)
_VALUE_ENDS = tuple(map(re.compile, (rb";", rb"[;,]", rb"[;\s]", rb"[;,\s\"]")))
_PATH_END = re.compile(rb"[;/]")
_QUERY_END = re.compile(rb"[&;]")
# PHP with session.use_only_cookies=0 looks for `NAME=` in all of REQUEST_URI, and reads on to one of the first three.
_ANYWHERE_ENDS = tuple(map(re.compile, (rb"[/?\\]", rb"[/?\\&;]")))
SEGMENT = re.compile(rb"/\((?:[A-Za-z]\([^()/]*\))++\)?")
_GROUP = re.compile(rb"([A-Za-z])\(([^()/]*)\)")
_GROUPS = re.compile(rb"(?:[A-Za-z]\([^()/]*\))+")
# The value is looked at, not taken: another pair may begin inside what one stack takes for it.
_SEPARATED_PAIR = re.compile(rb'(?<![^\s;,="])([^\s;,="]++)\s*+=(?=[\s"]*+([^\s;,"=]*+=*+))')
_ENCODED_QUERY_PAIR = re.compile(rb"(?<![^?&;])([^?&;=%]*+%[^&;=]*+)=([^&;]*+)")
_ENCODED_COOKIE_PAIR = re.compile(rb"(?<![^;,])([^;,=%]*+%[^;,=]*+)=([^;,]*+)")


_PIECE: Form = (lambda _: b"",)  # what a piece alone is: nothing; see core/chunks.py


class Carriers:
    """Where the app looks for its session: the declared names (`core/profiles.py`)."""

    __slots__ = (
        "_anywhere",
        "_anywhere_search",
        "_chunks",
        "_cookie_search",
        "_cookies",
        "_form",
        "_headers",
        "_hint",
        "_path",
        "_path_search",
        "_query",
        "_query_search",
        "_segments",
        "cookies",
        "headers",
    )

    def __init__(
        self,
        *,
        cookies: Iterable[str] = (),
        companions: Iterable[str] = (),
        path_parameters: Iterable[str] = (),
        path_segments: Iterable[str] = (),
        query_parameters: Iterable[str] = (),
        anywhere: Iterable[str] = (),
        form_fields: Iterable[str] = (),
        headers: Iterable[str] = (),
        forms: Mapping[str, Form] = types.MappingProxyType({}),
        chunks: Mapping[str, str] = types.MappingProxyType({}),
    ) -> None:
        """`forms` by lower-case name, whatever carries it; `chunks` by cookie name: what stands before the number.

        `companions` are cookies as well; only `cookies` are expired in browsers that have not sent them.
        """
        spelled = {name.lower().encode(): form for name, form in forms.items()}
        pieces = [name.encode() + mark.encode() + b"*" for name, mark in chunks.items()]
        spelled |= dict.fromkeys([name.lower() for name in pieces], _PIECE)
        self.cookies = tuple(name.encode() for name in cookies if "*" not in name)
        # CGI-like app servers fold `_` to `-`, so either spelling of the declaration means both (reference case 17).
        self._headers = {fold(name.lower().encode()): spelled.get(name.lower().encode(), ()) for name in headers}
        self.headers = tuple(self._headers)
        self._chunks = tuple(Chunks(name.encode(), mark.encode()) for name, mark in chunks.items())
        self._cookies = Names([*_encoded(cookies), *_encoded(companions), *pieces], spelled)
        self._path = Names(_encoded(path_parameters), spelled)
        self._query = Names(_encoded(query_parameters), spelled)
        self._anywhere = Names(_encoded(anywhere), spelled)
        self._form = Names(_encoded(form_fields), spelled)
        self._segments = {letter.upper(): spelled.get(b"(" + letter.lower(), ()) for letter in _encoded(path_segments)}
        # A blank is no token byte: no need to look for blanks before a cookie's name.
        self._cookie_search = _search(rb"(?:^|[^!#$&'*+\-.^_`|~0-9A-Za-z])", self._cookies)
        self._path_search = _search(rb";[\x00-\x20\x80-\xff]*+", self._path)
        self._query_search = _search(rb"(?:^|[?&;])[\x00-\x20+\x80-\xff]*+", self._query)
        self._anywhere_search = _search(b"", self._anywhere)
        self._hint = _hint(self._path_search, self._segments, self._query_search, self._anywhere_search)

    def in_cookies(self, lines: Sequence[bytes]) -> Reading:
        """The candidates in all Cookie lines of a request (reference cases 133-161)."""
        if self._cookie_search is None or not lines:
            return NOTHING
        found = Found()
        if len(lines) == 1 and _PLAIN_COOKIES.fullmatch(lines[0]):
            values = self._plain(lines[0])
            if not values:
                return NOTHING
            if not self._chunks and not any(form for _, form in values):
                return Reading(tuple(value for value, _ in values), len(values) > MAX_CANDIDATES)
            for value, form in values:
                found.add_canonical(value, form)
            if not any(chunks.may_be_in(lines[0]) for chunks in self._chunks):
                return found.reading()
        else:
            for line in lines:  # each by itself: joining lines makes no value that an app would accept and a line lacks
                self._read_line(line, found)
        if self._chunks:
            self._read_chunks(lines, found)
        return found.reading()

    def in_target(self, target: bytes) -> Reading:
        """The candidates among path and query parameters (reference cases 147-150)."""
        if not self.may_be_in(target):
            return NOTHING
        path, _, query = target.partition(b"?")
        if self._query_search is not None and _is_overloaded(query):
            return AMBIGUOUS
        found = Found()
        if self._path_search is not None and (b";" in path or b"%" in path):
            _search_decoded(self._path_search, self._path, path, (_PATH_END,), found)
        if self._segments:
            self._read_segments(path, found)
        if self._query_search is not None and query:
            for spelled in (query, query.translate(PHP_BLANKS)) if b"+" in query else (query,):
                _search_decoded(self._query_search, self._query, spelled, (_QUERY_END,), found)
                _read_encoded(_ENCODED_QUERY_PAIR, spelled, self._query, found)
        if self._anywhere_search is not None:
            _search_decoded(self._anywhere_search, self._anywhere, target, _ANYWHERE_ENDS, found)
        return found.reading()

    @property
    def reads_target(self) -> bool:
        """Whether path or query parameters are declared at all."""
        return self._hint is not None

    @property
    def are_several(self) -> bool:
        """Whether more than one cookie or header is declared."""
        return bool(self.headers) or self._cookies.are_several

    def may_be_in(self, target: bytes) -> bool:
        """Whether it is worth to look into a target: without certain characters nothing can stand there."""
        return self._hint is not None and self._hint.search(target) is not None

    @property
    def reads_forms(self) -> bool:
        """Whether fields of forms are declared."""
        return bool(self._form.exact)

    def in_form(self, body: bytes) -> Reading:
        """The candidates among the fields of a urlencoded body (reference case 149)."""
        found = Found()
        pairs = re.split(rb"[&;]", body, maxsplit=MAX_FIELDS)
        if len(pairs) > MAX_FIELDS:
            return AMBIGUOUS
        for pair in pairs:
            name, _, value = pair.partition(b"=")
            form = self._form.exact.get(name.lower())
            if form is None and not name.isalnum():
                form = self._form.form_of(name.translate(PHP_BLANKS))
            if form is not None:
                found.add(value.translate(PHP_BLANKS), form)
                found.add(value, form)
        return found.reading()

    def in_header(self, value: bytes, name: bytes = b"") -> Reading:
        """The candidates in a declared header field: the value, and what follows a scheme such as `Bearer`."""
        if _is_overloaded(value):
            return AMBIGUOUS
        found = Found()
        form = self._headers.get(fold(name), ())
        if self._segments and _GROUPS.fullmatch(value):  # AspFilterSessionId: S(id)
            self._add_groups(_GROUP.findall(value), found)
            return found.reading()
        parts = value.split(None, 1)  # any run of blanks or tabs ends the scheme
        has_scheme = len(parts) == 2 and parts[0].isalpha()
        found.add(value, () if has_scheme else form)
        if has_scheme:
            found.add(parts[1], form)
        return found.reading()

    def is_cookie(self, name: bytes) -> bool:
        """Whether some app would take this cookie name for a declared one."""
        return self._cookies.form_of(name) is not None

    def values_set(self, cookies: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        """The credentials among canonical cookies that the app sets, in their form, put together where cut."""
        found = Found()
        for name, value in cookies:
            form = self._cookies.form_of(name)
            if form is not None:
                found.add(value, form)
        for chunks in self._chunks:
            self._add_joined(chunks, chunks.joined(cookies), found)
        if found.is_ambiguous:  # not what its profile says; then every byte counts
            return [value for _, value in cookies if value]
        return list(found.values)

    def _plain(self, line: bytes) -> dict[tuple[bytes, Form], None]:
        """The values of declared cookies in a plain line, canonical as they are, each with its form."""
        names = self._cookies
        values: dict[tuple[bytes, Form], None] = {}
        for pair in line.split(b";"):
            name, _, value = pair.partition(b"=")
            name = name.lstrip(b" ").lower()
            form = names.exact.get(name)
            if form is None and (names.is_wild or b"." in name or b"+" in name):
                form = names.form(name)
                form = names.form(php_name(name)) if form is None else form
            if value and form is not None:
                values[value, form] = None
        return values

    def _read_line(self, line: bytes, found: Found) -> None:
        split = line.split(b";", MAX_PAIRS)
        if len(split) > MAX_PAIRS or _is_overloaded(line) or found.is_ambiguous:
            found.is_ambiguous = True
            return
        for pair in split:
            name, _, value = pair.lstrip(b"= ").partition(b"=")  # `=S=R` is a nameless cookie in a browser (case 159)
            form = self._cookies.form_of(name)
            if form is not None:
                found.add(value, form)
                value = value.strip(b" \t")
                if value[:1] == b'"':  # jshttp/cookie 0.x cuts off the last byte, quote or not
                    found.add(value[:-1][1:], form)
            elif self._cookies.is_disguised(name):
                found.is_ambiguous = True
        _read_encoded(_ENCODED_COOKIE_PAIR, line, self._cookies, found)
        assert self._cookie_search is not None  # noqa: S101 - narrowed by the only caller
        for text in decoded(line):
            for start, form in found.starts(self._cookie_search, self._cookies, text):
                for begin, end in _spans(text, start):
                    found.add(text[begin:end], form)

    def _read_chunks(self, lines: Sequence[bytes], found: Found) -> None:
        cookies = list(itertools.islice(pairs(lines), MAX_SPELLINGS + 1))
        if len(cookies) > MAX_SPELLINGS:
            found.is_ambiguous = True
            return
        for chunks in self._chunks:
            self._add_joined(chunks, chunks.joined(cookies), found)

    def _add_joined(self, chunks: Chunks, joined: list[bytes] | None, found: Found) -> None:
        if joined is None:
            found.is_ambiguous = True
        for value in joined or ():
            found.add(value, self._cookies.exact.get(chunks.name, ()))

    def _read_segments(self, path: bytes, found: Found) -> None:
        """ASP.NET without cookies: `/(S(id)F(ticket))/page` (reference case 150)."""
        for text in decoded(path):
            for segment in SEGMENT.finditer(text):
                self._add_groups(_GROUP.findall(segment[0]), found)

    def _add_groups(self, groups: Iterable[tuple[bytes, bytes]], found: Found) -> None:
        for letter, value in groups:
            form = self._segments.get(letter.upper())
            if form is not None:
                found.add(value, form)


def pairs(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Cookie pairs as any stack reads them, names and values made canonical; for cookies that carry a token.

    A token holds no separator. So a line that is not plain is cut at commas, blanks and quotes too, not at semicolons
    only, and what some stack takes for a pair of its own is one.
    """
    for line in lines:
        spelled = [pair.partition(b"=")[::2] for pair in line.split(b";") if b"=" in pair]
        if not _PLAIN_COOKIES.fullmatch(line):
            spelled = list(dict.fromkeys((*spelled, *_SEPARATED_PAIR.findall(line))))
        for spelled_name, spelled_value in spelled:
            name, value = canonical(spelled_name), canonical(spelled_value)
            yield name, value
            if (folded := php_name(name)) != name:
                yield folded, value


def _encoded(names: Iterable[str]) -> list[bytes]:
    return [name.encode() for name in names]


def _search(before: bytes, names: Names) -> re.Pattern[bytes] | None:
    if not names.spelled:
        return None
    return re.compile(rb"%b(%b)[\x00-\x20+\x80-\xff]*+=" % (before, names.spelled), re.IGNORECASE)


def _hint(
    path: object | None, segments: Mapping[bytes, Form], query: object | None, anywhere: object | None
) -> re.Pattern[bytes] | None:
    """The characters without which a target holds nothing."""
    marks = (b";%" if path else b"") + (b"(%" if segments else b"") + (b"?" if query else b"")
    marks += b"=" if anywhere else b""
    return re.compile(b"[%b]" % marks) if marks else None


def _search_decoded(
    search: re.Pattern[bytes], names: Names, text: bytes, ends: Iterable[re.Pattern[bytes]], found: Found
) -> None:
    for reading in decoded(text):
        for start, form in found.starts(search, names, reading):
            for end in ends:
                found.add(reading[start : _end(end, reading, start)], form)


def _read_encoded(pairs: re.Pattern[bytes], text: bytes, names: Names, found: Found) -> None:
    """Pairs with an encoded name: decoding all of `text` first would cut a value at an encoded separator."""
    for count, pair in enumerate(pairs.finditer(text)):
        if count >= MAX_PAIRS:
            found.is_ambiguous = True
            return
        form = names.form_of(pair[1])
        if form is not None:
            found.add(pair[2], form)


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
