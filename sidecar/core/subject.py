"""Subject identifiers (RFC 9493, Shared Signals Framework 1.0): whom they name, in the words of sessions.

A session here is known by issuer, `sid` and `sub`, and by nothing else: no directory, no e-mail addresses, no devices.
So `iss_sub`, `opaque` and `complex` can be read, `email` only where the provider makes its `sub` from the address, and
phone numbers, accounts and the rest not at all. What cannot be read is an error and never "nobody": the sender must not
believe that somebody was logged out.

An identifier that names less than all of a user's sessions by something that we do not know (a device, say) ends all of
them: doubt denies.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from sidecar.core.claims import TokenError, identifier
from sidecar.core.revocation import Logout

MAX_ALIASES = 16

_PLACEHOLDER = re.compile(r"(\{(?:email|local|domain)\})")

Opaque = Literal["subject", "session_or_subject"]


class Target(NamedTuple):
    """One session, or one subject, or a session with its subject beside it."""

    sid: str | None
    sub: str | None
    issuer: str | None = None  # the provider that was named; None: any whose sessions the sender may end

    def __repr__(self) -> str:
        return "<Target>"  # names a person


@dataclass(frozen=True, slots=True)
class Reach:
    """Whose sessions a sender may end, and how it names people."""

    sender: str  # its own issuer: `sub` values under this name are the providers'
    parties: Mapping[str, tuple[str, ...]]  # provider's issuer to client IDs
    email_as_sub: str | None = None  # how `sub` is made from an address: {email}, {local}, {domain}
    whole_subject: bool = False  # a session with its subject beside it means all sessions of the subject

    def logouts(self, targets: Sequence[Target], cutoff: int) -> tuple[Logout, ...]:
        """The logouts of all targets; `cutoff` in ms on the provider's clock."""
        return tuple(
            Logout(issuer, clients, target.sid, target.sub, cutoff, whole_subject=self.whole_subject)
            for target in targets
            for issuer, clients in self.parties.items()
            if target.issuer in (None, issuer)
        )


def targets_of(value: object, reach: Reach, *, opaque: Opaque) -> tuple[Target, ...]:
    """Whom a subject identifier names. Raises TokenError. `opaque`: what an identifier without any type can be."""
    if not isinstance(value, dict):
        raise TokenError("subject_missing", "the subject is not a JSON object")
    found = tuple(dict.fromkeys(_read(value, reach, opaque)))
    if not found:
        raise TokenError("subject_unknown", "the subject names nobody")
    return found


def _read(value: dict[str, Any], reach: Reach, opaque: Opaque) -> Iterator[Target]:
    match _format(value):
        case "iss_sub" | "id_token_claims":  # the second: what Google sends (RISC profile section 3.1)
            yield _iss_sub(value, reach)
        case "opaque":
            name = _member(value, "id")
            if opaque == "session_or_subject":  # CAEP 1.0 section 3.1.2 names a session like this
                yield Target(name, None)
            yield Target(None, name)
        case "email":
            for sub in _subs_of_email(_member(value, "email"), reach):
                yield Target(None, sub)
        case "aliases":  # RFC 9493 section 3.2.8: the same person several times
            yield from _aliases(value, reach, opaque)
        case "complex":
            yield from _complex(value, reach)
        case _:
            raise TokenError("subject_unusable", "sessions here cannot be found by this kind of subject; use iss_sub")


def _format(value: Mapping[str, Any]) -> str:
    name = value.get("format")
    if name is None and isinstance(value.get("subject_type"), str):
        return str(value["subject_type"]).replace("-", "_")  # before RFC 9493
    if name is None and ("user" in value or "session" in value):
        return "complex"  # Shared Signals drafts had no name for it
    return name if isinstance(name, str) else ""


def _member(value: Mapping[str, Any], name: str) -> str:
    text = identifier(value, name)
    if text is None:
        raise TokenError("subject_missing", f"the subject has no {name}")
    return text


def _iss_sub(value: Mapping[str, Any], reach: Reach) -> Target:
    issuer, sub = _member(value, "iss"), _member(value, "sub")
    if issuer in reach.parties:
        return Target(None, sub, issuer)
    if issuer == reach.sender:
        return Target(None, sub)
    raise TokenError("subject_foreign", "the subject is of an issuer whose sessions the sender may not end")


def _subs_of_email(address: str, reach: Reach) -> Iterator[str]:
    """RFC 9493 section 3.2.2 leaves it to the receiver whether case matters; `sub` may have it either way."""
    if reach.email_as_sub is None:
        raise TokenError("subject_unusable", "an e-mail address names nobody here; use iss_sub, or set `email_as_sub`")
    local, at, domain = address.rpartition("@")
    if not (local and at and domain):
        raise TokenError("subject_unknown", "not an e-mail address")
    parts = {"{email}": address, "{local}": local, "{domain}": domain}
    for read in (parts, {name: part.lower() for name, part in parts.items()}):
        yield "".join(read.get(piece, piece) for piece in _PLACEHOLDER.split(reach.email_as_sub))


def _aliases(value: Mapping[str, Any], reach: Reach, opaque: Opaque) -> Iterator[Target]:
    entries = value.get("identifiers")
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_ALIASES:
        raise TokenError("subject_missing", f"identifiers is not a list of 1 to {MAX_ALIASES} subjects")
    found: list[Target] = []
    problem: TokenError | None = None
    for entry in entries:
        if not isinstance(entry, dict) or _format(entry) in ("aliases", "complex"):
            raise TokenError("subject_unknown", "an alias is a simple subject")
        try:
            found += _read(entry, reach, opaque)
        except TokenError as error:  # one that can be read is enough: they all are the same person
            problem = error
    if not found and problem is not None:
        raise problem
    yield from found


def _complex(value: Mapping[str, Any], reach: Reach) -> Iterator[Target]:
    """Shared Signals Framework 1.0, Complex Subject Members. Those that say nothing about sessions are passed over."""
    user, session = value.get("user"), value.get("session")
    if user is None and session is None:
        raise TokenError("subject_unusable", "the subject has neither user nor session")
    sid = None if session is None else _sid(session)
    try:
        users = () if user is None else tuple(_read_user(user, reach))
    except TokenError:
        if sid is None or reach.whole_subject:
            raise
        users = ()  # the session alone will do
    yield from (Target(sid, each.sub, each.issuer) for each in users or (Target(None, None),))


def _sid(session: object) -> str:
    if not isinstance(session, dict) or _format(session) != "opaque":
        raise TokenError("subject_unusable", "a session is known by its opaque id only")
    return _member(session, "id")


def _read_user(user: object, reach: Reach) -> Iterator[Target]:
    if not isinstance(user, dict) or _format(user) == "complex":
        raise TokenError("subject_missing", "user is not a simple subject")
    return _read(user, reach, "subject")
