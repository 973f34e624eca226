"""Global Token Revocation (draft-parecki-oauth-global-token-revocation-06), which Okta calls Universal Logout.

A caller proves who it is, by a signed JWT or by a secret, and names a user in a JSON body; all of that user's sessions
end. The JWT says nothing about the body. So it is good for one request only: whoever obtains one could otherwise log
out anybody else with it until it expires.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.core.claims import (
    TokenError,
    audiences,
    check_algorithm,
    check_issuer,
    check_nbf,
    decode_json,
    identifier,
    issue_time,
    jti_of,
    numeric_date,
    refuse_expired,
)
from sidecar.core.subject import Reach, Target, targets_of

# The draft names none; Okta sends the first.
_TYPES: Final = ("global-token-revocation+jwt", "jwt", "")
MAX_LIFETIME_S: Final = 3600  # the draft advises five minutes


@dataclass(frozen=True, slots=True)
class CallerPolicy:
    """Who may revoke."""

    issuer: str
    audiences: frozenset[str]  # the URL of the endpoint, as the caller knows it
    reach: Reach
    callers: frozenset[str] = frozenset()  # values of `sub` that are accepted; empty: any
    algorithms: frozenset[str] = frozenset({"RS256"})
    leeway: float = 60.0


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller that has proved itself by a JWT."""

    jti: str = field(repr=False)
    issued_at: float  # s, the caller's clock
    expires: float  # s: the JWT cannot come again after it


def validate_caller(header: Mapping[str, Any], claims: object, *, policy: CallerPolicy, now: float) -> Caller:
    """Section 3.5: who signed it, for whom and when. Raises TokenError."""
    typ = header.get("typ", "")
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in _TYPES:
        raise TokenError("wrong_type", "typ is neither absent, JWT nor global-token-revocation+jwt")
    check_algorithm(header, policy.algorithms)
    if not isinstance(claims, dict):
        raise TokenError("malformed", "the claims are not a JSON object")
    check_issuer(claims, policy.issuer)
    if not policy.audiences.intersection(audiences(claims)):
        raise TokenError("wrong_audience", "aud is not the URL of this endpoint; `audiences` lists others")
    if policy.callers and identifier(claims, "sub") not in policy.callers:
        raise TokenError("wrong_caller", "sub is not among `callers`")
    issued_at = issue_time(claims, leeway=policy.leeway, max_age=MAX_LIFETIME_S, now=now)
    expires = numeric_date(claims, "exp")
    if expires is None:
        raise TokenError("exp_missing", "exp is missing")
    refuse_expired(expires, leeway=policy.leeway, now=now)
    if expires - issued_at > MAX_LIFETIME_S:
        raise TokenError("exp_far_ahead", "exp is more than an hour after iat")
    check_nbf(claims, leeway=policy.leeway, now=now)
    return Caller(jti_of(claims), issued_at, expires + policy.leeway)


def read_request(body: bytes) -> object:
    """Section 3.2: the subject of a request; `subject` is its name before draft 03. Raises TokenError."""
    request = decode_json(body)
    if not isinstance(request, dict):
        raise TokenError("malformed", "the body is not a JSON object")
    subjects = [request[name] for name in ("sub_id", "subject") if name in request]
    if len(subjects) != 1:
        raise TokenError("subject_missing", "the body has no sub_id, or two of them")
    return subjects[0]


def targets(subject: object, reach: Reach) -> tuple[Target, ...]:
    """Whom a request ends: whole subjects, whatever else it says (section 3.3)."""
    found = targets_of(subject, reach, opaque="subject")
    if any(target.sub is None for target in found):
        raise TokenError("subject_unusable", "the subject names a session; a user is needed")
    return tuple(dict.fromkeys(Target(None, target.sub, target.issuer) for target in found))
