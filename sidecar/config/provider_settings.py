"""Settings of one OpenID Provider, and how strictly its logout tokens are read."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from sidecar.config.address import (
    Endpoint,
    Issuer,
    Origin,
)
from sidecar.config.secret import Secret
from sidecar.config.settings import Settings
from sidecar.config.values import (
    DAY,
    MINUTE,
    Duration,
    FileName,
    ProviderName,
    Switch,
    Text,
    as_written,
    between,
    one_or_many,
    wrong,
)


def signed(name: object) -> object:
    """The name of an algorithm, but never none."""
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
    BeforeValidator(signed),
]

ClientIds = Annotated[
    tuple[Text, ...],
    Field(min_length=1),
    one_or_many(),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "string"}}]}),
]


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


class FrontChannelSettings(Settings):
    """Logouts in the front channel: the provider's page loads {prefix}/frontchannel-logout in a frame."""

    enabled: Switch = False
    """Take them. There is no proof in them: whoever knows the sid of a session can end that session."""
    allow_missing_iss: Switch = False
    """Take those without iss as this provider's, as Entra sends them. For one provider at the most."""
    origins: tuple[Origin, ...] = ()
    """Origins of pages that load it, where these are not the issuer's own."""


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
    """The client's secret, {file: PATH} or {env: NAME}; needed for HS256, HS384 and HS512, and used by
    provider_check."""
    logout_token: LogoutTokenSettings = Field(default_factory=LogoutTokenSettings)
    """How strictly logout tokens are read."""
    receive_for: tuple[Text, ...] = ()
    """Client IDs of other apps whose sidecars use the same store: logouts for them are taken here, enforced there."""
    frontchannel: FrontChannelSettings = Field(default_factory=FrontChannelSettings)
    """Logouts in the front channel."""
    keycloak_admin: Switch = False
    """Take Keycloak's admin messages at {prefix}/k_logout and {prefix}/k_push_not_before, and enforce them. Set it in
    every sidecar whose sessions they must reach."""
