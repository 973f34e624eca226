"""Settings of sessions: where the app looks for them, how they are known, what happens when they are over."""

import re
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, WithJsonSchema, model_validator

from sidecar.config.address import Issuer
from sidecar.config.outbound_settings import AfterAppLogoutSettings, AppPath
from sidecar.config.settings import Settings
from sidecar.config.template import PageTemplate
from sidecar.config.values import (
    HOUR,
    CookieName,
    Count,
    Duration,
    HeaderName,
    LoginUrl,
    Method,
    ParameterName,
    PathPattern,
    SegmentLetter,
    Text,
    between,
    one_or_many,
    sized,
    wrong,
)

Action = Literal["reject", "redirect", "strip"]
OnStale = Literal["deny", "fail_open"]
Unbound = Literal["allow", "deny"]


ProfileName = Literal[
    "generic",
    "tomcat",
    "jetty",
    "spring",
    "weblogic",
    "websphere",
    "php",
    "laravel",
    "aspnet",
    "aspnetcore",
    "flask",
    "django",
    "rails",
    "express",
    "express-openid-connect",
]
_NAMES = {"type": "string", "enum": list(get_args(ProfileName))}
Profiles = Annotated[
    tuple[ProfileName, ...],
    Field(min_length=1),
    one_or_many(),
    WithJsonSchema({"anyOf": [_NAMES, {"type": "array", "minItems": 1, "items": _NAMES}]}),
]
# Profiles that name no session cookie: there is none by default, or the app's own name is in it.
BARE_PROFILES = frozenset({"generic"})

CarrierName = Literal["cookie", "path_parameter", "path_segment", "query_parameter", "form_field", "header"]
_CARRIERS: tuple[CarrierName, ...] = get_args(CarrierName)


class Credential(Settings):
    """One place where the app looks for its session: exactly one carrier, and how its values are read."""

    cookie: CookieName | None = None
    """Name of a cookie; * stands for any characters."""
    path_parameter: ParameterName | None = None
    """Name of a path parameter, as in /page;jsessionid=..."""
    path_segment: SegmentLetter | None = None
    """Letter of a path segment, as S in /(S(...))/page."""
    query_parameter: ParameterName | None = None
    """Name of a query parameter, as in /page?PHPSESSID=..."""
    form_field: ParameterName | None = None
    """Name of a field in the body of a form. Bodies of forms are then collected and read, up to 64 KiB."""
    header: HeaderName | None = None
    """Name of a request header."""
    profile: ProfileName | None = None
    """How the values are read, where session.profile does not say it, or not so."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(getattr(self, carrier) is not None for carrier in _CARRIERS) != 1:
            raise wrong("a credential has one carrier", f"exactly one of {', '.join(_CARRIERS)}")
        if self.cookie is not None and not re.fullmatch(r"[^*]+\*?[^*]*|\*[^*]+", self.cookie):
            raise wrong("a star stands for a part of a name", "one *, and letters beside it", at="cookie")
        return self

    @property
    def carrier(self) -> CarrierName:
        """Which of them it is."""
        return next(carrier for carrier in _CARRIERS if getattr(self, carrier) is not None)

    @property
    def name(self) -> str:
        """The name of the cookie, parameter or header, or the letter."""
        return str(getattr(self, self.carrier))


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
    unjoined: Literal["refuse", "allow"] = "refuse"
    """A code that the app redeems while no callback with it is waiting, so that nobody knows whose cookie it will be:
    refuse it at the relay, or allow it, and no logout reaches that session."""


class SuccessSettings(Settings):
    """How the app's answer to a callback looks when it has logged somebody in."""

    status: tuple[Annotated[Count, sized(200, 599)], ...] = ()
    """Its status, or several; default: any below 400."""
    location: PathPattern | None = None
    """Path that it redirects to; * stands for any characters. Default: whatever it is."""
    cookie: Literal["new", "kept"] = "new"
    """new: it sets a session cookie that the browser did not have. kept: it may log in the cookie that is there."""


class FormPostBinder(Settings):
    """The ID token stands in the browser's POST to the callback (response_mode=form_post)."""

    from_: Literal["form_post"] = Field(alias="from")
    """Which binder this is."""
    callback: PathPattern
    """Path of the app's redirect URI; * stands for any characters."""
    success: SuccessSettings = Field(default_factory=SuccessSettings)
    """How the app's answer looks when it has accepted the login."""


class KeycloakCodeBinder(Settings):
    """The sid is read in the authorization code, where Keycloak writes it. No relay, and no sub."""

    from_: Literal["keycloak_code"] = Field(alias="from")
    """Which binder this is."""
    callback: PathPattern
    """Path of the app's redirect URI; * stands for any characters."""
    issuer: Issuer | None = None
    """The Keycloak realm, one of the providers; needed only when there are several."""
    client_id: Text | None = None
    """The app's client there; needed only when the provider has several."""
    success: SuccessSettings = Field(default_factory=SuccessSettings)
    """How the app's answer looks when it has accepted the login."""


