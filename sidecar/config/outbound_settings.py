"""Settings of what the sidecar does by itself when a session ends."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from sidecar.config.address import Endpoint, Issuer
from sidecar.config.rotating import RotatingSecret
from sidecar.config.settings import Settings
from sidecar.config.values import (
    CookieName,
    Count,
    Duration,
    FileName,
    HeaderName,
    Method,
    PathPattern,
    Switch,
    Text,
    between,
    sized,
    wrong,
)


def _status(number: int) -> int:
    if not 200 <= number <= 599:
        raise wrong("not a status of an answer", "a number from 200 to 599")
    return number


def _one_number(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


def _local_path(path: str) -> str:
    if not re.fullmatch(r"/(?![/\\])[!-~]*", path) or "#" in path or "\\" in path:
        raise wrong("not a path of the app", "a path such as /logout, with a query where it needs one")
    return path


LocalPath = Annotated[str, AfterValidator(_local_path)]
Status = Annotated[Count, AfterValidator(_status)]
Statuses = Annotated[tuple[Status, ...], BeforeValidator(_one_number)]


class AppPath(Settings):
    """A path of the app's own logout: the pattern alone, or with conditions."""

    path: PathPattern
    """Path of the request; * stands for any characters."""
    methods: tuple[Method, ...] = ()
    """Only these methods end a session; default: all but HEAD and OPTIONS."""
    status: Statuses = ()
    """Only these answers say that the session has ended; default: redirects, 204, 205, and any 2xx that takes the
    session's cookie out of the browser."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


class EndSessionSettings(Settings):
    """The browser is sent to the provider's end_session_endpoint (RP-Initiated Logout 1.0), and back."""

    enabled: Switch = False
    """Whether that is done. Needs public_url and store.secret; register {public_url}{prefix}/signed-out at the provider
    as a post_logout_redirect_uri."""
    hint: Literal["id_token", "logout_hint", "none"] = "id_token"
    """How the provider knows whose session it is: id_token keeps each login's ID token, encrypted, and falls back to
    logout_hint; logout_hint sends one claim; none sends neither, and most providers then ask the user."""
    logout_hint_claim: Text = "sub"
    """The claim of the ID token that goes into logout_hint: sub, sid, email ..., as the provider wants it."""


class ClientCredentialsSettings(Settings):
    """A token of the sidecar's own, from a token endpoint (RFC 6749 section 4.4)."""

    token_url: Endpoint | None = None
    """The token endpoint; default: none, and token is used."""
    client_id: Text | None = None
    """Who asks there."""
    client_secret: RotatingSecret | None = None
    """Its secret, {file: PATH} or {env: NAME}; a file is read again for each fetch."""
    scope: Text | None = None
    """The scope to ask for; default: none."""
    auth: Literal["basic", "post"] = "basic"
    """How the client shows its secret: HTTP Basic, or in the form."""


class StrivacitySettings(Settings):
    """The session is ended by Strivacity's Admin API, server to server."""

    base_url: Endpoint | None = None
    """The tenant, such as https://acme.strivacity.com; default: this is off."""
    identity_store: Text | None = None
    """Name of the identity store that the accounts are in."""
    issuer: Issuer | None = None
    """The provider in providers whose sessions these are; default: the only one."""
    account_claim: Text = "sub"
    """The claim of the ID token that is the account's ID. The session's is always sid."""
    token: RotatingSecret | None = None
    """A bearer token, {file: PATH} or {env: NAME}; a file is read again for each call."""
    client_credentials: ClientCredentialsSettings = Field(default_factory=ClientCredentialsSettings)
    """Or where to fetch one."""
    ca_file: FileName | None = None
    """CA certificates (PEM) that the API and the token endpoint are verified with; default: those of the system."""
    timeout: Annotated[Duration, between("0s", "20s")] = 2.0
    """How long the user's logout waits for it at most. What is not done then goes on behind it."""
    attempts: Annotated[Count, sized(1, 20)] = 5
    """How often one session is tried, when the API or the network fail; with growing pauses."""


class AfterAppLogoutSettings(Settings):
    """What follows when the app has ended a session. What is on needs store.secret: something of the login is kept."""

    end_session: EndSessionSettings = Field(default_factory=EndSessionSettings)
    """Send the browser to the provider, so that its session ends as well."""
    strivacity: StrivacitySettings = Field(default_factory=StrivacitySettings)
    """Ask Strivacity's Admin API to end the session there."""


class CsrfSettings(Settings):
    """Where the app's logout gets its CSRF token from, for apps that want one."""

    path: LocalPath | None = None
    """A page of the app that holds the token, fetched first with the same cookies; default: none is fetched."""
    input: Text | None = None
    """The token is the value of the form's input of this name. One of input, meta and cookie."""
    meta: Text | None = None
    """The token is the content of the meta element of this name."""
    cookie: CookieName | None = None
    """The token is the value of the cookie of this name."""
    field: Text | None = None
    """The token is sent as this field of the form; default: as input, where that is set and header is not."""
    header: HeaderName | None = None
    """The token is sent in this header."""


class NotifyAppSettings(Settings):
    """The app's logout is called with the cookies of each browser whose session was revoked."""

    path: LocalPath | None = None
    """Path of the app's logout, such as /logout; default: the app is not told. The cookies of each login are then kept,
    encrypted, which needs store.secret."""
    method: Method = "POST"
    """How it is called; a POST has an empty form, but for a CSRF token."""
    status: Statuses = ()
    """Answers that say that it worked; default: any 2xx or 3xx."""
    csrf: CsrfSettings = Field(default_factory=CsrfSettings)
    """Where the CSRF token comes from, for apps that want one."""
    timeout: Annotated[Duration, between("100ms", "1m")] = 5.0
    """How long one answer of the app may take."""
    attempts: Annotated[Count, sized(1, 20)] = 3
    """How often one session is tried, when the app fails or does not answer; with growing pauses."""


class OnRevokedSettings(Settings):
    """What follows when a session was revoked, besides that it is refused."""

    notify_app: NotifyAppSettings = Field(default_factory=NotifyAppSettings)
    """Call the app's logout, so that its own session ends as well."""


class ProviderCheckSettings(Settings):
    """The provider is asked now and then whether the sessions in use still stand: some ends it does not announce."""

    every: Annotated[Duration, between("1s", "1d")] | None = None
    """How often each session is asked about; default: never. What the provider has ended is over within a little more.
    A token of each login is then kept, encrypted, which needs store.secret and the binder token_endpoint."""
    by: Literal["introspection", "userinfo", "refresh"] = "introspection"
    """introspection and userinfo ask with the access token, as long as it lives. refresh asks for new tokens with the
    refresh token: only for apps that never use theirs."""
    rate: Annotated[Count, sized(1, 1000)] = 5
    """Questions in a second at most, by each process that serves browsers."""
    unavailable: Literal["keep", "deny"] = "keep"
    """What happens to a session when the provider gives no answer: keep it, or deny ends it."""
    client_auth: Literal["basic", "post"] = "basic"
    """How providers[].client_secret is shown: HTTP Basic, or in the form. Without a secret the client is public."""
