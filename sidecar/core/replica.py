"""One process's complete copy of the live revocations, in memory.

A map from digest to the latest cut-off and the latest expiry, that only grows and expires: applying is a merge, hence
idempotent, commutative and associative, and the log may be replayed twice, late or in any order (invariant I6). It does
not judge sessions (core/verdict), does not know the store, and holds no person's data: digests are keyed.

Each entry is one dict slot and one int. At a million entries that is about 150 bytes each, and the dict is not tracked
by the garbage collector. 256 shards by the first byte of the digest keep a resize (of one shard) and an expiry pass
(over one shard) short: a single dict stalls the loop for 145 ms when it grows at that size.
"""

from collections.abc import Iterator

from sidecar.core.identity import Kind
from sidecar.core.revocation import Revocation

SHARDS = 256

# One int per entry, most significant first: cut-off in ms (unbounded), expiry in s (32 bits), kind (4 bits). The
# cut-off is on top so that the look-up on the path of every request is one shift.
_KIND_BITS = 4
_EXPIRES_BITS = 32
_CUTOFF_SHIFT = _KIND_BITS + _EXPIRES_BITS
_KIND_MASK = (1 << _KIND_BITS) - 1
_EXPIRES_MAX = (1 << _EXPIRES_BITS) - 1


class Replica:
    """The live revocations. All methods are synchronous; one thread."""

    __slots__ = ("_next_swept", "_shards", "everybody_until")

    def __init__(self) -> None:
        # The latest cut-off of any logout of everybody, in ms: a login after it needs no look at its parties. It never
        # goes back, because what expires is older than any login that may be served.
        self.everybody_until = 0
        self._shards: tuple[dict[bytes, int], ...] = tuple({} for _ in range(SHARDS))
        self._next_swept = 0

    def __len__(self) -> int:
        return sum(map(len, self._shards))

    def __repr__(self) -> str:
        return f"<Replica of {len(self)} revocations>"

    def cutoff(self, digest: bytes) -> int | None:
        """The cut-off in ms at or before which a login of `digest` is over; None when nothing was revoked.

        On the path of every request. Expiry is not looked at: an entry that `sweep` has not reached yet still denies,
        and expiring late is the safe side.
        """
        packed = self._shards[digest[0]].get(digest)
        return None if packed is None else packed >> _CUTOFF_SHIFT

    def knows(self, one: bytes, another: bytes, third: bytes | None) -> bool:
        """Whether any of these digests was revoked, whatever the cut-off: one call for what most requests ask."""
        shards = self._shards
        return (
            one in shards[one[0]] or another in shards[another[0]] or (third is not None and third in shards[third[0]])
        )

    def apply(self, revocation: Revocation) -> bool:
        """Merge one revocation in. True when that changed something."""
        shard = self._shards[revocation.digest[0]]
        known = shard.get(revocation.digest)
        packed = _pack(revocation) if known is None else _merge(known, _pack(revocation))
        if packed == known:
            return False
        shard[revocation.digest] = packed
        if revocation.kind is Kind.EVERYBODY:
            self.everybody_until = max(self.everybody_until, revocation.cutoff)
        return True

    def sweep(self, now: float) -> int:
        """Drop what expired in the next shard, and say how many. 256 calls make a full pass."""
        shard = self._shards[self._next_swept]
        self._next_swept = (self._next_swept + 1) % SHARDS
        expired = [digest for digest, packed in shard.items() if _expires(packed) <= now]
        for digest in expired:
            del shard[digest]
        return len(expired)

    def live(self, now: float) -> Iterator[Revocation]:
        """Every revocation that has not expired. The replica may change while this runs."""
        return self.lacking(Replica(), now)

    def lacking(self, other: "Replica", now: float, first_shard: int = 0) -> Iterator[Revocation]:
        """Every live revocation that `other` does not know to the full. Both may change while this runs.

        `first_shard` lets several replicas that publish what a store lost begin in different places.
        """
        for index in range(SHARDS):
            position = (first_shard + index) % SHARDS
            theirs = other._shards[position]  # noqa: SLF001 - the same class
            # A copy of one shard: the caller may await between two entries.
            for digest, packed in list(self._shards[position].items()):
                if _expires(packed) > now and not _includes(theirs.get(digest), packed):
                    yield _unpack(digest, packed)


def _pack(revocation: Revocation) -> int:
    # Clamped to what the stores keep as well (32 bits, the year 2106), so that both sides stay comparable.
    expires = min(revocation.expires, _EXPIRES_MAX)
    return revocation.cutoff << _CUTOFF_SHIFT | expires << _KIND_BITS | revocation.kind


def _unpack(digest: bytes, packed: int) -> Revocation:
    return Revocation(Kind(packed & _KIND_MASK), digest, packed >> _CUTOFF_SHIFT, _expires(packed))


def _expires(packed: int) -> int:
    return packed >> _KIND_BITS & _EXPIRES_MAX


def _merge(one: int, other: int) -> int:
    """Field by field the maximum. The kind is part of the digest, so both sides have the same."""
    cutoff = max(one >> _CUTOFF_SHIFT, other >> _CUTOFF_SHIFT)
    expires = max(_expires(one), _expires(other))
    return cutoff << _CUTOFF_SHIFT | expires << _KIND_BITS | one & _KIND_MASK


def _includes(known: int | None, packed: int) -> bool:
    return known is not None and _merge(known, packed) == known
