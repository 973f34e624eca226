"""Single values as operators write them: durations, sizes, switches, names, paths.

Each type reads one scalar and says in its error what it expected. Configuration holds plain Python values: seconds as
float, bytes as int. What a value looked like is never repeated in an error, since it may come from a variable.
"""

import re
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainSerializer,
    StrictBool,
    StrictFloat,
    StrictInt,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from sidecar.config.interpolate import Interpolated
from sidecar.config.source import plain

SECOND = 1.0
MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0
KIB = 1024
MIB = 1024 * KIB

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_DURATION_UNITS = {"ms": 0.001, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_SIZE = re.compile(r"([0-9]{1,12})(B|KiB|MiB|GiB)?")
_SIZE_UNITS = {"B": 1, "KiB": KIB, "MiB": MIB, "GiB": 1024 * MIB}

DURATION_FORM = "a duration such as 250ms, 10s, 5m, 12h or 1d"
SIZE_FORM = "a size such as 64KiB, 1MiB or a number of bytes"


def wrong(what: str, expected: str = "", suggestion: str = "", at: str = "") -> PydanticCustomError:
    """An error of our own in pydantic's terms; `at` names the key, below the value, that the operator has to mend."""
    context = {"what": what, "expected": expected, "suggestion": suggestion, "at": at}
    return PydanticCustomError("config", "{what}", context)


# --- durations and sizes ---


def parse_duration(value: object) -> float:
    """Seconds; the unit is never optional, because `timeout: 500` means something else to everyone."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise wrong("a duration needs a unit", DURATION_FORM, f"{value}s")
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise wrong("not a duration", DURATION_FORM)
    return float(match[1]) * _DURATION_UNITS[match[2]]


def format_duration(seconds: float) -> str:
    """The shortest exact spelling: 43200.0 is 12h."""
    if seconds == 0:
        return "0s"
    for unit in ("d", "h", "m", "s"):
        if seconds % _DURATION_UNITS[unit] == 0:
            return f"{seconds / _DURATION_UNITS[unit]:.0f}{unit}"
    return f"{seconds * 1000:.12g}ms"


def parse_size(value: object) -> int:
    """Bytes."""
    match = _SIZE.fullmatch(str(value)) if isinstance(value, int | str) and not isinstance(value, bool) else None
    if match is None:
        decimal = isinstance(value, str) and re.fullmatch(r"([0-9]+) ?[kKmMgG][bB]?", value)
        raise wrong("not a size", SIZE_FORM, "KiB, MiB or GiB, the binary units" if decimal else "")
    return int(match[1]) * _SIZE_UNITS[match[2] or "B"]


def between(low: str, high: str) -> AfterValidator:
    """Bounds for a duration, written as durations."""
    shortest, longest = parse_duration(low), parse_duration(high)

    def check(seconds: float) -> float:
        if not shortest <= seconds <= longest:
            raise wrong("the duration is out of bounds", f"{low} to {high}")
        return seconds

    return AfterValidator(check)


def sized(low: int, high: int) -> AfterValidator:
    """Bounds for a size or a count."""

    def check(number: int) -> int:
        if not low <= number <= high:
            raise wrong("the number is out of bounds", f"{low} to {high}")
        return number

    return AfterValidator(check)


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="unless-none"),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["250ms", "10s", "12h"]}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{_SIZE.pattern}$"}],
            "examples": ["64KiB", "1MiB", 4096],
        }
    ),
]


# --- numbers and switches ---


def as_written(value: object) -> object:
    """The number or switch that a reference to a variable stands for."""
    # "${PORT}" reads like the number that stands in the variable; "80" in the file itself stays text.
    return plain(value) if isinstance(value, Interpolated) else value


Switch = Annotated[StrictBool, BeforeValidator(as_written)]
Count = Annotated[StrictInt, BeforeValidator(as_written)]


def _share(number: float) -> float:
    if not 0 <= number <= 1:
        raise wrong("not a share", "a number from 0 to 1")
    return number


Share = Annotated[
    StrictFloat,
    BeforeValidator(as_written),
    AfterValidator(_share),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1}),
]


# --- permissions ---


def parse_mode(value: object) -> int:
    """`"0660"`. A number is refused: 660 is decimal, and nobody means 0o1224."""
    if not isinstance(value, str) or not re.fullmatch(r"0?[0-7]{3}", value):
        raise wrong("not permissions", 'octal digits in quotes, such as "0660"')
    return int(value, 8)


Permissions = Annotated[
    int,
    BeforeValidator(parse_mode),
    PlainSerializer("{:04o}".format, return_type=str, when_used="unless-none"),
    WithJsonSchema({"type": "string", "pattern": "^0?[0-7]{3}$", "examples": ["0660"]}),
]


# --- text ---


def matching(pattern: str, what: str, expected: str) -> AfterValidator:
    """Text of one shape; the error says which."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise wrong(what, expected)
        return text

    return AfterValidator(check)


_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}"  # noqa: S105 - RFC 9110 section 5.6.2 calls a name's form `token`


