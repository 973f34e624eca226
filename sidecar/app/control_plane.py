"""The control plane: the logout endpoint behind the data plane, the ops listener, the relay."""

import contextlib
import re
import socket
from collections.abc import Iterable, Mapping

from aiohttp import web
from prometheus_client.registry import Collector

from sidecar import clock
from sidecar.app.binders import refuses_unjoined
from sidecar.app.outbound import Outbound
from sidecar.app.process import site
from sidecar.app.providers import Provider, logout_provider
from sidecar.app.state import State
from sidecar.config.model import Config
from sidecar.control.app import control_runner
from sidecar.control.logout import LogoutEndpoint
from sidecar.control.ops import Check, Pod, ops_runner
from sidecar.oidc.id_token import Client, LoginReader
from sidecar.oidc.relay import Joins, RelayedProvider, relay_app


async def start_control_plane(
    stack: contextlib.AsyncExitStack,
    config: Config,
    state: State,
    providers: Mapping[str, Provider],
    *,
    control: socket.socket | str,
    ops: socket.socket,
    relay: socket.socket,
    joins: Joins,
    outbound: Outbound,
    gates: Mapping[str, Check],
    collectors: Iterable[Collector] = (),
    pod: Pod | None = None,
) -> None:
    """Serve until the stack ends. `gates` decide readiness, together with the first load."""
    logout = LogoutEndpoint(
        providers={issuer: logout_provider(provider) for issuer, provider in providers.items()},
        publish=state.revoker,
        digester=state.digester,
        session_max_age=config.session.max_age,
    )
    routes = control_runner(prefix=config.control.prefix, logout=logout, signed_out=outbound.signed_out)
    await site(stack, routes, control)
    loaded: Mapping[str, Check] = {"revocations": lambda: None if state.feed.loaded.is_set() else "not loaded yet"}
    shown = {"store": state.problem, "freshness": state.staleness}
    shown |= {f"keys {issuer}": provider.verifier.problem for issuer, provider in providers.items()}
    await site(stack, ops_runner(gates={**loaded, **gates}, shown=shown, collectors=collectors, pod=pod), ops)
    relayed = [
        RelayedProvider(
            provider.settings.name or _name_from(issuer),
            provider.metadata,
            LoginReader(provider.verifier, Client(issuer, tuple(provider.settings.client_id)), clock.wall),
            provider.tls,
        )
        for issuer, provider in providers.items()
    ]
    relay_server = relay_app(relayed, logins=joins, refuses_unjoined=refuses_unjoined(config), keep=outbound.keep)
    await site(stack, web.AppRunner(relay_server, access_log=None), relay)


def _name_from(issuer: str) -> str:
    """`https://idp.example.com/realms/acme` becomes `idp.example.com-realms-acme`: its place in the relay's paths."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", issuer.partition("://")[2]).strip("-")
