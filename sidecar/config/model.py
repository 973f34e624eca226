"""The settings: one frozen class a section, every key with its type, its default and a sentence.

The classes hold what a single value or a single section can say about itself. What two sections say about each other is
in `contradiction.py`. The sentence below a key is its documentation everywhere: JSON Schema, editors, the example file.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from sidecar.config.address import (
    Endpoint,
    Issuer,
    Listen,
    Origin,
    Store,
    TcpAddress,
    TrustedPeer,
    Upstream,
    parse_network,
    parse_store,
)
from sidecar.config.rotating import RotatingSecret
from sidecar.config.secret import Secret
from sidecar.config.values import (
    DAY,
    HOUR,
    KIB,
    MINUTE,
    CookieName,
    Count,
    Duration,
    FileName,
    HeaderName,
    LoginUrl,
    Method,
    Namespace,
    ParameterName,
    PathPattern,
    Permissions,
    Prefix,
    ProviderName,
    Share,
    Size,
    Switch,
    Text,
    as_written,
    between,
    one_or_many,
    sized,
    wrong,
)


def _signed(name: object) -> object:
    if isinstance(name, str) and name.lower() == "none":  # RFC 8725 section 3.2; Back-Channel Logout 1.0 section 2.4
        raise wrong("unsigned tokens are never accepted", "a signature algorithm such as RS256")
    return name


Algorithm = Annotated[
    Literal[
        "RS256",
        "RS384",
        "RS512",
        "PS256",
        "PS384",
        "PS512",
        "ES256",
        "ES384",
        "ES512",
        "EdDSA",
        "HS256",
        "HS384",
        "HS512",
    ],
    BeforeValidator(_signed),
]
Action = Literal["reject", "redirect", "strip"]
OnStale = Literal["deny", "fail_open"]

ClientIds = Annotated[
    tuple[Text, ...],
    Field(min_length=1),
    one_or_many(),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]}),
]
Timeout = Annotated[Duration, between("10ms", "1d")]


class Settings(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)


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


class LogoutTokenSettings(Settings):
    """How strictly this provider's logout tokens are read. The defaults are the specification's."""

    leeway: Annotated[Duration, between("0s", "10m")] = MINUTE
    """How far the provider's clock may be off."""
    max_age: Annotated[Duration, between("10s", "30d")] = DAY
    """A token with an older iat is refused."""
    iat_tolerance: Annotated[Duration, between("0s", "10m")] = 0.0
    """Widens the cut-off for a provider that back-dates its tokens: logins this long after the iat die as well."""
    require_exp: Switch = True
    """Refuse a token without exp. If false, such a token is good for 5 minutes after its iat."""
    require_typ: Switch = False
    """Refuse a token whose typ is not logout+jwt. Few providers send it."""
    jti_replay: Literal["accept", "reject"] = "accept"
    """A token that comes twice: accept (nothing new happens) or reject."""
    sid_scope: Literal["session", "subject"] = "session"
    """A token with sid and sub ends that session only, or all sessions of the subject."""
    trusted_audiences: tuple[Text, ...] = ()
    """Values of aud that are accepted beside the client; any other is refused."""
    unavailable_status: Annotated[Literal[400, 503], BeforeValidator(as_written)] = 400
    """Answer when the logout could not be made durable: 400 as specified, 503 for providers that retry on it."""


class ProviderSettings(Settings):
    """An OpenID Provider that the app lets users in with."""

    issuer: Issuer
    """The issuer, exactly as it stands in tokens. A slash at the end counts."""
    client_id: ClientIds
    """The app's client ID at this provider, or a list of them."""
    name: ProviderName | None = None
    """Short name, used in the relay's paths when there are several providers; default: made from the issuer."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256",)
    """Signature algorithms that are accepted; `none` never is."""
    allow_http: Switch = False
    """Accept http:// URLs of this provider beyond loopback. Whoever sits between can then forge tokens."""
    internal_url: Endpoint | None = None
    """Where pods reach the issuer, when that differs from what browsers see."""
    jwks_uri: Endpoint | None = None
    """Where the provider's keys are; default: found by discovery."""
    jwks_file: FileName | None = None
    """A file with the provider's keys (JWKS), instead of jwks_uri."""
    ca_file: FileName | None = None
    """CA certificates (PEM) that the provider is verified with; default: those of the system."""
    client_secret: Secret | None = None
    """The client's secret, {file: PATH} or {env: NAME}; needed only for HS256, HS384 and HS512."""
    logout_token: LogoutTokenSettings = Field(default_factory=LogoutTokenSettings)
    """How strictly logout tokens are read."""


