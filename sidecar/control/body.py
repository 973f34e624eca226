"""The body of a posted message: bounded in size and time, of the media type that its endpoint takes, not compressed.

Every rule that costs nothing is checked before a byte of the body is read. What the bytes mean is for others.
"""

import asyncio
from collections.abc import Collection

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from sidecar.errors import SidecarError

MAX_BODY_BYTES = 64 * 1024
BODY_TIMEOUT_S = 9.5  # with the server's linger the connection is gone within 10 s (case L32)
# What is read is ASCII, so these all mean the same; Java clients name the last two.
_CHARSETS = frozenset({"utf-8", "us-ascii", "iso-8859-1"})


class BadRequest(SidecarError):
    """The request is not what the endpoint takes. Answered with 400 like every invalid one (BCL section 2.8)."""


async def read_body(request: web.BaseRequest, media_types: Collection[str]) -> bytes:
    """All of it. `media_types`, lower case: the ones that are taken; an empty one stands for none at all."""
    _check_head(request, media_types)
    return await _read(request)


def ascii_text(body: bytes) -> str:
    """The body as text, where it has to be a token and nothing else."""
    try:
        return body.decode("ascii")
    except UnicodeDecodeError as error:
        raise BadRequest("malformed", "the body is not a token") from error


def _check_head(request: web.BaseRequest, media_types: Collection[str]) -> None:
    content_types = request.headers.getall("Content-Type", [])
    if len(content_types) > 1 or (not content_types and "" not in media_types):  # case L13
        raise _wrong_media_type(media_types)
    media_type, *parameters = (content_types or [""])[0].split(";")
    if media_type.strip().lower() not in media_types:  # traps A1 and A2, case L16
        raise _wrong_media_type(media_types)
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name.lower() == "charset" and value.strip('"').lower() not in _CHARSETS:  # case L17
            raise BadRequest("wrong_charset", "charset must be UTF-8")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":  # trap A3, case L31
        raise BadRequest("content_encoding", "the body must not be compressed")
    if (request.content_length or 0) > MAX_BODY_BYTES:  # trap A2, case L29
        raise _too_large()


async def _read(request: web.BaseRequest) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise _too_large()
    except TimeoutError as error:
        raise BadRequest("body_timeout", "the body did not arrive in time") from error
    except (web.RequestPayloadError, HttpProcessingError, ConnectionError) as error:
        raise BadRequest("body_broken", "the body broke off or is not valid HTTP") from error
    return bytes(body)


def _wrong_media_type(media_types: Collection[str]) -> BadRequest:
    return BadRequest("wrong_media_type", f"Content-Type must be {next(iter(media_types))}")


def _too_large() -> BadRequest:
    return BadRequest("too_large", "the body is larger than 64 KiB")
