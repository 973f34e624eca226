"""Set-Cookie as the app writes it, and the Cookie header as the app may still see it after stripping.

Not a cookie jar: nothing is stored here. Reading follows what browsers do (RFC 6265 section 5.2).
"""

import datetime as dt
import email.utils
import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sidecar.core.credentials import MAX_PAIRS
from sidecar.core.spelling import canonical

# What every stack reads alike, so that removing a neighbour cannot turn it into something else (reference case 161).
_SIMPLE_NAME = re.compile(rb"[^\x00-\x20\x7f-\xff\"\\,;=$]+")
_SIMPLE_VALUE = re.compile(rb"[^\x00-\x20\x7f-\xff\"\\,;]*")

_AGE = re.compile(rb"-?[0-9]+")  # RFC 6265 section 5.2.2
_SPENT = re.compile(rb"-[0-9]+|0+")

EPOCH = b"Thu, 01 Jan 1970 00:00:00 GMT"


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a browser keeps a cookie: what an expiring Set-Cookie must repeat to hit the same one."""

    domain: bytes = b""
    path: bytes = b""
    secure: bool = False
    partitioned: bool = False


@dataclass(frozen=True, slots=True)
class SetCookie:
    """One Set-Cookie field."""

    name: bytes
    value: bytes = field(repr=False)  # canonical
    scope: Scope
    is_deletion: bool


def parse_set_cookie(line: bytes) -> SetCookie:
    """Read one field value. Never fails: browsers accept anything."""
    pair, _, attributes = line.partition(b";")
    name, equals, value = pair.partition(b"=")
    if not equals:
        name, value = b"", name
    found = {}
    for attribute in attributes.split(b";"):
        key, _, text = attribute.partition(b"=")
        found[key.strip().lower()] = text.strip()
    scope = Scope(
        domain=found.get(b"domain", b""),
        path=found.get(b"path", b"") if found.get(b"path", b"").startswith(b"/") else b"",
        secure=b"secure" in found,
        partitioned=b"partitioned" in found,
    )
    value = canonical(value)
    return SetCookie(name.strip(), value, scope, not value or _is_past(found))


def expire(name: bytes, scope: Scope) -> bytes:
    """The Set-Cookie value that removes a cookie from the browser."""
    # Browsers refuse to let these names go without what the prefix promises (RFC 6265bis section 4.1.3).
    host_prefix, secure_prefix = name.lower().startswith(b"__host-"), name.lower().startswith(b"__secure-")
    parts = [b"%b=" % name, b"Path=%b" % (b"/" if host_prefix else scope.path or b"/")]
    if scope.domain and not host_prefix:
        parts.append(b"Domain=%b" % scope.domain)
    parts += [b"Expires=%b" % EPOCH, b"Max-Age=0", b"HttpOnly"]
    if scope.secure or host_prefix or secure_prefix:
        parts.append(b"Secure")
    if scope.partitioned:
        parts.append(b"Partitioned")
    return b"; ".join(parts)


def without(lines: Iterable[bytes], is_dropped: Callable[[bytes, bytes], bool]) -> bytes | None:
    """The Cookie header without the pairs that `is_dropped(name, pair)` names; None when nothing is left.

    Written anew as canonical pairs. What has a quote, an escape, a comma or an odd byte goes as well, and what comes
    after more pairs than a browser sends.
    """
    kept = []
    pairs = (pair for line in lines for pair in line.split(b";"))
    for pair in itertools.islice(pairs, MAX_PAIRS):
        name, equals, value = pair.strip(b" \t").partition(b"=")
        is_simple = equals and _SIMPLE_NAME.fullmatch(name) and _SIMPLE_VALUE.fullmatch(value)
        if is_simple and not is_dropped(name, pair):
            kept.append(b"%b=%b" % (name, value))
    return b"; ".join(kept) if kept else None


def _is_past(attributes: dict[bytes, bytes]) -> bool:
    age = attributes.get(b"max-age")
    if age is not None and _AGE.fullmatch(age):
        return _SPENT.fullmatch(age) is not None
    expires = attributes.get(b"expires")
    if not expires:
        return False
    try:
        when = email.utils.parsedate_to_datetime(expires.decode("latin-1").replace("-", " "))
    except (ValueError, OverflowError):  # not a date; a zone beyond all bounds
        return False
    return when.year <= 1971 or when.replace(tzinfo=when.tzinfo or dt.UTC) < _LONG_AGO


# A deletion is dated years back; comparing with a fixed day keeps the rules free of a clock.
_LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
