"""What the binders say against the providers, the proxies and each other. The rules of `contradiction.py` hold here."""

from collections.abc import Iterator

from sidecar.config.model import Config
from sidecar.config.problem import Fault, Path
from sidecar.config.provider_settings import ProviderSettings
from sidecar.config.session_settings import HeaderBinder, KeycloakCodeBinder, TokenEndpointBinder

_BIND: Path = ("session", "bind")


def binder_contradictions(config: Config) -> Iterator[Fault]:
    """Everything about binders that stops the sidecar from starting."""
    first: int | None = None
    for index, binder in enumerate(config.session.bind):
        path: Path = (*_BIND, index)
        if isinstance(binder, HeaderBinder | KeycloakCodeBinder):
            yield from _provider(config, binder, path)
        if isinstance(binder, HeaderBinder) and not config.trusted_proxies:
            what = "nobody is trusted to name a session in a header"
            involved = (path, ("trusted_proxies",))
            yield Fault(path, what, "trusted_proxies with the address of the proxy in front", involves=involved)
        if isinstance(binder, TokenEndpointBinder):
            first = index if first is None else first
            yield from _unjoined(config, binder, first, index)


def provider_of(config: Config, binder: HeaderBinder | KeycloakCodeBinder) -> ProviderSettings:
    """The provider that a binder without tokens means."""
    return next(each for each in config.providers if binder.issuer in (None, each.issuer))


def _provider(config: Config, binder: HeaderBinder | KeycloakCodeBinder, path: Path) -> Iterator[Fault]:
    """Without a token nothing but the configuration says whose sid or sub it is."""
    issuer, client = (*path, "issuer"), (*path, "client_id")
    if binder.issuer is None and len(config.providers) > 1:
        yield Fault(path, "the binder does not say which provider it means", "issuer", involves=(path, ("providers",)))
        return
    if binder.issuer is not None and binder.issuer not in [each.issuer for each in config.providers]:
        yield Fault(issuer, "no such provider", "an issuer of providers", involves=(issuer, ("providers",)))
        return
    clients = provider_of(config, binder).client_id
    if binder.client_id is None and len(clients) > 1:
        what = "the provider has several clients, and the binder does not say which it means"
        yield Fault(path, what, "client_id", involves=(path, ("providers",)))
    elif binder.client_id is not None and binder.client_id not in clients:
        yield Fault(
            client, "the provider has no such client", "one of its client_id", involves=(client, ("providers",))
        )


def _unjoined(config: Config, binder: TokenEndpointBinder, first: int, index: int) -> Iterator[Fault]:
    one = config.session.bind[first]
    if isinstance(one, TokenEndpointBinder) and one.unjoined != binder.unjoined:
        # A code that comes to no callback does not say which one it should have come to.
        path, also = (*_BIND, index, "unjoined"), (*_BIND, first, "unjoined")
        yield Fault(
            path, "unjoined is one choice for all callbacks", "the same value", also=also, involves=(path, also)
        )


def binder_warnings(config: Config) -> Iterator[Fault]:
    """What works, but not as most would expect."""
    binders = config.session.bind
    for index, binder in enumerate(binders):
        path: Path = (*_BIND, index)
        if isinstance(binder, HeaderBinder) and binder.login_time is None:
            what = "without login_time a user who was logged out everywhere stays out until session.max_age has passed"
            yield Fault(path, what, "login_time: the header with the time of the login")
        if isinstance(binder, KeycloakCodeBinder):
            yield from _keycloak_warnings(config, binder, path, is_only=len(binders) == 1)


def _keycloak_warnings(config: Config, binder: KeycloakCodeBinder, path: Path, *, is_only: bool) -> Iterator[Fault]:
    provider = provider_of(config, binder)
    if is_only:
        what = "no sub is known: a logout that names no sid reaches nobody"
        yield Fault(path, what, 'at Keycloak: "Backchannel logout session required" on')
    if provider.logout_token.sid_scope == "subject":
        at: Path = ("providers", config.providers.index(provider), "logout_token", "sid_scope")
        what = "sid_scope: subject ends only the named one of the sessions that keycloak_code knows: they have no sub"
        yield Fault(at, what, "token_endpoint or form_post", also=path)
    if provider.jwks_file is not None:
        what = "the provider's clock is unknown with jwks_file: logins count as a minute older than they are"
        yield Fault(path, what, "jwks_uri or discovery")
