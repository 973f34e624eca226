"""Logout tokens: the claims of a signed token in, a `LogoutToken` or a `TokenError` out.

Implements section 2.6 of OpenID Connect Back-Channel Logout 1.0 incorporating errata set 1 (15 December 2023), cited
below as BCL, one check per step, in the order of the specification. Steps 1 and 2 (decryption, signature) belong to
`sidecar/oidc`: whoever calls `validate` has verified the signature with a key of the issuer. Nothing is stored here and
nothing is changed: a token is either valid as a whole or it never happened.

A `TokenError` has a stable `reason`, and a text that names the switch under `providers[].logout_token` that would help.
The text never repeats what the token says, because that may be personal data.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sidecar.core.claims import (
    TokenError,
    audiences,
    check_algorithm,
    check_issuer,
    check_nbf,
    identifier,
    issue_time,
    jti_of,
    numeric_date,
    refuse_expired,
)
from sidecar.core.revocation import Logout

EVENT = "http://schemas.openid.net/event/backchannel-logout"  # BCL 2.4: compared byte by byte (case L158)
NO_EXP_LIFETIME_S = 300  # with `require_exp: false`, how long a token without exp is good
FAR_EXP_S = 3600  # an exp further ahead than this is legal and worth a note (case L145)


@dataclass(frozen=True, slots=True)
class LogoutPolicy:
    """What one provider may send. The defaults are strict; each switch has a provider that needs it."""

    issuer: str
    client_ids: frozenset[str]
    algorithms: frozenset[str] = frozenset({"RS256"})
    leeway: float = 60.0
    max_age: float = 86400.0
    require_exp: bool = True
    require_typ: bool = False
    jti_replay: Literal["accept", "reject"] = "accept"  # obeyed by whoever remembers tokens, see step 8
    sid_scope: Literal["session", "subject"] = "session"
    trusted_audiences: frozenset[str] = frozenset()
    iat_tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """A valid logout. At least one of `sid` and `sub` is present."""

    issuer: str
    client_ids: tuple[str, ...]  # those of ours that `aud` names
    sid: str | None = field(repr=False)
    sub: str | None = field(repr=False)
    issued_at: int  # ms since the epoch, provider's clock
    cutoff: int  # ms: `issued_at`, later by the provider's tolerance
    whole_subject: bool  # the sid does not narrow the logout (`sid_scope: subject`)
    jti: str = field(repr=False)
    expires: float  # s since the epoch: the token cannot come again after it
    notes: tuple[str, ...] = ()  # legal, but worth a line in the log

    @property
    def logout(self) -> Logout:
        """What it ends."""
        return Logout(self.issuer, self.client_ids, self.sid, self.sub, self.cutoff, whole_subject=self.whole_subject)

    @property
    def scope(self) -> Literal["sid", "sub", "both"]:
        """Which of the two names the token carries."""
        if self.sid is None:
            return "sub"
        return "sid" if self.sub is None else "both"


def validate(header: Mapping[str, Any], claims: object, *, policy: LogoutPolicy, now: float) -> LogoutToken:
    """Check everything, then build. `now` is taken once, so that one decision never sees two clocks."""
    # BCL 2.6 (1), decryption: encrypted tokens have five segments and do not reach this function.
    # BCL 2.6 (2), signature: verified by the caller, with keys of the issuer only.
    _check_typ(header, policy)
    check_algorithm(header, policy.algorithms)  # BCL 2.6 (3): the registered one, never none
    if not isinstance(claims, dict):
        raise TokenError("malformed", "the claims are not a JSON object")
    check_issuer(claims, policy.issuer)  # BCL 2.6 (4), Core 3.1.3.7 (2)
    client_ids = _check_audience(claims, header, policy)
    _check_azp(claims, policy)
    # BCL 2.6 (4), Core 3.1.3.7 (10): the acceptable range is the client's choice.
    issued_at = issue_time(claims, leeway=policy.leeway, max_age=policy.max_age, now=now)
    expires = _check_exp(claims, policy, issued_at, now)
    check_nbf(claims, leeway=policy.leeway, now=now)  # RFC 7519 section 4.1.5; some send it (case L146)
    sid, sub = _check_sid_or_sub(claims)
    _check_events(claims)
    _check_nonce(claims)
    jti = jti_of(claims)  # BCL 2.4 requires it; 2.6 has no step for it (case L149)
    # BCL 2.6 (8), jti not seen before: optional, needs memory and is therefore the caller's (`jti_replay`).
    # BCL 2.6 (9) to (11), iss, sub and sid match a session: optional and left out. A session that we do not know is
    # still logged out with success (2.7), and the logout may arrive before its session is bound (case L202).
    return LogoutToken(
        issuer=policy.issuer,
        client_ids=client_ids,
        sid=sid,
        sub=sub,
        issued_at=int(issued_at * 1000),
        cutoff=int((issued_at + policy.iat_tolerance) * 1000),
        whole_subject=policy.sid_scope == "subject",
        jti=jti,
        expires=expires,
        notes=tuple(_notes(claims, sid, expires, now)),
    )


def _check_typ(header: Mapping[str, Any], policy: LogoutPolicy) -> None:
    """BCL 2.4 recommends `logout+jwt`; section 4.1 warns that requiring it breaks most deployments."""
    typ = header.get("typ", "")
    if not isinstance(typ, str):
        raise TokenError("wrong_type", "typ in the header is not a string")
    typ = typ.lower().removeprefix("application/")  # RFC 7515 section 4.1.9 (case L107)
    if policy.require_typ and typ != "logout+jwt":  # case L110
        raise TokenError("wrong_type", "typ is not logout+jwt; `require_typ: false` accepts JWT and an absent typ")
    if typ not in ("", "jwt", "logout+jwt"):  # another kind of token (cases L184 and L187)
        raise TokenError("wrong_type", "typ is neither absent, JWT nor logout+jwt")


def _check_audience(claims: dict[str, Any], header: Mapping[str, Any], policy: LogoutPolicy) -> tuple[str, ...]:
    """BCL 2.6 (4), Core 3.1.3.7 (3): us, and nobody whom we do not trust."""
    names = audiences(claims)
    ours = tuple(sorted(policy.client_ids.intersection(names)))
    if not ours:
        raise TokenError("wrong_audience", "aud does not name our `client_id`")
    if not policy.client_ids.union(policy.trusted_audiences).issuperset(names):
        raise TokenError("untrusted_audience", "aud names others too; list those to trust in `trusted_audiences`")
    if header["alg"].startswith("HS") and len(names) > 1:  # Core leaves it undefined whose secret that is (case L79)
        raise TokenError("wrong_audience", "a token signed with a client secret has one audience")
    return ours


def _check_azp(claims: dict[str, Any], policy: LogoutPolicy) -> None:
    """Core 3.1.3.7 (5)."""
    if "azp" in claims and not (isinstance(claims["azp"], str) and claims["azp"] in policy.client_ids):
        raise TokenError("wrong_azp", "azp is not our `client_id`")


def _check_exp(claims: dict[str, Any], policy: LogoutPolicy, issued_at: float, now: float) -> float:
    """BCL 2.6 (4), Core 3.1.3.7 (9). Returns when the token stops being acceptable."""
    expires = numeric_date(claims, "exp")
    if expires is None:
        if policy.require_exp:  # BCL 2.4, since errata set 1 (case L137)
            raise TokenError("exp_missing", "exp is missing; `require_exp: false` accepts providers that send none")
        if now - issued_at > NO_EXP_LIFETIME_S:
            raise TokenError("expired", "a token without exp is good for 5 minutes after its iat")
        return issued_at + NO_EXP_LIFETIME_S
    refuse_expired(expires, leeway=policy.leeway, now=now)
    return expires + policy.leeway


def _check_sid_or_sub(claims: dict[str, Any]) -> tuple[str | None, str | None]:
    """BCL 2.6 (5), and 2.4: one of the two, or both."""
    sid, sub = identifier(claims, "sid"), identifier(claims, "sub")
    if sid is None and sub is None:
        raise TokenError("no_sub_or_sid", "the token has neither sub nor sid")
    return sid, sub


def _check_events(claims: dict[str, Any]) -> None:
    """BCL 2.6 (6). The member's object SHOULD be empty and is accepted with content (case L160)."""
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise TokenError("events_missing", "events has no back-channel logout member that is a JSON object")


def _check_nonce(claims: dict[str, Any]) -> None:
    """BCL 2.6 (7): absent, whatever its value would be. It keeps ID tokens out."""
    if "nonce" in claims:
        raise TokenError("nonce_present", "a logout token has no nonce")


def _notes(claims: dict[str, Any], sid: str | None, expires: float, now: float) -> Iterator[str]:
    if sid is None and "sid" in claims:
        yield "sid_empty"  # taken as a logout of the whole subject (case L172)
    if expires - now > FAR_EXP_S:
        yield "exp_far_ahead"  # BCL section 4 advises two minutes (case L145)
