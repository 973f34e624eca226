"""ID tokens: the claims of a signed token in, a `Session` or a `TokenError` out.

Three readings of the same token. `login` is for a token that has just come from the token endpoint: the whole of OpenID
Connect Core 1.0 (errata 2) section 3.1.3.7, cited below as Core, one check per step. `front_login` is for one that came
through the browser, together with what it vouches for. `session_token` is for a token
that the browser carries as its session (binder `token`): its `exp` says nothing about the app's session and is not
read.

Signatures are checked before: `LoginReader` and `sidecar/bindings/token.py` ask a `Verifier` first. A logout token is
never taken for either. The text of an error never repeats what the token says, because that may be personal data.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sidecar.core.claims import MAX_ID_BYTES, TokenError
from sidecar.core.identity import Session
from sidecar.oidc.signature import Verified

_NUMERIC_DATE_END = 2**53  # beyond it a JSON number is not exact any more


class Verifier(Protocol):
    """One provider's keys (`verifier.py`)."""

    async def verify(self, token: str, *, retired: bool = False, budget_s: float = ...) -> Verified:
        """Check the signature, looking for new keys once; waits at most `budget_s`. Raises TokenError."""


@dataclass(frozen=True, slots=True)
class Client:
    """Whom a provider's tokens may be for: our clients, and other audiences that the operator listed."""

    issuer: str
    client_ids: tuple[str, ...]
    audiences: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LoginReader:
    """Reads the ID token of a token-endpoint answer. Bounded in time."""

    verifier: Verifier
    client: Client
    clock: Callable[[], float]  # wall time
    leeway: float = 60.0
    budget_s: float = 2.0  # less than an app waits for its token endpoint

    async def read(self, token: str) -> Session:
        """The session of this login; raises TokenError. Only keys in force: the provider has signed it just now."""
        verified = await self.verifier.verify(token, budget_s=self.budget_s)
        return login(verified.header, verified.claims, client=self.client, now=self.clock(), leeway=self.leeway)

    async def read_front(self, token: str, *, code: str | None, access_token: str | None) -> Session:
        """The same for a token that came through the browser, beside this code and this access token."""
        verified = await self.verifier.verify(token, budget_s=self.budget_s)
        session = login(verified.header, verified.claims, client=self.client, now=self.clock(), leeway=self.leeway)
        _check_hash(verified, "c_hash", code)  # Core 3.3.2.10
        _check_hash(verified, "at_hash", access_token)  # Core 3.2.2.9
        return session


def login(header: Mapping[str, Any], claims: object, *, client: Client, now: float, leeway: float) -> Session:
    """Core 3.1.3.7 for a token that was issued just now."""
    # (1) decryption: a token of five segments does not verify and never gets here.
    # (6) to (8), signature and alg: verified by the caller, with keys of the issuer only.
    mine = _own_claims(header, claims, client)  # (2)
    names = _audience(mine)
    client_id = _client_of(mine, names, client)
    _check_login_audience(mine, names, client_id, client)  # (3) to (5)
    _check_exp(mine, now, leeway)  # (9)
    issued_at = _required_date(mine, "iat")  # (10)
    if issued_at > now + leeway:
        raise TokenError("iat_in_future", "iat is in the future; mend the clocks or raise `leeway`")
    # (11) nonce: the app sent it in a request that we did not see, and the app compares it.
    # (12) acr and (13) auth_time: who asked for them checks them, and that is the app.
    if _identifier(mine, "sub") is None:
        raise TokenError("sub_missing", "an ID token has a sub")  # Core 2
    # No auth_time: a login by single sign-on after a logout would inherit a time before it.
    return _session(mine, client, client_id, issued_at, auth_time=None)


def session_token(header: Mapping[str, Any], claims: object, *, client: Client) -> Session:
    """The session that a token in the browser's hands names, expired or not."""
    mine = _own_claims(header, claims, client)
    names = _audience(mine)
    if not client.audiences.union(client.client_ids).intersection(names):
        raise TokenError("wrong_audience", "aud names neither our `client_id` nor one of `audiences`")
    issued_at = _required_date(mine, "iat")
    # A refreshed token keeps the sid and gets a new iat; only a later auth_time proves a later login.
    auth_time = _date(mine, "auth_time")
    return _session(mine, client, _client_of(mine, names, client), issued_at, auth_time)


def _check_hash(verified: Verified, name: str, beside: str | None) -> None:
    """A token that came through the browser vouches for what came with it; else anybody could put two logins together.

    Core requires the hashes there, so that one that is missing is as bad as one that is wrong.
    """
    if beside is None:
        return
    digest = hashlib.new(_hash_of(verified.header.get("alg")), beside.encode(errors="surrogatepass")).digest()
    expected = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if verified.claims.get(name) != expected:
        raise TokenError(f"wrong_{name}", f"{name} does not fit what came beside the ID token")


