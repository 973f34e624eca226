"""Tells the app of sessions that are over, so that they end in it as well: once for all pods, and never in the way.

Every pod hears of every revocation; the one that took it begins at once, the others a little later, in case it died.
Who claims the browser in the store tells the app. Enforcement does not wait for any of this and does not depend on it:
the session is refused already.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from sidecar import log, metrics
from sidecar.bindings.remembered import Browser, Remembered
from sidecar.bindings.vault import KeepingStore
from sidecar.core.identity import BoundSession, Kind
from sidecar.core.revocation import Revocation
from sidecar.outbound.app_call import Told
from sidecar.outbound.errands import PAUSE_S, Errands
from sidecar.stores.interface import StoreError

_logger = logging.getLogger(__name__)

AT_ONCE: Final = 4  # calls to the app
WAITING: Final = 10_000  # revocations that are being looked at, and calls
CLAIM_S: Final = 3600
LATER_S: Final = (1.0, 3.0)  # how long the pods wait that only heard of it

# A credential is revoked because its session is, or because the app has ended it itself.
_KINDS: Final = frozenset((Kind.SID, Kind.SUB, Kind.SUB_WITHOUT_SID))

Call = Callable[[bytes], Awaitable[Told]]


class NotifyApp:
    """Hears of revocations, and calls the app for each browser that they mean."""

    def __init__(
        self,
        call: Call,
        *,
        remembered: Remembered,
        store: KeepingStore,
        attempts: int,
        later_s: tuple[float, float] = LATER_S,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._call = call
        self._remembered = remembered
        self._store = store
        self._later_s = later_s
        self._is_closed = False
        self._looking: set[asyncio.Task[None]] = set()
        self._errands = Errands[Told](
            may_pass=lambda told: told.may_pass,
            on_delay=_delayed,
            on_end=_report,
            stopped=Told("stopped"),
            fault="app_notification_fault",
            attempts=attempts,
            at_once=AT_ONCE,
            waiting=WAITING,
            pause_s=pause_s,
        )

    def revoked(self, revocation: Revocation, is_ours: bool) -> None:  # noqa: FBT001 - as `State.on_news` calls it
        """A revocation changed the replica; `is_ours`: this process took it. Never waits."""
        if revocation.kind not in _KINDS or self._is_closed:
            return
        if len(self._looking) >= WAITING:
            _report(Told("too_many"))
            return
        task = asyncio.create_task(self._look(revocation, is_ours=is_ours))
        self._looking.add(task)
        task.add_done_callback(self._looked)

    async def remember(self, session: BoundSession, cookies: bytes, before: bytes) -> None:
        """A browser has these cookies for a session, in place of others. Never raises for what the store does."""
        if not cookies:
            return
        try:
            await self._remembered.add(Browser(cookies, session), instead_of=before)
        except StoreError as error:
            log.event(_logger, logging.WARNING, "cookies_not_kept", reason=error.reason)

    async def aclose(self) -> None:
        """Give up what still runs."""
        self._is_closed = True
        looking = list(self._looking)
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
        await self._errands.aclose()

    async def _look(self, revocation: Revocation, *, is_ours: bool) -> None:
        if not is_ours:
            await asyncio.sleep(random.uniform(*self._later_s))  # noqa: S311 - no secret
        try:
            browsers = await self._remembered.meant_by(revocation)
            for browser in browsers:
                if await self._store.claim(browser.name, CLAIM_S):
                    self._begin(browser)
            if browsers:
                await self._remembered.forget(revocation)
        except StoreError as error:
            _report(Told(error.reason))

    def _begin(self, browser: Browser) -> None:
        if self._errands.begin(partial(self._call, browser.cookies)) is None:
            _report(Told("too_many"))

    def _looked(self, task: "asyncio.Task[None]") -> None:
        self._looking.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _logger.error("app_notification_fault", exc_info=error)


def _delayed(told: Told, left: int) -> None:
    log.event(_logger, logging.INFO, "app_notification_delayed", reason=told.reason, attempts_left=left)


def _report(told: Told) -> None:
    metrics.app_notifications.labels("ok" if told.is_done else "failed").inc()
    if told.is_done:
        log.event(_logger, logging.INFO, "app_notified")
    else:
        log.event(_logger, logging.WARNING, "app_not_notified", reason=told.reason)
