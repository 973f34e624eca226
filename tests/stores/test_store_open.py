"""From an address to a store."""

import pytest

from sidecar.stores.interface import StoreUnusable
from sidecar.stores.open import open_store
from sidecar.stores.redis import RedisStore
from sidecar.stores.sqlite import SqliteStore


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite://", None),
        ("sqlite:///", None),
        ("sqlite:///state.db", "state.db"),
        ("sqlite:///folder/state.db", "folder/state.db"),
        ("sqlite:////var/lib/state.db", "/var/lib/state.db"),
        ("sqlite:////var/lib/with%20blank.db", "/var/lib/with blank.db"),
    ],
)
def test_an_sqlite_address_follows_the_convention_of_slashes(url, path):
    store = open_store(url)

    assert isinstance(store, SqliteStore)
    assert store._path == path


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("redis://localhost", "localhost:6379"),
        ("redis://user:geheim@db.example.com:6380/3", "db.example.com:6380"),
        ("rediss://:geheim@db.example.com", "db.example.com:6379"),
        ("unix:///run/redis.sock?db=1", "/run/redis.sock"),
        ("unix://user:geheim@/run/redis.sock", "/run/redis.sock"),
        ("redis+sentinel://user:geheim@a,b:26380/main/2", "a:26379,b:26380/main"),
        ("rediss+cluster://:geheim@[::1]:7000,b", "[::1]:7000,b:6379"),
    ],
)
def test_a_redis_address_is_shown_without_its_password(url, where):
    store = open_store(url)

    assert isinstance(store, RedisStore)
    assert repr(store) == f"<RedisStore {where}>"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis+sentinel://:geheim@a,b", "store_url_invalid"),
        ("redis+cluster://:geheim@a/1", "store_url_invalid"),
        ("postgres://:geheim@a", "store_scheme_unsupported"),
        ("", "store_scheme_unsupported"),
        ("geheim", "store_scheme_unsupported"),
        ("sqlite://geheim/state.db", "store_url_invalid"),
        ("sqlite:///state.db?mode=geheim", "store_url_invalid"),
        ("redis://:geheim@host:port", "store_url_invalid"),
        ("redis://:geheim@host/notanumber?db=x", "store_url_invalid"),
        ("redis://:geheim@host?socket_timeout=99", "store_url_invalid"),
        ("redis://:geheim@host?decode_responses=yes", "store_url_invalid"),
    ],
)
def test_an_address_of_nothing_is_refused_and_not_repeated(url, reason):
    with pytest.raises(StoreUnusable) as caught:
        open_store(url)

    assert caught.value.reason == reason
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("namespace", ["", "{a}", "a{", "}"])
def test_a_namespace_that_would_break_the_one_slot_is_refused(namespace):
    with pytest.raises(StoreUnusable):
        open_store("redis://localhost", namespace)


def test_a_namespace_is_the_prefix_of_all_keys():
    store = open_store("redis://localhost", "blue")

    assert isinstance(store, RedisStore)
    assert (store._log, store._meta, store._binding_prefix) == ("{blue:rv}:log", "{blue:rv}:meta", b"blue:b:")
