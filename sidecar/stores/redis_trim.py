"""The end of the stream that nobody needs any more: trimmed by time, never by length.

A flood of logouts must not push out live revocations. The log loses its oldest end up to the first live entry. Each
entry knows its own expiry, so that a changed `session.max_age`, or several in one log, need no agreement. What cannot
be read may be a newer release's, and live: its age alone can tell that nobody needs it any more.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from sidecar.core.revocation import LONGEST_S, Revocation
from sidecar.stores.interface import PAGE
from sidecar.stores.redis_client import Commands
from sidecar.stores.redis_roll import entry_of

PAGES: Final = 200  # looked at in one go

Unpack = Callable[[Sequence[Any]], Sequence[Revocation]]  # those entries of a page that can be read


async def trim(writer: Commands, log: str, unpack: Unpack, now: float) -> None:
    """Drop what has expired, a bounded amount of it. `now` is seconds of wall time. Raises StoreError."""
    if (first := await first_live(writer, log, unpack, now)) is not None:
        await writer.ask("XTRIM", log, "MINID", "~", first)


async def first_live(writer: Commands, log: str, unpack: Unpack, now: float) -> bytes | None:
    """Id of the oldest entry that has not expired; None when there is nothing to trim."""
    first, last, expired = b"-", None, False
    for _ in range(PAGES):
        page = await writer.ask("XRANGE", log, first, "+", "COUNT", PAGE)
        for entry in page:
            last = entry[0]
            if _is_live(entry, unpack, now):
                return last if expired else None
            expired = True
        if len(page) < PAGE:
            break
        first = b"(" + page[-1][0]
    return last


def _is_live(entry: Any, unpack: Unpack, now: float) -> bool:
    found = unpack([entry])
    if found:
        return found[0].expires > now
    written_ms, _ = entry_of(entry[0])
    return written_ms / 1000 + LONGEST_S > now
