"""From `store.url` to a store, by scheme.

SQLite follows SQLAlchemy's convention: four slashes for an absolute path, three for a relative one, `sqlite://` alone
for memory. The address may hold a password, so that no error repeats it.
"""

from urllib.parse import unquote, urlsplit

from sidecar.stores.interface import Store, StoreUnusable
from sidecar.stores.sqlite import SqliteStore

_REDIS = ("redis", "rediss", "unix")
_LATER = ("redis+sentinel", "redis+cluster")


def open_store(url: str, namespace: str = "lg") -> Store:
    """The store that `url` names, not connected yet. StoreUnusable when it names none."""
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        return SqliteStore(_sqlite_path(url))
    if scheme in _REDIS:
        from sidecar.stores.redis import RedisStore  # noqa: PLC0415 - 65 ms that a start on SQLite does not need

        return RedisStore(url, namespace=namespace)
    if scheme in _LATER:
        raise StoreUnusable("store_scheme_unsupported", f"{scheme}:// is not supported yet")
    raise StoreUnusable("store_scheme_unsupported", "use sqlite://, redis://, rediss:// or unix://")


def _sqlite_path(url: str) -> str | None:
    parts = urlsplit(url)
    if parts.netloc or parts.query or parts.fragment:
        raise StoreUnusable(
            "store_url_invalid", "an sqlite address is sqlite:////absolute/path, sqlite:///relative/path or sqlite://"
        )
    return unquote(parts.path[1:]) or None
