"""What every store can do. One contract-test suite holds all implementations to it (`tests/contracts`).

A store keeps two things: the append-only log of revocations, and bindings (credential digest to session). The log is
also the snapshot: replaying it gives the whole set. A store knows nothing of replicas, requests or policies.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from sidecar.core.identity import BoundSession
from sidecar.core.revocation import Revocation
from sidecar.errors import SidecarError


class StoreError(SidecarError):
    """The store could not do it now; the caller may try again. `reason` is stable, e.g. `store_unavailable`."""


class StoreUnusable(StoreError):
    """The store will not work until an operator changes something (not a database, read-only, newer schema)."""


class Store(Protocol):
    """All methods may raise StoreError. None blocks the event loop; each returns or fails within a bounded time."""

    async def open(self) -> None:
        """Connect or create. Raises StoreUnusable when no retry can help."""

    async def aclose(self) -> None:
        """Release everything. May be called twice, and without `open`."""

    async def secret(self) -> bytes:
        """The digest secret kept in the store: 32 random bytes, made once by whoever asks first."""

    async def append(self, revocations: Sequence[Revocation]) -> None:
        """Add to the log, all or nothing; returns when they are durable at the configured level."""

    def snapshot(self) -> AsyncIterator[Sequence[Revocation]]:
        """The whole log in pages of at most 500; afterwards `follow` starts where the snapshot ended."""

    async def follow(self) -> Sequence[Revocation]:
        """Wait up to about half a second for the next entries after the cursor; empty when there are none.

        An answer, empty or not, proves that the store was heard after this call began. One caller at a time.
        """

    async def get_binding(self, credential: bytes) -> BoundSession | None:
        """The session bound to a credential digest, None when there is none (or it expired)."""

    async def put_binding(self, credential: bytes, session: BoundSession, ttl: int) -> None:
        """Bind, replacing what was there; kept for at least `ttl` seconds. Returns when it can be read elsewhere."""

    async def delete_binding(self, credential: bytes) -> None:
        """Forget a binding; nothing happens when there is none."""
