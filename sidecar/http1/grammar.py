"""The terminals of HTTP/1.1, as byte patterns. Always used with `fullmatch`: `$` would admit a trailing newline."""

import ipaddress
import re

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 section 5.6.2

# Exactly one space between the parts, no fragment, visible ASCII only (RFC 9112 section 3). llhttp is laxer.
REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21\x22\x24-\x7e]+) HTTP/1\.([01])")

ORIGIN_FORM = re.compile(rb"/[\x21\x22\x24-\x7e]*")  # what nearly every request line has

# RFC 9110 section 8.6. On bytes: `\d` of a str also matches Arabic digits. 18 digits stay below 2^63.
CONTENT_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")

# RFC 9110 section 7.2: host and optional port. No userinfo, no list, never empty.
HOST = re.compile(rb"(?:[0-9A-Za-z\-._~!$&'()*+;=%]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")

ABSOLUTE_FORM = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#]*)(.*)")

CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")  # 15 hex digits stay below 2^63
CHUNK_START = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
# RFC 9112 section 7.1.1. Quoted strings may hold what two parsers split differently, so only tokens are let pass.
CHUNK_EXTENSION = re.compile(rb"(?:;[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?:=[!#$%&'*+\-.^_`|~0-9A-Za-z]*)?)*")

# Possessive: a blank is either before the value or in it, and trying both takes time with the square of the length.
FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*+([^\x00-\x08\x0a-\x1f\x7f]*+)")

# Everything but control characters: deleting these from a clean head leaves its line ends.
_VISIBLE = bytes(code for code in range(256) if (code >= 0x20 and code != 0x7F) or code == 0x09)
_LINE_ENDS = [b"\r\n" * count for count in range(256)]


def join_head(lines: list[bytes]) -> bytes | None:
    """The head made of these lines and an empty one; None when a line holds a control character or a line end.

    The last check before the wire: whatever went wrong earlier, nothing can add a line (reference case 13).
    """
    lines += (b"", b"")
    head = b"\r\n".join(lines)
    ends = len(lines) - 1
    left = head.translate(None, _VISIBLE)
    return head if left == (_LINE_ENDS[ends] if ends < 256 else b"\r\n" * ends) else None


_FRAMING = re.compile(
    rb"\n(?:[Cc][Oo][Nn][Tt][Ee][Nn][Tt][-_][Ll][Ee][Nn][Gg][Tt][Hh]"
    rb"|[Tt][Rr][Aa][Nn][Ss][Ff][Ee][Rr][-_][Ee][Nn][Cc][Oo][Dd][Ii][Nn][Gg])[ \t]*:"
)  # spelled out: with IGNORECASE the search is three times as slow


def has_framing(head: bytes) -> bool:
    """Whether a field of this (joined) head frames the message. The framing is added behind this check, once."""
    return _FRAMING.search(head) is not None


def is_host(value: bytes) -> bool:
    """Whether this is a host and perhaps a port. An address in brackets is one, without a zone (RFC 3986 3.2.2)."""
    if HOST.fullmatch(value) is None:
        return False
    if value[:1] != b"[":
        return True
    try:
        ipaddress.IPv6Address(value[1 : value.index(b"]")].decode())
    except ValueError:
        return False
    return True


def tokens(value: bytes) -> list[bytes]:
    """The members of a comma-separated list, lower case, without blanks and empty members."""
    return [part for part in (member.strip(b" \t").lower() for member in value.split(b",")) if part]
