"""Whether a provider signed a token: algorithm pinned, keys of that issuer only, nothing taken from the header.

Used for logout tokens and, with `retired=True`, for session tokens. Claims are not judged here; that is
`core/logout_token.py` and the ID-token reader.
"""

from collections.abc import Iterable, Sequence

from joserfc.jwk import Key

from sidecar.core.claims import TokenError
from sidecar.oidc.provider import ProviderKeys
from sidecar.oidc.signature import (
    Jws,
    Verified,
    checked_algorithms,
    is_signed_by,
    parse,
    secret_key,
)


class UnknownKey(TokenError):
    """No key at hand fits the token; fresh keys may."""


class Verifier:
    """Verifies tokens of one provider.

    `verify_cached` never waits and is for the path of every request. `verify` may look for new keys once, within its
    budget. Both raise TokenError and nothing else, whatever the bytes.
    """

    def __init__(self, *, keys: ProviderKeys, algorithms: Iterable[str], client_secret: bytes | None = None) -> None:
        self._keys = keys
        self._algorithms = checked_algorithms(algorithms, has_secret=client_secret is not None)
        self._secret: tuple[Key, ...] = () if client_secret is None else (secret_key(client_secret),)

    def __repr__(self) -> str:
        return f"<Verifier {sorted(self._algorithms)} {self._keys!r}>"

    def verify_cached(self, token: str, *, retired: bool = False) -> Verified:
        """Verify with the keys at hand. Raises UnknownKey when fresh keys may help, else TokenError."""
        jws = parse(token)
        if jws.alg not in self._algorithms:  # cases L73-L85; BCL 2.6 (3), RFC 8725 section 3.1
            raise TokenError("alg_not_allowed", "alg is not among the provider's `algorithms`")
        if not is_signed_by(jws, self._candidates(jws, retired=retired)):
            if jws.kid is None and not self._secret_signs(jws):
                # The key may have changed without a name that would tell.
                raise UnknownKey("bad_signature", "no key of the provider made the signature")
            raise TokenError("bad_signature", "the signature is wrong")
        return Verified(jws.header, jws.unverified_claims())

    async def verify(self, token: str, *, retired: bool = False, budget_s: float = 0.5) -> Verified:
        """The same, with one renewal of the keys where that may help (Core 10.1.1, case L88)."""
        try:
            return self.verify_cached(token, retired=retired)
        except UnknownKey:
            await self._keys.renew(budget_s)
        return self.verify_cached(token, retired=retired)

    def problem(self) -> str | None:
        """What keeps this provider's tokens from being verified; None when nothing does."""
        if all(alg.startswith("HS") for alg in self._algorithms):
            return None
        if self._keys.is_loaded and not self._keys.has_key_for(self._algorithms):
            return "the provider has no key for any of `algorithms`"
        return self._keys.problem()

    def _candidates(self, jws: Jws, *, retired: bool) -> Sequence[Key]:
        if self._secret_signs(jws):
            return self._secret  # and never anything from the key set (case L76)
        keys = self._keys.candidates(jws.kid, jws.alg, retired=retired)
        if keys:
            return keys
        if not self._keys.is_loaded:
            raise UnknownKey("keys_unavailable", "the provider's keys have not been loaded")
        if jws.kid is None:
            raise UnknownKey("unknown_kid", "the token names no key, and the provider has none or several that fit")
        raise UnknownKey("unknown_kid", "the provider has no such key for this alg")

    @staticmethod
    def _secret_signs(jws: Jws) -> bool:
        return jws.alg.startswith("HS")


def unverified_issuer(token: str) -> str | None:
    """The `iss` that the token claims, to choose the provider whose keys will tell. Raises TokenError."""
    issuer = parse(token).unverified_claims().get("iss")
    return issuer if isinstance(issuer, str) else None
