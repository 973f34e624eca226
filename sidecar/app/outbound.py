"""What the sidecar does by itself after a logout, from the operator's choices; nothing where nothing is switched on."""

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.app.providers import Provider
from sidecar.app.state import State
from sidecar.bindings.sealer import Sealer
from sidecar.bindings.vault import Keeper, LoginKeeper, Vault
from sidecar.config.model import Config
from sidecar.control.signed_out import SignedOut
from sidecar.core.revocation import SLACK_S
from sidecar.gate.app_logout import After, nothing
from sidecar.oidc.relay import Keep
from sidecar.outbound.after_app_logout import AfterAppLogout
from sidecar.outbound.end_session import EndingProvider, EndSession


@dataclass(frozen=True, slots=True)
class Outbound:
    """The parts of it, each for the plane that needs it."""

    keep: Keep | None = None  # for the relay
    signed_out: SignedOut | None = None  # for the control plane
    after_app_logout: After = nothing  # for the gate


def needs_metadata(config: Config) -> bool:
    """Whether a process that has a gate has to know what the providers publish."""
    return config.logout.after_app_logout.end_session.enabled


def build_outbound(config: Config, state: State, providers: Mapping[str, Provider]) -> Outbound:
    after, secret = config.logout.after_app_logout, config.store.secret
    if not after.end_session.enabled or secret is None:  # the configuration has seen to it that both are there
        return Outbound()
    sealer = Sealer(secret.reveal(), [each.reveal() for each in config.store.other_secrets])
    vault = Vault(state.keeping, sealer, ttl_s=int(config.session.max_age + SLACK_S))
    keeper = _keeper(config)
    signed_out = SignedOut(sealer, origin=_origin(config))
    return Outbound(
        LoginKeeper(vault, keeper, state.digester),
        signed_out,
        AfterAppLogout(vault=vault, keeper=keeper, end_session=_end_session(config, providers, signed_out)),
    )


def _keeper(config: Config) -> Keeper:
    end_session = config.logout.after_app_logout.end_session
    if not end_session.enabled or end_session.hint == "none":
        return Keeper(id_token=False)
    return Keeper(id_token=end_session.hint == "id_token", claims=[end_session.logout_hint_claim])


def _end_session(config: Config, providers: Mapping[str, Provider], signed_out: SignedOut) -> EndSession | None:
    settings = config.logout.after_app_logout.end_session
    if not settings.enabled:
        return None
    return EndSession(
        {issuer: EndingProvider(each.settings.client_id, each.metadata) for issuer, each in providers.items()},
        hint=settings.hint,
        logout_hint_claim=settings.logout_hint_claim,
        origin=_origin(config),
        back=f"{_origin(config)}{config.control.prefix}/signed-out",
        state=signed_out.state,
    )


def _origin(config: Config) -> str:
    return config.public_url or ""
