"""The stored bytes: fixed for ever, read back exactly, and never a traceback for anything else."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.identity import BoundSession, Kind, SharedSession
from sidecar.core.revocation import Revocation
from sidecar.stores.interface import StoreError
from sidecar.stores.packing import (
    Entries,
    pack_binding,
    pack_revocation,
    unpack_binding,
    unpack_revocation,
)

DIGESTS = st.binary(min_size=16, max_size=16)
TIMES = st.integers(-(2**63), 2**63 - 1)
REVOCATIONS = st.builds(
    Revocation, st.sampled_from(Kind), DIGESTS, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)
)
SESSIONS = st.builds(BoundSession, DIGESTS, st.none() | DIGESTS, TIMES, TIMES)


@given(REVOCATIONS, st.integers(0, 255))
def test_a_revocation_comes_back_as_it_was(revocation, key_id):
    assert unpack_revocation(pack_revocation(revocation, key_id)) == (revocation, key_id)


@given(SESSIONS)
def test_a_binding_comes_back_as_it_was(session):
    assert unpack_binding(pack_binding(session)) == session


@given(SESSIONS, st.integers(0, 15))
def test_a_binding_says_who_found_it_out(session, binder):
    assert unpack_binding(pack_binding(replace(session, binder=binder))).binder == binder
    assert unpack_binding(pack_binding(replace(session, binder=binder))) == session


@given(st.lists(SESSIONS, min_size=2, max_size=4))
def test_a_binding_to_several_sessions_comes_back_as_it_was(sessions):
    first, *rest = sessions
    several = SharedSession(first.own, first.sub, first.login_time, first.sid_time, binder=3, also=tuple(rest))
    assert unpack_binding(pack_binding(several)) == several
    assert unpack_binding(pack_binding(several)).binder == 3


@given(st.binary(max_size=110) | REVOCATIONS.map(lambda each: pack_revocation(each, 0)), st.data())
def test_any_other_bytes_are_an_error_of_the_store_and_nothing_else(raw, data):
    position = data.draw(st.integers(0, max(len(raw) - 1, 0)))
    raw = raw[:position] + data.draw(st.binary(max_size=2)) + raw[position + 1 :]
    for unpack in (unpack_revocation, unpack_binding):
        with contextlib.suppress(StoreError):
            unpack(raw)


def test_the_format_is_what_it_was():
    # Stored values of released versions: a new format needs a new version byte.
    revocation = Revocation(Kind.SUB, bytes(range(16)), 0x0102030405060708, 0x11223344)
    session = BoundSession(b"o" * 16, None, 1, -1)

    assert pack_revocation(revocation, 9).hex() == "010209" + bytes(range(16)).hex() + "0102030405060708" + "11223344"
    assert pack_binding(replace(session, binder=2)).hex()[:4] == "0120"  # earlier releases pass over the binder
    assert pack_binding(session).hex() == "0100" + b"o".hex() * 16 + "00" * 16 + "00" * 7 + "01" + "ff" * 8


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_not_guessed_at(version):
    revocation = pack_revocation(Revocation(Kind.SID, b"d" * 16, 1, 1), 0)
    binding = pack_binding(BoundSession(b"o" * 16, None, 1, 1))

    with pytest.raises(StoreError):
        unpack_revocation(bytes((version,)) + revocation[1:])
    with pytest.raises(StoreError):
        unpack_binding(bytes((version,)) + binding[1:])


def test_an_expiry_beyond_the_format_is_kept_as_the_latest_possible():
    packed = pack_revocation(Revocation(Kind.SID, b"d" * 16, 1, 2**40), 0)

    assert unpack_revocation(packed)[0].expires == 2**32 - 1


def test_unreadable_entries_are_passed_over_and_said_once(caplog):
    entries = Entries()
    good = Revocation(Kind.SID, b"d" * 16, 1, 1)

    assert entries.unpack([b"", b"rubbish", entries.pack(good), b"\x09" * 31]) == [good]
    assert [record.getMessage() for record in caplog.records] == ["store_entry_unreadable"]
