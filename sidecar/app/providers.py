"""The configured providers at work: keys, verifiers, logout policies."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from sidecar.app.process import cancelled
from sidecar.app.sockets import client_tls
from sidecar.config.model import Config
from sidecar.config.provider_settings import ProviderSettings
from sidecar.control.logout import LogoutProvider
from sidecar.core.logout_token import LogoutPolicy
from sidecar.oidc.discovery import LateMetadata
from sidecar.oidc.fetch import client_session
from sidecar.oidc.provider import ProviderKeys
from sidecar.oidc.source import DiscoverySource, FileSource, Source, UrlSource
from sidecar.oidc.verifier import Verifier


@dataclass(frozen=True, slots=True)
class Provider:
    """One configured provider at work."""

    settings: ProviderSettings
    keys: ProviderKeys
    verifier: Verifier
    metadata: ProviderKeys | LateMetadata  # where its endpoints are
    tls: ssl.SSLContext | None


@contextlib.asynccontextmanager
async def open_providers(config: Config) -> AsyncIterator[Mapping[str, Provider]]:
    """Providers by issuer. One that is down is waited for in the background."""
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(client_session())
        providers = {}
        for settings in config.providers:
            provider = _provider(settings, session, retain_s=config.session.max_age)
            stack.push_async_callback(provider.keys.aclose)
            task = asyncio.create_task(provider.keys.run())
            stack.push_async_callback(cancelled, task)
            providers[settings.issuer] = provider
        yield providers


def _provider(settings: ProviderSettings, session: aiohttp.ClientSession, *, retain_s: float) -> Provider:
    tls = client_tls(settings.ca_file)
    source: Source
    if settings.jwks_file is not None:
        source = FileSource(Path(settings.jwks_file))
    elif settings.jwks_uri is not None:
        source = UrlSource(session=session, jwks_uri=settings.jwks_uri, tls=tls)
    else:
        source = DiscoverySource(session=session, issuer=settings.issuer, internal_url=settings.internal_url, tls=tls)
    only_secret = all(algorithm.startswith("HS") for algorithm in settings.algorithms)
    keys = ProviderKeys(issuer=settings.issuer, source=source, retain_s=retain_s, may_be_empty=only_secret)
    secret = settings.client_secret.reveal() if settings.client_secret is not None else None
    verifier = Verifier(keys=keys, algorithms=settings.algorithms, client_secret=secret)
    metadata: ProviderKeys | LateMetadata = keys
    if not isinstance(source, DiscoverySource):
        internal_url = settings.internal_url
        metadata = LateMetadata(session=session, issuer=settings.issuer, internal_url=internal_url, tls=tls)
    return Provider(settings, keys, verifier, metadata, tls)


def logout_provider(provider: Provider) -> LogoutProvider:
    settings, rules = provider.settings, provider.settings.logout_token
    policy = LogoutPolicy(
        issuer=settings.issuer,
        client_ids=frozenset(settings.client_id),
        algorithms=frozenset(settings.algorithms),
        leeway=rules.leeway,
        max_age=rules.max_age,
        require_exp=rules.require_exp,
        require_typ=rules.require_typ,
        jti_replay=rules.jti_replay,
        sid_scope=rules.sid_scope,
        trusted_audiences=frozenset(rules.trusted_audiences),
        iat_tolerance=rules.iat_tolerance,
    )
    return LogoutProvider(policy, provider.verifier, rules.unavailable_status)
