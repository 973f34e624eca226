"""What the settings of the receivers say against each other, and against the providers."""

from collections.abc import Iterator

from sidecar.config.model import Config
from sidecar.config.plain_http import plain_http
from sidecar.config.problem import Fault, Path
from sidecar.config.provider_settings import ProviderSettings
from sidecar.config.receiver_settings import RevokerSettings, SenderSettings
from sidecar.config.repetition import duplicates

_MIN_SECRET = 16
_EVENTS: Path = ("receivers", "security_events")
_REVOCATION: Path = ("receivers", "global_token_revocation")


def receiver_faults(config: Config) -> Iterator[Fault]:
    """What stops the sidecar from starting."""
    for index, provider in enumerate(config.providers):
        yield from _provider(provider, ("providers", index))
    yield from _missing_iss(config)
    yield from _senders(config, config.receivers.security_events, _EVENTS)
    yield from _senders(config, config.receivers.global_token_revocation, _REVOCATION)
    for index, transmitter in enumerate(config.receivers.security_events):
        if not transmitter.audiences:
            yield Fault((*_EVENTS, index), "nobody says whom its tokens are for", "audiences: [the stream's aud]")
    for index, revoker in enumerate(config.receivers.global_token_revocation):
        yield from _revoker(config, revoker, (*_REVOCATION, index))


def receiver_warnings(config: Config) -> Iterator[Fault]:
    """What an operator should know and may well intend."""
    for index, provider in enumerate(config.providers):
        if provider.receive_for and config.store.url.redis is None:
            what = "the other apps' sidecars cannot read this store, unless they share its file"
            yield Fault(("providers", index, "receive_for"), what, "a Redis in store.url")


def _provider(provider: ProviderSettings, path: Path) -> Iterator[Fault]:
    if set(provider.receive_for) & set(provider.client_id):
        involved = ((*path, "client_id"), (*path, "receive_for"))
        what = "the app's own client is always received for"
        yield Fault((*path, "receive_for"), what, "other clients only", involves=involved)
    if provider.frontchannel.allow_missing_iss and not provider.frontchannel.enabled:
        at: Path = (*path, "frontchannel")
        involved = ((*at, "enabled"), (*at, "allow_missing_iss"))
        what = "allow_missing_iss means nothing while the front channel is off"
        yield Fault((*at, "allow_missing_iss"), what, "enabled: true", involves=involved)


def _missing_iss(config: Config) -> Iterator[Fault]:
    allowing = [index for index, each in enumerate(config.providers) if each.frontchannel.allow_missing_iss]
    for index in allowing[1:]:
        also: Path = ("providers", allowing[0], "frontchannel", "allow_missing_iss")
        path: Path = ("providers", index, "frontchannel", "allow_missing_iss")
        yield Fault(path, "nobody could say whose a logout without iss is", "one provider that allows it", also=also)


def _senders(config: Config, senders: tuple[SenderSettings, ...], at: Path) -> Iterator[Fault]:
    for first, second in duplicates([sender.issuer for sender in senders]):
        also: Path = (*at, first, "issuer")
        yield Fault((*at, second, "issuer"), "two senders with the same issuer", "each issuer once", also=also)
    for index, sender in enumerate(senders):
        yield from _sender(config, sender, (*at, index))


def _sender(config: Config, sender: SenderSettings, path: Path) -> Iterator[Fault]:
    known = {provider.issuer for provider in config.providers}
    for index, issuer in enumerate(sender.providers):
        if issuer not in known:
            at = (*path, "providers", index)
            yield Fault(at, "no such issuer in providers", "an issuer of providers", involves=(at, ("providers",)))
    if not sender.providers and sender.issuer not in known:
        what = "the sender is none of the providers, so it is not clear whose sessions it ends"
        yield Fault(path, what, "providers: [ISSUER]", involves=((*path, "issuer"), ("providers",)))
    if sender.jwks_uri and sender.jwks_file:
        yield Fault((*path, "jwks_file"), "keys come from one place", "jwks_uri or jwks_file", also=(*path, "jwks_uri"))
    if not sender.allow_http:
        for key in ("issuer", "internal_url", "jwks_uri"):
            yield from plain_http(getattr(sender, key), (*path, key), (*path, "allow_http"))


def _revoker(config: Config, revoker: RevokerSettings, path: Path) -> Iterator[Fault]:
    if revoker.secret is not None and len(revoker.secret) < _MIN_SECRET:
        yield Fault((*path, "secret"), "the secret can be guessed", f"at least {_MIN_SECRET} bytes")
    if revoker.secret is None and not revoker.audiences and config.public_url is None:
        involved = ((*path, "audiences"), ("public_url",))
        what = "it is not known by which URL the caller knows the endpoint"
        yield Fault(path, what, "public_url, or audiences: [URL]", involves=involved)
