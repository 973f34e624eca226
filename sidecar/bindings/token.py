"""Binder `token`: the browser's credential is a signed JWT of the provider, and it names its session itself.

The work of a request is one hash and one look-up: verification results are cached by the digest of the token's exact
bytes. Raw tokens are not kept. Sessions and refusals are remembered in separate maps, so that a flood of made-up tokens
cannot push out real ones, and refusals only for half a minute, because a key that is missing today may be published
tomorrow.

    read(token)       what is known without waiting: a Session, BadToken, NOT_OURS, or NEEDS_KEYS
    read_slow(token)  after NEEDS_KEYS, with a key refresh: a Session, BadToken, or UNDECIDED without the provider

A token that names a configured issuer and does not verify is bad, never merely unknown: an app that does not check
signatures would accept it.
"""

import base64
import enum
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from sidecar.core.claims import TokenError
from sidecar.core.identity import Session
from sidecar.oidc.id_token import Client, session_token
from sidecar.oidc.signature import Verified
from sidecar.oidc.verifier import UnknownKey, Verifier

REFUSAL_S = 30.0  # as long as the cool-down of a key refresh
_URL_SAFE = bytes.maketrans(b"-_", b"+/")


class Unread(enum.Enum):
    """Why a token names no session."""

    NOT_OURS = "not_ours"  # no JWT, or another issuer's: this binder has nothing to say
    NEEDS_KEYS = "needs_keys"  # ask `read_slow`
    UNDECIDED = "undecided"  # the provider's keys cannot be had now: 503


NOT_OURS: Final = Unread.NOT_OURS
NEEDS_KEYS: Final = Unread.NEEDS_KEYS
UNDECIDED: Final = Unread.UNDECIDED


@dataclass(frozen=True, slots=True)
class BadToken:
    """A token that claims to be ours and is not good: deny. `reason` is stable."""

    reason: str


Refusal = BadToken | Literal[Unread.NOT_OURS]
_Refused = TypeVar("_Refused", bound=Refusal)


class TokenBinder:
    """Reads session tokens of the configured issuers."""

    def __init__(
        self,
        verifiers: Mapping[str, Verifier],
        *,
        client_ids: Mapping[str, Collection[str]],
        audiences: Collection[str] = (),
        clock: Callable[[], float],
        capacity: int = 16_384,
    ) -> None:
        """`verifiers` and `client_ids` are by issuer; `audiences` are accepted besides the clients."""
        self._verifiers = verifiers
        self._clients = {
            issuer: Client(issuer, tuple(client_ids[issuer]), frozenset(audiences)) for issuer in verifiers
        }
        self._clock = clock
        self._capacity = capacity
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()
        self._refusals: OrderedDict[bytes, tuple[float, Refusal]] = OrderedDict()

    def read(self, token: bytes) -> Session | BadToken | Literal[Unread.NOT_OURS, Unread.NEEDS_KEYS]:
        """What the token is, without waiting."""
        key = _key(token)
        session = self._sessions.get(key)
        if session is not None:
            self._sessions.move_to_end(key)
            return session
        refused = self._refusals.get(key)
        if refused is not None and self._clock() < refused[0]:
            return refused[1]
        return self._read_new(key, token)

    async def read_slow(self, token: bytes) -> Session | BadToken | Literal[Unread.NOT_OURS, Unread.UNDECIDED]:
        """The same, with one renewal of the keys where that may help."""
        reading = self.read(token)
        if reading is not NEEDS_KEYS:
            return reading
        issuer = self._issuer_of(token)
        verifier = self._verifiers[issuer]
        try:
            verified = await verifier.verify(_text(token), retired=True)
            return self._accept(_key(token), issuer, verified)
        except UnknownKey as error:
            # Without the provider the token may be good, and it may be revoked. Not remembered: a later key may fit.
            return UNDECIDED if verifier.problem() else BadToken(error.reason)
        except TokenError as error:
            return self._refuse(_key(token), BadToken(error.reason))

    def _read_new(self, key: bytes, token: bytes) -> Session | Refusal | Literal[Unread.NEEDS_KEYS]:
        issuer = self._issuer_of(token)
        if not issuer:
            return self._refuse(key, NOT_OURS)
        try:
            return self._accept(key, issuer, self._verifiers[issuer].verify_cached(_text(token), retired=True))
        except UnknownKey:
            return NEEDS_KEYS
        except TokenError as error:
            return self._refuse(key, BadToken(error.reason))

    def _issuer_of(self, token: bytes) -> str:
        """The configured issuer that the token names, by anybody's reading; empty when it names none."""
        return next((name for name in unverified_issuers(token) if name in self._verifiers), "")

    def _accept(self, key: bytes, issuer: str, verified: Verified) -> Session:
        session = session_token(verified.header, verified.claims, client=self._clients[issuer])
        self._sessions[key] = session
        if len(self._sessions) > self._capacity:
            self._sessions.popitem(last=False)
        return session

    def _refuse(self, key: bytes, refusal: _Refused) -> _Refused:
        self._refusals[key] = (self._clock() + REFUSAL_S, refusal)
        self._refusals.move_to_end(key)
        if len(self._refusals) > self._capacity:
            self._refusals.popitem(last=False)
        return refusal


def unverified_issuers(token: bytes) -> Sequence[str]:
    """Every `iss` that a lenient app might read in the token: padded, unsigned, duplicate or in JSON form.

    Lenient on purpose: what looks like ours to anybody must then pass the strict verification.
    """
    payload = _payload(token)
    try:
        # A decoder that skips foreign characters, given more padding than it can need.
        claims = base64.b64decode(payload.translate(_URL_SAFE) + b"==")
        members = json.loads(claims, object_pairs_hook=list)
    except (ValueError, RecursionError):  # no JWT; a JWE, whose second segment is a key, ends here too
        return ()
    pairs = [member for member in members if isinstance(member, tuple)] if isinstance(members, list) else []
    return [value for name, value in pairs if name == "iss" and isinstance(value, str)]


def _payload(token: bytes) -> bytes:
    if token.startswith(b"{"):  # the JSON serialization, which some libraries accept in place of the compact one
        try:
            jws = json.loads(token)
            return str(jws["payload"]).encode()
        except (ValueError, KeyError, RecursionError):
            return b""
    segments = token.split(b".")
    return segments[1] if len(segments) > 1 else b""


def _text(token: bytes) -> str:
    return token.decode("latin-1")  # never fails; the verifier refuses what is not ASCII


def _key(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
