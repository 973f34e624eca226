"""Sessions, and the tokens that prove and end them: signed here, verified by the sidecars with the same keys."""

import itertools
import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey

ISSUER, CLIENT = "https://idp.example.com", "legacy-app"
LOGIN_AGO, LOGOUT_AGO, LATER_AGO = 10, 5, 2  # seconds: every logout ends the first logins and not the later one


@dataclass(frozen=True, slots=True)
class Session:
    """One login; `name` is what the app answers."""

    name: str
    request: bytes


@dataclass(frozen=True, slots=True)
class Person:
    """Three logins: the first and another at the same time, and a later one under the same sid as the first."""

    name: str
    first: Session
    other: Session
    later: Session

    @property
    def sessions(self) -> tuple[Session, ...]:
        return self.first, self.other, self.later


class Signer:
    """The provider's key."""

    def __init__(self, folder: Path) -> None:
        self._key = ECKey.generate_key("P-256", {"kid": "chaos", "use": "sig", "alg": "ES256"}, private=True)
        self.jwks_file = folder / "jwks.json"
        self.jwks_file.write_text(json.dumps({"keys": [self._key.as_dict(private=False)]}))

    def people(self) -> Iterator[Person]:
        """New people for ever."""
        for number in itertools.count():
            yield Person(
                f"p{number}",
                self._session(f"p{number}", "a", LOGIN_AGO),
                self._session(f"p{number}", "b", LOGIN_AGO),
                self._session(f"p{number}", "a", LATER_AGO),
            )

    def logout(self, person: Person, random: Random) -> tuple[bytes, frozenset[str]]:
        """The body of a logout, and the sessions that it ends."""
        sid, sub = f"{person.name}-a", person.name
        names = random.choice(({"sid": sid}, {"sid": sid, "sub": sub}, {"sub": sub}))
        ended = [person.first] if "sid" in names else [person.first, person.other]
        claims = {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}, **names}
        return b"logout_token=" + self._sign(LOGOUT_AGO, **claims), frozenset(each.name for each in ended)

    def _session(self, person: str, sid: str, ago: int) -> Session:
        name = f"{person}-{sid}-{ago}"
        token = self._sign(ago, sub=person, sid=f"{person}-{sid}", jti=name)
        request = b"GET / HTTP/1.1\r\nHost: app.example\r\nCookie: id_token=" + token + b"\r\n\r\n"
        return Session(name, request)

    def _sign(self, ago: int, **claims: Any) -> bytes:
        now = int(time.time())
        whole = {"iss": ISSUER, "aud": CLIENT, "iat": now - ago, "exp": now + 100, "jti": str(uuid.uuid4()), **claims}
        return jwt.encode({"alg": "ES256", "kid": "chaos"}, whole, self._key, algorithms=["ES256"]).encode()
