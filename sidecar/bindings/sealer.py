"""Encryption for what a feature must keep or hand out and nobody else may read or make: AES-256-GCM, nothing else.

Not a store: it turns bytes into sealed bytes and back. The key is derived from the deployment's secret
(`store.secret`), with another purpose than the digests, so that neither tells anything about the other. What a sealed
text is about (a purpose and a name) is authenticated with it: moved to another place it cannot be opened.

While the secret is being changed, what was sealed with one of the others can be opened as well (decision 015).
"""

import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION = b"\x01"
# Random, and a key of its own for each name: NIST SP 800-38D section 8.3 allows 2^32 random nonces for one key.
_NONCE_BYTES = 12


class Sealer:
    """Seals with the first secret, opens with any."""

    __slots__ = ("_secrets",)

    def __init__(self, secret: bytes, others: Sequence[bytes] = ()) -> None:
        """Each at least 16 bytes."""
        if any(len(each) < 16 for each in (secret, *others)):
            raise ValueError("a secret to seal with needs at least 16 bytes")
        self._secrets = (secret, *others)

    def __repr__(self) -> str:
        return "<Sealer>"

    def seal(self, plain: bytes, *, purpose: bytes, name: bytes = b"") -> bytes:
        """`plain`, so that only `open` with the same purpose and name gives it back."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        key = _key(self._secrets[0], purpose, name)
        return _VERSION + nonce + key.encrypt(nonce, plain, _about(purpose, name))

    def open(self, sealed: bytes, *, purpose: bytes, name: bytes = b"") -> bytes | None:
        """What was sealed; None for anything that `seal` has not made with one of the secrets for this place."""
        nonce = sealed[1 : 1 + _NONCE_BYTES]
        if sealed[:1] != _VERSION or len(nonce) < _NONCE_BYTES:
            return None
        for secret in self._secrets:
            try:
                about = _about(purpose, name)
                return _key(secret, purpose, name).decrypt(nonce, sealed[1 + _NONCE_BYTES :], about)
            except InvalidTag:
                continue
        return None


def _key(secret: bytes, purpose: bytes, name: bytes) -> AESGCM:
    info = b"logout-sidecar sealed 1\0" + _about(purpose, name)
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret))


def _about(purpose: bytes, name: bytes) -> bytes:
    return len(purpose).to_bytes(2) + purpose + name
