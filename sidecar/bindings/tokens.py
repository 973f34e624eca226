"""The token of a login by which the provider can be asked whether its session still stands; only where that is on.

Encrypted like everything in clear (decision 030), under a digest made from that of the session, for its lifetime.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from sidecar import log
from sidecar.bindings.sealer import Sealer
from sidecar.bindings.vault import KeepingStore
from sidecar.core.identity import Digester, Session
from sidecar.core.provider_check import By
from sidecar.stores.interface import StoreError

_logger = logging.getLogger(__name__)

_PURPOSE: Final = b"token"
_ALIVE: Final = b"alive"
_ALIVE_S: Final = 30 * 24 * 3600
_MAX_CHARS: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class CheckToken:
    """A login and its token; `expires` is wall time in seconds, None where nobody said."""

    session: Session
    token: str = field(repr=False)  # empty: the login is over, and whoever knows cookies of it is to revoke them
    expires: float | None = None


class Tokens:
    """Tokens by session digest (`BoundSession.own`)."""

    def __init__(self, store: KeepingStore, sealer: Sealer, *, ttl_s: int) -> None:
        """`ttl_s` is how long a session may live."""
        self._store = store
        self._sealer = sealer
        self._ttl_s = ttl_s

    async def keep(self, own: bytes, token: CheckToken) -> None:
        """Keep a token; a later one of the same session takes its place. Raises StoreError."""
        plain = json.dumps(asdict(token)).encode()
        await self._store.put_sealed(_tag(own), self._sealer.seal(plain, purpose=_PURPOSE, name=own), self._ttl_s)

    async def find(self, own: bytes) -> CheckToken | None:
        """The token of a session. Raises StoreError."""
        sealed = await self._store.get_sealed(_tag(own))
        plain = self._sealer.open(sealed, purpose=_PURPOSE, name=own) if sealed is not None else None
        if plain is None:
            return None
        found: dict[str, Any] = json.loads(plain)
        return CheckToken(Session(**found["session"]), found["token"], found["expires"])

    async def forget(self, own: bytes) -> None:
        """The session is over. Raises StoreError."""
        await self._store.delete_sealed(_tag(own))

    async def note_alive(self, issuer: str) -> None:
        """This provider has called one of our tokens good: its word counts, in every process. Raises StoreError."""
        name = _tag(issuer.encode())
        await self._store.put_sealed(name, self._sealer.seal(b"", purpose=_ALIVE, name=name), _ALIVE_S)

    async def was_alive(self, issuer: str) -> bool:
        """Whether it ever did. Raises StoreError."""
        name = _tag(issuer.encode())
        sealed = await self._store.get_sealed(name)
        return sealed is not None and self._sealer.open(sealed, purpose=_ALIVE, name=name) is not None


class TokenKeeper:
    """Keeps the token of each login that the relay sees. A login never fails because of it."""

    def __init__(self, tokens: Tokens, digester: Digester, *, by: By, now: Callable[[], float]) -> None:
        """`now` is wall time."""
        self._tokens = tokens
        self._digester = digester
        self._by = by
        self._now = now

    async def __call__(self, session: Session, answer: Mapping[str, Any]) -> None:
        """The token endpoint's answer to a verified login."""
        token = token_of(self._by, answer, self._now())
        if token is None:
            log.event(_logger, logging.WARNING, "login_not_kept", reason="token_missing")
            return
        try:
            await self._tokens.keep(self._digester.bound(session).own, replace(token, session=session))
        except StoreError as error:
            log.event(_logger, logging.WARNING, "login_not_kept", reason=error.reason)

    async def forget(self, own: bytes) -> None:
        """The session is over. Raises StoreError."""
        await self._tokens.forget(own)


_NOBODY: Final = Session("", "", None, None, 0)


def token_of(by: By, answer: Mapping[str, Any], now: float, session: Session = _NOBODY) -> CheckToken | None:
    """The token to ask with, out of a token endpoint's answer; None where there is none."""
    token = answer.get("refresh_token" if by == "refresh" else "access_token")
    kind = answer.get("token_type")
    if by == "userinfo" and isinstance(kind, str) and kind.lower() != "bearer":  # a DPoP token is no bearer token
        return None
    if not isinstance(token, str) or not 0 < len(token) <= _MAX_CHARS:
        return None
    lifetime = answer.get("expires_in")
    is_told = isinstance(lifetime, int | float) and not isinstance(lifetime, bool) and 0 < lifetime < 2**40
    return CheckToken(session, token, now + lifetime if is_told and lifetime is not None else None)


def _tag(own: bytes) -> bytes:
    """Where it stands in the store, apart from what else is kept of the session."""
    return hashlib.blake2b(own, digest_size=16, person=b"lgsc-token").digest()
