"""The keys of one provider over time: cached, renewed in the background, renewed once more for an unknown key.

Keys are never shared between issuers (case L115): each provider has its own `ProviderKeys`. What holds at any moment:

* At most one load is under way. Whoever needs one joins it.
* Strangers can make us load at most once in 30 s, by naming a key that nobody has. The first load does not count.
* A failed load, or one without usable keys, changes nothing: the last good set lives on for 24 h (cases L229 and L232).
* A key that left the set verifies no logout token any more. It goes on verifying session tokens for `retain_s`, so
  that a provider's key rotation logs nobody out.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable, Sequence

from joserfc.jwk import Key

from sidecar import clock, log, metrics
from sidecar.oidc.discovery import Metadata
from sidecar.oidc.fetch import KeysUnavailable
from sidecar.oidc.jwks import EMPTY, KeyId, KeySet
from sidecar.oidc.provider_clock import UNHEARD_S, Heard
from sidecar.oidc.signature import is_usable
from sidecar.oidc.source import Loaded, Source

logger = logging.getLogger(__name__)

COOL_DOWN_S = 30.0  # between two loads that an unknown key may force
STALE_S = 24 * 3600.0  # how long keys outlive a provider that does not answer
CACHE_MAX_S = 3600.0  # case L113: a removed key is noticed within the hour, whatever max-age says
CACHE_DEFAULT_S = 300.0  # also for no-cache, which Keycloak sends: it cannot mean one load per token
CACHE_MIN_S = 1.0
RETRY_MIN_S, RETRY_MAX_S = 0.5, 10.0  # background retries after a failure, doubling
RETRY_PAUSE_S = 0.25  # between attempts for somebody who waits
MAX_RETIRED = 64


class ProviderKeys:
    """Keys of one issuer. `run` keeps them fresh; `candidates` never waits; `renew` is for an unknown key."""

    def __init__(
        self,
        *,
        issuer: str,
        source: Source,
        retain_s: float = 0.0,
        may_be_empty: bool = False,  # a provider that signs with the client secret only
        now: Callable[[], float] = clock.boot,
    ) -> None:
        self._issuer = issuer
        self._source = source
        self._retain_s = retain_s
        self._may_be_empty = may_be_empty
        self._now = now
        self._keys = EMPTY
        self._max_age: int | None = None
        self._loaded_at: float | None = None
        self._retired: dict[KeyId, tuple[Key, float]] = {}  # until when; oldest first
        self._error: KeysUnavailable | None = None
        self._clock: Heard | None = None
        self._load: asyncio.Task[None] | None = None
        self._forced_at = self._failed_at = float("-inf")
        self._wake = asyncio.Event()

    def __repr__(self) -> str:
        return f"<ProviderKeys {self._issuer} keys={len(self._keys.keys)} problem={self.problem()!r}>"

    @property
    def is_loaded(self) -> bool:
        """Whether there has ever been a good answer."""
        return self._loaded_at is not None

    def provider_now(self) -> float:
        """Seconds since the epoch on the provider's clock, never more than it shows (`provider_clock.py`)."""
        return clock.early() - UNHEARD_S if self._clock is None else self._clock.now(self._now())

    def problem(self) -> str | None:
        """What is wrong with the keys, for the operator; None when nothing is."""
        if self._error is None:
            return None if self._loaded_at is not None else "not loaded yet"
        age = "never loaded" if self._loaded_at is None else f"last loaded {self._now() - self._loaded_at:.0f} s ago"
        return f"{age}; {self._error.reason}: {self._error}"

    def has_key_for(self, algorithms: Iterable[str]) -> bool:
        """Whether the provider publishes any key that fits one of the algorithms (case L85)."""
        return any(is_usable(key, alg) for key in self._keys.keys.values() for alg in algorithms)

    def candidates(self, kid: str | None, alg: str, *, retired: bool = False) -> Sequence[Key]:
        """The keys that may have signed a token. `retired` is for session tokens only."""
        now = self._now()
        lifetime = max(STALE_S, self._retain_s if retired else 0.0)
        is_current = self._loaded_at is not None and now - self._loaded_at <= lifetime
        found = list(self._keys.candidates(kid, alg)) if is_current else []
        if retired and self._retired:
            kept = KeySet({name: key for name, (key, until) in self._retired.items() if now <= until})
            found.extend(kept.candidates(kid, alg))
        return found

    async def metadata(self, *, budget_s: float = 5.0) -> Metadata:
        """What discovery said; waits for the first answer. Raises KeysUnavailable."""
        if self._source.metadata is None and (pause := self._failed_at + RETRY_PAUSE_S - self._now()) > 0:
            await asyncio.sleep(pause)  # the last word is old: a provider that has just come up must not fail a login
        if self._source.metadata is None:
            await asyncio.wait({self._joined_load()}, timeout=budget_s)
        if self._source.metadata is None:
            raise self._error or KeysUnavailable("no_metadata", "no discovery, or no answer to it yet")
        return self._source.metadata

    async def renew(self, budget_s: float) -> None:
        """Look once more for a key that is not in the set; returns when it is worth looking, or time is up."""
        if not self._may_renew():
            return
        deadline = self._now() + budget_s
        while (remaining := deadline - self._now()) > 0:
            if (pause := self._failed_at + RETRY_PAUSE_S - self._now()) > 0:
                await asyncio.sleep(min(pause, remaining))
                continue
            await asyncio.wait({self._joined_load()}, timeout=remaining)
            if self._error is None:
                return
            # Case L230: one more try while the budget lasts, because a lost logout is the harm.
        self._wake.set()  # the background goes on from here, so that the provider's next attempt finds the key

    async def run(self) -> None:
        """Load, and load again when the cache is due, until cancelled. A provider that is down heals by itself."""
        retry = RETRY_MIN_S
        while True:
            await asyncio.shield(self._joined_load())  # others may be waiting for the same load
            self._wake.clear()
            if self._error is None:
                retry = RETRY_MIN_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_cache_lifetime(self._max_age)):
                        await self._wake.wait()
            else:
                # Jitter, so that a fleet does not come back in step. Nobody can shorten this pause.
                await asyncio.sleep(retry * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                retry = min(retry * 2, RETRY_MAX_S)

    async def aclose(self) -> None:
        """Stop a load that is under way."""
        if self._load is not None:
            self._load.cancel()
            await asyncio.wait({self._load})

    def _may_renew(self) -> bool:
        if self._is_loading() or self._loaded_at is None:
            return True  # it costs the provider nothing more, or there is nothing to be forced yet
        if self._now() - self._forced_at < COOL_DOWN_S:
            return False
        self._forced_at = self._now()
        return True

    def _is_loading(self) -> bool:
        return self._load is not None and not self._load.done()

    def _joined_load(self) -> asyncio.Task[None]:
        """The load under way, else a new one. It survives whoever waits for it."""
        if self._load is None or self._load.done():
            self._load = asyncio.create_task(self._load_once(), name=f"keys of {self._issuer}")
        return self._load

    async def _load_once(self) -> None:
        try:
            loaded = await self._source.load(self._now())
        except KeysUnavailable as error:
            self._failed(error)
            return
        except Exception:  # a defect of ours: it must not end the loads to come (decision 024)
            logger.exception("keys_fault")
            self._failed(KeysUnavailable("internal_error", "a defect of ours, see the log"))
            return
        if loaded.keys.keys or self._may_be_empty:
            self._succeeded(loaded)
        else:  # case L232
            self._failed(KeysUnavailable("no_usable_keys", "the key set holds no key that can verify a signature"))

    def _failed(self, error: KeysUnavailable) -> None:
        if self._error is None or self._error.reason != error.reason:  # the first of a row says it all
            fields = {"provider": self._issuer, "reason": error.reason, "detail": str(error)}
            log.event(logger, logging.WARNING, "keys_unavailable", **fields, loaded_before=self.is_loaded)
        self._error, self._failed_at = error, self._now()
        metrics.jwks_fetches.labels(self._issuer, error.reason).inc()

    def _succeeded(self, loaded: Loaded) -> None:
        if self._error is not None or loaded.keys.keys.keys() != self._keys.keys.keys():
            counts = {"keys": len(loaded.keys.keys), "skipped": dict(loaded.keys.skipped)}
            log.event(logger, logging.INFO, "keys_loaded", provider=self._issuer, **counts)
        self._retire(loaded.keys)
        self._keys, self._max_age, self._loaded_at, self._error = loaded.keys, loaded.max_age, self._now(), None
        self._clock = loaded.clock or self._clock
        metrics.jwks_fetches.labels(self._issuer, "ok").inc()
        metrics.jwks_last_success.labels(self._issuer).set(clock.wall())

    def _retire(self, new: KeySet) -> None:
        until = self._now() + self._retain_s
        for name, key in self._keys.keys.items():
            if name not in new.keys:
                self._retired[name] = (key, until)
        for name in [name for name, (_, end) in self._retired.items() if name in new.keys or end < self._now()]:
            del self._retired[name]
        while len(self._retired) > MAX_RETIRED:
            del self._retired[next(iter(self._retired))]


def _cache_lifetime(max_age: int | None) -> float:
    return min(max(float(max_age), CACHE_MIN_S), CACHE_MAX_S) if max_age else CACHE_DEFAULT_S