class HeaderBinder(Settings):
    """An authenticating proxy in front names the session in headers of each request. Only trusted_proxies may."""

    from_: Literal["header"] = Field(alias="from")
    """Which binder this is."""
    sid: HeaderName | None = None
    """Header with the provider's sid of the session."""
    sub: HeaderName | None = None
    """Header with the sub of the user. At least one of the two; both is better."""
    login_time: HeaderName | None = None
    """Header with the time of the login, in seconds since the epoch (auth_time, not the iat of a refreshed token);
    default: the session begins when it is first seen."""
    issuer: Issuer | None = None
    """The provider that sid and sub belong to; needed only when there are several."""
    client_id: Text | None = None
    """The client there; needed only when the provider has several."""

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if self.sid is None and self.sub is None:
            raise wrong("a header binder names a session", "sid, sub or both")
        names = [name.lower() for name in (self.sid, self.sub, self.login_time) if name is not None]
        if len(set(names)) < len(names):
            raise wrong("one header cannot be two things", "another header for each of sid, sub and login_time")
        return self


Binder = Annotated[
    TokenBinder | TokenEndpointBinder | FormPostBinder | KeycloakCodeBinder | HeaderBinder,
    Field(discriminator="from_"),
]
Learned = TokenEndpointBinder | FormPostBinder | KeycloakCodeBinder
"""Binders that learn a session when the app answers its login."""


class VoucherSettings(Settings):
    """A cookie of the sidecar, by which the cookies that the app sets before a login are known again.

    It is set only where unbound is deny, and never reaches the app.
    """

    cookie: CookieName = "logout-sidecar-voucher"
    """Its name. With https in public_url the prefix __Host- is put before it."""
    max_age: Annotated[Duration, between("1m", "7d")] = HOUR
    """How long a visitor may take from the app's first cookie to the login. Whoever takes longer begins anew."""


class SessionSettings(Settings):
    """How the app's sessions are recognised, and tied to the provider's."""

    profile: Profiles = ("generic",)
    """The stack that the app is made with, or a list of them: where it looks for its session by default, how it spells
    the values, and which other cookies would bring the session back. generic declares nothing."""
    credentials: tuple[Credential, ...] = ()
    """Where the app looks for its session beside what the profile says: cookies, URLs, forms, headers."""
    max_age: Annotated[Duration, between("1s", "366d")] = 12 * HOUR
    """No session of the app lives longer. Revocations and bindings are kept for this long."""
    unbound: Unbound = "allow"
    """What happens to a credential that no binder knows. deny refuses it, unless the app has just given it out."""
    voucher: VoucherSettings = VoucherSettings()
    """How, with deny, a login can begin at all."""
    bind: tuple[Binder, ...] = ()
    """How a credential is tied to a session of the provider; at least one, tried in this order."""

    @property
    def names_a_credential(self) -> bool:
        """Whether anything is declared at all, by a profile or one by one."""
        return bool(self.credentials) or not BARE_PROFILES.issuperset(self.profile)


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
    unbound: Unbound | None = None
    """What happens here to a credential that no binder knows; default: session.unbound."""


class EnforcementSettings(Settings):
    """What happens to a request of a session that is over."""

    mode: Literal["observe", "enforce"] = "enforce"
    """observe: nothing is denied, cut or withheld; logouts are recorded, and what would happen is counted."""
    action: Action = "reject"
    """reject: 401. redirect: navigations to login_url, 401 for the rest. strip: forward without the credentials."""
    login_url: LoginUrl | None = None
    """Where redirect sends a navigation, and the link on the signed-out page: a path of the app, or a URL."""
    routes: tuple[Route, ...] = ()
    """Other actions for some paths."""
    page: PageTemplate | None = None
    """File with the page that a person sees, as HTML with {{title}}, {{detail}} and others; default: our own."""
    clear_site_data: tuple[Literal["cache", "cookies", "storage", "executionContexts"], ...] = ()
    """What the browser of an ended session is asked to forget as well (Clear-Site-Data). cookies are those of the whole
    registrable domain."""


class LogoutSettings(Settings):
    """The app's own logout."""

    app_paths: tuple[AppPath, ...] = ()
    """Paths of the app's own logout, such as /logout or {path: /logout, methods: [POST], status: 302}. Its answer
    passes even if the session ended in between, and when it says that the session is over, it is over here too."""
    after_app_logout: AfterAppLogoutSettings = Field(default_factory=AfterAppLogoutSettings)
    """What follows then."""
