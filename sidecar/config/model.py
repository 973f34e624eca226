"""The settings, put together: one frozen class a section, every key with its type, its default and a sentence.

The classes (`*_settings.py`) hold what a single value or a single section can say about itself. What two sections say
about each other is in `contradiction.py`. The sentence below a key is its documentation everywhere: JSON Schema,
editors, the example file.
"""

from typing import Annotated

from pydantic import Field

from sidecar.config.address import (
    Listen,
    Origin,
    TcpAddress,
    TrustedPeer,
    parse_network,
)
from sidecar.config.outbound_settings import OnRevokedSettings, ProviderCheckSettings
from sidecar.config.process_settings import (
    ControlSettings,
    DrainSettings,
    LimitSettings,
    LogSettings,
    OpsSettings,
    ReloadSettings,
    TlsSettings,
    UpstreamSettings,
)
from sidecar.config.provider_settings import ProviderSettings
from sidecar.config.receiver_settings import ReceiverSettings
from sidecar.config.session_settings import EnforcementSettings, LogoutSettings, SessionSettings
from sidecar.config.settings import Settings
from sidecar.config.store_settings import StoreSettings
from sidecar.config.values import (
    Count,
    Permissions,
    Switch,
    sized,
)


class Config(Settings):
    """Settings of logout-sidecar."""

    listen: Listen = TcpAddress("0.0.0.0", 4180)  # noqa: S104 - the public side of a proxy
    """Address for browsers: HOST:PORT, [IPv6]:PORT or unix:/path. [::]:PORT takes IPv4 as well."""
    listen_mode: Permissions | None = None
    """Permissions of the Unix socket in listen, such as "0660"; default: as the umask leaves them."""
    tls: TlsSettings = Field(default_factory=TlsSettings)
    """TLS on the public listener."""
    proxy_protocol: Switch = False
    """Connections come from a balancer that speaks the PROXY protocol (v1 or v2) and is in trusted_proxies."""
    workers: Annotated[Count, sized(1, 64)] = 1
    """Processes that serve browsers. With more than one, a control process and a supervisor come on top."""
    public_url: Origin | None = None
    """What browsers and the provider see, such as https://app.example.com. Its scheme is told to the app as
    X-Forwarded-Proto, unless a trusted proxy says otherwise; default: http."""
    upstream: UpstreamSettings
    """The app."""
    ops: OpsSettings = Field(default_factory=OpsSettings)
    """Health and metrics."""
    control: ControlSettings = Field(default_factory=ControlSettings)
    """What providers and the app's OIDC client talk to."""
    trusted_proxies: tuple[TrustedPeer, ...] = (parse_network("127.0.0.0/8"), parse_network("::1/128"), "unix")
    """Networks whose X-Forwarded-* headers are believed; name your ingress here. unix: who may open listen's socket."""
    providers: Annotated[tuple[ProviderSettings, ...], Field(min_length=1)]
    """The OpenID Providers that the app lets users in with."""
    receivers: ReceiverSettings = Field(default_factory=ReceiverSettings)
    """Who may end sessions by other messages than a provider's logout tokens."""
    session: SessionSettings = Field(default_factory=SessionSettings)
    """How the app's sessions are recognised, and tied to the provider's."""
    enforcement: EnforcementSettings = Field(default_factory=EnforcementSettings)
    """What happens to a request of a session that is over."""
    logout: LogoutSettings = Field(default_factory=LogoutSettings)
    """The app's own logout."""
    on_revoked: OnRevokedSettings = Field(default_factory=OnRevokedSettings)
    """What follows when a session was revoked, besides that it is refused."""
    provider_check: ProviderCheckSettings = Field(default_factory=ProviderCheckSettings)
    """The provider is asked now and then whether the sessions in use still stand."""
    store: StoreSettings = Field(default_factory=StoreSettings)
    """Where revocations and bindings are kept."""
    drain: DrainSettings = Field(default_factory=DrainSettings)
    """The end of the process after SIGTERM."""
    limits: LimitSettings = Field(default_factory=LimitSettings)
    """Bounds for what a stranger can send."""
    reload: ReloadSettings = Field(default_factory=ReloadSettings)
    """What happens when this file changes while the sidecar runs."""
    log: LogSettings = Field(default_factory=LogSettings)
    """What is written to standard error."""
