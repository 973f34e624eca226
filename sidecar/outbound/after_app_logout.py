"""What follows when the app has ended a session: as configured, and never longer than its own bounds.

It knows the session by its digest; who that was in clear is in the vault, or in the token that the browser carries.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sidecar import log
from sidecar.bindings.vault import Keeper, Kept, Vault
from sidecar.core.app_logout import Ended
from sidecar.core.claims import TokenError
from sidecar.outbound.end_session import EndSession
from sidecar.stores.interface import StoreError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ApiLogout:
    """Ending sessions of one issuer by its API: how, and which claim names the account."""

    issuer: str
    account_claim: str
    end: Callable[[str, str], Awaitable[None]]  # account, session; bounded in time


class AfterAppLogout:
    """Called by the gate for each session that the app has ended (`gate/app_logout.py`)."""

    def __init__(
        self, *, vault: Vault, keeper: Keeper, end_session: EndSession | None = None, api: ApiLogout | None = None
    ) -> None:
        self._vault = vault
        self._keeper = keeper
        self._end_session = end_session
        self._api = api

    async def __call__(self, ended: Ended) -> str | None:
        """Where to send the browser; None: the app's answer goes out."""
        kept = await self._kept(ended)
        place, _ = await asyncio.gather(self._place(ended, kept), self._call(kept))
        return place

    async def _place(self, ended: Ended, kept: Kept | None) -> str | None:
        return await self._end_session.place(ended, kept) if self._end_session is not None else None

    async def _call(self, kept: Kept | None) -> None:
        if self._api is None:
            return
        if kept is None:
            _skipped("login_not_kept")
        elif kept.session.issuer == self._api.issuer:
            account, session = kept.claim(self._api.account_claim), kept.session.sid
            if account is None or session is None:
                _skipped("account_unknown" if account is None else "session_unknown")
            else:
                await self._api.end(account, session)

    async def _kept(self, ended: Ended) -> Kept | None:
        try:
            if ended.proof is not None:
                return self._keeper.of(*ended.proof)
            return await self._vault.find(ended.session.own)
        except (StoreError, TokenError) as error:
            log.event(_logger, logging.WARNING, "kept_login_unavailable", reason=error.reason)
            return None


def _skipped(reason: str) -> None:
    log.event(_logger, logging.WARNING, "provider_logout_skipped", reason=reason)
