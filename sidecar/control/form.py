"""The form that a provider posts: the transport rules of Back-Channel Logout 1.0 section 2.5.

Bounded like every body (`body.py`), and in the number of its fields. The query is never looked at (case L8), and
neither are cookies.
"""

from urllib.parse import parse_qsl

from aiohttp import web

from sidecar.control.body import BadRequest, read_body

MEDIA_TYPE = "application/x-www-form-urlencoded"
MAX_FIELDS = 1000


async def read_logout_token(request: web.BaseRequest) -> str:
    """The `logout_token` of the posted form, still encoded and unverified."""
    return _only_token(await read_body(request, (MEDIA_TYPE,)))


def _only_token(body: bytes) -> str:
    try:
        # Latin-1 keeps every byte, so fields that are none of our business cannot fail (case L23).
        fields = parse_qsl(
            body.decode("latin-1"), keep_blank_values=True, encoding="latin-1", max_num_fields=MAX_FIELDS
        )
    except ValueError as error:
        raise BadRequest("too_large", "the form has too many fields") from error
    tokens = [value for name, value in fields if name == "logout_token"]
    if len(tokens) > 1:  # RFC 6749 section 3.2 (case L22)
        raise BadRequest("duplicate_parameter", "logout_token is given more than once")
    if not tokens or not tokens[0]:  # RFC 6749 section 3.1: empty is the same as omitted (case L20)
        raise BadRequest("missing_token", "the form has no logout_token")
    return tokens[0]
