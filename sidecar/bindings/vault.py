"""What a feature must keep of a session in clear, encrypted: for the session that it belongs to, and for its lifetime.

Everything else that the sidecar keeps is a digest (promise 7). An `id_token_hint`, or the account and session of
a provider's API, cannot be made from digests. So where such a feature is on, and only then, the vault keeps what it
needs of each login: sealed (`sealer.py`), under the digest that names the session, as long as the session may live. It
is a convenience of logouts and no part of enforcement: what it has lost denies and allows nothing.
"""

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from sidecar import log
from sidecar.bindings.sealer import Sealer
from sidecar.core.claims import TokenError
from sidecar.core.identity import Digester, Session
from sidecar.oidc.signature import parse
from sidecar.stores.interface import StoreError

_logger = logging.getLogger(__name__)

_PURPOSE = b"session"
_MAX_CLAIM_CHARS = 1024
_NOT_ID_TOKENS = frozenset(("at+jwt", "bearer"))  # RFC 9068 section 2.1; the claim `typ` of Keycloak's access tokens


class KeepingStore(Protocol):
    """The part of a store that keeps sealed values and claims. All methods may raise StoreError."""

    async def put_sealed(self, name: bytes, value: bytes, ttl: int) -> None: ...

    async def get_sealed(self, name: bytes) -> bytes | None: ...

    async def delete_sealed(self, name: bytes) -> None: ...

    async def claim(self, name: bytes, ttl: int) -> bool: ...


@dataclass(frozen=True, slots=True)
class Kept:
    """One login in clear, as far as it is needed. It shows nothing of itself."""

    session: Session
    id_token: str | None = field(default=None, repr=False)
    claims: Mapping[str, str] = field(default_factory=dict, repr=False)

    def claim(self, name: str) -> str | None:
        """A claim of the login that was asked for, where it is text."""
        own = {"sub": self.session.sub, "sid": self.session.sid}
        return own[name] if name in own else self.claims.get(name)


class Keeper:
    """What has to be kept of a login: whether the ID token, and which claims beside `sub` and `sid`."""

    def __init__(self, *, id_token: bool, claims: Collection[str] = ()) -> None:
        self._id_token = id_token
        self._claims = frozenset(claims) - {"sub", "sid"}

    def of(self, session: Session, token: str) -> Kept:
        """What is kept of a verified token. One that is no ID token names its session and is not kept itself."""
        jws = parse(token)
        claims = jws.unverified_claims()  # the caller has verified it
        found = {name: claims[name] for name in self._claims if _is_short_text(claims.get(name))}
        is_kept = self._id_token and _is_id_token(jws.header, claims, session)
        return Kept(session, token if is_kept else None, found)


class Vault:
    """Keeps logins by session digest (`BoundSession.own`)."""

    def __init__(self, store: KeepingStore, sealer: Sealer, *, ttl_s: int) -> None:
        """`ttl_s` is how long a session may live."""
        self._store = store
        self._sealer = sealer
        self._ttl_s = ttl_s

    async def keep(self, name: bytes, kept: Kept) -> None:
        """Keep a login; a later one of the same session takes its place. Raises StoreError."""
        plain = json.dumps(asdict(kept)).encode()
        await self._store.put_sealed(name, self._sealer.seal(plain, purpose=_PURPOSE, name=name), self._ttl_s)

    async def find(self, name: bytes) -> Kept | None:
        """What is kept of a session; None when nothing is, or it was sealed with an unknown secret.

        Raises StoreError.
        """
        sealed = await self._store.get_sealed(name)
        if sealed is None:
            return None
        plain = self._sealer.open(sealed, purpose=_PURPOSE, name=name)
        if plain is None:
            log.event(_logger, logging.WARNING, "kept_login_unreadable")
            return None
        found: dict[str, Any] = json.loads(plain)
        return Kept(Session(**found["session"]), found["id_token"], found["claims"])

    async def forget(self, name: bytes) -> None:
        """The session is over. Raises StoreError."""
        await self._store.delete_sealed(name)


class LoginKeeper:
    """Keeps the logins that the relay sees. A login never fails because nothing could be kept of it."""

    def __init__(self, vault: Vault, keeper: Keeper, digester: Digester) -> None:
        self._vault = vault
        self._keeper = keeper
        self._digester = digester

    async def __call__(self, session: Session, id_token: str) -> None:
        """A verified login."""
        try:
            await self._vault.keep(self._digester.bound(session).own, self._keeper.of(session, id_token))
        except (StoreError, TokenError) as error:
            log.event(_logger, logging.WARNING, "login_not_kept", reason=error.reason)


def _is_short_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_CLAIM_CHARS


def _is_id_token(header: Mapping[str, Any], claims: Mapping[str, Any], session: Session) -> bool:
    """Whether a provider would take it for an ID token of this client (RP-Initiated Logout 1.0 section 2)."""
    audience = claims.get("aud")
    names = audience if isinstance(audience, list) else [audience]
    kinds = (header.get("typ"), claims.get("typ"))
    texts = {kind.lower().removeprefix("application/") for kind in kinds if isinstance(kind, str)}
    return session.client_id in names and not texts & _NOT_ID_TOKENS
