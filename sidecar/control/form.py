"""The form that a provider posts: the transport rules of Back-Channel Logout 1.0 section 2.5.

Every rule that costs nothing is checked before a byte of the body is read. Bounded in size, time and number; the query
is never looked at (case 8), and neither are cookies.
"""

import asyncio
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from sidecar.errors import SidecarError

MEDIA_TYPE = "application/x-www-form-urlencoded"
MAX_BODY_BYTES = 64 * 1024
BODY_TIMEOUT_S = 9.5  # with the server's linger the connection is gone within 10 s (case 32)
MAX_FIELDS = 1000
# A token is ASCII, so these all mean the same; Java clients name the last two.
_CHARSETS = frozenset({"utf-8", "us-ascii", "iso-8859-1"})


class BadForm(SidecarError):
    """The request is not a logout request. Answered with 400 like every invalid one (section 2.8)."""


async def read_logout_token(request: web.BaseRequest) -> str:
    """The `logout_token` of the posted form, still encoded and unverified."""
    _check_head(request)
    return _only_token(await _read_body(request))


def _check_head(request: web.BaseRequest) -> None:
    content_types = request.headers.getall("Content-Type", [])
    if len(content_types) != 1:  # case 13
        raise BadForm("wrong_media_type", f"Content-Type must be {MEDIA_TYPE}")
    media_type, *parameters = content_types[0].split(";")
    if media_type.strip().lower() != MEDIA_TYPE:  # traps A1 and A2, case 16
        raise BadForm("wrong_media_type", f"Content-Type must be {MEDIA_TYPE}")
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "charset" and value.strip('"').lower() not in _CHARSETS:  # case 17
            raise BadForm("wrong_charset", "charset must be UTF-8")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":  # trap A3, case 31
        raise BadForm("content_encoding", "the body must not be compressed")
    if (request.content_length or 0) > MAX_BODY_BYTES:  # trap A2, case 29
        raise BadForm("too_large", "the body is larger than 64 KiB")


async def _read_body(request: web.BaseRequest) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise BadForm("too_large", "the body is larger than 64 KiB")
    except TimeoutError as error:
        raise BadForm("body_timeout", "the body did not arrive in time") from error
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError) as error:
        raise BadForm("body_broken", "the body broke off or is not valid HTTP") from error
    return bytes(body)


def _only_token(body: bytes) -> str:
    try:
        # Latin-1 keeps every byte, so fields that are none of our business cannot fail (case 23).
        fields = parse_qsl(
            body.decode("latin-1"), keep_blank_values=True, encoding="latin-1", max_num_fields=MAX_FIELDS
        )
    except ValueError as error:
        raise BadForm("too_large", "the form has too many fields") from error
    tokens = [value for name, value in fields if name == "logout_token"]
    if len(tokens) > 1:  # RFC 6749 section 3.2 (case 22)
        raise BadForm("duplicate_parameter", "logout_token is given more than once")
    if not tokens or not tokens[0]:  # RFC 6749 section 3.1: empty is the same as omitted (case 20)
        raise BadForm("missing_token", "the form has no logout_token")
    return tokens[0]
