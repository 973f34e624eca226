"""What every signed statement is read with: strict JSON, times, identifiers, and the error for a wrong one.

Used for logout tokens, security events, admin messages and ID tokens alike. Says nothing about what a statement means.
The text of an error never repeats what a token says, because that may be personal data.
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from sidecar.errors import SidecarError

MAX_ID_BYTES = 1024  # case 178: OpenID Connect Core allows 255 characters, the field more
_NUMERIC_DATE_END = 2**53  # beyond it a JSON number is not exact any more


class TokenError(SidecarError):
    """A token that a peer sent is wrong."""


def decode_json(raw: bytes) -> Any:
    """The JSON value in `raw`, read strictly: two readers of the same bytes can never disagree about it."""
    try:
        # Decoded here because `json` would guess UTF-16 and skip a byte order mark (case 62).
        value = json.loads(raw.decode(), object_pairs_hook=_members, parse_constant=_refuse_constant)
        if b"\\u" in raw:
            # Only an escape can hold half a surrogate pair, which no later `encode` would survive (trap A6).
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # trap J4: the depth is bounded by the interpreter
        raise TokenError("malformed", "not valid JSON in UTF-8") from error
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):  # RFC 7519 section 4, RFC 7515 section 4; trap J13, cases 64 and 65
        raise TokenError("malformed", "a JSON object names a member twice")
    return members


def _refuse_constant(_name: str) -> NoReturn:
    raise TokenError("malformed", "NaN and Infinity are not JSON")  # RFC 8259 section 6; trap J1


def numeric_date(claims: Mapping[str, Any], name: str) -> float | None:
    """A time, or None when it is absent; null counts as absent for none but the required claims' own errors."""
    value = claims.get(name)
    if value is None:
        return None
    # bool is an int in Python. NaN fails every comparison, infinities and 10^4000 fail one (trap J1, case 139).
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _NUMERIC_DATE_END:
        raise TokenError("bad_claim", f"{name} is not a time")
    return float(value)


def identifier(claims: Mapping[str, Any], name: str) -> str | None:
    """A sid or sub. Null and the empty string count as absent: serializers write both (cases 170 and 172)."""
    value = claims.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):  # case 173
        raise TokenError("bad_claim", f"{name} is not a string")
    if len(encoded(value, name)) > MAX_ID_BYTES:
        raise TokenError("bad_claim", f"{name} is longer than {MAX_ID_BYTES} bytes")
    return value


def encoded(value: str, name: str) -> bytes:
    """The text as bytes; TokenError for what is no text."""
    try:
        return value.encode()
    except UnicodeEncodeError as error:  # half a surrogate pair (trap A6)
        raise TokenError("bad_claim", f"{name} is not text") from error
