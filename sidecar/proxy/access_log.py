"""One line for each proxied request, when the operator asks for it (`log.access`).

The path is logged without its query, which may hold authorization codes and sessions, and path parameters are cut off
for the same reason. Nothing here runs while the switch is off.
"""

import logging

from sidecar import log
from sidecar.core.paths import path_of
from sidecar.http1.request import RequestHead

_logger = logging.getLogger("sidecar.access")

_LONGEST_PATH = 2048


def write(request: RequestHead, *, peer: bytes, status: int, decision: str, seconds: float) -> None:
    """Log one finished request; `seconds` from the end of its head to the end of the answer."""
    path = path_of(request.target).partition(b";")[0][:_LONGEST_PATH]
    log.event(
        _logger,
        logging.INFO,
        "request",
        method=request.method.decode("latin-1"),
        path=path.decode("latin-1"),
        status=status,
        decision=decision,
        duration_ms=round(seconds * 1000, 3),
        client=peer.decode("latin-1"),
    )
