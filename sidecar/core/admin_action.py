"""Keycloak's admin messages: what its adapters are told at `k_logout` and `k_push_not_before`.

A proprietary protocol without a specification. What is known of it is what Keycloak sends (`ResourceAdminManager`): a
JWT signed with the realm's key whose claims are `id`, `expiration`, `resource` (the client), `action`, `notBefore` and
two lists of sessions. It has no `iss`, `aud` or `iat`. So the realm is told by its keys alone, and a token that has any
claim by which tokens are usually known is another kind of token and is refused.

It is the only word that Keycloak sends when an administrator signs out all sessions of a realm or a client.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from sidecar.core.claims import TokenError, check_algorithm, identifier, jti_of, numeric_date, refuse_expired
from sidecar.core.revocation import Logout

Action = Literal["LOGOUT", "PUSH_NOT_BEFORE"]

LIFETIME_S: Final = 30  # Keycloak's, since ever: `expiration` is so much later than the message was made
MAX_LIFETIME_S: Final = 300  # nobody may keep one for longer and use it later
MAX_SESSIONS: Final = 1000
_OF_OTHER_TOKENS: Final = ("iss", "aud", "sub", "iat", "exp", "typ", "azp", "nonce", "events")


@dataclass(frozen=True, slots=True)
class AdminPolicy:
    """What one realm may send."""

    issuer: str
    client_ids: frozenset[str]
    algorithms: frozenset[str] = frozenset({"RS256"})
    leeway: float = 60.0


@dataclass(frozen=True, slots=True)
class AdminAction:
    """A valid message. No logouts: a not-before date that was taken back."""

    issuer: str
    jti: str = field(repr=False)
    logouts: tuple[Logout, ...] = ()


def validate(
    header: Mapping[str, Any], claims: object, *, policy: AdminPolicy, action: Action, now: float
) -> AdminAction:
    """Check everything, then build. `action`: the one that belongs to the endpoint."""
    typ = header.get("typ", "JWT")
    if not isinstance(typ, str) or typ.upper() != "JWT":
        raise TokenError("wrong_type", "typ is not JWT")
    check_algorithm(header, policy.algorithms)
    if not isinstance(claims, dict):
        raise TokenError("malformed", "the claims are not a JSON object")
    if any(name in claims for name in _OF_OTHER_TOKENS):
        raise TokenError("wrong_type", "this is another kind of token, not an admin message")
    if claims.get("action") != action:
        raise TokenError("wrong_action", f"action is not {action}")
    client = claims.get("resource")
    if not isinstance(client, str) or client not in policy.client_ids:
        raise TokenError("wrong_audience", "resource is not our `client_id`")
    expires = _check_expiration(claims, policy, now)
    name = jti_of(claims, "id")
    not_before, sids = _not_before(claims), _sessions(claims) if action == "LOGOUT" else ()
    if action == "LOGOUT" and not sids and not not_before:
        raise TokenError("no_sub_or_sid", "the message names nobody: keycloakSessionIds and notBefore are both empty")
    if sids:
        made = max(expires - LIFETIME_S, min(now, expires))
        cutoff = int(min(made, now + policy.leeway) * 1000)
        logouts = tuple(Logout(policy.issuer, (client,), sid, None, cutoff) for sid in sids)
    elif not_before:
        # A date in the future would keep everybody out until then: what is meant is known when it has come.
        cutoff = int(min(not_before, now + policy.leeway) * 1000)
        logouts = (Logout(policy.issuer, (client,), None, None, cutoff, everybody=True),)
    else:
        logouts = ()
    return AdminAction(policy.issuer, name, logouts)


def _check_expiration(claims: dict[str, Any], policy: AdminPolicy, now: float) -> float:
    expires = numeric_date(claims, "expiration")
    if expires is None:
        raise TokenError("exp_missing", "expiration is missing")
    refuse_expired(expires, leeway=policy.leeway, now=now)
    if expires > now + policy.leeway + MAX_LIFETIME_S:
        raise TokenError("exp_far_ahead", "expiration is minutes ahead; mend the clocks or raise `leeway`")
    return expires


def _not_before(claims: dict[str, Any]) -> float:
    """In seconds; 0 when there is none, which Keycloak writes as 0."""
    value = claims.get("notBefore")
    return 0.0 if value == 0 and not isinstance(value, bool) else numeric_date(claims, "notBefore") or 0.0


def _sessions(claims: dict[str, Any]) -> tuple[str, ...]:
    sids = _names(claims, "keycloakSessionIds")
    if not sids and _names(claims, "adapterSessionIds"):
        # Session IDs of an adapter's own servlet container, sent alone by versions before 2018.
        raise TokenError("no_session_ids", "only keycloakSessionIds name sessions here")
    return sids


def _names(claims: dict[str, Any], name: str) -> tuple[str, ...]:
    value = claims.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_SESSIONS:
        raise TokenError("bad_claim", f"{name} is not a list of at most {MAX_SESSIONS} sessions")
    names = [identifier({name: entry}, name) for entry in value]
    return tuple(dict.fromkeys(each for each in names if each is not None))
