"""The tokens of the demo's provider: its signing key, ID tokens and logout tokens.

Keys are made at start and die with the process.
"""

import secrets

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

ALGORITHM = "RS256"
ID_TOKEN_LIFETIME_S = 300
LOGOUT_TOKEN_LIFETIME_S = 120  # Back-Channel Logout 1.0 section 4 asks for at most two minutes
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"


class TokenSigner:
    """Signs in the name of one issuer."""

    def __init__(self, *, issuer: str) -> None:
        self._issuer = issuer
        self._key = RSAKey.generate_key(2048, auto_kid=True)

    def jwks(self) -> dict[str, object]:
        """The public half, as a JWK set."""
        return {"keys": [{**self._key.as_dict(private=False), "use": "sig", "alg": ALGORITHM}]}

    def id_token(self, *, client_id: str, sub: str, sid: str, nonce: str, auth_time: int, now: int) -> str:
        """Who logged in, and in which session (OpenID Connect Core 1.0 section 2)."""
        claims = {
            "iss": self._issuer,
            "sub": sub,
            "aud": client_id,
            "iat": now,
            "exp": now + ID_TOKEN_LIFETIME_S,
            "auth_time": auth_time,
            "sid": sid,
        }
        return self._sign("JWT", claims | ({"nonce": nonce} if nonce else {}))

    def logout_token(self, *, client_id: str, sub: str, sid: str, now: int) -> str:
        """That the session is over (Back-Channel Logout 1.0 section 2.4)."""
        claims = {
            "iss": self._issuer,
            "sub": sub,
            "aud": client_id,
            "iat": now,
            "exp": now + LOGOUT_TOKEN_LIFETIME_S,
            "jti": secrets.token_urlsafe(16),
            "sid": sid,
            "events": {LOGOUT_EVENT: {}},
        }
        return self._sign("logout+jwt", claims)

    def hint(self, id_token: str) -> tuple[str, str] | None:
        """Client and sid of an ID token that this provider issued, expired or not; None for anything else."""
        try:
            claims = jwt.decode(id_token, self._key, algorithms=[ALGORITHM]).claims
        except (JoseError, ValueError):
            return None
        return str(claims.get("aud")), str(claims.get("sid"))

    def _sign(self, kind: str, claims: dict[str, object]) -> str:
        return jwt.encode({"alg": ALGORITHM, "typ": kind, "kid": self._key.kid}, claims, self._key)
