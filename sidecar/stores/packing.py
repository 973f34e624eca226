"""The bytes that stores keep: one format for every store, so that they can be compared and moved.

A revocation is 31 bytes (version, kind, key id of the digest secret, digest, cut-off in ms, expiry in s), a binding 50
for each session that the credential may belong to, the latest first; nearly always there is one. Where the session
names its party as well, it is 66.
A format is never changed in place: a new one gets a new version byte, and readers know all versions they ever wrote.
"""

import logging
import struct
from collections.abc import Iterable, Iterator

from sidecar import metrics
from sidecar.core.identity import BoundSession, Kind, sharing
from sidecar.core.revocation import Revocation
from sidecar.log import event
from sidecar.stores.interface import StoreError

logger = logging.getLogger(__name__)

_REVOCATION = struct.Struct(">BBB16sQI")
_BINDING = struct.Struct(">BB16s16sqq")
_BINDING_OF_PARTY = struct.Struct(">BB16s16sqq16s")
_VERSION = 1
_VERSION_OF_PARTY = 2
_FORMS = {_VERSION: _BINDING, _VERSION_OF_PARTY: _BINDING_OF_PARTY}
_HAS_SUB = 1  # of the flags; the upper half of them is the binder, which the first releases wrote as zero
_BINDER_SHIFT = 4
_NO_SUB = bytes(16)
_EXPIRES_MAX = 0xFFFF_FFFF  # the year 2106


def pack_revocation(revocation: Revocation, key_id: int) -> bytes:
    """One log entry."""
    expires = min(revocation.expires, _EXPIRES_MAX)
    return _REVOCATION.pack(_VERSION, revocation.kind, key_id, revocation.digest, revocation.cutoff, expires)


def unpack_revocation(entry: bytes) -> tuple[Revocation, int]:
    """The revocation and the key id of one log entry; StoreError `store_entry_unreadable` for anything else."""
    try:
        version, kind, key_id, digest, cutoff, expires = _REVOCATION.unpack(entry)
        revocation = Revocation(Kind(kind), digest, cutoff, expires)
    except (struct.error, ValueError):
        raise _unreadable() from None
    if version != _VERSION:
        raise _unreadable()
    return revocation, key_id


def pack_binding(session: BoundSession) -> bytes:
    """The value kept under a credential digest."""
    return b"".join(map(_pack_session, session.all))


def unpack_binding(value: bytes) -> BoundSession:
    """The session of a binding.

    Unreadable is an error and not a miss: a miss would let the request pass as unbound.
    """
    try:
        session, *also = _unpack_sessions(value)
    except (struct.error, ValueError):  # the second: nothing at all
        raise _unreadable() from None
    return sharing(session, tuple(also)) if also else session


def _pack_session(session: BoundSession) -> bytes:
    flags = session.binder << _BINDER_SHIFT | (0 if session.sub is None else _HAS_SUB)
    values = (flags, session.own, session.sub or _NO_SUB, session.login_time, session.sid_time)
    if session.parties:
        return _BINDING_OF_PARTY.pack(_VERSION_OF_PARTY, *values, session.parties[0])
    return _BINDING.pack(_VERSION, *values)  # readable for releases that know no parties


def _unpack_sessions(value: bytes) -> Iterator[BoundSession]:
    at = 0
    while at < len(value):
        form = _FORMS.get(value[at])
        if form is None:
            raise _unreadable()
        _, flags, own, sub, login_time, sid_time, *parties = form.unpack_from(value, at)
        at += form.size
        has_sub, binder = flags & _HAS_SUB, flags >> _BINDER_SHIFT
        yield BoundSession(own, sub if has_sub else None, login_time, sid_time, parties=tuple(parties), binder=binder)


def _unreadable() -> StoreError:
    return StoreError("store_entry_unreadable", "the store holds an entry that this version cannot read")


class Entries:
    """Reads and writes log entries for one deployment's key, and complains about foreign ones, once each.

    An entry under another key is applied all the same: it matches nothing here, but it is counted and kept. An entry
    that cannot be read is passed over: it must not keep every replica from following the log. A newer schema is not
    met this way, the store refuses it as a whole.
    """

    def __init__(self) -> None:
        self._key_id = 0
        self._accepted: frozenset[int] = frozenset()
        self._complained: set[str] = set()

    def use_key(self, key_id: int, *others: int) -> None:
        """The key that digests are made with from now on, and the others that are accepted."""
        self._key_id = key_id
        self._accepted = frozenset((key_id, *others))

    def pack(self, revocation: Revocation) -> bytes:
        """One log entry."""
        return pack_revocation(revocation, self._key_id)

    def unpack(self, entries: Iterable[bytes]) -> list[Revocation]:
        """The revocations of all entries that can be read."""
        revocations = []
        for entry in entries:
            try:
                revocation, key_id = unpack_revocation(entry)
            except StoreError as error:
                self._complain(error.reason)
                continue
            if self._accepted and key_id not in self._accepted:
                self._complain("digest_key_foreign")
            revocations.append(revocation)
        return revocations

    def _complain(self, reason: str) -> None:
        metrics.store_errors.labels(reason=reason).inc()
        if reason not in self._complained:
            self._complained.add(reason)
            event(logger, logging.ERROR, reason)
