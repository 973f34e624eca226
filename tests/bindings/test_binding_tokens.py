"""The token of a login: which one, until when, and encrypted."""

from collections.abc import AsyncIterator

import pytest

from sidecar.bindings.sealer import Sealer
from sidecar.bindings.tokens import CheckToken, TokenKeeper, Tokens, token_of
from sidecar.core.identity import Digester, Session
from sidecar.stores.interface import Store
from sidecar.stores.open import open_store

SESSION = Session("https://idp.example.com", "app", "s-1", "alice", 1000)
ANSWER = {"access_token": "the-access", "refresh_token": "the-refresh", "expires_in": 300}


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = open_store("sqlite://")
    await store.open()
    yield store
    await store.aclose()


@pytest.mark.parametrize(
    ("by", "token"), [("introspection", "the-access"), ("userinfo", "the-access"), ("refresh", "the-refresh")]
)
async def test_the_token_to_ask_with_is_kept_under_its_session(store: Store, by, token: str) -> None:
    digester, tokens = Digester(b"d" * 32), Tokens(store, Sealer(b"s" * 32), ttl_s=60)
    own = digester.bound(SESSION).own
    await TokenKeeper(tokens, digester, by=by, now=lambda: 1000.0)(SESSION, ANSWER)
    assert await tokens.find(own) == CheckToken(SESSION, token, 1300.0)
    rows = await store._in_thread(  # type: ignore[attr-defined]
        lambda: store._database._connection.execute("SELECT name, value FROM sealed").fetchall()  # type: ignore[attr-defined]
    )
    ((name, value),) = rows
    assert name != own
    assert token.encode() not in value
    assert token not in repr(CheckToken(SESSION, token, 1.0))
    await tokens.forget(own)
    assert await tokens.find(own) is None


@pytest.mark.parametrize("lifetime", [None, 0, -1, True, "300", float("nan"), float("inf"), 2**41])
def test_a_lifetime_that_is_none_is_not_known(lifetime) -> None:
    found = token_of("userinfo", ANSWER | {"expires_in": lifetime}, 1000.0, SESSION)
    assert found is not None
    assert found.expires is None


@pytest.mark.parametrize("token", [None, "", 7, "x" * 20_000])
async def test_a_login_without_a_token_goes_on(store: Store, token, caplog) -> None:
    tokens = Tokens(store, Sealer(b"s" * 32), ttl_s=60)
    keeper = TokenKeeper(tokens, Digester(b"d" * 32), by="refresh", now=lambda: 1.0)
    await keeper(SESSION, ANSWER | {"refresh_token": token})
    await store.aclose()
    await keeper(SESSION, ANSWER)
    assert [record.fields["reason"] for record in caplog.records] == ["token_missing", "store_closed"]


@pytest.mark.parametrize(("by", "is_kept"), [("userinfo", False), ("introspection", True), ("refresh", True)])
def test_a_token_that_only_its_owner_can_use_is_not_shown_as_a_bearer(by, is_kept: bool) -> None:
    assert (token_of(by, ANSWER | {"token_type": "DPoP"}, 1.0, SESSION) is not None) is is_kept
    assert token_of(by, ANSWER | {"token_type": "bearer"}, 1.0, SESSION) is not None


async def test_that_a_provider_answers_is_known_by_all_and_cannot_be_made_up(store: Store) -> None:
    tokens = Tokens(store, Sealer(b"s" * 32), ttl_s=60)
    assert not await tokens.was_alive("https://idp.example.com")
    await tokens.note_alive("https://idp.example.com")
    assert await tokens.was_alive("https://idp.example.com")
    assert not await tokens.was_alive("https://other.example.com")
    assert not await Tokens(store, Sealer(b"x" * 32), ttl_s=60).was_alive("https://idp.example.com")