def _header_name(name: str) -> str:
    if not re.fullmatch(_TOKEN, name):
        raise wrong("not a header name", "letters, digits and !#$%&'*+-.^_`|~")
    if name.lower() in {"cookie", "set-cookie"}:
        raise wrong("a cookie is not named by its header", "another header", "cookie: NAME")
    return name


def _path_pattern(pattern: str) -> str:
    if not pattern.startswith("/"):
        raise wrong("a path starts with a slash", "a path such as /static/*")
    if not re.fullmatch(r"[!-~]+", pattern) or re.search(r"[?#;%\\]", pattern):
        # Rules are matched on the decoded, canonical path; a pattern with these could never match, or in two ways.
        raise wrong("a path pattern holds a character that it cannot", "a decoded path without ?, #, ;, % and \\")
    if "//" in pattern or any(part in {".", ".."} for part in pattern.split("/")):
        raise wrong("a path pattern is canonical", "no empty, . or .. segments")
    return pattern


def _login_url(url: str) -> str:
    path = re.fullmatch(r"/(?![/\\])[!-~]*", url)
    absolute = re.fullmatch(r"https?://[A-Za-z0-9.\[\]:_-]+(?:[/?][!-~]*)?", url)
    if not (path or absolute) or "#" in url or "\\" in url:
        raise wrong("not a place to send a browser to", "a path such as /login, or an http(s) URL without fragment")
    return url


def _prefix(prefix: str) -> str:
    segment = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*"
    if not re.fullmatch(rf"(?:/{segment}){{1,8}}", prefix):
        suggestion = prefix.rstrip("/") if re.fullmatch(rf"(?:/{segment}){{1,8}}/+", prefix) else ""
        raise wrong(
            "not a usable prefix", "a path such as /_sidecar: letters, digits, - . _ ~, no / at its end", suggestion
        )
    return prefix


Text = Annotated[
    str, matching(r"[^\x00-\x1f\x7f]{1,1024}", "the text is empty, too long or has control characters", "text")
]
FileName = Annotated[str, matching(r"[^\x00-\x1f\x7f]{1,1024}", "not a file name", "the path of a file")]
EnvironmentName = Annotated[
    str, matching(r"[A-Za-z_][A-Za-z0-9_]{0,255}", "not the name of a variable", "a name such as CLIENT_SECRET")
]
ProviderName = Annotated[
    str, matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "not a usable name", "letters, digits, - . _; at most 64")
]
Namespace = Annotated[
    str, matching(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", "not a usable namespace", "letters, digits, - . _ :; at most 64")
]
CookieName = Annotated[str, matching(_TOKEN, "not a cookie name", "letters, digits and !#$%&'*+-.^_`|~")]
ParameterName = Annotated[
    str, matching(r"[A-Za-z0-9._~\[\]-]{1,256}", "not a parameter name", "letters, digits and - . _ ~ [ ]")
]
SegmentLetter = Annotated[str, matching(r"[A-Z]", "not the letter of a path segment", "one capital letter, such as S")]
HeaderName = Annotated[str, AfterValidator(_header_name)]
Method = Annotated[str, matching(_TOKEN, "not a method", "a method such as GET")]
PathPattern = Annotated[str, AfterValidator(_path_pattern)]
LoginUrl = Annotated[str, AfterValidator(_login_url)]
Prefix = Annotated[str, AfterValidator(_prefix)]


def one_or_many() -> BeforeValidator:
    """`x` for `[x]`."""

    def widen(value: object) -> object:
        if isinstance(value, bool | int | float):
            raise wrong("wrong type", "text, or a list of texts; put it in quotes")
        return [value] if isinstance(value, str) else value

    return BeforeValidator(widen)
