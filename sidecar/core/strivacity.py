"""Strivacity's Admin API as its definition publishes it: the way to a session, what an answer means, its error body.

Pure. `DELETE {base}/admin/api/v1/identityStores/{name}/accounts/{account}/sessions/{session}` answers 204, 401, 403 or
404; an error has a body of the form "ProblemJson". Nothing of that body which may name a person is kept: what could
hold an account, a session or an e-mail address (`detail`, `params`, `path`, the messages of single fields) is for
nobody's log.
"""

import enum
import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from sidecar.core.claims import TokenError, decode_json

NO_WRITE: Final = 'the API policy lacks "write" on "account"'
BAD_CREDENTIALS: Final = "the bearer token is missing, wrong or expired"

_MAX_TEXT: Final = 200
_MAX_FIELDS: Final = 10
_NAME: Final = re.compile(r"[A-Za-z0-9_.\[\]-]{1,100}")


class Outcome(enum.StrEnum):
    """What has become of a session at the provider. Stable: metrics and logs show it."""

    ENDED = "ended"
    GONE = "gone"  # it was over already
    UNAUTHORIZED = "unauthorized"  # the credentials are wrong: nothing will work until somebody changes them
    FORBIDDEN = "forbidden"  # the credentials are good, and may not do this
    UNAVAILABLE = "unavailable"  # it may work later
    REFUSED = "refused"  # the API does not take this request, now or later

    @property
    def is_done(self) -> bool:
        """Whether the session is over."""
        return self in {Outcome.ENDED, Outcome.GONE}


def outcome_of(status: int) -> Outcome:
    """What the status of an answer means."""
    match status:
        case 204:
            return Outcome.ENDED
        case 401:
            return Outcome.UNAUTHORIZED
        case 403:
            return Outcome.FORBIDDEN
        case 404:
            return Outcome.GONE
        case 408 | 425 | 429:  # RFC 9110 section 15.5.9, RFC 8470 section 5.2, RFC 6585 section 4: later
            return Outcome.UNAVAILABLE
        case _ if status >= 500:
            return Outcome.UNAVAILABLE
        case _:  # also a 200: that was another endpoint
            return Outcome.REFUSED


def session_path(identity_store: str, account: str, session: str) -> str | None:
    """The path of one session; None when a part cannot stand in a path without changing where it leads."""
    parts = (identity_store, account, session)
    if any(part in {"", ".", ".."} for part in parts):  # percent-encoded they mean the same (RFC 3986 section 6.2.2)
        return None
    try:
        store, owner, its = (quote(part, safe="") for part in parts)
    except UnicodeEncodeError:  # half a surrogate pair
        return None
    return f"/admin/api/v1/identityStores/{store}/accounts/{owner}/sessions/{its}"


@dataclass(frozen=True, slots=True)
class Problem:
    """An error body, without what may name somebody."""

    error_key: str | None = None  # the unique identifier of the error
    title: str | None = None
    entity: str | None = None
    fields: tuple[str, ...] = ()  # `object.field` of what the API did not like

    def as_fields(self) -> dict[str, Any]:
        """For a log line: what is there."""
        found = {"error_key": self.error_key, "title": self.title, "entity": self.entity, "fields": list(self.fields)}
        return {name: value for name, value in found.items() if value}


NO_PROBLEM: Final = Problem()


def read_problem(body: bytes) -> Problem:
    """The error body of an answer; an empty one for anything that is none."""
    try:
        members = decode_json(body)
    except TokenError:
        return NO_PROBLEM
    if not isinstance(members, dict):
        return NO_PROBLEM
    title = members.get("title")
    return Problem(
        _name(members.get("errorKey")),
        title[:_MAX_TEXT] if isinstance(title, str) else None,
        _name(members.get("entityName")),
        tuple(_fields(members.get("fieldErrors"))),
    )


def _fields(errors: object) -> list[str]:
    entries = [entry for entry in errors if isinstance(entry, dict)] if isinstance(errors, list) else []
    names = [(_name(entry.get("objectName")), _name(entry.get("field"))) for entry in entries[:_MAX_FIELDS]]
    return [".".join(filter(None, pair)) for pair in names if any(pair)]


def _name(value: object) -> str | None:
    """An identifier of the API's own, and never the value of somebody's attribute."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call, or a row of attempts, came to."""

    outcome: Outcome
    reason: str  # stable: `http_204`, `timeout`, `token_...`
    problem: Problem = field(default=NO_PROBLEM)

    @property
    def advice(self) -> str | None:
        """What an operator has to do, where only an operator can."""
        if self.outcome is Outcome.UNAUTHORIZED:
            return BAD_CREDENTIALS
        return NO_WRITE if self.outcome is Outcome.FORBIDDEN else None
