"""What a provider's answer about one of its tokens says about the session that the token came from. Pure.

Three ways to ask: token introspection (RFC 7662), the userinfo endpoint (OpenID Connect Core 1.0 section 5.3), and a
refresh of the token (RFC 6749 section 6). The same rule everywhere: a session is over only when the provider says of a
token that it should still know that it does not. What a token's own end, our own credentials or an outage can explain
says nothing about the user.
"""

import enum
from collections.abc import Mapping
from typing import Any, Final, Literal

By = Literal["introspection", "userinfo", "refresh"]

EXPIRY_MARGIN_S: Final = 30.0  # clocks differ, and an answer takes its time


class Standing(enum.StrEnum):
    """What is known of a session now. Stable: metrics and logs show it."""

    ALIVE = "alive"
    OVER = "over"
    EXPIRED = "expired"  # the token has come to its own end: there is nothing to ask with
    UNAVAILABLE = "unavailable"  # it may be known later
    BROKEN = "broken"  # the provider does not answer such questions to us: somebody has to change something


def has_expired(expires: float | None, now: float) -> bool:
    """Whether a token may be over by itself. One whose end nobody has told may be at any time."""
    return expires is None or now >= expires - EXPIRY_MARGIN_S


def judge(by: By, status: int, answer: Mapping[str, Any] | None, *, sub: str | None) -> Standing:
    """The standing of a session by one answer. `answer`: its JSON object, None where it is none."""
    if status >= 500 or status in {408, 429}:
        return Standing.UNAVAILABLE
    if by == "introspection":
        return _introspected(status, answer)
    return _userinfo(status, answer, sub) if by == "userinfo" else _refreshed(status, answer)


def _introspected(status: int, answer: Mapping[str, Any] | None) -> Standing:
    # RFC 7662 section 2.2: `active` is required and a boolean. 401 and 403 are about us (section 2.3).
    active = answer.get("active") if answer is not None and status == 200 else None
    if active is True:
        return Standing.ALIVE
    return Standing.OVER if active is False else Standing.BROKEN


def _userinfo(status: int, answer: Mapping[str, Any] | None, sub: str | None) -> Standing:
    if status == 401:  # RFC 6750 section 3.1: invalid_token
        return Standing.OVER
    if status != 200:
        return Standing.BROKEN
    # Core 5.3.4: another sub is an answer about somebody else. A signed answer is not read: that it came is enough.
    told = answer.get("sub") if answer is not None else None
    return Standing.BROKEN if told is not None and sub is not None and told != sub else Standing.ALIVE


def _refreshed(status: int, answer: Mapping[str, Any] | None) -> Standing:
    if status == 200:
        return Standing.ALIVE
    # RFC 6749 section 5.2. invalid_client and the like are about us.
    is_invalid = status == 400 and answer is not None and answer.get("error") == "invalid_grant"
    return Standing.OVER if is_invalid else Standing.BROKEN
