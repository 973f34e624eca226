"""What was kept of a login is gone soon after its session."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from sidecar.bindings.sealer import Sealer
from sidecar.bindings.vault import Kept, Vault
from sidecar.core.identity import Kind, Session
from sidecar.core.revocation import Revocation
from sidecar.outbound.forget import ForgetLogins
from sidecar.stores.open import open_store

KEPT = Kept(Session("https://idp.example.com", "app", "s-1", "alice", 1))
OWN = b"o" * 16


@pytest.fixture
async def vault() -> AsyncIterator[Vault]:
    store = open_store("sqlite://")
    await store.open()
    yield Vault(store, Sealer(b"s" * 32), ttl_s=60)
    await store.aclose()


async def after(vault: Vault, kind: Kind, digest: bytes = OWN, *, is_ours: bool = True) -> Kept | None:
    """What is left of a login when a revocation was heard of."""
    await vault.keep(OWN, KEPT)
    forget = ForgetLogins(vault.forget)
    forget.revoked(Revocation(kind, digest, 5000, 4_000_000_000), is_ours)
    await asyncio.gather(*forget._tasks)
    await forget.aclose()
    return await vault.find(OWN)


@pytest.mark.parametrize("kind", [Kind.SID, Kind.SUB_WITHOUT_SID])
async def test_a_session_that_is_over_is_forgotten(vault: Vault, kind: Kind) -> None:
    assert await after(vault, kind) is None


async def test_another_session_is_not_and_one_process_is_enough(vault: Vault) -> None:
    assert await after(vault, Kind.SID, b"x" * 16) == KEPT
    assert await after(vault, Kind.SID, is_ours=False) == KEPT
    assert await after(vault, Kind.CREDENTIAL) == KEPT


async def test_a_store_that_fails_is_nobodys_trouble(vault: Vault) -> None:
    await vault._store.aclose()  # type: ignore[attr-defined]
    forget = ForgetLogins(vault.forget)
    forget.revoked(Revocation(Kind.SID, OWN, 5000, 4_000_000_000), True)
    assert await asyncio.gather(*forget._tasks) == [None]
