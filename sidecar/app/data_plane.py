"""The data plane: the gate from the operator's choices, the pools, the limits."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from sidecar import clock
from sidecar.app.providers import Provider
from sidecar.app.sockets import client_tls
from sidecar.app.state import State
from sidecar.bindings.token import TokenBinder
from sidecar.config.address import TcpAddress
from sidecar.config.model import Config
from sidecar.config.model import TokenBinder as TokenSettings
from sidecar.core.credentials import Carriers
from sidecar.core.denial import Action
from sidecar.core.paths import compile_pattern
from sidecar.core.routes import Route, Routes, Rule
from sidecar.core.verdict import Policy
from sidecar.field_names import fold
from sidecar.proxy.access_log import AccessLog
from sidecar.proxy.callbacks import Callbacks
from sidecar.proxy.condemn import Condemner
from sidecar.proxy.denials import Denials
from sidecar.proxy.enforcement import Enforcement
from sidecar.proxy.gate import Gate
from sidecar.proxy.identify import Identifier, TokenCarrier
from sidecar.proxy.learn import Teacher
from sidecar.proxy.limits import Limits
from sidecar.proxy.live import LiveStreams
from sidecar.proxy.plane import Plane
from sidecar.proxy.pool import Address, Pool
from sidecar.proxy.second_look import SecondLook
from sidecar.proxy.stats import Stats
from sidecar.proxy.verdicts import Verdicts


@dataclass(frozen=True, slots=True)
class DataPlane:
    """The data plane and what others need of it."""

    plane: Plane
    gate: Gate
    stats: Stats
    control_socket: str

    async def aclose(self) -> None:
        """End every connection that is left."""
        for connection in list(self.plane.connections):
            connection.abort()
        self.plane.app.close()
        self.plane.control.close()


def build_data_plane(config: Config, state: State, providers: Mapping[str, Provider], control_socket: str) -> DataPlane:
    stats, live = Stats(), LiveStreams()
    gate = _gate(config, state, providers, stats, live)
    limits = config.limits
    plane = Plane(
        gate=gate,
        app=_app_pool(config),
        control=Pool(Address(path=control_socket), head_bytes=limits.head_bytes, keepalive=30.0),
        live=live,
        stats=stats,
        limits=Limits(
            head_bytes=limits.head_bytes,
            header_count=limits.header_count,
            head_timeout=limits.head_timeout,
            idle_timeout=limits.idle_timeout,
            body_stall_timeout=limits.body_stall_timeout,
            body_min_rate=limits.body_min_rate,
            body_bytes=limits.body_bytes,
            connections=limits.connections,
            connections_per_peer=limits.connections_per_peer,
        ),
        response_timeout=config.upstream.response_timeout,
        tunnel_idle_timeout=config.upstream.tunnel_idle_timeout,
        stall_timeout=config.upstream.stall_timeout,
        access_log=AccessLog(sample=config.log.access_sample) if config.log.access else None,
        creates_trace=config.log.traceparent == "create",
        dropped_trailers=credential_headers(config),
    )
    return DataPlane(plane, gate, stats, control_socket)


def credential_headers(config: Config) -> frozenset[bytes]:
    """The header fields by which the app knows its sessions, folded."""
    names = [credential.name for credential in config.session.credentials if credential.carrier == "header"]
    names += [binder.header for binder in config.session.bind if isinstance(binder, TokenSettings) and binder.header]
    return frozenset(fold(name.lower().encode()) for name in names)


def _gate(config: Config, state: State, providers: Mapping[str, Provider], stats: Stats, live: LiveStreams) -> Gate:
    session = config.session
    carriers = _carriers(config)
    tokens = [_token_carrier(binder, providers) for binder in session.bind if isinstance(binder, TokenSettings)]
    identifier = Identifier(
        carriers=carriers,
        tokens=tokens,
        directory=state.directory,
        digester=state.digester,
        cutoff=state.replica.cutoff,
    )
    token_cookies = [token.cookie for token in tokens if token.cookie]
    enforcer = Enforcement(carriers=carriers, identifier=identifier, token_cookies=token_cookies)
    policy = Policy(
        deny_unbound=session.unbound == "deny",
        fail_open=config.store.on_stale == "fail_open",
        max_age_ms=int(session.max_age * 1000),
    )
    verdicts = Verdicts(replica=state.replica, freshness=state.freshness, policy=policy)
    condemner = Condemner(
        replica=state.replica,
        directory=state.directory,
        publish=state.publisher.publish,
        max_age_s=session.max_age,
    )
    denials = Denials(enforcement=enforcer, condemner=condemner, stats=stats)
    callbacks = [binder.callback for binder in session.bind if not isinstance(binder, TokenSettings)]
    return Gate(
        identifier=identifier,
        callbacks=Callbacks(patterns=map(compile_pattern, callbacks), logins=state.logins),
        verdicts=verdicts,
        denials=denials,
        second_look=SecondLook(
            identifier=identifier,
            verdicts=verdicts,
            teacher=Teacher(identifier=identifier, enforcement=enforcer, directory=state.directory),
            denials=denials,
            condemner=condemner,
        ),
        condemner=condemner,
        live=live,
        stats=stats,
        routes=_routes(config),
        logout_paths=[compile_pattern(pattern) for pattern in config.logout.app_paths],
        control_prefix=config.control.prefix.encode(),
    )


def _carriers(config: Config) -> Carriers:
    by_carrier: dict[str, list[str]] = {}
    for credential in config.session.credentials:
        by_carrier.setdefault(credential.carrier, []).append(credential.name)
    return Carriers(
        cookies=by_carrier.get("cookie", ()),
        path_parameters=by_carrier.get("path_parameter", ()),
        query_parameters=by_carrier.get("query_parameter", ()),
        headers=by_carrier.get("header", ()),
    )


def _token_carrier(binder: TokenSettings, providers: Mapping[str, Provider]) -> TokenCarrier:
    reader = TokenBinder(
        {issuer: provider.verifier for issuer, provider in providers.items()},
        client_ids={issuer: provider.settings.client_id for issuer, provider in providers.items()},
        audiences=binder.audiences,
        clock=clock.boot,
    )
    cookie = binder.cookie.encode() if binder.cookie else None
    header = binder.header.lower().encode() if binder.header else None
    return TokenCarrier(reader, cookie, header)


def _routes(config: Config) -> Routes:
    default = Rule(Action(config.enforcement.action), config.enforcement.login_url)
    routes = [
        Route(
            compile_pattern(route.path),
            Rule(
                None if route.action == "allow" else Action(route.action),
                route.login_url or config.enforcement.login_url,
                None if route.on_stale is None else route.on_stale == "fail_open",
            ),
            frozenset(method.encode() for method in route.methods),
        )
        for route in config.enforcement.routes
    ]
    return Routes(routes, default)


def _app_pool(config: Config) -> Pool:
    upstream = config.upstream
    where = upstream.url.address
    tls = (client_tls(upstream.ca_file) or ssl.create_default_context()) if upstream.url.scheme == "https" else None
    if isinstance(where, TcpAddress):
        address = Address(host=where.host, port=where.port, tls=tls)
    else:
        address = Address(path=where.path, tls=tls)
    return Pool(
        address,
        head_bytes=config.limits.head_bytes,
        connect_timeout=upstream.connect_timeout,
        keepalive=upstream.keepalive,
        max_connections=upstream.max_connections,
        queue_timeout=upstream.queue_timeout,
    )
