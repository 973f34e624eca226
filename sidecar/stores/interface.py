"""What every store can do. One contract-test suite holds all implementations to it (`tests/contracts`).

A store keeps the append-only log of revocations, and bindings (credential digest to session). The log is also the
snapshot: replaying it gives the whole set. Where a feature asks for it, it keeps sealed values as well, which it cannot
read, and claims, by which one of several processes does what has to be done once. A store knows nothing of replicas,
requests or policies.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple, Protocol

from sidecar.core.identity import BoundSession
from sidecar.core.revocation import Revocation
from sidecar.errors import SidecarError

PAGE = 500  # entries; a page is unpacked and applied in one go, and 500 take about 2 ms
WAIT_S = 0.25  # how long `follow` waits for news; the age of an idle replica stays below twice that


class StoreError(SidecarError):
    """The store could not do it now; the caller may try again. `reason` is stable, e.g. `store_unavailable`."""


class StoreUnusable(StoreError):
    """The store will not work until an operator changes something (not a database, read-only, newer schema)."""


# An append that failed with one of these is in the log, and will be read; it is not as durable as configured.
NOT_DURABLE: Final = frozenset(("store_not_replicated", "store_not_on_disk"))


class Mark(NamedTuple):
    """Where an append stands: in which log, and up to which entry."""

    log: bytes
    entry: tuple[int, int]


class Batch(NamedTuple):
    """What `follow` brought. Complete: the store had nothing beyond it when it answered."""

    revocations: Sequence[Revocation]
    complete: bool


class Store(Protocol):
    """All methods may raise StoreError. None blocks the event loop; each returns or fails within a bounded time."""

    async def open(self) -> None:
        """Connect or create; does nothing when that is done. Raises StoreUnusable when no retry can help."""

    async def aclose(self) -> None:
        """Release everything. May be called twice, and without `open`."""

    async def secret(self) -> bytes:
        """The digest secret kept in the store: 32 random bytes, made once by whoever asks first."""

    async def kept_secret(self) -> bytes | None:
        """The digest secret that the store keeps, where it ever made one."""

    async def superseded(self, now: int) -> int | None:
        """Since when the secret that the store keeps is not the deployment's own any more, in seconds of wall time.

        Noted as `now` by the first process that asks, and forgotten when one uses it again. None: it keeps none.
        """

    def use_key(self, key_id: int, *others: int) -> None:
        """Name the key of the digests (`Digester.key_id`), and the others that are accepted.

        It is written beside each revocation. A reader that meets a foreign one says so: those entries match nothing
        here.
        """

    async def append(self, revocations: Sequence[Revocation]) -> Mark | None:
        """Add to the log, all or nothing; returns when they are durable at the configured level.

        The mark is for `confirmed`; None where nobody else has to confirm.
        """

    async def durable(self) -> bool:
        """Whether what appends refused as NOT_DURABLE is by now as durable as configured, and needs no more care.

        False: it may be lost, append it again. StoreError: not yet, or it cannot be said.
        """

    async def restore(self, revocations: Sequence[Revocation]) -> None:
        """Put back what the log has lost, as `append` does. Nobody was promised anything, so it waits for no more."""

    def snapshot(self) -> AsyncIterator[Sequence[Revocation]]:
        """The whole log in pages of at most PAGE; afterwards `follow` starts where the snapshot ended."""

    async def follow(self) -> Batch:
        """Wait up to WAIT_S for the next entries after the cursor, at most PAGE; empty when there are none.

        A complete answer, empty or not, proves: whatever was appended before this call began has been delivered. Any
        StoreError means that this cannot be said any more (connection lost, log lost, other server): take a new
        `snapshot` and merge it. One caller at a time.
        """

    def reread(self) -> AsyncIterator[Sequence[Revocation]] | None:
        """The whole log once more, beside `follow` and without moving its cursor.

        None where nobody else can take entries out of the log.
        """

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits to hear how far this replica is."""

    def applied(self) -> None:
        """What `snapshot` and `follow` have brought so far is enforced, wherever this replica answers for it."""

    async def confirmed(self, mark: Mark, within_s: float) -> None:
        """Return when every other replica that may be serving enforces what stands up to the mark.

        StoreError `logout_unconfirmed` when that is not known in time.
        """

    async def prune(self) -> None:
        """Drop what has expired, a bounded amount of it. Never anything that is live, however full the log is."""

    async def get_binding(self, credential: bytes) -> BoundSession | None:
        """The session bound to a credential digest, None when there is none (or it expired)."""

    async def put_binding(self, credential: bytes, session: BoundSession, ttl: int) -> None:
        """Bind, replacing what was there; kept for at least `ttl` seconds. Returns when it can be read elsewhere."""

    async def put_sealed(self, name: bytes, value: bytes, ttl: int) -> None:
        """Keep an encrypted value under a digest, replacing what was there; for at least `ttl` seconds."""

    async def get_sealed(self, name: bytes) -> bytes | None:
        """The value under a digest, None when there is none (or it expired)."""

    async def delete_sealed(self, name: bytes) -> None:
        """Forget a sealed value; nothing happens when there is none."""

    async def claim(self, name: bytes, ttl: int) -> bool:
        """Whether the caller is the first to claim this digest within `ttl` seconds: true for one of all processes."""
