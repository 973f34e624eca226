"""What the sidecar does by itself after a logout, from the operator's choices; nothing where nothing is switched on."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from sidecar.app.notify import open_notify
from sidecar.app.provider_check import token_keeper
from sidecar.app.providers import Provider
from sidecar.app.sockets import client_tls
from sidecar.app.state import State
from sidecar.bindings.sealer import Sealer
from sidecar.bindings.tokens import TokenKeeper
from sidecar.bindings.vault import Keeper, LoginKeeper, Vault
from sidecar.config.model import Config
from sidecar.config.outbound_settings import AfterAppLogoutSettings, StrivacitySettings
from sidecar.control.signed_out import SignedOut
from sidecar.core.identity import Session
from sidecar.core.revocation import SLACK_S, Revocation
from sidecar.gate.app_logout import After, nothing
from sidecar.gate.remember import Remember
from sidecar.oidc.bearer import Bearer, ClientCredentials, FileBearer
from sidecar.oidc.fetch import client_session
from sidecar.oidc.relay import Keep
from sidecar.oidc.strivacity import AdminApi
from sidecar.outbound.after_app_logout import AfterAppLogout, ApiLogout
from sidecar.outbound.end_session import EndingProvider, EndSession
from sidecar.outbound.forget import ForgetLogins
from sidecar.outbound.provider_logout import ProviderLogouts

Revoked = Callable[[Revocation, bool], None]  # the second: this process took it


@dataclass(frozen=True, slots=True)
class Outbound:
    """The parts of it, each for the plane that needs it."""

    keep: Keep | None = None  # for the relay
    signed_out: SignedOut | None = None  # for the control plane
    after_app_logout: After = nothing  # for the gate
    remember: Remember | None = None  # for the gate
    revoked: Revoked | None = None  # for whoever hears of revocations first


NOTHING = Outbound()


@contextlib.asynccontextmanager
async def open_outbound(config: Config, state: State, providers: Mapping[str, Provider]) -> AsyncIterator[Outbound]:
    """Ready to be used; what still runs at the end is given up."""
    secret = config.store.secret
    if secret is None:  # whatever is kept is sealed, and the configuration has seen to it that this is there for it
        yield NOTHING
        return
    sealer = Sealer(secret.reveal(), [each.reveal() for each in config.store.other_secrets])
    async with contextlib.AsyncExitStack() as stack:
        vault = Vault(state.keeping, sealer, ttl_s=int(config.session.max_age + SLACK_S))
        notify = await open_notify(stack, config, state, sealer)
        keep, signed_out, after = await _after_app_logout(stack, config, state, providers, sealer, vault)
        tokens = token_keeper(config, state)
        yield Outbound(
            _both(keep, tokens) if keep is not None or tokens is not None else None,
            signed_out,
            after,
            remember=notify.remember if notify is not None else None,
            revoked=_all_of(
                notify.revoked if notify is not None else None,
                _forget(stack, vault if keep is not None else None, tokens),
            ),
        )


def _both(login: LoginKeeper | None, tokens: TokenKeeper | None) -> Keep:
    async def keep(session: Session, id_token: str, answer: Mapping[str, Any]) -> None:
        if login is not None:
            await login(session, id_token)
        if tokens is not None:
            await tokens(session, answer)

    return keep


def _all_of(*hear: Revoked | None) -> Revoked | None:
    wanted = [each for each in hear if each is not None]

    def revoked(revocation: Revocation, is_ours: bool) -> None:  # noqa: FBT001 - as `Revoked` says
        for each in wanted:
            each(revocation, is_ours)

    return revoked if wanted else None


def _forget(stack: contextlib.AsyncExitStack, vault: Vault | None, tokens: TokenKeeper | None) -> Revoked | None:
    forgetting = [each.forget for each in (vault, tokens) if each is not None]
    if not forgetting:
        return None
    forget = ForgetLogins(*forgetting)
    stack.push_async_callback(forget.aclose)
    return forget.revoked


async def _after_app_logout(
    stack: contextlib.AsyncExitStack,
    config: Config,
    state: State,
    providers: Mapping[str, Provider],
    sealer: Sealer,
    vault: Vault,
) -> tuple[LoginKeeper | None, SignedOut | None, After]:
    after = config.logout.after_app_logout
    if not after.end_session.enabled and after.strivacity.base_url is None:
        return None, None, nothing
    keeper = _keeper(after)
    signed_out = SignedOut(sealer, origin=_origin(config)) if after.end_session.enabled else None
    follow = AfterAppLogout(
        vault=vault,
        keeper=keeper or Keeper(id_token=False),
        end_session=_end_session(config, providers, signed_out),
        api=await _api_logout(stack, config),
    )
    return LoginKeeper(vault, keeper, state.digester) if keeper is not None else None, signed_out, follow


def _keeper(after: AfterAppLogoutSettings) -> Keeper | None:
    """What has to be kept of each login; None: nothing."""
    end_session, strivacity = after.end_session, after.strivacity
    hint = end_session.hint if end_session.enabled else "none"
    claims = [end_session.logout_hint_claim] if hint != "none" else []
    claims += [strivacity.account_claim] if strivacity.base_url is not None else []
    return Keeper(id_token=hint == "id_token", claims=claims) if claims else None


def _end_session(config: Config, providers: Mapping[str, Provider], signed_out: SignedOut | None) -> EndSession | None:
    settings = config.logout.after_app_logout.end_session
    if signed_out is None:
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


async def _api_logout(stack: contextlib.AsyncExitStack, config: Config) -> ApiLogout | None:
    settings = config.logout.after_app_logout.strivacity
    if settings.base_url is None:
        return None
    api = await open_admin_api(stack, settings)
    logouts = ProviderLogouts(api.end_session, wait_s=settings.timeout, attempts=settings.attempts)
    stack.push_async_callback(logouts.aclose)
    return ApiLogout(settings.issuer or config.providers[0].issuer, settings.account_claim, logouts.end)


async def open_admin_api(stack: contextlib.AsyncExitStack, settings: StrivacitySettings) -> AdminApi:
    """A client of the API; closed with the stack. Raises CannotStart."""
    session = await stack.enter_async_context(client_session())
    tls = client_tls(settings.ca_file)
    bearer: Bearer
    if settings.token is not None:
        bearer = FileBearer(settings.token.reveal)
    else:
        bearer = _client_credentials(settings, session)
        stack.push_async_callback(bearer.aclose)
    return AdminApi(
        session,
        base_url=settings.base_url or "",
        identity_store=settings.identity_store or "",
        bearer=bearer,
        tls=tls,
    )


def _client_credentials(settings: StrivacitySettings, session: aiohttp.ClientSession) -> ClientCredentials:
    client = settings.client_credentials
    if client.token_url is None or client.client_id is None or client.client_secret is None:
        raise TypeError("the configuration has seen to it that they are there")
    return ClientCredentials(
        session,
        url=client.token_url,
        client_id=client.client_id,
        secret=client.client_secret.reveal,
        scope=client.scope,
        auth=client.auth,
        tls=client_tls(settings.ca_file),
    )
