"""A provider that is only a key: it signs ID tokens and logout tokens for sidecars that read its keys from a file."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

ISSUER, CLIENT = "https://idp.example.com", "mixed"
_EVENT = "http://schemas.openid.net/event/backchannel-logout"


class Signer:
    """One key."""

    def __init__(self, folder: Path) -> None:
        self._key = RSAKey.generate_key(2048, {"kid": "one", "use": "sig", "alg": "RS256"}, private=True)
        self.jwks = folder / "jwks.json"
        self.jwks.write_text(json.dumps({"keys": [self._key.as_dict(private=False)]}))

    def id_token(self, sid: str, *, issuer: str = ISSUER) -> str:
        now = int(time.time())
        return self._signed({"sub": "alice", "sid": sid, "iat": now, "exp": now + 3600, "iss": issuer})

    def logout_body(self, sid: str, *, issuer: str = ISSUER) -> bytes:
        """What the provider POSTs when a session ends."""
        now = int(time.time())
        claims = {"sid": sid, "iat": now, "exp": now + 120, "jti": uuid.uuid4().hex, "events": {_EVENT: {}}}
        claims["iss"] = issuer
        return f"logout_token={self._signed(claims)}".encode()

    def _signed(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "RS256", "kid": "one"}, {"iss": ISSUER, "aud": CLIENT, **claims}, self._key)
