"""From `store.url` to a store, by scheme.

SQLite follows SQLAlchemy's convention: four slashes for an absolute path, three for a relative one, `sqlite://` alone
for memory. The address may hold a password, so that no error repeats it.
"""

from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from sidecar.stores.interface import Store, StoreUnusable
from sidecar.stores.sqlite import SqliteStore

Password = Callable[[], bytes]  # called for each connection, in a thread, so that it may read a file


def open_store(
    url: str,
    namespace: str = "lg",
    *,
    username: str | None = None,
    password: Password | None = None,
    ca_file: str | None = None,
    client_certificate: str | None = None,
    client_key: str | None = None,
    sentinel_username: str | None = None,
    sentinel_password: Password | None = None,
    durable_replicas: int = 0,
    durable_fsync: bool = False,
    confirms: bool = False,
    grace: float = 60.0,
) -> Store:
    """The store that `url` names, not connected yet. StoreUnusable when it names none, or a file cannot be used."""
    if url.partition(":")[0] == "sqlite":
        return SqliteStore(_sqlite_path(url))

    # 65 ms that a start on SQLite does not need.
    from sidecar.stores.redis import RedisStore, log_key  # noqa: PLC0415 - see above
    from sidecar.stores.redis_address import parse  # noqa: PLC0415 - see above
    from sidecar.stores.redis_append import Durability  # noqa: PLC0415 - see above
    from sidecar.stores.redis_connection import Credentials, Tls  # noqa: PLC0415 - see above
    from sidecar.stores.redis_topology import connect  # noqa: PLC0415 - see above

    address = parse(url)
    if address.password is not None and password is None:
        password = address.password.encode
    files = {
        "ca_file": ca_file or address.ca_file,
        "certificate": client_certificate or address.certificate,
        "key": client_key or address.key,
    }
    clients = connect(
        address,
        home=log_key(namespace),
        tls=Tls(**files) if address.tls else None,
        credentials=Credentials(username or address.username, password) if password else None,
        sentinel_credentials=Credentials(sentinel_username, sentinel_password) if sentinel_password else None,
    )
    return RedisStore(
        clients,
        place=str(address),
        namespace=namespace,
        durability=Durability(durable_replicas, durable_fsync),
        confirms=confirms,
        grace=grace,
    )


def _sqlite_path(url: str) -> str | None:
    parts = urlsplit(url)
    if parts.netloc or parts.query or parts.fragment:
        raise StoreUnusable(
            "store_url_invalid", "an sqlite address is sqlite:////absolute/path, sqlite:///relative/path or sqlite://"
        )
    return unquote(parts.path[1:]) or None
