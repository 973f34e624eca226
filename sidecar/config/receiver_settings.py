"""Settings of those who may end sessions by other messages than logout tokens: security events, token revocation."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from sidecar.config.address import Endpoint, Issuer
from sidecar.config.provider_settings import signed
from sidecar.config.secret import Secret
from sidecar.config.settings import Settings
from sidecar.config.values import (
    DAY,
    MINUTE,
    Duration,
    EmailTemplate,
    FileName,
    Switch,
    Text,
    between,
)

# Only what a key pair signs: a shared secret would let us sign as well, and then nobody could say who did.
PublicAlgorithm = Annotated[
    Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"],
    BeforeValidator(signed),
]

EventName = Literal[
    "session-revoked",
    "credential-change",
    "account-disabled",
    "account-purged",
    "sessions-revoked",
    "credential-compromise",
]


class SenderSettings(Settings):
    """Somebody whose messages end sessions of a provider."""

    issuer: Issuer
    """The sender, exactly as it stands in its tokens."""
    providers: tuple[Issuer, ...] = ()
    """Issuers among providers whose sessions it may end; default: the one with its own name."""
    audiences: tuple[Text, ...] = ()
    """Values of aud of which one must be in its tokens."""
    email_as_sub: EmailTemplate | None = None
    """How the provider makes its sub from an e-mail address: {email}, {local}, {domain}; default: it does not, and
    messages that name an address are refused."""
    algorithms: Annotated[tuple[PublicAlgorithm, ...], Field(min_length=1)] = ("RS256",)
    """Signature algorithms that are accepted."""
    jwks_uri: Endpoint | None = None
    """Where its keys are; default: found by discovery."""
    jwks_file: FileName | None = None
    """A file with its keys (JWKS), instead of jwks_uri."""
    internal_url: Endpoint | None = None
    """Where pods reach the issuer, when that differs from its name."""
    ca_file: FileName | None = None
    """CA certificates (PEM) that it is verified with; default: those of the system."""
    allow_http: Switch = False
    """Accept its http:// URLs beyond loopback. Whoever sits between can then forge its messages."""
    leeway: Annotated[Duration, between("0s", "10m")] = MINUTE
    """How far its clock may be off."""


class TransmitterSettings(SenderSettings):
    """A transmitter of security events (Shared Signals Framework), pushed to {prefix}/events."""

    events: tuple[EventName, ...] = (
        "session-revoked",
        "sessions-revoked",
        "account-disabled",
        "account-purged",
        "credential-change",
    )
    """Events that end sessions; all others are acknowledged, and nothing happens."""
    sid_scope: Literal["session", "subject"] = "session"
    """An event that names a session and its user ends that session only, or all sessions of the user."""
    max_age: Annotated[Duration, between("10s", "30d")] = DAY
    """A token with an older iat is refused."""


class RevokerSettings(SenderSettings):
    """A caller of Global Token Revocation (Okta Universal Logout) at {prefix}/global-token-revocation."""

    callers: tuple[Text, ...] = ()
    """Values of sub that are accepted in its JWT; default: any."""
    secret: Secret | None = None
    """A bearer secret of at least 16 bytes, {file: PATH} or {env: NAME}, for a caller that cannot sign."""


class ReceiverSettings(Settings):
    """Who may end sessions by other messages than a provider's logout tokens."""

    security_events: tuple[TransmitterSettings, ...] = ()
    """Transmitters of security events."""
    global_token_revocation: tuple[RevokerSettings, ...] = ()
    """Callers of Global Token Revocation."""
