"""What a request presents: the credentials in its head, as digests, its tokens, and what a trusted proxy says.

Nobody is asked here, and nothing is judged: `gate/identify.py` does that. A Cookie line that browsers repeat is read
once.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sidecar.bindings.carrier import AmbiguousToken, assemble, from_header
from sidecar.bindings.token import TokenBinder
from sidecar.core.cookies import SetCookie
from sidecar.core.credentials import MAX_SPELLINGS, Carriers, pairs
from sidecar.core.form import Body, body_of
from sidecar.core.identity import Digester
from sidecar.core.reading import MAX_CANDIDATES, NOTHING, Reading, merged
from sidecar.field_names import fold
from sidecar.gate.named import SILENCE, NamedSessions, Said
from sidecar.http1.fields import values_of
from sidecar.http1.request import RequestHead

_CACHED_LINES = 8192
_CACHED_LINE_BYTES = 4096  # of a Cookie line worth remembering: 32 MiB at the most


@dataclass(frozen=True, slots=True)
class TokenCarrier:
    """Where one `token` binder finds its tokens: a cookie (and its chunks) or a header, lower case."""

    binder: TokenBinder
    cookie: bytes | None = None
    header: bytes | None = None


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request shows, before anybody was asked about it."""

    credentials: tuple[bytes, ...]  # digests
    tokens: tuple[tuple[TokenBinder, bytes], ...] = field(repr=False)
    is_ambiguous: bool
    others: Mapping[bytes, tuple[bytes, ...]] = field(default_factory=dict)  # the same under other keys or spellings
    said: Said = SILENCE  # in the fields of a trusted proxy


NOTHING_PRESENTED: Final = Presented((), (), is_ambiguous=False)


