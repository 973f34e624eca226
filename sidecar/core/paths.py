"""Paths that can be read in one way only, and patterns that match only those.

A rule that relaxes enforcement, or the control prefix, must never be reached by a spelling that the app resolves to
something else. So a path is *plain* when every parser reads it alike; a path that is not plain matches no rule, and
counts as a look-alike when some reading of it leads under the control prefix (reference cases 123 and 130).
"""

import enum
import re

# Percent-encoding, path parameters, back slashes, empty and dot segments: each is resolved by some servers only.
_NOT_PLAIN = re.compile(rb"[%\\;\x00-\x20\x7f-\xff]|//|/\.{1,2}(?:/|$)")
_PARAMETERS = re.compile(rb";[^/]*")
_ENCODED = re.compile(rb"%[0-9A-Fa-f]{2}")
_HEX = b"0123456789abcdefABCDEF"
_BYTES = {b"%%%c%c" % (high, low): bytes((int(b"%c%c" % (high, low), 16),)) for high in _HEX for low in _HEX}
_MAX_ODD = 8192  # no common server takes a longer request line without being told to

_SCRIPT = re.compile(rb"(\.[A-Za-z0-9]+)/.*")
_EXTENSION = re.compile(rb"\.[^./]*+/?$")


class Place(enum.Enum):
    """Where a path leads, as seen from the control prefix."""

    ELSEWHERE = enum.auto()
    CONTROL = enum.auto()
    LOOK_ALIKE = enum.auto()


def percent_decoded(text: bytes) -> bytes:
    """One layer of percent-encoding undone. The standard library's takes 50 ms for 64 KiB of stray percent signs."""
    return _ENCODED.sub(_byte, text) if b"%" in text else text


def path_of(target: bytes) -> bytes:
    """The path of an origin-form target."""
    return target.partition(b"?")[0]


def is_plain(path: bytes) -> bool:
    """Whether the path can be read in one way only."""
    return _NOT_PLAIN.search(path) is None


def is_too_odd(path: bytes) -> bool:
    """Whether to find out what such a path could mean would cost more than anybody needs it (20 ms for 64 KiB)."""
    return len(path) > _MAX_ODD and not is_plain(path)


def place(path: bytes, prefix: bytes) -> Place:
    """Whether a path is under `prefix`, only looks like it, or neither."""
    if b"%" not in path and prefix[prefix.rindex(b"/") + 1 :].lower() not in path.lower():
        return Place.ELSEWHERE  # nearly every request: without encoding, the name would have to stand there
    if is_plain(path):
        if _is_under(path, prefix):
            return Place.CONTROL
        # Some servers and file systems ignore case; no app has a use for the same name in capitals.
        return Place.LOOK_ALIKE if _is_under(path.lower(), prefix.lower()) else Place.ELSEWHERE
    if _is_under(path.lower(), prefix.lower()):
        return Place.LOOK_ALIKE  # `/_sidecar/../account`: whoever does not resolve it reads a control path
    readings = (_resolve(path), _resolve(_PARAMETERS.sub(b"", _decode(path))))
    return Place.LOOK_ALIKE if any(_is_under(reading, prefix.lower()) for reading in readings) else Place.ELSEWHERE


def compile_pattern(pattern: str) -> re.Pattern[bytes]:
    """A path pattern for `fullmatch`: `*` stands for any run of characters, slashes included."""
    first, *rest = (re.escape(part.encode()) for part in pattern.split("*"))
    if not rest:
        return re.compile(first)
    # The first place where a middle part fits is as good as any other. Atomic groups never look for another: plain
    # `.*a.*b.*c` takes time that grows with a power of the path's length.
    middle = b"".join(b"(?>.*?%b)" % part for part in rest[:-1])
    return re.compile(b"%b%b.*%b" % (first, middle, rest[-1]))


def matches(pattern: re.Pattern[bytes], path: bytes) -> bool:
    """Whether a plain path matches; a path that is not plain never does."""
    return pattern.fullmatch(path) is not None and is_plain(path)


def may_match(pattern: re.Pattern[bytes], path: bytes) -> bool:
    """Whether some app could take the path for one that matches, whatever its spelling; for rules that tighten.

    Give it a pattern that ignores case: many routers do (Express, ASP.NET). A slash at the end, an extension or what
    follows a script's name (`/login.php/x`) makes no difference to others.
    """
    readings = {path}
    if not is_plain(path):
        readings |= {_resolve(path), _resolve(_PARAMETERS.sub(b"", _decode(path)))}
    readings |= {_SCRIPT.sub(rb"\1", reading) for reading in readings}
    readings |= {_EXTENSION.sub(b"", reading) for reading in readings}
    readings |= {reading.rstrip(b"/") for reading in readings} | {reading + b"/" for reading in readings}
    return any(map(pattern.fullmatch, readings))


def _is_under(path: bytes, prefix: bytes) -> bool:
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/")


def _byte(match: re.Match[bytes]) -> bytes:
    return _BYTES[match[0]]


def _decode(path: bytes) -> bytes:
    for _ in range(3):  # double encoding is common; deeper needs no answer
        path = percent_decoded(path)
    return path


def _resolve(path: bytes) -> bytes:
    """One reading: decoded, back slashes turned, empty and dot segments resolved, lower case."""
    segments: list[bytes] = []
    for segment in _PARAMETERS.sub(b"", _decode(path).replace(b"\\", b"/")).lower().split(b"/"):
        if segment == b"..":
            del segments[-1:]
        elif segment.strip() not in (b"", b"."):
            segments.append(segment.strip())
    return b"/" + b"/".join(segments)
