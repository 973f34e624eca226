"""The public listener: from a listening socket to connections of the data plane.

It decides what a connection has to bring (a balancer's header, TLS) and whose word counts; how connections are accepted
is the business of `proxy/acceptor.py`.
"""

import asyncio
import socket
from collections.abc import Callable

from sidecar.app.certificate import Certificate
from sidecar.config.model import Config
from sidecar.config.process_settings import TlsSettings
from sidecar.http1.forwarded import Network, Peer, peer_of
from sidecar.proxy.acceptor import Acceptor
from sidecar.proxy.arrival import Terms
from sidecar.proxy.plane import Plane


class Public:
    """The open public listener."""

    def __init__(self, acceptor: Acceptor, watch: "asyncio.Task[None] | None") -> None:
        self._acceptor = acceptor
        self._watch = watch

    def close(self) -> None:
        """Accept nothing any more. Connections that are open stay open."""
        self._acceptor.close()
        if self._watch is not None:
            self._watch.cancel()


async def open_public(plane: Plane, config: Config, sock: socket.socket) -> Public:
    """Accept connections for the plane. Raises CannotStart."""
    certificate = open_certificate(config.tls)
    terms = Terms(
        peer_of=_believer(config, is_tls=certificate is not None),
        tls=certificate.context if certificate else None,
        proxy_protocol=config.proxy_protocol,
    )
    acceptor = Acceptor(sock=sock, plane=plane, terms=terms)
    acceptor.start()
    plane.start()
    return Public(acceptor, asyncio.create_task(certificate.watch()) if certificate else None)


def open_certificate(settings: TlsSettings) -> Certificate | None:
    """The certificate that the settings name, or None where they name none. Raises CannotStart."""
    if settings.certificate is None or settings.key is None:
        return None
    return Certificate(
        certificate=settings.certificate,
        key=settings.key,
        client_ca=settings.client_ca,
        min_version=settings.min_version,
    )


def _believer(config: Config, *, is_tls: bool) -> Callable[[object], Peer]:
    networks = [entry for entry in config.trusted_proxies if isinstance(entry, Network)]
    unix = "unix" in config.trusted_proxies
    # Behind an ingress that is not trusted, the public address says more about the client's protocol than our socket.
    is_https = is_tls or (config.public_url or "").startswith("https:")
    scheme = b"https" if is_https else b"http"
    return lambda address: peer_of(address, networks, unix=unix, scheme=scheme)
