"""The control plane: the logout endpoint behind the data plane, the ops listener, the relay."""

import contextlib
import re
import socket
from collections.abc import Iterable, Mapping
from functools import partial

from aiohttp import web

from sidecar import clock
from sidecar.app.binders import refuses_unjoined
from sidecar.app.outbound import Outbound
from sidecar.app.process import site
from sidecar.app.providers import Provider
from sidecar.app.receivers import Receivers
from sidecar.app.state import State
from sidecar.config.model import Config
from sidecar.control.app import control_runner
from sidecar.control.ops import Check, Pod, ops_runner
from sidecar.core.identity import Session
from sidecar.metrics import Measures
from sidecar.oidc.id_token import Client, LoginReader
from sidecar.oidc.relay import Joins, RelayedProvider, relay_app


class ControlPlane:
    """Takes logouts and logins, by the rules of the newest configuration."""

    def __init__(
        self, config: Config, state: State, providers: Mapping[str, Provider], *, receivers: Receivers
    ) -> None:
        self.providers = providers
        self._refuses_unjoined = refuses_unjoined(config)
        self._state = state
        self._prefix = config.control.prefix
        self._receivers = receivers

    def use(self, config: Config, providers: Mapping[str, Provider]) -> None:
        """Go by these rules from now on; the providers are the same. What is being verified ends as it began."""
        self.providers = providers
        self._refuses_unjoined = refuses_unjoined(config)
        self._receivers.use(config, providers)

    async def serve(
        self,
        stack: contextlib.AsyncExitStack,
        *,
        control: socket.socket | str,
        ops: socket.socket,
        relay: socket.socket,
        joins: Joins,
        outbound: Outbound,
        gates: Mapping[str, Check],
        shown: Mapping[str, Check],
        collectors: Iterable[Measures] = (),
        pod: Pod | None = None,
    ) -> None:
        """Serve until the stack ends. `gates` decide readiness, together with the first load; `shown` does not."""
        state = self._state
        endpoints = dict(self._receivers.endpoints)
        if outbound.signed_out is not None:
            endpoints["signed-out"] = outbound.signed_out
        await site(stack, control_runner(prefix=self._prefix, endpoints=endpoints), control)
        loaded: Mapping[str, Check] = {"revocations": lambda: None if state.feed.loaded.is_set() else "not loaded yet"}
        told = {"store": state.problem, "freshness": state.staleness, **self._key_problems(), **self._receivers.shown}
        told |= shown
        await site(stack, ops_runner(gates={**loaded, **gates}, shown=told, collectors=collectors, pod=pod), ops)
        app = relay_app(
            self._relayed(), logins=joins, refuses_unjoined=lambda: self._refuses_unjoined, keep=outbound.keep
        )
        await site(stack, web.AppRunner(app, access_log=None), relay)

    def _relayed(self) -> list[RelayedProvider]:
        """For the relay, whose paths are made once."""
        return [
            RelayedProvider(
                provider.settings.name or _name_from(issuer), provider.metadata, _Reader(self, issuer), provider.tls
            )
            for issuer, provider in self.providers.items()
        ]

    def _key_problems(self) -> dict[str, Check]:
        """What keeps each provider's tokens from being verified."""
        return {f"keys {issuer}": partial(self._key_problem, issuer) for issuer in self.providers}

    def _key_problem(self, issuer: str) -> str | None:
        return self.providers[issuer].verifier.problem()


class _Reader:
    """Reads the ID tokens of one provider, by the rules of the moment."""

    def __init__(self, plane: ControlPlane, issuer: str) -> None:
        self._plane = plane
        self._issuer = issuer

    async def read(self, token: str) -> Session:
        """Raises TokenError."""
        provider = self._plane.providers[self._issuer]
        client = Client(self._issuer, tuple(provider.settings.client_id))
        return await LoginReader(provider.verifier, client, clock.wall).read(token)


def _name_from(issuer: str) -> str:
    """`https://idp.example.com/realms/acme` becomes `idp.example.com-realms-acme`: its place in the relay's paths."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", issuer.partition("://")[2]).strip("-")
