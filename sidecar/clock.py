"""The clocks, and the only module that reads them.

Everything else takes the time as an argument. Wall time compares with what providers write into tokens; boot time
measures ages and leases: it never steps, and it goes on while the machine is suspended, where CLOCK_MONOTONIC stops.
"""

import time


def wall() -> float:
    """Seconds since the Unix epoch."""
    return time.time()  # noqa: TID251 - the owner of the clock


def boot() -> float:
    """Seconds since boot, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
