"""What is kept of a login: what was asked for, sealed under its session, and nothing in clear."""

import json
import logging

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from sidecar.bindings.sealer import Sealer
from sidecar.bindings.vault import Keeper, Kept, LoginKeeper, Vault
from sidecar.core.identity import Digester, Session
from sidecar.stores.interface import StoreError

SECRET = b"s" * 32
SESSION = Session("https://idp.example.com", "app", "sid-of-alice", "alice", 1_790_000_000_000)
KEPT = Kept(SESSION, "the.id.token", {"email": "alice@example.com"})
NAME = b"n" * 16


class Memory:
    """A store of sealed values, and how long each is kept."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.ttl = 0
        self.fault: StoreError | None = None

    async def put_sealed(self, name: bytes, value: bytes, ttl: int) -> None:
        if self.fault is not None:
            raise self.fault
        self.values[name], self.ttl = value, ttl

    async def get_sealed(self, name: bytes) -> bytes | None:
        return self.values.get(name)

    async def delete_sealed(self, name: bytes) -> None:
        self.values.pop(name, None)

    async def claim(self, name: bytes, ttl: int) -> bool:
        raise NotImplementedError


def vault(store: Memory, *secrets: bytes) -> Vault:
    first, *others = secrets or (SECRET,)
    return Vault(store, Sealer(first, others), ttl_s=3600)


def token(header=None, **claims):
    base = {"iss": SESSION.issuer, "aud": "app", "sub": "alice", "sid": "sid-of-alice", "iat": 1_790_000_000}
    key = OctKey.import_key(b"k" * 32)
    return jwt.encode({"alg": "HS256"} | (header or {}), base | claims, key, algorithms=["HS256"])


async def test_a_login_is_found_as_it_was_kept_for_as_long_as_sessions_live():
    store = Memory()
    await vault(store).keep(NAME, KEPT)

    assert await vault(store).find(NAME) == KEPT
    assert store.ttl == 3600


async def test_the_store_gets_nothing_in_clear():
    store = Memory()
    await vault(store).keep(NAME, KEPT)

    for text in (b"alice", b"the.id.token", b"example.com", b"email"):
        assert text not in store.values[NAME]


async def test_a_login_moved_to_another_session_is_not_found(caplog):
    store = Memory()
    await vault(store).keep(NAME, KEPT)
    store.values[b"m" * 16] = store.values[NAME]

    assert await vault(store).find(b"m" * 16) is None
    assert [record.message for record in caplog.records] == ["kept_login_unreadable"]


async def test_a_login_is_found_while_the_secret_is_changed_and_not_after():
    store = Memory()
    await vault(store, b"o" * 32).keep(NAME, KEPT)

    assert await vault(store, SECRET, b"o" * 32).find(NAME) == KEPT
    assert await vault(store, SECRET).find(NAME) is None


async def test_what_is_forgotten_is_gone():
    store = Memory()
    await vault(store).keep(NAME, KEPT)
    await vault(store).forget(NAME)

    assert await vault(store).find(NAME) is None
    assert store.values == {}


def test_nothing_that_is_kept_shows():
    shown = repr(KEPT)

    for text in ("alice", "the.id.token", "email"):
        assert text not in shown


def test_only_what_was_asked_for_is_kept():
    encoded = token(email="alice@example.com", account="a-1", name="Alice", groups=["a"])

    assert Keeper(id_token=False).of(SESSION, encoded) == Kept(SESSION)
    assert Keeper(id_token=True).of(SESSION, encoded) == Kept(SESSION, encoded)
    some = Keeper(id_token=False, claims=["account", "groups", "missing", "sub"]).of(SESSION, encoded)
    assert some == Kept(SESSION, None, {"account": "a-1"})
    assert [some.claim(name) for name in ("account", "sub", "sid", "groups")] == ["a-1", "alice", "sid-of-alice", None]


@pytest.mark.parametrize("value", ["", "x" * 1025, 7, None, ["a"]])
def test_a_claim_that_is_no_short_text_is_not_kept(value):
    assert Keeper(id_token=False, claims=["account"]).of(SESSION, token(account=value)).claims == {}


@pytest.mark.parametrize(
    ("header", "claims", "is_kept"),
    [
        ({}, {}, True),
        ({"typ": "JWT"}, {"typ": "ID", "aud": ["other", "app"]}, True),
        ({"typ": "at+jwt"}, {}, False),
        ({"typ": "application/AT+JWT"}, {}, False),
        ({}, {"typ": "Bearer"}, False),
        ({}, {"aud": "account"}, False),
    ],
)
def test_a_token_that_is_no_id_token_of_the_client_is_no_hint(header, claims, is_kept):
    kept = Keeper(id_token=True).of(SESSION, token(header, **claims))

    assert (kept.id_token is not None) == is_kept


async def test_a_login_is_kept_under_the_digest_that_its_bindings_carry():
    store, digester = Memory(), Digester(SECRET)
    encoded = token()
    await LoginKeeper(vault(store), Keeper(id_token=True), digester)(SESSION, encoded)

    assert await vault(store).find(digester.bound(SESSION).own) == Kept(SESSION, encoded)


async def test_a_login_goes_on_when_nothing_can_be_kept_of_it(caplog):
    store = Memory()
    store.fault = StoreError("store_unavailable")
    await LoginKeeper(vault(store), Keeper(id_token=True), Digester(SECRET))(SESSION, token())

    (record,) = caplog.records
    assert (record.levelno, record.message) == (logging.WARNING, "login_not_kept")
    assert "alice" not in json.dumps(record.__dict__, default=str)