class Credential(Settings):
    """One place where the app looks for its session: exactly one of the keys."""

    cookie: CookieName | None = None
    """Name of a cookie."""
    path_parameter: ParameterName | None = None
    """Name of a path parameter, as in /page;jsessionid=..."""
    query_parameter: ParameterName | None = None
    """Name of a query parameter, as in /page?PHPSESSID=..."""
    header: HeaderName | None = None
    """Name of a request header."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise wrong(
                "a credential has one carrier", "exactly one of cookie, path_parameter, query_parameter and header"
            )
        return self

    @property
    def carrier(self) -> Literal["cookie", "path_parameter", "query_parameter", "header"]:
        """Which of the four it is."""
        if self.cookie is not None:
            return "cookie"
        if self.path_parameter is not None:
            return "path_parameter"
        return "query_parameter" if self.query_parameter is not None else "header"

    @property
    def name(self) -> str:
        """The name of the cookie, parameter or header."""
        return self.cookie or self.path_parameter or self.query_parameter or self.header or ""


class TokenBinder(Settings):
    """Every request carries an ID token (or another JWT of the provider) that names the session."""

    from_: Literal["token"] = Field(alias="from")
    """Which binder this is."""
    cookie: CookieName | None = None
    """Cookie that holds the token; chunks NAME.0, NAME.1 ... included."""
    header: HeaderName | None = None
    """Header that holds the token, with or without `Bearer`."""
    audiences: tuple[Text, ...] = ()
    """Values of aud that are accepted beside the provider's client IDs."""

    @model_validator(mode="after")
    def _one_carrier(self) -> Self:
        if (self.cookie is None) == (self.header is None):
            raise wrong("a token binder has one carrier", "exactly one of cookie and header")
        return self


class TokenEndpointBinder(Settings):
    """The app redeems its codes at the sidecar's relay, which reads the ID token in the provider's answer."""

    from_: Literal["token_endpoint"] = Field(alias="from")
    """Which binder this is."""
    callback: PathPattern
    """Path of the app's redirect URI; * stands for any characters."""


Binder = Annotated[TokenBinder | TokenEndpointBinder, Field(discriminator="from_")]


class SessionSettings(Settings):
    """How the app's sessions are recognised, and tied to the provider's."""

    credentials: tuple[Credential, ...] = ()
    """Where the app looks for its session: cookies, path or query parameters, headers."""
    max_age: Annotated[Duration, between("1s", "366d")] = 12 * HOUR
    """No session of the app lives longer. Revocations and bindings are kept for this long."""
    unbound: Literal["allow", "deny"] = "allow"
    """What happens to a credential that no binder knows. See in the metrics that none is left before you deny."""
    bind: tuple[Binder, ...] = ()
    """How a credential is tied to a session of the provider; at least one, tried in this order."""


class Route(Settings):
    """Another action for some paths. The first route that matches counts."""

    path: PathPattern
    """Path of the request; * stands for any characters."""
    methods: tuple[Method, ...] = ()
    """Only for these methods; default: all."""
    action: Literal["allow", "reject", "redirect", "strip"]
    """allow forwards unjudged; the others as in enforcement.action."""
    login_url: LoginUrl | None = None
    """Where redirect sends a navigation; default: enforcement.login_url."""
    on_stale: OnStale | None = None
    """What happens here when the store has been silent for too long; default: store.on_stale."""


class EnforcementSettings(Settings):
    """What happens to a request of a session that is over."""

    action: Action = "reject"
    """reject: 401. redirect: navigations to login_url, 401 for the rest. strip: forward without the credentials."""
    login_url: LoginUrl | None = None
    """Where redirect sends a navigation, and the link on the signed-out page: a path of the app, or a URL."""
    routes: tuple[Route, ...] = ()
    """Other actions for some paths."""


