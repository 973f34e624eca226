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
    body_min_rate: int = 0  # bytes a second that such a body moves at least, on average; 0: whatever
    body_bytes: int | None = None  # of a request; None: any
    connections: int = 10_000  # open at once
    connections_per_peer: int = 0  # of one address that is no trusted proxy; 0: as many as there are


HIGH_WATER = 64 * 1024  # bytes in a write buffer before the other side is paused
DRAIN_BYTES = 256 * 1024  # of a refused request's body that are read and thrown away to keep the answer deliverable
LINGER_TIMEOUT = 2.0  # for that draining, as long as the client does not read on
HALF_CLOSED_TIMEOUT = 10.0  # of a tunnel of which one side has ended
REFUSED_AT_ONCE = 256  # connections beyond the limit that are told so; more are closed without a word
FIN_GRACE = 0.5  # a client that closed its side is given so long to show that it still reads (reference cases 66, 67)
IDLE_GRACE = 0.5  # at the end of the process: a client that has just connected may be about to ask
CUT_GRACE = 1.0  # for what is cut then: close frames and resets have to get out
MAX_INFORMATIONAL = 16  # 1xx answers before the final one
CHUNKS_A_TURN = 1024  # of one body, before others have their turn: less than a millisecond, however small they are
TURN_BYTES = 128 * 1024  # the same for the bytes of one read: there may be thirty more of it in the kernel
TURN_PAUSE = 0.005  # after a turn of so many chunks: those of one client cost a sixth of a core at the most
MAX_ABANDONED = 256  # logins whose client is gone and whose answer is awaited; each holds its request
TICK = 0.25  # how often time-outs are looked at: one sweep for all connections instead of a timer for each request
