"""Settings of what the sidecar does by itself when a session ends."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from sidecar.config.settings import Settings
from sidecar.config.values import Count, Method, PathPattern, Switch, Text, wrong


def _status(number: int) -> int:
    if not 200 <= number <= 599:
        raise wrong("not a status of an answer", "a number from 200 to 599")
    return number


def _one_number(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


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


class AfterAppLogoutSettings(Settings):
    """What follows when the app has ended a session. What is on needs store.secret: something of the login is kept."""

    end_session: EndSessionSettings = Field(default_factory=EndSessionSettings)
    """Send the browser to the provider, so that its session ends as well."""
