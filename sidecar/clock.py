"""The clocks, and the only module that reads them.

Everything else takes the time as an argument. Wall time compares with what providers write into tokens; boot time
measures ages and leases: it never steps, and it goes on while the machine is suspended, where CLOCK_MONOTONIC stops.

Wall time steps, and what is kept until a moment must not end early by a step, in neither direction. So an
expiry is written by `late` and compared with `early`; without a step they and `wall` are the same.
"""

import time


def wall() -> float:
    """Seconds since the Unix epoch."""
    return time.time()  # noqa: TID251 - the owner of the clock


def boot() -> float:
    """Seconds since boot, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


_BOOTED_AT = wall() - boot()  # wall time at boot, as it stood when this process began


def early() -> float:
    """Wall time without its steps forward since this process began: by it nothing expires too soon."""
    return min(wall(), _BOOTED_AT + boot())


def late() -> float:
    """Wall time without its steps back since this process began: an expiry counted from it is never too soon."""
    return max(wall(), _BOOTED_AT + boot())
