"""The store of this process and what lives on it: replica, feed, publisher, bindings, logins."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable

from sidecar import clock
from sidecar.bindings.directory import Directory
from sidecar.bindings.logins import Logins
from sidecar.config.model import Config
from sidecar.core.freshness import Freshness
from sidecar.core.identity import Digester
from sidecar.core.replica import Replica
from sidecar.core.revocation import SLACK_S, Revocation
from sidecar.stores.feed import Feed
from sidecar.stores.interface import Store
from sidecar.stores.open import open_store
from sidecar.stores.publish import Publisher


class State:
    """The store and what lives on it."""

    def __init__(self, config: Config, store: Store) -> None:
        settings = config.store
        self.store = store
        self.secret = bytes(settings.secret.reveal()) if settings.secret is not None else None
        self.digester = Digester(self.secret or secrets.token_bytes(32))
        self.replica = Replica()
        self.freshness = Freshness(settings.fresh, settings.grace)
        self._on_revocation: Callable[[Revocation], None] = lambda _revocation: None
        self.feed = Feed(store=store, replica=self.replica, freshness=self.freshness, on_revocation=self._revoked)
        self.publisher = Publisher(store=store, replica=self.replica, on_revocation=self._revoked)
        # A binding outlives the session that it names: an expired one still denies (state.md B6).
        ttl = int(2 * config.session.max_age + SLACK_S)
        self.directory = Directory(store, ttl_s=ttl, clock=clock.boot)
        self.logins = Logins(clock=clock.boot)

    def _revoked(self, revocation: Revocation) -> None:
        self._on_revocation(revocation)

    def start(self, on_revocation: Callable[[Revocation], None]) -> None:
        """Begin to load, follow and publish."""
        self._on_revocation = on_revocation
        self.feed.start()
        self.publisher.start()


@contextlib.asynccontextmanager
async def open_state(config: Config) -> AsyncIterator[State]:
    store = open_store(config.store.url.url, config.store.namespace)
    state = State(config, store)
    try:
        yield state
    finally:
        await state.feed.aclose()
        await state.publisher.aclose()
        await state.directory.aclose()
        await store.aclose()
