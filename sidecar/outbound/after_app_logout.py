"""What follows when the app has ended a session: as configured, and never longer than its own bounds.

It knows the session by its digest; who that was in clear is in the vault, or in the token that the browser carries.
"""

import logging

from sidecar import log
from sidecar.bindings.vault import Keeper, Kept, Vault
from sidecar.core.app_logout import Ended
from sidecar.core.logout_token import TokenError
from sidecar.outbound.end_session import EndSession
from sidecar.stores.interface import StoreError

_logger = logging.getLogger(__name__)


class AfterAppLogout:
    """Called by the gate for each session that the app has ended (`gate/app_logout.py`)."""

    def __init__(self, *, vault: Vault, keeper: Keeper, end_session: EndSession | None = None) -> None:
        self._vault = vault
        self._keeper = keeper
        self._end_session = end_session

    async def __call__(self, ended: Ended) -> str | None:
        """Where to send the browser; None: the app's answer goes out."""
        kept = await self._kept(ended)
        return await self._end_session.place(ended, kept) if self._end_session is not None else None

    async def _kept(self, ended: Ended) -> Kept | None:
        try:
            if ended.proof is not None:
                return self._keeper.of(*ended.proof)
            return await self._vault.find(ended.session.own)
        except (StoreError, TokenError) as error:
            log.event(_logger, logging.WARNING, "kept_login_unavailable", reason=error.reason)
            return None