def _hash_of(alg: object) -> str:
    """The hash of a signature algorithm (Core 3.1.3.6). EdDSA names none; Ed25519 hashes with SHA-512 inside."""
    bits = str(alg)[-3:]
    return f"sha{bits}" if bits in ("256", "384", "512") else "sha512"


def _own_claims(header: Mapping[str, Any], claims: object, client: Client) -> dict[str, Any]:
    if not isinstance(claims, dict):
        raise TokenError("malformed", "the claims are not a JSON object")
    typ = header.get("typ")
    # RFC 7515 section 4.1.9: the prefix may be left out, case does not matter.
    if "events" in claims or (isinstance(typ, str) and typ.lower().removeprefix("application/") == "logout+jwt"):
        raise TokenError("logout_token", "a logout token is not a login")  # Back-Channel Logout 1.0 section 4.1
    if claims.get("iss") != client.issuer:  # Core 3.1.3.7 (2): byte by byte
        raise TokenError("wrong_issuer", "iss is not the configured issuer")
    return claims


def _audience(claims: dict[str, Any]) -> list[str]:
    audience = claims.get("aud")
    names = audience if isinstance(audience, list) else [audience]
    strings = [name for name in names if isinstance(name, str)]
    if not strings or len(strings) != len(names):
        raise TokenError("wrong_audience", "aud is missing, or is neither a string nor a list of strings")
    return strings


def _client_of(claims: dict[str, Any], names: list[str], client: Client) -> str:
    """The client whose logout ends this session; where aud leaves several, azp has to decide."""
    ours = [name for name in client.client_ids if name in names] or list(client.client_ids)
    if len(ours) == 1:
        return ours[0]
    azp = claims.get("azp")
    if isinstance(azp, str) and azp in ours:
        return azp
    raise TokenError("audience_ambiguous", "aud fits several of our clients and azp names none of them")


def _check_login_audience(claims: dict[str, Any], names: list[str], client_id: str, client: Client) -> None:
    if client_id not in names:  # (3)
        raise TokenError("wrong_audience", "aud does not name our `client_id`")
    issued_to_us = claims.get("azp") == client_id
    if "azp" in claims and not issued_to_us:  # (5)
        raise TokenError("wrong_azp", "azp is not our `client_id`")
    # (3) and (4): others in aud are trusted when the operator listed them, or when azp says that the token is ours.
    if not issued_to_us and not client.audiences.union(client.client_ids).issuperset(names):
        raise TokenError("untrusted_audience", "aud names others too, and there is no azp")


def _check_exp(claims: dict[str, Any], now: float, leeway: float) -> None:
    if now >= _required_date(claims, "exp") + leeway:  # RFC 7519 section 4.1.4: on or after exp, it is over
        raise TokenError("expired", "exp has passed; mend the clocks or raise `leeway`")
    not_before = _date(claims, "nbf")  # RFC 7519 section 4.1.5
    if not_before is not None and now + leeway < not_before:
        raise TokenError("not_yet_valid", "nbf is in the future; mend the clocks or raise `leeway`")


def _session(
    claims: dict[str, Any], client: Client, client_id: str, issued_at: float, auth_time: float | None
) -> Session:
    sid, sub = _identifier(claims, "sid"), _identifier(claims, "sub")
    if sid is None and sub is None:
        raise TokenError("no_sub_or_sid", "the token has neither sub nor sid")
    authenticated = None if auth_time is None else int(auth_time * 1000)
    return Session(client.issuer, client_id, sid, sub, int(issued_at * 1000), authenticated)


def _required_date(claims: dict[str, Any], name: str) -> float:
    value = _date(claims, name)
    if value is None:
        raise TokenError(f"{name}_missing", f"{name} is missing")
    return value


def _date(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    # bool is an int in Python. NaN fails every comparison, infinities and 10^4000 fail one.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _NUMERIC_DATE_END:
        raise TokenError("bad_claim", f"{name} is not a time")
    return value


def _identifier(claims: dict[str, Any], name: str) -> str | None:
    """A sid or sub under the limits of a logout token: what no logout could name is not a session."""
    value = claims.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise TokenError("bad_claim", f"{name} is not a string")
    try:
        length = len(value.encode())
    except UnicodeEncodeError as error:  # half a surrogate pair (trap A6)
        raise TokenError("bad_claim", f"{name} is not text") from error
    if length > MAX_ID_BYTES:
        raise TokenError("bad_claim", f"{name} is longer than {MAX_ID_BYTES} bytes")
    return value
