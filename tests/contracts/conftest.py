"""Every contract test runs on every store: SQLite in a file and in memory, a real Redis, a real Valkey."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sidecar.stores.interface import Store
from sidecar.stores.open import open_store


@dataclass
class Place:
    """Where a store keeps its things; `store()` opens one more store on the same place."""

    kind: str
    url: str
    server: Any
    opened: list[Store]

    @property
    def shared(self) -> bool:
        """Whether a second process could see it."""
        return self.url != "sqlite://"

    async def store(self) -> Store:
        store = open_store(self.url)
        self.opened.append(store)
        await store.open()
        return store


@pytest.fixture(params=["sqlite-file", "sqlite-memory", "redis", "valkey"])
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, start_redis: Callable[..., Any]
) -> AsyncIterator[Place]:
    server = start_redis(request.param) if request.param in {"redis", "valkey"} else None
    urls = {"sqlite-file": f"sqlite:///{tmp_path}/state.db", "sqlite-memory": "sqlite://"}
    place = Place(request.param, server.url if server else urls[request.param], server, [])
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
