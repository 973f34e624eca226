"""The same as `contradiction.py` for what the sidecar does by itself after a logout."""

from collections.abc import Iterator

from sidecar.config.model import Config
from sidecar.config.outbound_settings import CsrfSettings, StrivacitySettings
from sidecar.config.plain_http import plain_http
from sidecar.config.problem import Fault, Path
from sidecar.config.session_settings import BARE_PROFILES, HeaderBinder, TokenBinder, TokenEndpointBinder

_AFTER: Path = ("logout", "after_app_logout")


def outbound_contradictions(config: Config) -> Iterator[Fault]:
    """Everything of it that stops the sidecar from starting."""
    after = config.logout.after_app_logout
    if after.end_session.enabled:
        switch = (*_AFTER, "end_session", "enabled")
        yield from _after_app_logout(config, switch)
        if config.public_url is None:
            # The provider compares post_logout_redirect_uri with what was registered, byte by byte.
            what = "the provider has to know where to send the browser back to"
            yield Fault(switch, what, "public_url", involves=(switch, ("public_url",)))
        yield from _unknown_provider(config, (*_AFTER, "end_session", "hint"))
    yield from _strivacity(config)
    yield from _notify_app(config)
    if config.provider_check.every is not None:
        every: Path = ("provider_check", "every")
        yield from _kept(config, every)
        if not any(isinstance(binder, TokenEndpointBinder) for binder in config.session.bind):
            what = "a token is kept at a login that goes through the relay"
            yield Fault(every, what, "a binder token_endpoint in session.bind", involves=(every, ("session", "bind")))


def _notify_app(config: Config) -> Iterator[Fault]:
    settings, at = config.on_revoked.notify_app, ("on_revoked", "notify_app")
    path: Path = (*at, "path")
    yield from _csrf(settings.csrf, (*at, "csrf"), path, is_on=settings.path is not None)
    if settings.path is None:
        return
    yield from _kept(config, path)
    session = config.session
    if all(isinstance(binder, TokenBinder | HeaderBinder) for binder in session.bind):
        what = "cookies are remembered at a login that the sidecar sees"
        expected = "a binder with a callback in session.bind, such as token_endpoint"
        yield Fault(path, what, expected, involves=(path, ("session", "bind")))
    if BARE_PROFILES.issuperset(session.profile) and not any(credential.cookie for credential in session.credentials):
        what = "without a cookie there is nothing to call the app with"
        involved = (path, ("session", "credentials"))
        yield Fault(path, what, "a cookie in session.credentials", involves=involved)


def _csrf(csrf: CsrfSettings, at: Path, switch: Path, *, is_on: bool) -> Iterator[Fault]:
    page: Path = (*at, "path")
    given = [key for key in type(csrf).model_fields if getattr(csrf, key) is not None]
    if given and not is_on:
        first: Path = (*at, given[0])
        yield Fault(first, "nothing calls the app's logout", "on_revoked.notify_app.path", involves=(first, switch))
    elif given and csrf.path is None:
        first = (*at, given[0])
        yield Fault(first, "a token comes from a page", "csrf.path", involves=(first, page))
    elif csrf.path is not None:
        sources = tuple((*at, key) for key in ("input", "meta", "cookie"))
        if len({"input", "meta", "cookie"} & set(given)) != 1:
            what = "the page holds the token in one place"
            yield Fault(page, what, "exactly one of input, meta and cookie", involves=(page, *sources))
        elif csrf.input is None and csrf.field is None and csrf.header is None:
            what = "where is the token to be sent?"
            involved = (page, (*at, "field"), (*at, "header"))
            yield Fault(page, what, "field or header", involves=involved)


def _unknown_provider(config: Config, hint: Path) -> Iterator[Fault]:
    if config.logout.after_app_logout.end_session.hint == "none":
        clients = sum(len(provider.client_id) for provider in config.providers)
        if clients > 1:  # nothing is kept that would say whose session it was
            what = "without a hint nobody knows which of several providers or clients a session is of"
            yield Fault(hint, what, "id_token or logout_hint", involves=(hint, ("providers",)))


def _strivacity(config: Config) -> Iterator[Fault]:
    settings, path = config.logout.after_app_logout.strivacity, (*_AFTER, "strivacity")
    switch: Path = (*path, "base_url")
    if settings.base_url is None:
        for key in ("identity_store", "issuer", "token", "ca_file"):
            if getattr(settings, key) is not None:
                at: Path = (*path, key)
                yield Fault(at, f"{key} means nothing without the API's address", "base_url", involves=(at, switch))
        return
    yield from _after_app_logout(config, switch)
    if settings.identity_store is None:
        store: Path = (*path, "identity_store")
        yield Fault(switch, "accounts are in an identity store", "identity_store", involves=(switch, store))
    if not any(isinstance(binder, TokenBinder | TokenEndpointBinder) for binder in config.session.bind):
        bind: Path = ("session", "bind")
        what = "account and session come from an ID token at the relay, or one that the browser carries"
        yield Fault(switch, what, "a binder token_endpoint or token in session.bind", involves=(switch, bind))
    yield from _strivacity_issuer(config, settings, path)
    yield from _strivacity_token(settings, path)
    if not any(provider.allow_http for provider in config.providers):
        token_url = (*path, "client_credentials", "token_url")
        yield from plain_http(settings.base_url, switch, ("providers",))
        yield from plain_http(settings.client_credentials.token_url, token_url, ("providers",))


def _strivacity_issuer(config: Config, settings: StrivacitySettings, path: Path) -> Iterator[Fault]:
    at: Path = (*path, "issuer")
    issuers = [provider.issuer for provider in config.providers]
    if settings.issuer is None and len(issuers) > 1:
        involved = (at, (*path, "base_url"), ("providers",))
        yield Fault((*path, "base_url"), "of several providers, whose sessions are there?", "issuer", involves=involved)
    elif settings.issuer is not None and settings.issuer not in issuers:
        yield Fault(at, "no such provider", "an issuer in providers", involves=(at, ("providers",)))


def _strivacity_token(settings: StrivacitySettings, path: Path) -> Iterator[Fault]:
    client, at = settings.client_credentials, (*path, "client_credentials")
    url: Path = (*at, "token_url")
    token: Path = (*path, "token")
    if (settings.token is None) == (client.token_url is None):
        what = "the API takes one bearer token"
        switch: Path = (*path, "base_url")
        yield Fault(switch, what, "exactly one of token and client_credentials", involves=(switch, token, url))
    for key in ("client_id", "client_secret"):
        if client.token_url is not None and getattr(client, key) is None:
            yield Fault(url, f"the token endpoint wants a {key}", key, involves=(url, (*at, key)))


def _after_app_logout(config: Config, switch: Path) -> Iterator[Fault]:
    if not config.logout.app_paths:
        paths: Path = ("logout", "app_paths")
        what = "nothing follows a logout that no path is known for"
        yield Fault(switch, what, "logout.app_paths, such as [/logout]", involves=(switch, paths))
    yield from _kept(config, switch)


def _kept(config: Config, switch: Path) -> Iterator[Fault]:
    """What keeps something of a login encrypts it; the key must not lie beside it."""
    if config.store.secret is None:
        secret: Path = ("store", "secret")
        what = "it keeps something of each login, and the key for it must not be in the store"
        yield Fault(switch, what, "store.secret: {file: PATH}", involves=(switch, secret))
