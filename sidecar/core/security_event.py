"""Security events: the claims of a signed security event token in, a `SecurityEvent` or a `TokenError` out.

Security Event Tokens (RFC 8417) as the Shared Signals Framework 1.0 profiles them, with the events of CAEP 1.0 and of
the RISC profile that mean the end of sessions. The caller has verified the signature with a key of the transmitter.
Nothing is stored or changed here.

Not to be confused with logout tokens: those are never typed `secevent+jwt`, and these always are. Each endpoint refuses
the other's (RFC 8417 sections 4.5 to 4.8, RFC 8725 section 3.11).
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sidecar.core import logout_token
from sidecar.core.claims import (
    TokenError,
    audiences,
    check_algorithm,
    check_issuer,
    check_nbf,
    issue_time,
    jti_of,
    numeric_date,
    refuse_expired,
)
from sidecar.core.revocation import Logout
from sidecar.core.subject import Opaque, Reach, targets_of

_CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"
_RISC: Final = "https://schemas.openid.net/secevent/risc/event-type/"

SESSION_REVOKED: Final = "session-revoked"
CREDENTIAL_CHANGE: Final = "credential-change"

# The events that can end sessions, by the name that an operator knows them by.
EVENTS: Final[Mapping[str, str]] = {
    SESSION_REVOKED: f"{_CAEP}session-revoked",
    CREDENTIAL_CHANGE: f"{_CAEP}credential-change",
    "account-disabled": f"{_RISC}account-disabled",
    "account-purged": f"{_RISC}account-purged",
    "sessions-revoked": f"{_RISC}sessions-revoked",  # deprecated in favour of CAEP's, and still sent
    "credential-compromise": f"{_RISC}credential-compromise",
}
# Sent when a receiver asks whether the stream works (Shared Signals Framework 1.0, Verification; and its older names).
VERIFICATIONS: Final = frozenset(
    f"https://schemas.openid.net/secevent/{name}/event-type/verification" for name in ("ssf", "sse", "risc")
)

MAX_EVENTS: Final = 16
_ADDED: Final = "create"  # a credential more is no reason to end a session
_MILLISECONDS: Final = 10**11  # a time in seconds does not reach this before the year 5138


@dataclass(frozen=True, slots=True)
class EventPolicy:
    """What one transmitter may send."""

    issuer: str
    audiences: frozenset[str]
    reach: Reach
    acts_on: Collection[str]  # names in EVENTS
    algorithms: frozenset[str] = frozenset({"RS256"})
    leeway: float = 60.0
    max_age: float = 86400.0


@dataclass(frozen=True, slots=True)
class SecurityEvent:
    """A valid security event token. No logouts: it says nothing that ends a session here."""

    issuer: str
    jti: str = field(repr=False)
    logouts: tuple[Logout, ...] = ()
    notes: tuple[str, ...] = ()  # legal, but worth a line in the log


def validate(header: Mapping[str, Any], claims: object, *, policy: EventPolicy, now: float) -> SecurityEvent:
    """Check everything, then build."""
    _check_typ(header)
    check_algorithm(header, policy.algorithms)
    if not isinstance(claims, dict):
        raise TokenError("malformed", "the claims are not a JSON object")
    check_issuer(claims, policy.issuer)
    _check_audience(claims, policy)
    issued_at = issue_time(claims, leeway=policy.leeway, max_age=policy.max_age, now=now)
    expires = numeric_date(claims, "exp")  # RFC 8417 section 2.2 advises against it; one that is there counts
    if expires is not None:
        refuse_expired(expires, leeway=policy.leeway, now=now)
    check_nbf(claims, leeway=policy.leeway, now=now)
    jti = jti_of(claims)
    if "sub" in claims:  # Shared Signals Framework 1.0, SSF Event Subject: it keeps ID tokens out
        raise TokenError("sub_present", "a security event names its subject in sub_id, never in sub")
    read = list(_read_events(claims, policy, issued_at))
    logouts = tuple(dict.fromkeys(logout for logouts, _ in read for logout in logouts))
    return SecurityEvent(policy.issuer, jti, logouts, tuple(note for _, note in read if note))


def _check_typ(header: Mapping[str, Any]) -> None:
    """RFC 8417 section 2.3 recommends it, Shared Signals Framework 1.0, Explicit Typing, requires it."""
    typ = header.get("typ")
    if not isinstance(typ, str) or typ.lower().removeprefix("application/") != "secevent+jwt":
        raise TokenError("wrong_type", "typ is not secevent+jwt; logout tokens go to the logout endpoint")


def _check_audience(claims: dict[str, Any], policy: EventPolicy) -> None:
    """We are among those that it is meant for. There may be others: an event is for whoever listens."""
    if not policy.audiences.intersection(audiences(claims)):
        raise TokenError("wrong_audience", "aud names none of the transmitter's `audiences`")


def _read_events(
    claims: dict[str, Any], policy: EventPolicy, issued_at: float
) -> Iterator[tuple[tuple[Logout, ...], str]]:
    """For each event its logouts, and a note where there is something to say (RFC 8417 section 2.2, `events`)."""
    events = claims.get("events")
    if not isinstance(events, dict) or not 0 < len(events) <= MAX_EVENTS:
        raise TokenError("events_missing", f"events is not an object with 1 to {MAX_EVENTS} members")
    if logout_token.EVENT in events:
        raise TokenError("wrong_event", "a back-channel logout goes to the logout endpoint")
    acted_on = {EVENTS[name]: name for name in policy.acts_on}
    for uri, payload in events.items():
        if not isinstance(payload, dict):
            raise TokenError("events_missing", "an event is not a JSON object")
        name = acted_on.get(uri)
        if uri in VERIFICATIONS:
            yield (), "verification"
        elif name is None or (name == CREDENTIAL_CHANGE and payload.get("change_type") == _ADDED):
            yield (), "event_ignored"
        else:
            opaque: Opaque = "session_or_subject" if name == SESSION_REVOKED else "subject"
            targets = targets_of(_subject(claims, payload), policy.reach, opaque=opaque)
            yield policy.reach.logouts(targets, _cutoff(claims, payload, issued_at)), ""


def _subject(claims: dict[str, Any], payload: dict[str, Any]) -> object:
    """`sub_id` beside the events (Shared Signals Framework 1.0), or `subject` in the event (its drafts, and RISC)."""
    beside, within = claims.get("sub_id"), payload.get("subject")
    if beside is not None and within is not None and beside != within:
        raise TokenError("subject_ambiguous", "sub_id and the event's subject differ")
    subject = within if beside is None else beside
    if subject is None:
        raise TokenError("subject_missing", "the event names no subject")
    return subject


def _cutoff(claims: dict[str, Any], payload: dict[str, Any], issued_at: float) -> int:
    """When it happened (CAEP 1.0 section 2, RFC 8417 `toe`), in ms, and never later than it was told."""
    happened = numeric_date(payload, "event_timestamp") or numeric_date(claims, "toe") or issued_at
    if happened >= _MILLISECONDS:  # some transmitters send milliseconds, as the specification's own examples do
        happened /= 1000
    return int(min(happened, issued_at) * 1000)
