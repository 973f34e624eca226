"""A sidecar as one would write it at first, for the negative control: `python chaos_naive.py run -c FILE`.

It loads the log once and follows it with XREAD from a cursor. It does not count, does not ask who answers, does not
load again after a lost connection, and publishes nothing again.
"""

import sys
from typing import Any

from sidecar.cli import main
from sidecar.stores.feed import Feed
from sidecar.stores.interface import PAGE, WAIT_S, Batch, StoreError
from sidecar.stores.redis import RedisStore

_load = Feed._load


async def _load_once(feed: Feed) -> None:
    if not feed.loaded.is_set():
        await _load(feed)


async def _heal_nothing(feed: Feed, known: object) -> None:
    del feed, known


async def _follow_a_cursor(store: RedisStore) -> Batch:
    position: Any = store._position
    if position is None:
        raise StoreError("log_not_loaded", "take a snapshot first")
    cursor = getattr(store, "_cursor", position.log.last)
    wait = ("COUNT", PAGE, "BLOCK", int(WAIT_S * 1000))
    answer = await store._reader.ask("XREAD", *wait, "STREAMS", store._log, cursor)
    page = answer[0][1] if answer else []
    store._cursor = page[-1][0] if page else cursor  # type: ignore[attr-defined]
    return Batch(store._unpack(page), complete=True)


Feed._load = _load_once  # type: ignore[method-assign]
Feed._heal = _heal_nothing  # type: ignore[method-assign]
RedisStore.follow = _follow_a_cursor  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
