"""A provider's key set: imported key by key, selected by `kid` and algorithm. Values only, no I/O, no clock.

RFC 7517 section 5 wants keys that one does not understand ignored. joserfc fails the whole set for some of
them, so each JWK is imported alone, and what cannot verify a signature is left out with its reason.
"""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey

from sidecar.oidc.signature import is_usable

MAX_KEYS = 256
MAX_CANDIDATES = 4  # keys that share a kid: each costs a signature check
MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
_KEY_TYPES = (RSAKey.key_type, ECKey.key_type, OKPKey.key_type)  # never `oct`: a public secret is none


KeyId = tuple[str | None, str | None, str]  # kid, alg, RFC 7638 thumbprint: one key may be published under two kids


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one issuer. `skipped` counts the JWKs that were left out, by reason."""

    keys: Mapping[KeyId, Key]
    skipped: Mapping[str, int] = field(default_factory=dict)

    def candidates(self, kid: str | None, alg: str) -> Sequence[Key]:
        """The keys that may have signed. Without a kid the choice must be unambiguous (Core 10.1)."""
        usable = [key for key in self.keys.values() if kid in (None, key.kid) and is_usable(key, alg)]
        if kid is None and len(usable) > 1:
            return ()
        return usable[:MAX_CANDIDATES]


EMPTY = KeySet({})


def import_keys(document: object) -> KeySet:
    """Every usable key of a JWKS document; an empty set when there is none (case L232)."""
    jwks = document.get("keys") if isinstance(document, dict) else None
    keys: dict[KeyId, Key] = {}
    skipped: Counter[str] = Counter()
    for jwk in jwks[:MAX_KEYS] if isinstance(jwks, list) else ():
        key = _import(jwk)
        if isinstance(key, str):
            skipped[key] += 1
        else:
            keys[key.kid, key.alg, key.thumbprint()] = key
    return KeySet(keys, skipped)


def _import(jwk: object) -> Key | str:
    """One key, or why it is left out."""
    if not isinstance(jwk, dict):
        return "malformed"
    if jwk.get("kty") not in _KEY_TYPES:  # node-oidc-provider publishes `AKP`
        return "unknown_type"
    if "d" in jwk:  # published for everybody to sign with
        return "private"
    if jwk.get("use", "sig") != "sig":  # case L92
        return "not_for_signatures"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # short RSA keys are refused below
            key = JWKRegistry.import_key(jwk)
    except (JoseError, ValueError, TypeError, KeyError, UnsupportedAlgorithm):
        return "malformed"
    return _weakness(key) or key


def _weakness(key: Key) -> str | None:
    if isinstance(key, RSAKey) and key.public_key.key_size < MIN_RSA_BITS:
        return "too_short"
    if isinstance(key, OKPKey) and key.curve_name not in ("Ed25519", "Ed448"):  # X25519 agrees on keys, no more
        return "not_for_signatures"
    ops: Any = key.get("key_ops")
    return "not_for_signatures" if ops is not None and "verify" not in ops else None
