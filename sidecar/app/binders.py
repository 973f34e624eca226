"""The binders that a callback or a header feeds, from the operator's choices."""

from collections.abc import Iterator, Mapping

from sidecar import clock
from sidecar.app.providers import Provider
from sidecar.bindings.form_post import FormPostReader
from sidecar.bindings.keycloak_code import KeycloakCodeReader
from sidecar.bindings.trusted_header import HeaderBinder
from sidecar.config.binder_contradiction import provider_of
from sidecar.config.model import Config
from sidecar.config.session_settings import (
    FormPostBinder,
    KeycloakCodeBinder,
    SuccessSettings,
    TokenEndpointBinder,
)
from sidecar.config.session_settings import HeaderBinder as HeaderSettings
from sidecar.core.completion import Completion
from sidecar.core.paths import compile_pattern
from sidecar.gate.callbacks import Claimant
from sidecar.oidc.id_token import Client, LoginReader


def claimants(config: Config, providers: Mapping[str, Provider]) -> Iterator[Claimant]:
    """The binders that believe a callback by the app's answer, in the operator's order."""
    for binder in config.session.bind:
        if isinstance(binder, FormPostBinder):
            reader: FormPostReader | KeycloakCodeReader = _form_post(providers)
        elif isinstance(binder, KeycloakCodeBinder):
            reader = _keycloak_code(config, binder, providers)
        else:
            continue
        yield Claimant(
            binder.from_,
            compile_pattern(binder.callback),
            reader,
            _completion(binder.success),
            reads_tokens=isinstance(binder, FormPostBinder),
        )


def header_binders(config: Config) -> list[HeaderBinder]:
    """The binders whose sessions a proxy in front names."""
    binders = [binder for binder in config.session.bind if isinstance(binder, HeaderSettings)]
    return [
        HeaderBinder(
            issuer=provider_of(config, binder).issuer,
            client_id=_client_of(config, binder),
            sid=binder.sid,
            sub=binder.sub,
            login_time=binder.login_time,
            clock=clock.late,
        )
        for binder in binders
    ]


def proxy_headers(config: Config) -> frozenset[bytes]:
    """The header fields, folded, in which only a trusted proxy may say anything."""
    return frozenset(name for binder in header_binders(config) for name in binder.names)


def refuses_unjoined(config: Config) -> bool:
    """Whether the relay lets no code be redeemed that no callback is waiting with."""
    refuses = any(isinstance(each, TokenEndpointBinder) and each.unjoined == "refuse" for each in config.session.bind)
    return refuses and config.enforcement.mode == "enforce"


def _form_post(providers: Mapping[str, Provider]) -> FormPostReader:
    verifiers = {issuer: provider.verifier for issuer, provider in providers.items()}
    readers = {
        issuer: LoginReader(provider.verifier, Client(issuer, tuple(provider.settings.client_id)), clock.wall)
        for issuer, provider in providers.items()
    }
    return FormPostReader(readers, verifiers)


def _keycloak_code(config: Config, binder: KeycloakCodeBinder, providers: Mapping[str, Provider]) -> KeycloakCodeReader:
    issuer = provider_of(config, binder).issuer
    return KeycloakCodeReader(
        issuer=issuer, client_id=_client_of(config, binder), provider_now=providers[issuer].keys.provider_now
    )


def _client_of(config: Config, binder: KeycloakCodeBinder | HeaderSettings) -> str:
    return binder.client_id or provider_of(config, binder).client_id[0]


def _completion(success: SuccessSettings) -> Completion:
    location = compile_pattern(success.location) if success.location is not None else None
    return Completion(frozenset(success.status), location, keeps_cookie=success.cookie == "kept")
