"""What every signed statement is read with: strict JSON, times, identifiers, and the error for a wrong one.

Used for logout tokens, security events, admin messages and ID tokens alike. Says nothing about what a statement means:
each kind has a module of its own that decides which of these checks it needs, in which order.
The text of an error never repeats what a token says, because that may be personal data.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from sidecar.errors import SidecarError

MAX_ID_BYTES = 1024  # case L178: OpenID Connect Core allows 255 characters, the field more
_NUMERIC_DATE_END = 2**53  # beyond it a JSON number is not exact any more


class TokenError(SidecarError):
    """A token that a peer sent is wrong."""


def decode_json(raw: bytes) -> Any:
    """The JSON value in `raw`, read strictly: two readers of the same bytes can never disagree about it."""
    try:
        # Decoded here because `json` would guess UTF-16 and skip a byte order mark (case L62).
        value = json.loads(raw.decode(), object_pairs_hook=_members, parse_constant=_refuse_constant)
        if b"\\u" in raw:
            # Only an escape can hold half a surrogate pair, which no later `encode` would survive (trap A6).
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # the depth is bounded by the interpreter
        raise TokenError("malformed", "not valid JSON in UTF-8") from error
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):  # RFC 7519 section 4, RFC 7515 section 4, cases L64 and L65
        raise TokenError("malformed", "a JSON object names a member twice")
    return members


def _refuse_constant(_name: str) -> NoReturn:
    raise TokenError("malformed", "NaN and Infinity are not JSON")  # RFC 8259 section 6


def numeric_date(claims: Mapping[str, Any], name: str) -> float | None:
    """A time, or None when it is absent; null counts as absent for none but the required claims' own errors."""
    value = claims.get(name)
    if value is None:
        return None
    # bool is an int in Python. NaN fails every comparison, infinities and 10^4000 fail one (case L139).
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _NUMERIC_DATE_END:
        raise TokenError("bad_claim", f"{name} is not a time")
    return float(value)


def identifier(claims: Mapping[str, Any], name: str) -> str | None:
    """A sid or sub. Null and the empty string count as absent: serializers write both (cases L170 and L172)."""
    value = claims.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):  # case L173
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


# -- checks that several kinds of statement share


def check_algorithm(header: Mapping[str, Any], algorithms: Collection[str]) -> None:
    """The signature algorithm is one that was chosen here, never the header's choice, never none (RFC 8725 3.1)."""
    alg = header.get("alg")
    if not isinstance(alg, str) or alg not in algorithms or alg.lower() == "none":
        raise TokenError("alg_not_allowed", "alg is not among the provider's `algorithms`")


def check_issuer(claims: Mapping[str, Any], issuer: str) -> None:
    """Exactly the issuer, trailing slash and port included."""
    if claims.get("iss") != issuer:
        raise TokenError("wrong_issuer", "iss is not the configured issuer")


def audiences(claims: Mapping[str, Any]) -> list[str]:
    """All that `aud` names."""
    audience = claims.get("aud")
    names: list[Any] = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(name, str) for name in names):
        raise TokenError("wrong_audience", "aud is missing, or is neither a string nor a list of strings")
    return names


def issue_time(claims: Mapping[str, Any], *, leeway: float, max_age: float, now: float) -> float:
    """When it was made, in seconds; neither in the future nor too long ago."""
    issued_at = numeric_date(claims, "iat")
    if issued_at is None:
        raise TokenError("iat_missing", "iat is missing")
    if issued_at > now + leeway:
        raise TokenError("iat_in_future", "iat is in the future; mend the clocks or raise `leeway`")
    if now - issued_at > max_age:
        raise TokenError("iat_too_old", "iat is too long ago; `max_age` bounds it")
    return issued_at


def refuse_expired(expires: float, *, leeway: float, now: float) -> None:
    """RFC 7519 section 4.1.4: on or after exp, it is over (case L142)."""
    if now >= expires + leeway:
        raise TokenError("expired", "exp has passed; mend the clocks or raise `leeway`")


def check_nbf(claims: Mapping[str, Any], *, leeway: float, now: float) -> None:
    """RFC 7519 section 4.1.5."""
    not_before = numeric_date(claims, "nbf")
    if not_before is not None and now + leeway < not_before:
        raise TokenError("not_yet_valid", "nbf is in the future; mend the clocks or raise `leeway`")


def jti_of(claims: Mapping[str, Any], name: str = "jti") -> str:
    """The name of the statement itself."""
    jti = claims.get(name)
    if not isinstance(jti, str) or not jti:
        raise TokenError("jti_missing", f"{name} is missing or not a string")
    encoded(jti, name)
    return jti
