"""The one spelling of a credential value: its canonical form.

Two layers. `canonical` takes off what any stack may take off, and is the same for every credential: blanks, quotes,
escapes, percent-encoding. The steps in `STEPS` are named by a profile (`core/profiles.py`) and know what one stack
reads as the same session beyond that: a routing suffix, base64 with spare bits, letters without regard to case.

A value as its app hands it out may change in a step, but two live sessions never get one form: each step drops only
what says nothing about whose the session is, and leaves alone what does not look like a value of its stack (decision
020). A step returns None for a value that its stack could read in ways which nobody can list; such a request is
ambiguous.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from sidecar.core.paths import percent_decoded

MAX_LAYERS = 4  # of encoding around a value; an app undoes one or two

Step = Callable[[bytes], bytes | None]

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
_REPEATED_PERCENT = re.compile(rb"%(?:25)++")  # `%252525`: every layer of it at once, or a long one takes a pass each
_OCTAL = re.compile(rb"\\([0-3][0-7][0-7])")
_ESCAPED = re.compile(rb"\\(?![0-3][0-7][0-7])(.)", re.DOTALL)


def canonical(value: bytes) -> bytes:
    """What is left of a value without blanks around it, quotes, escapes and percent-encoding."""
    for _ in range(MAX_LAYERS):
        peeled = _peeled(value)
        if peeled == value:
            break
        value = peeled
    return value


def layers(value: bytes) -> Iterator[bytes]:
    """The value as it is, and with one layer after the other taken off, quotes before encoding."""
    yield value
    for _ in range(MAX_LAYERS):
        unquoted = _unquoted(value)
        if unquoted != value:
            yield unquoted
        peeled = _undone(unquoted)
        if peeled == value:
            return
        if peeled != unquoted:
            yield peeled
        value = peeled


def is_settled(value: bytes) -> bool:
    """Whether nothing more can be taken off; after `canonical`, False means: deeper than any app unwraps."""
    return _peeled(value) == value


def strip_blanks(value: bytes) -> bytes:
    """Without ASCII or Unicode blanks at either end, in UTF-8 or Latin-1 (reference case 139)."""
    if value and 0x20 < value[0] < 0x80 and 0x20 < value[-1] < 0x80:
        return value
    leading = _LEADING.match(value)
    if leading:
        value = value[leading.end() :]
    trailing = _TRAILING_BACKWARDS.match(value[::-1])
    return value[: -trailing.end()] if trailing else value


def formed(value: bytes, steps: Iterable[Step]) -> bytes | None:
    """A canonical value in the form that its profile compares; None when it cannot be told."""
    for step in steps:
        changed = step(value)
        if changed is None:
            return None
        value = changed
    return value


def _peeled(value: bytes) -> bytes:
    """Without one layer of quotes, escapes and percent-encoding."""
    return _undone(_unquoted(value))


def _unquoted(value: bytes) -> bytes:
    value = strip_blanks(value)
    if value[:1] == b'"' or value[-1:] == b'"':
        value = strip_blanks(value.strip(b'"'))
    if b"\\" in value:  # SimpleCookie's octal escapes, and quoted pairs
        value = _ESCAPED.sub(rb"\1", _OCTAL.sub(_from_octal, value))
    return value


def _undone(value: bytes) -> bytes:
    return percent_decoded(_REPEATED_PERCENT.sub(b"%", value)) if b"%" in value else value


def _from_octal(match: re.Match[bytes]) -> bytes:
    return bytes((int(match[1], 8),))


# --- the steps of profiles ---

# A session id without its affix is still long. What is shorter may be a tenant or a counter, and the id what follows.
_SHORTEST_ID = 16
_LONGEST_ENVELOPE = 16 * 1024  # of a cookie that is JSON inside; a browser keeps 4 KiB a cookie
_DEEPEST_ENVELOPE = 8

_WEBSPHERE = re.compile(rb"[0-9A-Za-z]{4}([^:]{23})(?::.*)?", re.DOTALL)
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_BASE64_TEXT = re.compile(rb"[A-Za-z0-9+/]{22,}={0,2}")
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2})+")
_BLANKS = re.compile(rb"\s+")
_URL_TOKEN = re.compile(rb"([A-Za-z0-9+/_-]{64,})[012]")
_SIGNED = re.compile(rb"(\.?[^.]*\.[^.]*\.)(.*)", re.DOTALL)  # payload (a dot before it: compressed), time, signature
_JWE_PARTS = 5
_CHUNK_COUNT = re.compile(rb"chunks[-:][0-9]+")
_PRINTABLE = re.compile(rb"[\x21-\x7e]*")
_URL_ALPHABET = bytes.maketrans(b"-_", b"+/")


def _without_route(value: bytes) -> bytes:
    """`id.worker`: Tomcat's jvmRoute, Jetty's node, Undertow's route (reference case 146)."""
    return _cut(value, b".")


def _without_jvm(value: bytes) -> bytes:
    """`id!primary!secondary!time`: WebLogic (reference case 146)."""
    return _cut(value, b"!")


