"""Bounds on what a stranger can make the data plane hold or wait for. Sizes in bytes, times in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """One set for the whole listener."""

    head_bytes: int = 64 * 1024  # a request head, and the app's response head
    header_count: int = 128
    head_timeout: float = 10.0  # absolute, from the first byte to the end of the head
    idle_timeout: float = 75.0  # between two requests
    body_stall_timeout: float = 60.0  # no progress of a body that the client sends, or does not read
    connections: int = 10_000  # open at once


HIGH_WATER = 64 * 1024  # bytes in a write buffer before the other side is paused
DRAIN_BYTES = 256 * 1024  # of a refused request's body that are read and thrown away to keep the answer deliverable
LINGER_TIMEOUT = 2.0  # for that draining
FIN_GRACE = 0.5  # a client that closed its side is given so long to show that it still reads (reference cases 66, 67)
MAX_INFORMATIONAL = 16  # 1xx answers before the final one
TICK = 0.25  # how often time-outs are looked at: one sweep for all connections instead of a timer for each request
