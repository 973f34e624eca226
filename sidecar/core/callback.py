"""What a callback of the app's login carries: codes, ID tokens and what they vouch for, in the URL and in the body.

Pure: bytes in, `Parameters` or a `CallbackRefused` out. Like `credentials.py` it does not guess which app will read the
request. It finds what any of them could read: in other separators, in other cases, as arrays, in JSON at any depth.
What cannot be read with certainty in bounded work is refused, because no login needs it: a body of another type or
encoding, more than one code or token in a body, a body beside a code in the URL. Nothing here knows sessions.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from sidecar.core.credentials import MAX_ENCODED, MAX_PAIRS
from sidecar.core.logout_token import TokenError, decode_json
from sidecar.errors import SidecarError

MAX_TARGET = 16 * 1024  # to read it costs; a code has 2 KiB at the most, and most proxies stop at 8 KiB
MAX_CODES = 4
MAX_FIELDS = 1000  # in a body; PHP takes no more
_SEPARATOR: Final = re.compile(rb"[&;?]")
# PHP and Express take `code[]` too. Blanks and what follows a NUL is left out by some.
_NAMES: Final = ("code", "id_token", "access_token", "response")
_ANY_NAME: Final = "|".join(f"(?P<{name}>{name})" for name in _NAMES)
_spelled = re.compile(rf"\s*(?:{_ANY_NAME})(?:\[.*|\s*|\0.*)", re.IGNORECASE | re.DOTALL).fullmatch
_JWT: Final = re.compile(r"\s*[\w-]+(?:\.[\w-]*){2,4}\s*")
# Anything else beside the type could make an app take it for another one, or read the bytes as other characters.
_ASCII: Final = r'(?:\s*;\s*charset\s*=\s*"?(?:utf-8|us-ascii|iso-8859-1)"?)?\s*'
_FORM: Final = re.compile(rf"\s*application/x-www-form-urlencoded{_ASCII}", re.IGNORECASE)
_JSON: Final = re.compile(rf"\s*application/json{_ASCII}", re.IGNORECASE)


class CallbackRefused(SidecarError):
    """A callback that no login sends, or whose login cannot be known. `status` is the answer's."""

    def __init__(self, reason: str, message: str = "", *, status: int = 400) -> None:
        super().__init__(reason, message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Parameters:
    """Each distinct value once."""

    codes: tuple[str, ...] = field(default=(), repr=False)
    id_tokens: tuple[str, ...] = field(default=(), repr=False)
    access_tokens: tuple[str, ...] = field(default=(), repr=False)


def check_head(target: bytes, types: Iterable[bytes], encodings: Iterable[bytes]) -> None:
    """Refuse a request with a body before the body is here. Raises CallbackRefused.

    A body beside a code in the URL is refused. An app has that code with the head, and no login sends both.
    """
    if in_target(target).codes:
        raise CallbackRefused("callback_with_body", "an authorization code in the URL, and a body beside it")
    if any(encoding.strip().lower() not in (b"", b"identity") for encoding in encodings):
        raise CallbackRefused("callback_body_type", "the body of a callback is not compressed", status=415)
    for value in types:
        kind = value.decode("latin-1")
        if not _FORM.fullmatch(kind) and not _JSON.fullmatch(kind):
            raise CallbackRefused("callback_body_type", "the body of a callback is a form or JSON", status=415)


def in_target(target: bytes) -> Parameters:
    """What the query carries. Raises CallbackRefused."""
    if len(target) > MAX_TARGET:
        raise CallbackRefused("callback_too_long")
    if len(_SEPARATOR.findall(target)) > MAX_PAIRS:  # reading them would cost
        raise CallbackRefused("too_many_codes")
    found = _sorted_out(_pairs(target.partition(b"?")[2]))
    if len(found.codes) > MAX_CODES:
        raise CallbackRefused("too_many_codes")
    return found


def in_body(body: bytes, types: Iterable[bytes]) -> Parameters:
    """What the body carries, of a type that `check_head` has let pass. Raises CallbackRefused."""
    is_json = any(_JSON.fullmatch(value.decode("latin-1")) for value in types)
    found = _sorted_out(_members(body) if is_json else _form(body))
    if len(found.codes) > 1 or len(found.id_tokens) > 1:
        raise CallbackRefused("too_many_codes")
    return found


def _form(body: bytes) -> Iterable[tuple[str, str]]:
    if body.lstrip()[:1] in (b"{", b"["):  # no form, and some apps would not look at the type
        raise CallbackRefused("callback_body_type", "a body that says it is a form and looks like JSON", status=415)
    if len(_SEPARATOR.findall(body)) > MAX_FIELDS:
        raise CallbackRefused("too_many_codes")
    if body.count(b"%") > MAX_ENCODED:
        raise CallbackRefused("callback_body_type", "more encoding than is worth undoing", status=415)
    return _pairs(body)


def _pairs(text: bytes) -> Iterable[tuple[str, str]]:
    """Pairs as they are read with any separator."""
    plain = text.decode("latin-1")
    texts = dict.fromkeys((plain, re.sub("[?;]", "&", plain)))
    return [pair for each in texts for pair in parse_qsl(each)]


def _members(body: bytes) -> Iterable[tuple[str, str]]:
    """Every string in a JSON document by the name that is nearest to it. Read strictly: what some parser reads
    otherwise is refused.
    """
    try:
        waiting: list[tuple[str, object]] = [("", decode_json(body))]
    except TokenError as error:
        raise CallbackRefused("callback_body_type", "the body is not JSON that can be read in one way only") from error
    found = []
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, str):
            found.append((name, value))
        elif isinstance(value, dict):
            waiting.extend(value.items())
        elif isinstance(value, list):
            waiting.extend((name, each) for each in value)
    return found


def _sorted_out(pairs: Iterable[tuple[str, str]]) -> Parameters:
    found: Mapping[str, dict[str, None]] = {name: {} for name in _NAMES}
    for name, value in pairs:
        spelled = _spelled(name) if value else None
        if spelled is not None and spelled.lastgroup is not None:
            found[spelled.lastgroup][value] = None
    if any(map(_JWT.fullmatch, found["response"])):
        # JARM: what the login needs is inside a token that only the client can check.
        raise CallbackRefused("callback_with_jarm", "response_mode=jwt is not supported; use query or form_post")
    return Parameters(tuple(found["code"]), tuple(found["id_token"]), tuple(found["access_token"]))
