"""Settings of the process: listeners, the app's address, limits, its end, its log."""

from typing import Annotated, Literal

from sidecar.config.address import (
    IpAddress,
    Listen,
    TcpAddress,
    Upstream,
)
from sidecar.config.settings import Settings, Timeout
from sidecar.config.values import (
    KIB,
    MINUTE,
    Count,
    Duration,
    FileName,
    Prefix,
    Share,
    Size,
    Switch,
    between,
    sized,
)


class TlsSettings(Settings):
    """TLS on the public listener. The files are read again when they change."""

    certificate: FileName | None = None
    """Certificate chain (PEM), the server's own first; default: no TLS."""
    key: FileName | None = None
    """Its private key (PEM), not encrypted."""
    client_ca: FileName | None = None
    """CA certificates (PEM); clients must then show a certificate of one of these. Default: none is asked for."""
    min_version: Literal["1.2", "1.3"] = "1.2"
    """The oldest version that is spoken."""


class UpstreamSettings(Settings):
    """The app."""

    url: Upstream
    """Where the app listens: http(s)://HOST:PORT, or unix:/path."""
    response_timeout: Timeout = MINUTE
    """How long the app may take from the end of the request to the start of its answer; then 504."""
    connect_timeout: Timeout = 5.0
    """How long a connection to the app may take; then 504."""
    keepalive: Annotated[Duration, between("0s", "1h")] = 1.5
    """How long an idle connection to the app is kept. Keep it below the app's own keep-alive; 0s keeps none."""
    max_connections: Annotated[Count, sized(1, 100_000)] = 512
    """Connections to the app at one time; WebSockets and event streams come on top."""
    queue_timeout: Timeout = 5.0
    """How long a request waits for one of these connections; then 503."""
    ca_file: FileName | None = None
    """CA certificates (PEM) that an https app is verified with; default: those of the system."""
    stall_timeout: Timeout | None = 5 * MINUTE
    """How long the app may pause within an answer of known length before it is cut; null: for ever. Event streams and
    other answers of unknown length may always pause."""
    tunnel_idle_timeout: Timeout | None = None
    """After how much silence a WebSocket is closed; default: never."""
    pod_ip: IpAddress | None = None
    """The pod's own address, to see whether the app answers there as well, past the sidecar; default: the environment
    variable POD_IP, which the injection and the chart set. Where neither is there, nobody looks."""
    exposed: Literal["warn", "accept"] = "warn"
    """warn: it is a warning, and an alert, when the app answers there. accept: something else keeps everybody away from
    the app's port, such as a NetworkPolicy that was seen to work."""


class OpsSettings(Settings):
    """For the platform: health and metrics."""

    listen: Listen = TcpAddress("0.0.0.0", 4181)  # noqa: S104 - the kubelet and Prometheus come from outside the pod
    """Address of /livez, /readyz and /metrics."""


class ControlSettings(Settings):
    """What providers and the app's OIDC client talk to."""

    prefix: Prefix = "/_sidecar"
    """Prefix on the public port that belongs to the sidecar; providers POST to {prefix}/backchannel-logout."""
    relay_listen: Listen = TcpAddress("127.0.0.1", 4183)
    """Address of the token-endpoint relay; on loopback, or a Unix socket, because codes and secrets pass it."""


class DrainSettings(Settings):
    """The end of the process after SIGTERM."""

    delay: Annotated[Duration, between("0s", "10m")] = 5.0
    """How long new requests are accepted after readiness has gone, so that load balancers notice."""
    timeout: Annotated[Duration, between("0s", "1h")] = 18.0
    """How long requests may take after that; then they are cut."""


class LimitSettings(Settings):
    """Bounds for what a stranger can send."""

    head_bytes: Annotated[Size, sized(KIB, 1024 * KIB)] = 64 * KIB
    """Request line and headers together; the app's answers as well."""
    header_count: Annotated[Count, sized(8, 10_000)] = 128
    """Headers in a message."""
    head_timeout: Timeout = 10.0
    """From the first byte of a request to the end of its headers."""
    idle_timeout: Timeout = 75.0
    """How long a browser's connection may wait for its next request."""
    body_stall_timeout: Timeout = MINUTE
    """How long a browser may let a body stand still: one that it sends, or one that it does not read."""
    body_min_rate: Annotated[Size, sized(0, 1024 * KIB)] = 100
    """Bytes a second that such a body moves at least, measured over body_stall_timeout; 0: no minimum."""
    body_bytes: Annotated[Size, sized(0, 1024**5)] | None = None
    """Largest body of a request; default: any size."""
    connections: Annotated[Count, sized(1, 1_000_000)] = 10_000
    """Connections from browsers at one time."""
    connections_per_peer: Annotated[Count, sized(0, 1_000_000)] = 0
    """Connections of one address at one time; 0: no limit. Trusted proxies are exempt."""


class ReloadSettings(Settings):
    """A changed configuration file, while the process runs."""

    poll: Annotated[Duration, between("1s", "1h")] | None = 10.0
    """How often to look whether the file, a file of its secrets, or its page has changed. null: only on SIGHUP."""


class LogSettings(Settings):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least serious event that is written."""
    format: Literal["json", "text"] = "json"
    """One JSON object a line, or lines for a person."""
    access: Switch = False
    """One line per proxied request."""
    access_sample: Share = 1.0
    """The share of ordinary requests that get their line; denials, refusals and failures always do."""
    traceparent: Literal["forward", "create"] = "forward"
    """forward: W3C trace context passes as it came. create: a request without a valid one begins a trace."""
