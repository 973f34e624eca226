"""What the data plane goes by, and a reload replaces at one stroke. Sockets, pools and connections stay."""

from dataclasses import dataclass

from sidecar.gate.gate import Gate
from sidecar.proxy.access_log import AccessLog
from sidecar.proxy.limits import Limits


@dataclass(frozen=True, slots=True)
class Conduct:
    """Times in seconds; None: no limit."""

    gate: Gate
    limits: Limits
    response_timeout: float
    tunnel_idle_timeout: float | None = None
    stall_timeout: float | None = None
    access_log: AccessLog | None = None
    creates_trace: bool = False
    dropped_trailers: frozenset[bytes] = frozenset()  # folded names of fields that carry credentials
    proxy_headers: frozenset[bytes] = (
        frozenset()
    )  # folded names of fields in which only a trusted peer may say anything
