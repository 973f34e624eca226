"""The endpoints that take logouts, from the operator's choices. What is not configured does not exist: 404."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import aiohttp

from sidecar.app.process import cancelled
from sidecar.app.providers import Provider, clients, logout_provider
from sidecar.app.sockets import client_tls
from sidecar.app.state import State
from sidecar.config.model import Config
from sidecar.config.receiver_settings import RevokerSettings, SenderSettings, TransmitterSettings
from sidecar.config.session_settings import TokenBinder
from sidecar.control.admin_action import AdminActions, Realm
from sidecar.control.events import SecurityEvents, Transmitter
from sidecar.control.frontchannel import FramingProvider, FrontChannel
from sidecar.control.intake import Dialect, Intake
from sidecar.control.logout import LogoutProvider, LogoutTokens
from sidecar.control.ops import Check
from sidecar.control.server import Handler
from sidecar.control.signatures import Signatures
from sidecar.control.token_revocation import Revoker, TokenRevocations
from sidecar.core.admin_action import AdminPolicy
from sidecar.core.security_event import EventPolicy
from sidecar.core.subject import Reach
from sidecar.core.token_revocation import CallerPolicy
from sidecar.oidc.discovery import openid_configuration, ssf_configuration
from sidecar.oidc.fetch import client_session
from sidecar.oidc.provider import ProviderKeys
from sidecar.oidc.source import DiscoverySource, FileSource, Source, UrlSource
from sidecar.oidc.verifier import Verifier

FRONTCHANNEL = "frontchannel-logout"
EVENTS = "events"
REVOCATION = "global-token-revocation"


class Receivers:
    """What is served under the control prefix, by the rules of the newest configuration.

    Which endpoints there are, and where the keys of their senders come from, stays as it was at the start.
    """

    def __init__(self, config: Config, state: State, providers: Mapping[str, Provider], senders: "_Senders") -> None:
        signatures = Signatures()
        self._senders = senders
        self._intake = Intake(publish=state.revoker, digester=state.digester, session_max_age=config.session.max_age)
        self._logout = LogoutTokens(providers=_logout_providers(providers), signatures=signatures)
        self._frontchannel = _frontchannel(config)
        self._admin = _admin_actions(_realms(providers), signatures)
        transmitters, revokers = _transmitters(config, senders), _revokers(config, senders)
        self._events = SecurityEvents(transmitters=transmitters, signatures=signatures) if transmitters else None
        self._revocation = TokenRevocations(revokers=revokers, signatures=signatures) if revokers else None

    @property
    def endpoints(self) -> Mapping[str, Handler]:
        """By what follows the prefix."""
        dialects: dict[str, Dialect | None] = {
            "backchannel-logout": self._logout,
            FRONTCHANNEL: self._frontchannel,
            **{each.endpoint: each for each in self._admin},
            EVENTS: self._events,
            REVOCATION: self._revocation,
        }
        return {name: self._intake.handler(dialect) for name, dialect in dialects.items() if dialect is not None}

    @property
    def shown(self) -> Mapping[str, Check]:
        """What may be wrong with it."""
        return self._senders.shown

    def use(self, config: Config, providers: Mapping[str, Provider]) -> None:
        """Go by these rules from now on. What is being verified ends as it began."""
        self._logout.use(_logout_providers(providers))
        if self._frontchannel is not None:
            self._frontchannel.use(_framing(config), _cookies(config))
        for each in self._admin:
            each.use(_realms(providers))
        if self._events is not None:
            self._events.use(_transmitters(config, self._senders))
        if self._revocation is not None:
            self._revocation.use(_revokers(config, self._senders))


@contextlib.asynccontextmanager
async def open_receivers(config: Config, state: State, providers: Mapping[str, Provider]) -> AsyncIterator[Receivers]:
    """The endpoints. Senders whose keys cannot be had are waited for in the background."""
    async with contextlib.AsyncExitStack() as stack:
        session = await stack.enter_async_context(client_session())
        yield Receivers(config, state, providers, _Senders(stack, session))


def _logout_providers(providers: Mapping[str, Provider]) -> Mapping[str, LogoutProvider]:
    return {issuer: logout_provider(provider) for issuer, provider in providers.items()}


def _frontchannel(config: Config) -> FrontChannel | None:
    framing = _framing(config)
    if not framing:
        return None
    trusted = [network for network in config.trusted_proxies if network != "unix"]
    return FrontChannel(
        providers=framing, cookies=_cookies(config), trusted=trusted, session_max_age=config.session.max_age
    )


def _framing(config: Config) -> Mapping[str, FramingProvider]:
    return {
        provider.issuer: FramingProvider(
            provider.issuer,
            clients(provider),
            provider.frontchannel.origins,
            provider.logout_token.leeway,
            provider.frontchannel.allow_missing_iss,
        )
        for provider in config.providers
        if provider.frontchannel.enabled
    }


def _cookies(config: Config) -> Sequence[bytes]:
    """Names with a star are known when the app sets them, which the data plane sees and this process does not."""
    session = config.session
    names = [each.name for each in session.credentials if each.carrier == "cookie" and "*" not in each.name]
    names += [binder.cookie for binder in session.bind if isinstance(binder, TokenBinder) and binder.cookie]
    return [name.encode() for name in dict.fromkeys(names)]


def _admin_actions(realms: Sequence[Realm], signatures: Signatures) -> Sequence[AdminActions]:
    if not realms:
        return ()
    return (
        AdminActions(endpoint="k_logout", action="LOGOUT", realms=realms, signatures=signatures),
        AdminActions(endpoint="k_push_not_before", action="PUSH_NOT_BEFORE", realms=realms, signatures=signatures),
    )


def _realms(providers: Mapping[str, Provider]) -> Sequence[Realm]:
    return [_realm(provider) for provider in providers.values() if provider.settings.keycloak_admin]


def _realm(provider: Provider) -> Realm:
    settings = provider.settings
    policy = AdminPolicy(
        issuer=settings.issuer,
        client_ids=frozenset(clients(settings)),
        algorithms=frozenset(settings.algorithms),
        leeway=settings.logout_token.leeway,
    )
    return Realm(policy, provider.verifier)


def _transmitters(config: Config, senders: "_Senders") -> Mapping[str, Transmitter]:
    return {
        settings.issuer: Transmitter(_event_policy(config, settings), senders.verifier(settings, ssf_configuration))
        for settings in config.receivers.security_events
    }


def _event_policy(config: Config, settings: TransmitterSettings) -> EventPolicy:
    return EventPolicy(
        issuer=settings.issuer,
        audiences=frozenset(settings.audiences),
        reach=_reach(config, settings, whole_subject=settings.sid_scope == "subject"),
        acts_on=settings.events,
        algorithms=frozenset(settings.algorithms),
        leeway=settings.leeway,
        max_age=settings.max_age,
    )


def _revokers(config: Config, senders: "_Senders") -> Sequence[Revoker]:
    return [_revoker(config, settings, senders) for settings in config.receivers.global_token_revocation]


def _revoker(config: Config, settings: RevokerSettings, senders: "_Senders") -> Revoker:
    endpoint = f"{config.public_url or ''}{config.control.prefix}/{REVOCATION}"
    policy = CallerPolicy(
        issuer=settings.issuer,
        audiences=frozenset(settings.audiences or (endpoint,)),
        reach=_reach(config, settings),
        callers=frozenset(settings.callers),
        algorithms=frozenset(settings.algorithms),
        leeway=settings.leeway,
    )
    if settings.secret is not None:
        return Revoker(policy, None, settings.secret.reveal())
    return Revoker(policy, senders.verifier(settings, openid_configuration))


def _reach(config: Config, settings: SenderSettings, *, whole_subject: bool = False) -> Reach:
    ends = settings.providers or (settings.issuer,)
    parties = {provider.issuer: clients(provider) for provider in config.providers if provider.issuer in ends}
    return Reach(settings.issuer, parties, settings.email_as_sub, whole_subject=whole_subject)


class _Senders:
    """The keys of senders: loaded in the background until the stack ends."""

    def __init__(self, stack: contextlib.AsyncExitStack, session: aiohttp.ClientSession) -> None:
        self._stack = stack
        self._session = session
        self._verifiers: dict[tuple[str, str], Verifier] = {}
        self.shown: dict[str, Check] = {}

    def verifier(self, settings: SenderSettings, place: Callable[[str], str]) -> Verifier:
        """Verifies what this sender signs; always the same one. `place`: where its metadata is."""
        kind = EVENTS if isinstance(settings, TransmitterSettings) else REVOCATION
        known = self._verifiers.get((kind, settings.issuer))
        if known is not None:
            return known
        keys = ProviderKeys(issuer=settings.issuer, source=self._source(settings, place))
        self._stack.push_async_callback(keys.aclose)
        self._stack.push_async_callback(cancelled, asyncio.create_task(keys.run()))
        verifier = self._verifiers[kind, settings.issuer] = Verifier(keys=keys, algorithms=settings.algorithms)
        self.shown[f"keys {settings.issuer} ({kind})"] = verifier.problem
        return verifier

    def _source(self, settings: SenderSettings, place: Callable[[str], str]) -> Source:
        tls = client_tls(settings.ca_file)
        if settings.jwks_file is not None:
            return FileSource(Path(settings.jwks_file))
        if settings.jwks_uri is not None:
            return UrlSource(session=self._session, jwks_uri=settings.jwks_uri, tls=tls)
        return DiscoverySource(
            session=self._session,
            issuer=settings.issuer,
            internal_url=settings.internal_url,
            tls=tls,
            place=place,
        )