class Reader:
    """Reads heads, and what an app sets, into digests."""

    def __init__(
        self,
        *,
        carriers: Carriers,
        tokens: Sequence[TokenCarrier],
        digester: Digester,
        named_sessions: NamedSessions | None,
    ) -> None:
        self._carriers = carriers
        self._tokens = tokens
        self._digester = digester
        self._named_sessions = named_sessions
        self._lines: dict[bytes, Presented] = {}
        names = named_sessions.names if named_sessions is not None else frozenset()
        self.token_headers = names | frozenset(fold(token.header) for token in tokens if token.header)
        self.reads_target = carriers.reads_target
        self.reads_headers = bool(carriers.headers or self.token_headers)

    def presented(self, request: RequestHead) -> Presented:
        """The candidates of a request, as digests, and its tokens."""
        lines = request.cookies
        in_cookies = NOTHING_PRESENTED
        if lines:
            in_cookies = self._in_line(lines[0]) if len(lines) == 1 else self._read_lines(lines)
        if not self.reads_target and not self.reads_headers and request.form is None:
            return in_cookies
        found = [in_cookies]
        if request.form is not None:
            found.append(self._digested(self._carriers.in_form(request.form), ()))
        if self.reads_target and (in_target := self._carriers.in_target(request.target)) is not NOTHING:
            found.append(self._digested(in_target, ()))
        if self.reads_headers:
            found.append(self._in_headers(request))
        said = self._named_sessions.said(request) if self._named_sessions is not None else SILENCE
        if said is not SILENCE:
            found.append(Presented((), (), is_ambiguous=False, said=said))
        found = [part for part in found if part is not NOTHING_PRESENTED]
        if len(found) < 2:
            return found[0] if found else NOTHING_PRESENTED
        return Presented(
            tuple(dict.fromkeys(digest for part in found for digest in part.credentials)),
            tuple(dict.fromkeys(token for part in found for token in part.tokens)),
            any(part.is_ambiguous for part in found),
            {credential: others for part in found for credential, others in part.others.items()},
            said,
        )

    @property
    def has_several_carriers(self) -> bool:
        """Whether the app may go by another credential than the one that it sets."""
        return self.reads_target or self._carriers.reads_forms or self._carriers.are_several

    def in_target(self, target: bytes) -> tuple[bytes, ...]:
        """The digests of the credentials in an address."""
        return self._digested(self._carriers.in_target(target), ()).credentials if self.reads_target else ()

    def body_of(self, request: RequestHead) -> Body:
        """Whether the body of a request may hold a credential, and can be read."""
        if not (self._carriers.reads_forms and request.has_body):
            return Body.NO_FORM
        types, encodings = values_of(request.lines, b"content-type"), values_of(request.lines, b"content-encoding")
        return body_of(types, encodings, request.content_length)

    def may_be_elsewhere(self, target: bytes) -> bool:
        """Whether a request for this target may show more than its cookies do, forms apart."""
        return self.reads_headers or (self.reads_target and self._carriers.may_be_in(target))

    def is_token_cookie(self, name: bytes) -> bool:
        """Whether a cookie name is a token binder's, or one of its chunks."""
        return any(token.cookie and _is_chunk(name, token.cookie) for token in self._tokens)

    def credentials_set(self, cookies: Sequence[SetCookie]) -> list[bytes]:
        """The digests of the credentials that an app sets."""
        return list(map(self._digester.credential, self._carriers.values_set([(c.name, c.value) for c in cookies])))

    def tokens_in(self, cookies: Sequence[tuple[bytes, bytes]]) -> list[tuple[TokenBinder, bytes]]:
        """The tokens among canonical cookies. Raises AmbiguousToken."""
        return [
            (carrier.binder, token)
            for carrier in self._tokens
            if carrier.cookie
            for token in assemble(cookies, carrier.cookie)
        ]

    def forget(self) -> None:
        """The digests that were made so far are worth nothing: the key has changed."""
        self._lines.clear()

    def _in_line(self, line: bytes) -> Presented:
        """One Cookie line; browsers repeat theirs, so what it means is remembered."""
        presented = self._lines.get(line)
        if presented is None:
            presented = self._read_lines((line,))
            if len(line) <= _CACHED_LINE_BYTES:
                if len(self._lines) >= _CACHED_LINES:
                    self._lines.clear()  # cheaper than a list of the least used, and as good at this size
                self._lines[line] = presented
        return presented

    def _read_lines(self, lines: Sequence[bytes]) -> Presented:
        reading = self._carriers.in_cookies(lines)
        if not any(token.cookie for token in self._tokens):
            return self._digested(reading, ())
        try:
            found = list(itertools.islice(pairs(lines), MAX_SPELLINGS + 1))
            if len(found) > MAX_SPELLINGS:
                return Presented((), (), is_ambiguous=True)
            return self._digested(reading, self.tokens_in(found))
        except AmbiguousToken:
            return Presented((), (), is_ambiguous=True)

    def _in_headers(self, request: RequestHead) -> Presented:
        values = [(value, name) for name in self._carriers.headers for value in values_of(request.lines, name)]
        if len(values) > MAX_CANDIDATES:
            return Presented((), (), is_ambiguous=True)
        readings = itertools.starmap(self._carriers.in_header, values)
        try:
            tokens = [
                (carrier.binder, token)
                for carrier in self._tokens
                if carrier.header
                for token in from_header(values_of(request.lines, carrier.header))
            ]
        except AmbiguousToken:
            return Presented((), (), is_ambiguous=True)
        return self._digested(merged(readings), tokens)

    def _digested(self, reading: Reading, tokens: Iterable[tuple[TokenBinder, bytes]]) -> Presented:
        tokens = tuple(tokens)
        if reading is NOTHING and not tokens:
            return NOTHING_PRESENTED
        digest = self._digester.credential
        others = self._others(reading) if reading.others or self._digester.others else {}
        return Presented(tuple(map(digest, reading.values)), tokens, reading.is_ambiguous, others)

    def _others(self, reading: Reading) -> dict[bytes, tuple[bytes, ...]]:
        """The digests that count for a credential beside its own: of other spellings, and under other keys."""
        digest, keys, spelled = self._digester.credential, self._digester.others, dict(reading.others)
        found = {}
        for value in reading.values:
            same = spelled.get(value, ())
            under_others = [key.credential(spelling) for spelling in (value, *same) for key in keys]
            if same or under_others:
                found[digest(value)] = (*map(digest, same), *under_others)
        return found


def _is_chunk(name: bytes, base: bytes) -> bool:
    name, base = name.lower(), base.lower()
    rest = name[len(base) :]
    return name.startswith(base) and (not rest or (rest[:1] in (b".", b"_") and rest[1:].isdigit()))
