"""The store of this process and what lives on it: replica, feed, publisher, bindings, logins."""

import asyncio
import contextlib
import logging
import math
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from sidecar import clock, log
from sidecar.bindings.directory import Directory
from sidecar.bindings.logins import Logins
from sidecar.bindings.vault import KeepingStore
from sidecar.config.model import Config
from sidecar.config.store_settings import StoreSettings
from sidecar.control.revoker import Revoker
from sidecar.core.freshness import Freshness
from sidecar.core.freshness import State as Age
from sidecar.core.identity import BoundSession, Digester
from sidecar.core.replica import Replica
from sidecar.core.revocation import SLACK_S, Revocation
from sidecar.stores.backoff import until_done
from sidecar.stores.feed import Feed
from sidecar.stores.interface import Store, StoreError, StoreUnusable
from sidecar.stores.open import open_store
from sidecar.stores.publish import Publisher

REMOVABLE_S = 600.0  # between two looks whether the key that the store had made is needed no more

_logger = logging.getLogger(__name__)


class State:
    """The store and what lives on it."""

    def __init__(
        self, config: Config, store: Store, *, freshness: Freshness | None = None, logins: Logins | None = None
    ) -> None:
        """`freshness` and `logins`: of one process, unless the pod has several (`sidecar/workers`)."""
        settings = config.store
        self._store = store
        self._secret = settings.secret.reveal() if settings.secret is not None else None
        # Until the real key is known, digests are made with one that matches nothing; see `Bindings`.
        self._others = [secret.reveal() for secret in settings.other_secrets]
        self._parties = _parties(config)
        self.digester = Digester(
            self._secret or secrets.token_bytes(32), self._others, names_parties=bool(self._parties)
        )
        self.replica = Replica()
        self.freshness = freshness or Freshness(settings.fresh, settings.grace)
        self._retention_s = config.session.max_age + SLACK_S
        self._on_revocation: Callable[[Revocation], None] = lambda _revocation: None
        self._on_load: Callable[[Revocation], None] = lambda _revocation: None
        # What else wants to hear of revocations after the first load; True: this process took it.
        self.on_news: Callable[[Revocation, bool], None] = lambda _revocation, _is_ours: None
        self._confirmed: Callable[[], Awaitable[None]] | None = None
        self._settled: Callable[[], Awaitable[bool]] | None = None
        self.publisher = Publisher(store=store, replica=self.replica, on_revocation=self._revoked)
        self.feed = Feed(
            store=store,
            replica=self.replica,
            freshness=self.freshness,
            on_revocation=self._fed,
            on_read=self.publisher.heard,
            everywhere=self._is_settled,
        )
        everywhere = settings.confirm == "all"
        self._log_out = self.publisher.publish_everywhere if everywhere else self.publisher.publish
        self.revoker = Revoker(digester=self.digester, publish=self._publish)
        self.bindings = Bindings(store)
        self.keeping: KeepingStore = store  # used with `store.secret` only, which is known from the start
        self.keyed = asyncio.Event()  # digests mean something from here on
        # A binding outlives the session that it names: an expired one still denies.
        ttl = int(2 * config.session.max_age + SLACK_S)
        self.directory = Directory(
            self.bindings,
            ttl_s=ttl,
            clock=clock.boot,
            is_store_well=lambda: self.feed.last_error is None,
            parties=self._all_parties,
        )
        self.logins = logins or Logins(clock=clock.boot)
        self._starting: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """One attempt, for the sake of a clear end: raises StoreUnusable. A store that is merely down is waited for."""
        try:
            await self._store.open()
        except StoreUnusable:
            raise
        except StoreError as error:
            log.event(_logger, logging.WARNING, "store_failed", reason=error.reason, detail=str(error))

    def start(
        self,
        on_revocation: Callable[[Revocation], None],
        on_key: Callable[[], None],
        *,
        on_load: Callable[[Revocation], None] | None = None,
        confirmed: Callable[[], Awaitable[None]] | None = None,
        settled: Callable[[], Awaitable[bool]] | None = None,
    ) -> None:
        """Begin to load, follow and publish, as soon as the digest key is known.

        `on_load` hears what the first load brings, in place of `on_revocation`. A logout is acknowledged only when
        `confirmed` returns as well, which may raise StoreError. Other pods hear that this one enforces theirs when
        `settled` says so.
        """
        self._on_revocation = on_revocation
        self._on_load = on_load or on_revocation
        self._confirmed = confirmed
        self._settled = settled
        self._starting = asyncio.create_task(self._start(on_key))
        self._starting.add_done_callback(self._started)

    async def _start(self, on_key: Callable[[], None]) -> None:
        if self._secret is None:
            self.digester.use(await until_done(self.secret_of_store))
            on_key()
        self._name_keys()
        self.bindings.is_keyed = True
        self.keyed.set()
        self.publisher.start()
        await self.revoker.keyed()  # logouts are enforced here from now on, whatever the store does
        accepts_kept = self._secret is not None and await self._accepts_kept()
        if accepts_kept:
            self._name_keys()
            on_key()
        self.feed.start()  # until it has loaded, no bound session is served
        if accepts_kept:
            await self._say_when_removable()

    def _name_keys(self) -> None:
        self._store.use_key(*(digester.key_id for digester in self.digester.all))

    async def _accepts_kept(self) -> bool:
        """Before `store.secret` was set, the store had made a key: what was written with it goes on counting."""
        kept = await until_done(self.kept_secret)
        if kept is None or kept in (self._secret, *self._others):
            return False
        self.digester.others += (Digester(kept),)
        log.event(_logger, logging.INFO, "store_key_accepted")
        return True

    async def _say_when_removable(self) -> None:
        """It is never dropped unasked: a replica that still writes with it would not be understood (decision 015)."""
        while True:
            with contextlib.suppress(StoreError):
                since = await self._store.superseded(int(clock.late()))
                if since is None:
                    return
                if since + self._retention_s <= clock.early():
                    log.event(_logger, logging.WARNING, "store_key_removable", superseded=since)
                    return
            await asyncio.sleep(REMOVABLE_S)

    async def kept_secret(self) -> bytes | None:
        """The digest secret that the store made once, if it did. Raises StoreError."""
        await self._store.open()  # the first attempt may have failed
        return await self._store.kept_secret()

    async def secret_of_store(self) -> bytes:
        """The digest secret that the store keeps. Raises StoreError."""
        await self._store.open()  # the first attempt may have failed
        return await self._store.secret()

    def _started(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # A defect, or a secret in the store that is none. Never ready, every bound request refused: safe, and loud.
            self.feed.last_error = "state_died"
            _logger.critical("state_died", exc_info=error)

    def staleness(self) -> str | None:
        """How long the replica has not heard the store, and what follows; None while it is fresh."""
        state, age = self.feed.state, self.freshness.age(clock.boot())
        if state is Age.FRESH:
            return None
        return f"{state.value}, " + (f"{age:.1f} s old" if math.isfinite(age) else "never loaded")

    def problem(self) -> str | None:
        """What is wrong with the store, as a reason; None when nothing is."""
        if self.feed.last_error is None and not self.bindings.is_keyed:
            return "not reached since the start"
        return self.feed.last_error

    def _all_parties(self) -> tuple[bytes, ...]:
        """Whom an old binding may belong to that does not say so."""
        return tuple(each.everybody(*party) for each in self.digester.all for party in self._parties)

    async def _publish(self, revocations: Sequence[Revocation]) -> None:
        """A logout: durable, and enforced wherever this process answers for it."""
        if self._confirmed is None:
            await self._log_out(revocations)
            return
        # Both at once, in this order: the first step of the one is to enforce it here, which the other asks about.
        await asyncio.gather(self._log_out(revocations), self._confirmed())

    async def _is_settled(self) -> bool:
        return self._settled is None or await self._settled()

    def _revoked(self, revocation: Revocation) -> None:
        self._tell(self._on_revocation, revocation)
        self._tell(self.on_news, revocation, True)  # noqa: FBT003 - as its comment says

    def _fed(self, revocation: Revocation) -> None:
        if not self.feed.loaded.is_set():
            self._tell(self._on_load, revocation)
            return
        self._tell(self._on_revocation, revocation)
        self._tell(self.on_news, revocation, False)  # noqa: FBT003 - as its comment says

    def _tell(self, whom: Callable[..., None], revocation: Revocation, *how: bool) -> None:
        """The replica has it already, and denies. A defect behind it must not keep the next one from the replica."""
        try:
            whom(revocation, *how)
        except Exception:  # see above
            _logger.critical("revocation_fault", exc_info=True)

    async def aclose(self) -> None:
        """Stop everything, the store last."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait({self._starting})
        await self.feed.aclose()
        await self.publisher.aclose()
        await self.directory.aclose()
        await self._store.aclose()


def _parties(config: Config) -> list[tuple[str, str]]:
    """Issuers and clients whose sessions may all be ended at once."""
    admins = [provider for provider in config.providers if provider.keycloak_admin]
    return [(provider.issuer, client) for provider in admins for client in provider.client_id]


class Bindings:
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

    def _check(self) -> None:
        if not self.is_keyed:
            raise StoreError("store_unavailable", "the store has not been reached since the start")


def _store(settings: StoreSettings) -> Store:
    return open_store(
        settings.url.url,
        settings.namespace,
        username=settings.username,
        password=settings.password.reveal if settings.password else None,
        sentinel_username=settings.sentinel_username,
        sentinel_password=settings.sentinel_password.reveal if settings.sentinel_password else None,
        ca_file=settings.ca_file,
        client_certificate=settings.client_certificate,
        client_key=settings.client_key,
        durable_replicas=settings.durability.replicas,
        durable_fsync=settings.durability.fsync,
        confirms=settings.confirm == "all",
        grace=settings.grace,
    )


@contextlib.asynccontextmanager
async def open_state(config: Config) -> AsyncIterator[State]:
    """The state of one process; closed at the end."""
    state = State(config, _store(config.store))
    try:
        await state.open()
        yield state
    finally:
        await state.aclose()
