"""The store of this process and what lives on it: replica, feed, publisher, bindings, logins."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable

from sidecar import clock, log
from sidecar.bindings.directory import Directory
from sidecar.bindings.logins import Logins
from sidecar.config.model import Config
from sidecar.control.revoker import Revoker
from sidecar.core.freshness import Freshness
from sidecar.core.identity import BoundSession, Digester
from sidecar.core.replica import Replica
from sidecar.core.revocation import SLACK_S, Revocation
from sidecar.stores.backoff import until_done
from sidecar.stores.feed import Feed
from sidecar.stores.interface import Store, StoreError, StoreUnusable
from sidecar.stores.open import open_store
from sidecar.stores.publish import Publisher

_logger = logging.getLogger(__name__)


class State:
    """The store and what lives on it."""

    def __init__(self, config: Config, store: Store) -> None:
        settings = config.store
        self._store = store
        self._secret = settings.secret.reveal() if settings.secret is not None else None
        # Until the real key is known, digests are made with one that matches nothing; see `_Bindings`.
        self.digester = Digester(self._secret or secrets.token_bytes(32))
        self.replica = Replica()
        self.freshness = Freshness(settings.fresh, settings.grace)
        self._on_revocation: Callable[[Revocation], None] = lambda _revocation: None
        self.feed = Feed(store=store, replica=self.replica, freshness=self.freshness, on_revocation=self._revoked)
        self.publisher = Publisher(store=store, replica=self.replica, on_revocation=self._revoked)
        self.revoker = Revoker(digester=self.digester, publish=self.publisher.publish)
        self._bindings = _Bindings(store)
        # A binding outlives the session that it names: an expired one still denies (state.md B6).
        ttl = int(2 * config.session.max_age + SLACK_S)
        self.directory = Directory(self._bindings, ttl_s=ttl, clock=clock.boot)
        self.logins = Logins(clock=clock.boot)
        self._starting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """One attempt, for the sake of a clear end: raises StoreUnusable. A store that is merely down is waited for."""
        try:
            await self._store.open()
        except StoreUnusable:
            raise
        except StoreError as error:
            log.event(_logger, logging.WARNING, "store_failed", reason=error.reason, detail=str(error))

    def start(self, on_revocation: Callable[[Revocation], None], on_key: Callable[[], None]) -> None:
        """Begin to load, follow and publish, as soon as the digest key is known."""
        self._on_revocation = on_revocation
        self._starting = asyncio.create_task(self._start(on_key))
        self._starting.add_done_callback(self._started)

    async def _start(self, on_key: Callable[[], None]) -> None:
        if self._secret is None:
            self.digester.use(await until_done(self._secret_of_store))
            on_key()
        self._store.use_key(self.digester.key_id)
        self._bindings.is_keyed = True
        self.feed.start()
        self.publisher.start()
        await self.revoker.keyed()

    async def _secret_of_store(self) -> bytes:
        await self._store.open()  # the first attempt may have failed
        return await self._store.secret()

    def _started(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # A defect, or a secret in the store that is none. Never ready, every bound request refused: safe, and loud.
            self.feed.last_error = "state_died"
            _logger.critical("state_died", exc_info=error)

    def problem(self) -> str | None:
        """What is wrong with the store, as a reason; None when nothing is."""
        if self.feed.last_error is None and not self._bindings.is_keyed:
            return "not reached since the start"
        return self.feed.last_error

    def _revoked(self, revocation: Revocation) -> None:
        self._on_revocation(revocation)

    async def aclose(self) -> None:
        """Stop everything, the store last."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait({self._starting})
        await self.feed.aclose()
        await self.publisher.aclose()
        await self.directory.aclose()
        await self._store.aclose()


class _Bindings:
    """The store's bindings, closed until digests mean something: nothing is looked up or written with a wrong key."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.is_keyed = False

    async def get_binding(self, credential: bytes) -> BoundSession | None:
        self._check()
        return await self._store.get_binding(credential)

    async def put_binding(self, credential: bytes, session: BoundSession, ttl: int) -> None:
        self._check()
        await self._store.put_binding(credential, session, ttl)

    async def delete_binding(self, credential: bytes) -> None:
        self._check()
        await self._store.delete_binding(credential)

    def _check(self) -> None:
        if not self.is_keyed:
            raise StoreError("store_unavailable", "the store has not been reached since the start")


@contextlib.asynccontextmanager
async def open_state(config: Config) -> AsyncIterator[State]:
    """The state of one process; closed at the end."""
    state = State(config, open_store(config.store.url.url, config.store.namespace))
    try:
        await state.open()
        yield state
    finally:
        await state.aclose()