class LogoutSettings(Settings):
    """The app's own logout."""

    app_paths: tuple[PathPattern, ...] = ()
    """Paths of the app's own logout; its answer passes even if the session ended in between."""


class DurabilitySettings(Settings):
    """Where a logout has to be written before the provider hears 200, beyond the memory of the Redis master."""

    replicas: Annotated[Count, sized(0, 16)] = 0
    """How many replicas of the Redis master must have it."""
    fsync: Switch = False
    """It must be on the Redis master's disk (Redis 7.2 or Valkey, with appendfsync always). SQLite: always so."""


class StoreSettings(Settings):
    """Where revocations and bindings are kept, and how long the sidecar trusts its copy."""

    url: Store = parse_store("sqlite:////var/lib/logout-sidecar/state.db")
    """SQLite for one pod (four slashes: absolute path; `sqlite://`: in memory), or a Redis that pods share."""
    username: Text | None = None
    """User of the Redis servers; default: the default user."""
    password: RotatingSecret | None = None
    """Password of the Redis servers, {file: PATH} or {env: NAME}; a file is read again for each new connection."""
    sentinel_username: Text | None = None
    """User of the Sentinels, where they have users."""
    sentinel_password: RotatingSecret | None = None
    """Password of the Sentinels, {file: PATH} or {env: NAME}; they never get that of the servers."""
    ca_file: FileName | None = None
    """CA certificates (PEM) that a Redis with TLS is verified with; default: those of the system."""
    client_certificate: FileName | None = None
    """Certificate (PEM) that is shown to a Redis that asks for one; read again when it changes."""
    client_key: FileName | None = None
    """Its private key (PEM), not encrypted; default: in the same file."""
    namespace: Namespace = "lg"
    """Prefix of every key: deployments that share a Redis differ in it."""
    secret: Secret | None = None
    """Key of the digests, at least 16 bytes, {file: PATH} or {env: NAME}; default: made once, kept in the store."""
    other_secrets: tuple[Secret, ...] = ()
    """Keys that are accepted beside it while it is being changed: first the next one, afterwards the old one."""
    fresh: Annotated[Duration, between("250ms", "1d")] = 2.0
    """As long as the store was heard within this time, all is well."""
    grace: Annotated[Duration, between("250ms", "7d")] = MINUTE
    """Without hearing the store for longer than this, bound sessions are refused with 503."""
    on_stale: OnStale = "deny"
    """What happens then. fail_open serves on, and may serve a session that was logged out."""
    durability: DurabilitySettings = Field(default_factory=DurabilitySettings)
    """Where a logout has to be written before the provider hears 200; else it hears unavailable_status."""
    confirm: Literal["local", "all"] = "local"
    """When the provider hears 200: local when the answering pod refuses the session, all when no other pod that uses
    the store may serve it any more."""

    @model_validator(mode="after")
    def _long_secret(self) -> Self:
        for secret, key in ((self.secret, "secret"), *((each, "other_secrets") for each in self.other_secrets)):
            if secret is not None and len(secret) < 16:
                raise wrong("the secret is too short", "at least 16 bytes", at=key)
        return self


class DrainSettings(Settings):
    """The end of the process after SIGTERM."""

    delay: Annotated[Duration, between("0s", "10m")] = 5.0
    """How long new requests are accepted after readiness has gone, so that load balancers notice."""
    timeout: Annotated[Duration, between("0s", "1h")] = 25.0
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
    session: SessionSettings = Field(default_factory=SessionSettings)
    """How the app's sessions are recognised, and tied to the provider's."""
    enforcement: EnforcementSettings = Field(default_factory=EnforcementSettings)
    """What happens to a request of a session that is over."""
    logout: LogoutSettings = Field(default_factory=LogoutSettings)
    """The app's own logout."""
    store: StoreSettings = Field(default_factory=StoreSettings)
    """Where revocations and bindings are kept."""
    drain: DrainSettings = Field(default_factory=DrainSettings)
    """The end of the process after SIGTERM."""
    limits: LimitSettings = Field(default_factory=LimitSettings)
    """Bounds for what a stranger can send."""
    log: LogSettings = Field(default_factory=LogSettings)
    """What is written to standard error."""
