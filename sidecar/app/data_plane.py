"""The data plane: the gate from the operator's choices, the pools, the limits."""

import logging
import ssl
from collections.abc import Mapping

from sidecar import log
from sidecar.app.binders import proxy_headers
from sidecar.app.gate import build_gate, credential_headers
from sidecar.app.outbound import NOTHING, Outbound
from sidecar.app.providers import Provider
from sidecar.app.sockets import allow_descriptors, client_tls
from sidecar.app.state import State
from sidecar.config.address import TcpAddress
from sidecar.config.model import Config
from sidecar.core.revocation import Revocation
from sidecar.gate.counts import Counts
from sidecar.gate.live import LiveStreams
from sidecar.metrics import Measures
from sidecar.proxy.access_log import AccessLog
from sidecar.proxy.conduct import Conduct
from sidecar.proxy.limits import REFUSED_AT_ONCE, Limits
from sidecar.proxy.plane import Plane
from sidecar.proxy.pool import Address, Pool, PoolTerms
from sidecar.proxy.stats import Stats

_logger = logging.getLogger(__name__)

_OTHER_DESCRIPTORS = 128  # files, the store, providers, the other listeners and their clients


class DataPlane:
    """The data plane and what others need of it."""

    def __init__(
        self,
        config: Config,
        state: State,
        providers: Mapping[str, Provider],
        outbound: Outbound = NOTHING,
        *,
        control_socket: str,
    ) -> None:
        self._state = state
        self._outbound = outbound
        self._counts, self._live = Counts(), LiveStreams()
        stats = Stats()
        self.plane = Plane(
            conduct=self.conduct(config, providers),
            app=Pool(_app_address(config), _app_terms(config)),
            control=Pool(Address(path=control_socket), _control_terms(config)),
            live=self._live,
            stats=stats,
        )
        self.collectors: tuple[Measures, ...] = (stats, self._counts)
        _provide_descriptors(config)

    def conduct(self, config: Config, providers: Mapping[str, Provider]) -> Conduct:
        """All that a configuration says of the data plane and a reload may change; changes nothing by itself."""
        limits = config.limits
        return Conduct(
            gate=build_gate(config, self._state, providers, self._counts, self._live, self._outbound),
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

    def use(self, config: Config, conduct: Conduct) -> None:
        """Go by another configuration from now on; `conduct` was made from it."""
        self.plane.use(conduct)
        self.plane.app.use(_app_terms(config))
        self.plane.control.use(_control_terms(config))
        _provide_descriptors(config)

    def revoked(self, revocation: Revocation) -> None:
        """A revocation changed the replica."""
        self.plane.gate.revoked(revocation)

    def key_changed(self) -> None:
        """The key of the digests has become known, or another one is accepted."""
        self.plane.gate.key_changed()

    async def aclose(self) -> None:
        """End every connection that is left."""
        for connection in list(self.plane.connections):
            connection.abort()
        self.plane.app.close()
        self.plane.control.close()


def _app_address(config: Config) -> Address:
    upstream = config.upstream
    where = upstream.url.address
    tls = (client_tls(upstream.ca_file) or ssl.create_default_context()) if upstream.url.scheme == "https" else None
    if isinstance(where, TcpAddress):
        return Address(host=where.host, port=where.port, tls=tls)
    return Address(path=where.path, tls=tls)


def _app_terms(config: Config) -> PoolTerms:
    upstream = config.upstream
    return PoolTerms(
        head_bytes=config.limits.head_bytes,
        connect_timeout=upstream.connect_timeout,
        keepalive=upstream.keepalive,
        max_connections=upstream.max_connections,
        queue_timeout=upstream.queue_timeout,
    )


def _control_terms(config: Config) -> PoolTerms:
    return PoolTerms(head_bytes=config.limits.head_bytes, keepalive=30.0)


def _provide_descriptors(config: Config) -> None:
    """Connections are refused in good order only as long as there are descriptors to accept them with."""
    needed = config.limits.connections + REFUSED_AT_ONCE + config.upstream.max_connections + _OTHER_DESCRIPTORS
    allowed = allow_descriptors(needed)
    if allowed < needed:
        log.event(_logger, logging.WARNING, "few_descriptors", allowed=allowed, needed=needed)
