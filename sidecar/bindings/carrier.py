"""Where a request carries a session token: pure functions from cookies and headers to candidate tokens.

A large token is cut into several cookies (`name.0 name.1`, `name_0 name_1`), and libraries differ in how they put the
pieces together again. So every way of joining them is a candidate, and any candidate may condemn the request. What
cannot be listed within a small bound is refused: a token that was cut off from the list would not be judged.

Nothing here knows what a valid token looks like. A token consists of letters, digits, `-`, `_` and `.` only, so quotes,
blanks and percent-encoding around it can be removed without asking which of them the app removes.
"""

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from sidecar.core.paths import percent_decoded
from sidecar.errors import SidecarError

MAX_CANDIDATES = 8  # distinct tokens that one request may carry under one name
_CHUNK = re.compile(rb"[._]([0-9]{1,3})")  # Auth.js reads the number with parseInt, which ignores what follows it
_SCHEME = re.compile(rb"\Abearer[ \t]+", re.IGNORECASE)  # RFC 6750 section 2.1; scheme names know no case
_DECODINGS = 3  # libraries nest URL-encoding once or twice


class AmbiguousToken(SidecarError):
    """More candidates under one name than are worth judging: the request has to be denied."""


def assemble(cookies: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """Every token that the cookies may mean under `name`, joined from chunks where it is cut, each once."""
    whole, chunks = _sort_out(cookies, name.lower())
    candidates = dict.fromkeys(whole)
    for by_index in chunks.values():
        candidates.update(dict.fromkeys(_joined(by_index, whole)))
    return _bounded([value for value in candidates if value])


def from_header(values: Iterable[bytes]) -> list[bytes]:
    """The tokens in a header's values, with or without `Bearer`; a list separated by commas gives several."""
    parts = (_plain(part) for value in values for part in value.split(b","))
    tokens = dict.fromkeys(_SCHEME.sub(b"", part) for part in parts)
    return _bounded([token for token in tokens if token])


def _sort_out(
    cookies: Iterable[tuple[bytes, bytes]], name: bytes
) -> tuple[list[bytes], dict[bytes, dict[int, list[bytes]]]]:
    """Values under the bare name, and values under its chunks by separator and number."""
    whole: list[bytes] = []
    chunks: dict[bytes, dict[int, list[bytes]]] = {}
    for raw_name, raw_value in cookies:
        folded = _folded(raw_name)
        if not folded.startswith(name):
            continue
        suffix = folded[len(name) :]
        if not suffix:
            whole.append(_plain(raw_value))
        elif chunk := _CHUNK.match(suffix):
            by_index = chunks.setdefault(suffix[:1], defaultdict(list))
            by_index[int(chunk[1])].append(_plain(raw_value))
    return whole, chunks


def _joined(by_index: dict[int, list[bytes]], whole: Sequence[bytes]) -> Iterable[bytes]:
    every = [list(dict.fromkeys(by_index[index])) for index in sorted(by_index)]
    unbroken = [index for place, index in enumerate(sorted(by_index), min(by_index)) if place == index]
    # A base that is no token by itself may be the first piece.
    bases = [value for value in whole if value.count(b".") < 2]
    if math.prod(map(len, every)) * (len(bases) + 2) > 4 * MAX_CANDIDATES:
        raise AmbiguousToken("ambiguous_token", "too many ways to join a chunked session token")
    for pieces in itertools.product(*every):
        yield b"".join(pieces)
        yield b"".join(pieces[: len(unbroken)])  # readers that stop at the first gap
        yield from (base + b"".join(pieces) for base in bases)


def _bounded(candidates: list[bytes]) -> list[bytes]:
    if len(candidates) > MAX_CANDIDATES:
        raise AmbiguousToken("ambiguous_token", f"more than {MAX_CANDIDATES} session tokens under one name")
    return candidates


def _folded(name: bytes) -> bytes:
    """A cookie name as the most generous app reads it."""
    if b"%" in name:
        name = percent_decoded(name)
    if not name.isascii():
        name = _text(name).strip().encode()  # Python's and .NET's strip take Unicode blanks away (case 139)
    return name.strip().lower()


def _plain(value: bytes) -> bytes:
    for _ in range(_DECODINGS):
        if b"%" not in value:
            break
        value = percent_decoded(value)
    if not value.isascii():
        value = _text(value).strip().encode()
    return value.strip(b' \t\r\n\f\v"')


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # as WSGI does
