"""Reading what a browser or a client sends to the demo's sites, as plain text fields."""

import base64
import binascii
from urllib.parse import parse_qsl, unquote_plus

from aiohttp import web

_MAX_FIELDS = 50


async def read_form(request: web.Request) -> dict[str, str]:
    """The fields of a URL-encoded body; 400 when there are too many. aiohttp bounds the size (1 MiB)."""
    body = (await request.read()).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(body, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError as error:
        raise web.HTTPBadRequest(text="too many form fields") from error


def basic_credentials(request: web.Request) -> tuple[str, str] | None:
    """User and password of `Authorization: Basic`, each form-decoded (RFC 6749 section 2.3.1); None without it."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return unquote_plus(user), unquote_plus(password)
