"""The stores that a round may have: one server, Sentinels over two, or a cluster. All real, all with their faults."""

import contextlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from redis_places import ADMIN, PASSWORD, USER, Cluster, Places, wait_until

LOG = "{lg:rv}:log"

USERS = {"username": USER, "password": {"env": "STORE_PASSWORD"}}
assert PASSWORD == "the-sidecar"  # what the replicas find in STORE_PASSWORD


def _shared() -> Any:
    """The suite's own conftest: it knows how to run a server, under pytest and without."""
    spec = importlib.util.spec_from_file_location("suite_conftest", Path(__file__).parents[1] / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_SHARED = _shared()
PROGRAMS: dict[str, str] = _SHARED.PROGRAMS


@dataclass(frozen=True, slots=True)
class StorePlace:
    """Where the replicas find the store. With a `port`, each gets there through a link of its own."""

    url: str = ""
    port: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    server: Any = None  # of a single server
    master: Any = None  # of two under Sentinels
    copy: Any = None
    cluster: Cluster | None = None


@contextlib.contextmanager
def single(folder: Path, program: str, *, durable: bool = False) -> Iterator[StorePlace]:
    """One server; `durable`: nothing acknowledged is lost with the process."""
    settings = {"appendonly": "yes", "appendfsync": "always"} if durable else {}
    server = _SHARED.RedisServer(PROGRAMS[program], folder / "server", **settings)
    server.start()
    try:
        yield StorePlace(port=server.port, server=server)
    finally:
        server.kill()


@contextlib.contextmanager
def sentinel(folder: Path, program: str) -> Iterator[StorePlace]:
    """A master, a copy of it, and three Sentinels."""
    with _places(folder, program) as places:
        master, copy = places.guarded(masterauth=ADMIN), places.guarded(masterauth=ADMIN)
        copy.command("REPLICAOF", "127.0.0.1", master.port)
        wait_until(lambda: copy.command("INFO", "replication").get("master_link_status") == "up")
        sentinels = places.sentinels(master)
        sentinels.ready_for_failover(replicas=1)
        options = USERS | {"sentinel_username": USER, "sentinel_password": {"env": "STORE_PASSWORD"}}
        url = f"redis+sentinel://{sentinels.hosts}/main?min_other_sentinels=2"
        yield StorePlace(url=url, options=options, master=master, copy=copy)


@contextlib.contextmanager
def cluster(folder: Path, program: str) -> Iterator[StorePlace]:
    """Three masters, and a copy of the one that has the log."""
    with _places(folder, program) as places:
        nodes = places.cluster()
        yield StorePlace(url=f"redis+cluster://{nodes.hosts}", options=dict(USERS), cluster=nodes)


@contextlib.contextmanager
def _places(folder: Path, program: str) -> Iterator[Places]:
    def start(path: Path, **settings: str) -> Any:
        server = _SHARED.RedisServer(PROGRAMS[program], path, **settings)
        server.start()
        return server

    places = Places(partial(start), _SHARED._free_port, folder, PROGRAMS[program])
    try:
        yield places
    finally:
        places.close()
