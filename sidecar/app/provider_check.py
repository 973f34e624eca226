"""Asking providers whether sessions still stand, from the operator's choices; nothing where that is off."""

import contextlib
from collections.abc import Mapping

from sidecar import clock
from sidecar.app.process import Background
from sidecar.app.providers import Provider
from sidecar.app.state import State
from sidecar.bindings.sealer import Sealer
from sidecar.bindings.tokens import TokenKeeper, Tokens
from sidecar.config.model import Config
from sidecar.core.revocation import SLACK_S
from sidecar.oidc.fetch import client_session
from sidecar.oidc.token_check import TokenCheck
from sidecar.outbound.provider_check import Pace, ProviderChecks


def token_keeper(config: Config, state: State) -> TokenKeeper | None:
    """For the relay: keeps the token of each login."""
    tokens = _tokens(config, state)
    if tokens is None:
        return None
    return TokenKeeper(tokens, state.digester, by=config.provider_check.by, now=clock.wall)


async def start_provider_check(
    stack: contextlib.AsyncExitStack,
    background: Background,
    config: Config,
    state: State,
    providers: Mapping[str, Provider],
) -> None:
    """For a process with a gate: ask about the sessions that it knows, until the stack ends."""
    settings, tokens = config.provider_check, _tokens(config, state)
    if settings.every is None or tokens is None:
        return
    session = await stack.enter_async_context(client_session())
    asked = {
        issuer: TokenCheck(
            session,
            provider.metadata,
            by=settings.by,
            secret=provider.settings.client_secret.reveal() if provider.settings.client_secret else None,
            auth=settings.client_auth,
            tls=provider.tls,
        )
        for issuer, provider in providers.items()
    }
    checks = ProviderChecks(
        sessions=state.directory,
        tokens=tokens,
        claims=state.keeping,
        providers=asked,
        by=settings.by,
        pace=Pace(settings.every, settings.rate),
        deny_unavailable=denies_unavailable(config),
        publish=state.publisher.publish,
        max_age_s=config.session.max_age,
        boot=clock.boot,
        late=clock.late,
    )
    background.run(stack, "provider check", checks.run())


def denies_unavailable(config: Config) -> bool:
    """Whether a silent provider ends sessions. Not while nothing is enforced: they would be over when it is."""
    return config.provider_check.unavailable == "deny" and config.enforcement.mode != "observe"


def _tokens(config: Config, state: State) -> Tokens | None:
    secret = config.store.secret
    if config.provider_check.every is None or secret is None:
        return None
    sealer = Sealer(secret.reveal(), [each.reveal() for each in config.store.other_secrets])
    return Tokens(state.keeping, sealer, ttl_s=int(config.session.max_age + SLACK_S))
