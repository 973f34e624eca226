"""RP-Initiated Logout 1.0: where the browser has to go so that the provider ends its session as well.

Only the way there. Whether the app has ended its session, and whether a page is what the client waits for, is known
by then; that the provider has done it, its back-channel logout will say.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from sidecar import log
from sidecar.bindings.vault import Kept
from sidecar.core.app_logout import Ended, end_session_url, leads_to, local_target
from sidecar.errors import SidecarError
from sidecar.oidc.discovery import Metadata

_logger = logging.getLogger(__name__)

METADATA_S: Final = 2.0  # the user waits; what discovery says is nearly always at hand

Hint = Literal["id_token", "logout_hint", "none"]


class MetadataSource(Protocol):
    """A provider's discovery document."""

    async def metadata(self) -> Metadata:
        """The document, from a cache where possible. Raises SidecarError when it cannot be had."""


@dataclass(frozen=True, slots=True)
class EndingProvider:
    """One provider that can end a session."""

    client_ids: tuple[str, ...]
    source: MetadataSource


class EndSession:
    """Builds the way to the provider that a session came from."""

    def __init__(
        self,
        providers: Mapping[str, EndingProvider],
        *,
        hint: Hint,
        logout_hint_claim: str,
        origin: str,
        back: str,
        state: Callable[[str | None], str],
    ) -> None:
        """`providers` by issuer. `origin`: the app's. `back`: where the provider sends the browser, with a `state`."""
        self._providers = providers
        self._hint = hint
        self._claim = logout_hint_claim
        self._origin = origin
        self._back = back
        self._state = state

    async def place(self, ended: Ended, kept: Kept | None) -> str | None:
        """The URL to send the browser to; None where the app's own answer has to do."""
        if not ended.is_navigation:  # a script that logs out cannot be sent through another site
            return None
        named = self._provider_of(kept)
        if named is None:
            _skipped("provider_unknown")
            return None
        provider, client_id = named
        try:
            async with asyncio.timeout(METADATA_S):
                endpoint = (await provider.source.metadata()).for_browsers("end_session_endpoint")
        except TimeoutError:
            _skipped("timeout")
            return None
        except SidecarError as error:
            _skipped(error.reason)
            return None
        if leads_to(ended.location, endpoint):  # the app does it by itself
            return None
        return self._url(endpoint, client_id, ended, kept)

    def _url(self, endpoint: str, client_id: str, ended: Ended, kept: Kept | None) -> str | None:
        target = local_target(ended.location, ended.target, self._origin) if ended.location else None
        return end_session_url(
            endpoint,
            client_id=client_id,
            back=self._back,
            state=self._state(target),
            id_token=kept.id_token if kept is not None and self._hint == "id_token" else None,
            hint=kept.claim(self._claim) if kept is not None and self._hint != "none" else None,
        )

    def _provider_of(self, kept: Kept | None) -> tuple[EndingProvider, str] | None:
        """Whose session it was. Where nothing was kept of it, only a single provider and client leave no doubt."""
        if kept is not None:
            provider = self._providers.get(kept.session.issuer)
            return None if provider is None else (provider, kept.session.client_id)
        if len(self._providers) != 1:
            return None
        (provider,) = self._providers.values()
        return (provider, provider.client_ids[0]) if len(provider.client_ids) == 1 else None


def _skipped(reason: str) -> None:
    log.event(_logger, logging.WARNING, "end_session_skipped", reason=reason)
