"""Compact JWS: strict parsing, and one signature against one key. No I/O, no cache, no choice of keys.

joserfc supplies the algorithms and imports the keys. Its `jwt` and `jws.deserialize_compact` are not used: they read
the header with rules of their own that let too much through (decision 008). What is left of the serialization is small
enough to be obviously right: three base64url segments, a JSON header, and a signature over the first two segments.
"""

import base64
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import Key, OctKey
from joserfc.jws import JWSRegistry

from sidecar.core.claims import TokenError, decode_json

MAX_TOKEN_CHARS = 64 * 1024
MAX_HEADER_CHARS = 12 * 1024  # leaves room for an `x5c` chain, which joserfc would refuse
MAX_KID_CHARS = 1024  # case L94
MAX_SIGNATURE_CHARS = 4096  # RSA with 16384 bits needs 2731

ALGORITHMS: Final = frozenset(JWSRegistry.algorithms) - {"none"}


class Verified(NamedTuple):
    """Header and claims of a token whose signature is right. Nothing else about it has been checked."""

    header: dict[str, Any]
    claims: dict[str, Any]

    def __repr__(self) -> str:
        return "<Verified>"  # claims name a person


@dataclass(frozen=True, slots=True)
class Jws:
    """A well-formed token whose signature nobody has checked yet. `alg` and `kid` are only its own words."""

    header: dict[str, Any] = field(repr=False)
    alg: str
    kid: str | None
    payload: bytes = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    def unverified_claims(self) -> dict[str, Any]:
        """The claims as they stand. Trust them only after `is_signed_by`."""
        claims = decode_json(self.payload)
        if not isinstance(claims, dict):
            raise TokenError("malformed", "the claims are not a JSON object")
        return claims


def parse(token: str) -> Jws:
    """Take a compact JWS apart; raises TokenError for everything that is not exactly one."""
    segments = _segments(token)
    header = decode_json(_decode(segments[0]))
    if not isinstance(header, dict):  # case L58
        raise TokenError("malformed", "the header is not a JSON object")
    if "crit" in header or "b64" in header:
        # RFC 7515 section 4.1.11, RFC 7797 section 7: we understand no extension (cases L100-L103).
        raise TokenError("malformed", "crit and b64 in the header are not supported")
    return Jws(
        header=header,
        alg=_alg(header),
        kid=_kid(header),
        payload=_decode(segments[1]),
        signing_input=segments[0] + b"." + segments[1],
        signature=_decode(segments[2]),
    )


def is_signed_by(jws: Jws, keys: Iterable[Key]) -> bool:
    """Whether one of the keys made the signature. The caller has checked that `jws.alg` is allowed."""
    algorithm = JWSRegistry.algorithms[jws.alg]
    try:
        return any(algorithm.verify(jws.signing_input, jws.signature, key) for key in keys)
    except JoseError:  # a key that this algorithm cannot use after all
        return False


def is_usable(key: Key, alg: str) -> bool:
    """Whether the key is of the type, curve, use and `alg` that the algorithm needs (cases L76, L83 and L92)."""
    try:
        JWSRegistry.algorithms[alg].check_key(key)
        key.check_key_op("verify")
    except JoseError:
        return False
    return True


def secret_key(secret: bytes) -> Key:
    """The key of the HS algorithms. Raises ValueError for an empty secret or a public key (case L76)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # providers choose the length of client secrets, not we
        return OctKey.import_key(secret)


def checked_algorithms(names: Iterable[str], *, has_secret: bool) -> frozenset[str]:
    """The algorithms to pin. Raises ValueError: an empty list would mean joserfc's own choice (case L85)."""
    algorithms = frozenset(names)
    if not algorithms or not algorithms <= ALGORITHMS:  # `none` is not among them (case L74)
        raise ValueError(f"algorithms must be some of {', '.join(sorted(ALGORITHMS))}")
    if not has_secret and any(name.startswith("HS") for name in algorithms):
        raise ValueError("the HS algorithms need client_secret")
    return algorithms


def _segments(token: str) -> tuple[bytes, bytes, bytes]:
    if len(token) > MAX_TOKEN_CHARS or not token.isascii():
        raise TokenError("malformed", "not a token in compact form")
    segments = token.encode("ascii").split(b".")
    if len(segments) == 5:  # a JWE (case L46)
        raise TokenError("encrypted", "the token is encrypted; configure the provider to sign only")
    if len(segments) != 3:
        raise TokenError("malformed", "a token has three segments")
    header, payload, signature = segments
    if not header or not payload:  # detached content (RFC 7515 appendix F, case L61)
        raise TokenError("malformed", "a segment of the token is empty")
    if len(header) > MAX_HEADER_CHARS or len(signature) > MAX_SIGNATURE_CHARS:
        raise TokenError("malformed", "a segment of the token is too long")
    return header, payload, signature


def _decode(segment: bytes) -> bytes:
    """Base64url without padding, canonical: encoding the result gives the segment again (RFC 7515 section 2).

    Anything else would give one signed token many spellings, and a revoked one must not change its looks.
    """
    try:
        raw = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4))
    except ValueError as error:
        raise TokenError("malformed", "a segment is not base64url") from error
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != segment:
        raise TokenError("malformed", "a segment is not canonical base64url")
    return raw


def _alg(header: Mapping[str, Any]) -> str:
    alg = header.get("alg")
    if not isinstance(alg, str):  # case L73
        raise TokenError("alg_not_allowed", "the header has no alg")
    return alg


def _kid(header: Mapping[str, Any]) -> str | None:
    """The key's name. It is only ever compared (RFC 8725 section 3.10); `jku`, `x5u`, `jwk` are never read."""
    kid = header.get("kid")
    if kid is None:
        return None
    if not isinstance(kid, str) or len(kid) > MAX_KID_CHARS:  # case L94
        raise TokenError("malformed", "kid is not a short string")
    return kid
