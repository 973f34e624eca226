"""The data plane: the gate from the operator's choices, the pools, the limits."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.registry import Collector

from sidecar.app.binders import proxy_headers
from sidecar.app.gate import build_gate, credential_headers
from sidecar.app.outbound import NOTHING, Outbound
from sidecar.app.providers import Provider
from sidecar.app.sockets import client_tls
from sidecar.app.state import State
from sidecar.config.address import TcpAddress
from sidecar.config.model import Config
from sidecar.gate.counts import Counts
from sidecar.gate.gate import Gate
from sidecar.gate.live import LiveStreams
from sidecar.proxy.access_log import AccessLog
from sidecar.proxy.limits import Limits
from sidecar.proxy.plane import Plane
from sidecar.proxy.pool import Address, Pool
from sidecar.proxy.stats import Stats


@dataclass(frozen=True, slots=True)
class DataPlane:
    """The data plane and what others need of it."""

    plane: Plane
    gate: Gate
    collectors: tuple[Collector, ...]  # what it counts
    control_socket: str

    async def aclose(self) -> None:
        """End every connection that is left."""
        for connection in list(self.plane.connections):
            connection.abort()
        self.plane.app.close()
        self.plane.control.close()


def build_data_plane(
    config: Config,
    state: State,
    providers: Mapping[str, Provider],
    control_socket: str,
    outbound: Outbound = NOTHING,
) -> DataPlane:
    stats, counts, live = Stats(), Counts(), LiveStreams()
    gate = build_gate(config, state, providers, counts, live, outbound)
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
        proxy_headers=proxy_headers(config),
    )
    return DataPlane(plane, gate, (stats, counts), control_socket)


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
