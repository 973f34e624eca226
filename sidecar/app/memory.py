"""What the C library is told about the memory that bodies flow through.

glibc gives the top of its heap back to the kernel as soon as 128 KiB of it are free, and maps every block from 128 KiB
on by itself. A body takes and frees such blocks for every read, so each read was paid for with page faults: measured
135 of them and 3.5 `brk` for each MiB, which is a third of what a download costs. With these settings freed memory
stays with the process, at most `_KEPT` of it at the top of the heap, and is used again for the next read.

It is about speed only. Where the C library is another one, nothing happens.
"""

import ctypes
import os
from typing import Final

_M_TRIM_THRESHOLD: Final = -1  # names and numbers of mallopt(3)
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3

_KEPT: Final = 16 << 20
_SETTINGS: Final = ((_M_TRIM_THRESHOLD, _KEPT), (_M_TOP_PAD, 1 << 20), (_M_MMAP_THRESHOLD, 4 << 20))


def keep_freed_memory() -> bool:
    """Have glibc keep what is freed. False where the C library is another one, or will not have it."""
    if not _is_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(name, value) == 1 for name, value in _SETTINGS)


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):  # another C library does not know this name
        return False
