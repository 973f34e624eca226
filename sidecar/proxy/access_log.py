"""One line for each proxied request, when the operator asks for it (`log.access`).

Whoever reads the log learns what was asked, by which session and what became of it, and nothing to log in with: the
path goes without its query, which may hold authorization codes and sessions, and is cut off at path parameters for the
same reason; user and session are the keyed digests that the store has. Every field is bounded, and written as JSON, so
that no byte of a request can forge a line (reference case 190). Nothing here runs while the switch is off.
"""

import logging
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sidecar import log
from sidecar.core.identity import BoundSession
from sidecar.core.paths import path_of
from sidecar.http1.request import RequestHead
from sidecar.http1.trace import trace_id

_logger = logging.getLogger(log.ACCESS)

_LONGEST_PATH: Final = 1024
_LONGEST_HOST: Final = 255  # of a name, RFC 1035 section 2.3.4
_LONGEST_METHOD: Final = 32
_LONGEST_PEER: Final = 64
# Encoded too: some servers decode before they cut, and some do it twice. What could turn into an encoding when it is
# decoded, an encoded or a stray percent sign, ends the path as well.
_PARAMETERS: Final = re.compile(rb"(?:;|%3[Bb]|%25|%(?![0-9A-Fa-f]{2})).*", re.DOTALL)
_DIGITS: Final = 16  # of a digest

# The right-most 56 bits of a trace id are the random ones (W3C Trace Context level 2, section 3.2.2.3); the same trace
# is logged, or not, by every sidecar with the same share.
_RANDOM_DIGITS: Final = 14
_RANDOM_RANGE: Final = 1 << 56


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished exchange."""

    request: RequestHead
    peer: bytes  # the client's address; empty on a Unix socket
    status: int  # 499: the client went away before the answer
    decision: str  # allow, or the reason of a denial
    session: BoundSession | None
    received: int  # bytes of request content
    sent: int  # bytes of response content written to the client
    upstream_s: float | None  # from the request head sent to the response head; None when the app did not answer
    total_s: float  # from the end of the request head to the end of the response


class AccessLog:
    """Writes entries. Of the allowed requests that the app answered in good order only a share, if so asked."""

    def __init__(self, *, sample: float = 1.0, draw: Callable[[], float] = random.random) -> None:
        """`draw`: a number below 1, for requests that belong to no trace."""
        self._sample = sample
        self._draw = draw

    def write(self, entry: Entry) -> None:
        """Log one request, unless the sample leaves it out."""
        trace = trace_id(entry.request)
        if self._sample >= 1 or not _is_ordinary(entry) or self._is_drawn(trace):
            log.event(_logger, logging.INFO, "request", **_fields(entry, trace))

    def _is_drawn(self, trace: bytes | None) -> bool:
        share = self._draw() if trace is None else int(trace[-_RANDOM_DIGITS:], 16) / _RANDOM_RANGE
        return share < self._sample


def _is_ordinary(entry: Entry) -> bool:
    """Whether the app answered what it was asked: denials, refusals of ours and failures are never left out."""
    return entry.decision == "allow" and entry.status < 500 and entry.upstream_s is not None


def _fields(entry: Entry, trace: bytes | None) -> dict[str, Any]:
    request, session = entry.request, entry.session
    path = _PARAMETERS.sub(b"", path_of(request.target)[:_LONGEST_PATH])
    fields: dict[str, Any] = {
        "method": request.method[:_LONGEST_METHOD].decode("latin-1"),
        "host": request.host[:_LONGEST_HOST].decode("latin-1"),
        "path": path.decode("latin-1"),
        "status": entry.status,
        "decision": entry.decision,
        "received": entry.received,
        "sent": entry.sent,
        "total_ms": round(entry.total_s * 1000, 3),
    }
    if entry.peer:
        fields["client"] = entry.peer[:_LONGEST_PEER].decode("latin-1")
    if entry.upstream_s is not None:
        fields["upstream_ms"] = round(entry.upstream_s * 1000, 3)
    if session is not None:
        fields["session"] = session.own.hex()[:_DIGITS]
        if session.sub is not None:
            fields["user"] = session.sub.hex()[:_DIGITS]
    if trace is not None:
        fields["trace_id"] = trace.decode()
    return fields
