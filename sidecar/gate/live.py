"""Which open streams belong to which session, so that a revocation can cut them, and blindness all of them.

A short exchange never gets here: its verdict is taken again when the response head arrives. What is registered is what
goes on flowing after that: tunnels, event streams, long downloads and uploads.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from sidecar.core.revocation import Revocation

RECHECKED_A_TURN: Final = 64  # a few milliseconds when all of them are cut

_logger = logging.getLogger(__name__)


class LiveStreams:
    """Open streams by session digest."""

    __slots__ = ("_by_digest",)

    def __init__(self) -> None:
        self._by_digest: dict[bytes, dict[object, Callable[[], None]]] = {}

    def __len__(self) -> int:
        return len({stream for streams in self._by_digest.values() for stream in streams})

    def add(self, stream: object, digests: Iterable[bytes], recheck: Callable[[], None]) -> None:
        """Register; `recheck` is called when one of the digests is revoked, and cuts the stream if that means it."""
        for digest in digests:
            self._by_digest.setdefault(digest, {})[stream] = recheck

    def discard(self, stream: object, digests: Iterable[bytes]) -> None:
        """Forget a stream that ended."""
        for digest in digests:
            streams = self._by_digest.get(digest)
            if streams is not None:
                streams.pop(stream, None)
                if not streams:
                    del self._by_digest[digest]

    def revoked(self, revocation: Revocation) -> None:
        """A revocation arrived: every stream that it may concern judges itself again."""
        for recheck in list(self._by_digest.get(revocation.digest, {}).values()):
            _do(recheck)

    async def recheck_all(self) -> None:
        """Something happened that may concern every stream. Others have their turn after some of them."""
        streams = {stream: recheck for streams in self._by_digest.values() for stream, recheck in streams.items()}
        for number, recheck in enumerate(streams.values(), 1):
            _do(recheck)
            if number % RECHECKED_A_TURN == 0:
                await asyncio.sleep(0)


def _do(recheck: Callable[[], None]) -> None:
    try:
        recheck()
    except Exception:  # a defect of ours, with one stream: it must not save the others, nor end whoever brings the news
        _logger.critical("stream_not_cut", exc_info=True)