def _cut(value: bytes, mark: bytes) -> bytes:
    head, found, _ = value.partition(mark)
    return head if found and len(head) >= _SHORTEST_ID else value


def _without_clone(value: bytes) -> bytes:
    """`0001` + id + `:clone:clone`: WebSphere, whose cache number changes in mid-session (reference case 146)."""
    match = _WEBSPHERE.fullmatch(value)
    return match[1] if match else value


def _without_case(value: bytes) -> bytes | None:
    """For ids that a data base looks up: MySQL's usual collations know no case, nor accents, nor control characters.

    What is not printable ASCII has too many equals to be listed, and no id is made of it.
    """
    return value.lower() if _PRINTABLE.fullmatch(value) else None


def _base64_text(value: bytes) -> bytes:
    """Spring Session's ids and Spring Security's remember-me: text in base64, padded or not, spare bits unread."""
    if _BASE64_TEXT.fullmatch(value) is None:
        return value
    text = _decoded(value)
    return canonical(text) if text is not None and _PRINTABLE.fullmatch(text) else value


def _base64(value: bytes) -> bytes:
    """ASP.NET Core and OWIN: bytes in either alphabet, with blanks, with or without padding, spare bits unread."""
    if len(value) < 2 * _SHORTEST_ID:
        return value
    return _encoded(_decoded(value), value)


def _signature(value: bytes) -> bytes:
    """itsdangerous (Flask): what follows the last dot is base64 that is read as Python reads it (reference case 145).

    Foreign characters are skipped, spare bits unread, and nothing counts after complete padding. So what follows the
    second dot is looked at: a dot in there may have been `%2E` to the app.
    """
    match = _SIGNED.fullmatch(value)
    return match[1] + _encoded(_decoded(match[2]), match[2]) if match else value


def _jwe(value: bytes) -> bytes:
    """A compact JWE (RFC 7516 section 7.1), read by decoders that skip blanks, and do not look at spare bits."""
    parts = value.split(b".")
    return b".".join(_encoded(_decoded(part), part) for part in parts) if len(parts) == _JWE_PARTS else value


def _ticket(value: bytes) -> bytes:
    """ASP.NET's forms ticket: hexadecimal in either case, or the same bytes as a URL token, base64 and a digit."""
    if len(value) < 2 * _SHORTEST_ID:
        return value
    if _HEX.fullmatch(value):
        return value.upper()
    token = _URL_TOKEN.fullmatch(_BLANKS.sub(b"", value))  # .NET's base64 skips blanks
    ticket = _decoded(token[1]) if token else None
    return ticket.hex().upper().encode() if ticket else value


def _envelope(value: bytes) -> bytes | None:
    """Laravel's encrypted cookies: base64 around JSON, of which only iv, value, mac and tag are read."""
    text = _decoded_by_php(value)
    if text.lstrip()[:1] != b"{":
        return value
    if len(text) > _LONGEST_ENVELOPE or text.count(b"{") + text.count(b"[") > _DEEPEST_ENVELOPE:
        return None
    try:
        # Numbers stay text: Python would refuse one of 5000 digits, and PHP would not.
        members = json.loads(text, parse_int=str, parse_float=str)
    except ValueError:
        return value
    read = [members.get(name) for name in ("iv", "value", "mac", "tag")] if isinstance(members, dict) else []
    parts = [part.encode("utf-8", "replace") if isinstance(part, str) else b"" for part in read]
    return b".".join(_encoded(_decoded_by_php(part), part) for part in parts) if any(parts) else value


def _no_chunk_count(value: bytes) -> bytes:
    """`chunks-2` says that the value is in other cookies; many sessions have the same."""
    return b"" if _CHUNK_COUNT.fullmatch(value) else value


def _decoded(text: bytes) -> bytes | None:
    """Base64 in either alphabet as Python reads it, which skips other characters; None when it is none."""
    try:
        return binascii.a2b_base64(text.translate(_URL_ALPHABET) + b"===")  # what is too much is not read
    except binascii.Error:
        return None


def _decoded_by_php(text: bytes) -> bytes:
    """Base64 as PHP reads it: padding in any place and the other alphabet's `-` and `_` are skipped as well."""
    text = _NOT_BASE64.sub(b"", text)
    return binascii.a2b_base64(text[: len(text) - (len(text) % 4 == 1)] + b"===")


def _encoded(raw: bytes | None, otherwise: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=") if raw else otherwise


STEPS: Final[Mapping[str, Step]] = {
    "route": _without_route,
    "weblogic": _without_jvm,
    "websphere": _without_clone,
    "case": _without_case,
    "base64_text": _base64_text,
    "base64": _base64,
    "signature": _signature,
    "jwe": _jwe,
    "ticket": _ticket,
    "envelope": _envelope,
    "chunk_count": _no_chunk_count,
}

# Steps of stacks that skip what they do not know, so that a percent sign or a quote in a value may be nothing to them.
SKIPPING: Final = frozenset({_signature, _envelope})
