"""Every contract test runs on every store: SQLite in a file and in memory, and Redis in each shape that we support.

Servers are started once in a session and emptied before each test. All but the plain two are entered with exactly the
rights that docs/operations.md lists, so that a command beyond them fails the suite.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis_places import ADMIN, PASSWORD, USER, Places, flush, password, taken

from sidecar.stores import redis_topology
from sidecar.stores.interface import Store
from sidecar.stores.open import open_store

KINDS = [
    "sqlite-file",
    "sqlite-memory",
    "redis",
    "valkey",
    "redis-tls",
    "redis-unix",
    "redis-sentinel",
    "redis-cluster",
]


@dataclass
class Place:
    """Where a store keeps its things; `store()` opens one more store on the same place."""

    kind: str
    url: str
    servers: list[Any] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    opened: list[Store] = field(default_factory=list)

    @property
    def shared(self) -> bool:
        """Whether a second process could see it."""
        return self.url != "sqlite://"

    def new(self) -> Store:
        store = open_store(self.url, **self.options)
        self.opened.append(store)
        return store

    async def store(self) -> Store:
        store = self.new()
        await taken(store.open)
        return store


@pytest.fixture(scope="session")
def places_of(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Places]]:
    """A function from the name of a server program to its `Places`; skips where it is not installed."""
    shared: Any = request.config.pluginmanager.get_plugin(str(Path(__file__).parents[1] / "conftest.py"))
    found: dict[str, Places] = {}

    def start(program: str, folder: Path, **settings: str) -> Any:
        server = shared.RedisServer(shared.PROGRAMS[program], folder, **settings)
        server.start()
        return server

    def of(program: str) -> Places:
        if program not in shared.PROGRAMS:
            pytest.skip(f"no {program} server on this machine")
        if program not in found:
            folder = tmp_path_factory.mktemp(program)
            found[program] = Places(partial(start, program), shared._free_port, folder, shared.PROGRAMS[program])
        return found[program]

    yield of
    for places in found.values():
        places.close()


@pytest.fixture
def places(places_of: Callable[[str], Places]) -> Places:
    return places_of("redis")


@pytest.fixture(scope="session")
def cluster(places_of: Callable[[str], Places]) -> Any:
    return places_of("redis").cluster()


@pytest.fixture(scope="session")
def place_of(places_of: Callable[[str], Places], request: pytest.FixtureRequest) -> Callable[[str], Place]:
    """A function from a kind to its place; the servers behind it are the same in the whole session."""
    found: dict[str, Place] = {}
    user = {"username": USER, "password": password}

    def plain(program: str) -> Place:
        server = places_of(program).server()
        return Place(program, server.url, [server])

    def tls() -> Place:
        places = places_of("redis")
        authority = places.authority()
        port = places.free_port()
        server = places.guarded(**authority.server_settings(port))
        files = {"client_certificate": authority.client_certificate, "client_key": authority.client_key}
        return Place("redis-tls", f"rediss://127.0.0.1:{port}", [server], user | files | {"ca_file": authority.ca_file})

    def unix() -> Place:
        places = places_of("redis")
        path = places.socket_path()
        return Place("redis-unix", f"unix://{USER}:{PASSWORD}@{path}", [places.guarded(unixsocket=path)])

    def sentinel() -> Place:
        places = places_of("redis")
        master = places.guarded(masterauth=ADMIN)
        options = user | {"sentinel_username": USER, "sentinel_password": password}
        return Place("redis-sentinel", f"redis+sentinel://{places.sentinels(master).hosts}/main", [master], options)

    def cluster() -> Place:
        nodes = request.getfixturevalue("cluster")
        return Place("redis-cluster", f"redis+cluster://{nodes.hosts}", nodes.servers, user)

    made = {
        "redis": partial(plain, "redis"),
        "valkey": partial(plain, "valkey"),
        "redis-tls": tls,
        "redis-unix": unix,
        "redis-sentinel": sentinel,
        "redis-cluster": cluster,
    }

    def of(kind: str) -> Place:
        if kind not in found:
            found[kind] = made[kind]()
        return found[kind]

    return of


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer time-outs: on a busy machine the real ones may strike, and what they do is tested where they matter."""
    for role in (redis_topology.READER, redis_topology.WRITER, redis_topology.BINDINGS, redis_topology.FINDER):
        monkeypatch.setitem(role, "timeout_s", 8 * role["timeout_s"])


@pytest.fixture(params=KINDS)
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, place_of: Callable[[str], Place], patience: None
) -> AsyncIterator[Place]:
    urls = {"sqlite-file": f"sqlite:///{tmp_path}/state.db", "sqlite-memory": "sqlite://"}
    if request.param in urls:
        place = Place(request.param, urls[request.param])
    else:
        base = place_of(request.param)
        place = Place(base.kind, base.url, base.servers, base.options)
        flush([each for each in base.servers if each.command("ROLE")[0] == b"master"])
    yield place
    for store in place.opened:
        await store.aclose()


@pytest.fixture
async def store(place: Place) -> Store:
    return await place.store()


@pytest.fixture
def shared_place(place: Place) -> Place:
    if not place.shared:
        pytest.skip("memory is not shared")
    return place
