"""The control plane: the logout endpoint behind the data plane, the ops listener, the relay."""

import contextlib
import re
import socket
from collections.abc import Mapping

from aiohttp import web

from sidecar import clock
from sidecar.app.data_plane import DataPlane
from sidecar.app.providers import Provider, logout_provider
from sidecar.app.state import State
from sidecar.config.model import Config
from sidecar.control.app import control_runner
from sidecar.control.logout import LogoutEndpoint
from sidecar.control.ops import ops_runner
from sidecar.oidc.id_token import Client, LoginReader
from sidecar.oidc.relay import RelayedProvider, relay_app


async def start_control_plane(
    stack: contextlib.AsyncExitStack,
    config: Config,
    state: State,
    providers: Mapping[str, Provider],
    data: DataPlane,
    *,
    ops: socket.socket,
    relay: socket.socket,
) -> None:
    logout = LogoutEndpoint(
        providers={issuer: logout_provider(provider) for issuer, provider in providers.items()},
        publish=state.revoker,
        digester=state.digester,
        session_max_age=config.session.max_age,
    )
    await _site(stack, control_runner(prefix=config.control.prefix, logout=logout), data.control_socket)
    gates = {
        "revocations": lambda: None if state.feed.loaded.is_set() else "not loaded yet",
        "serving": lambda: "draining" if data.plane.is_draining else None,
    }
    shown = {"store": state.problem}
    shown |= {f"keys {issuer}": provider.verifier.problem for issuer, provider in providers.items()}
    await _site(stack, ops_runner(gates=gates, shown=shown, collectors=[data.stats]), ops)
    relayed = [
        RelayedProvider(
            provider.settings.name or _name_from(issuer),
            provider.metadata,
            LoginReader(provider.verifier, Client(issuer, tuple(provider.settings.client_id)), clock.wall),
            provider.tls,
        )
        for issuer, provider in providers.items()
    ]
    await _site(stack, web.AppRunner(relay_app(relayed, logins=state.logins), access_log=None), relay)


def _name_from(issuer: str) -> str:
    """`https://idp.example.com/realms/acme` becomes `idp.example.com-realms-acme`: its place in the relay's paths."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", issuer.partition("://")[2]).strip("-")


async def _site(stack: contextlib.AsyncExitStack, runner: "web.BaseRunner", where: socket.socket | str) -> None:
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.UnixSite(runner, where) if isinstance(where, str) else web.SockSite(runner, where)
    await site.start()
