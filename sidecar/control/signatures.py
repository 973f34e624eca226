"""Signatures of messages: checked with the keys at hand, and for a few at a time with keys that have to be fetched."""

from sidecar.oidc.signature import Verified
from sidecar.oidc.verifier import UnknownKey, Verifier

KEYS_S = 0.5  # of the answer's second, at most, for a key that we do not know
MAX_WAITING = 64  # messages that wait for a key; nobody has to sign anything to make us wait


class Signatures:
    """Shared by all endpoints, so that all of them together wait for so many keys."""

    def __init__(self) -> None:
        self._waiting = 0

    async def verified(self, verifier: Verifier, encoded: str) -> Verified:
        """Header and claims, when the signature is right. Raises TokenError."""
        try:
            return verifier.verify_cached(encoded)
        except UnknownKey:
            if self._waiting >= MAX_WAITING:
                raise
        self._waiting += 1
        try:
            return await verifier.verify(encoded, budget_s=KEYS_S)
        finally:
            self._waiting -= 1
