"""A request without the credentials of a dead session (`action: strip`).

What is left is written anew. Where a credential cannot be taken out with certainty, `strip_target` says so and the
caller denies: a request is never forwarded half stripped (reference case 161).
"""

import re
from collections.abc import Callable, Collection, Iterable

from sidecar.core.cookies import without
from sidecar.core.credentials import MAX_PAIRS, SEGMENT, Carriers
from sidecar.core.names import name_readings
from sidecar.core.reading import NOTHING
from sidecar.field_names import fold

Field = tuple[bytes, bytes]


def strip_fields(
    fields: Iterable[Field],
    carriers: Carriers,
    is_token_cookie: Callable[[bytes], bool],
    token_headers: Collection[bytes] = (),
) -> list[Field]:
    """The header fields without declared cookies, token cookies, declared headers and headers that carry a token."""
    kept: list[Field] = []
    cookies: list[bytes] = []
    for name, value in fields:
        folded = fold(name.lower())
        if folded == b"cookie":
            cookies.append(value)
        elif folded not in carriers.headers and folded not in token_headers:
            kept.append((name, value))

    def is_dropped(name: bytes, pair: bytes) -> bool:
        if carriers.is_cookie(name) or carriers.in_cookies([pair]) is not NOTHING:
            return True
        return any(map(is_token_cookie, name_readings(name)))

    rest = without(cookies, is_dropped)
    return [*kept, (b"Cookie", rest)] if rest is not None else kept


def strip_target(target: bytes, carriers: Carriers) -> bytes | None:
    """The target without declared path and query parameters; None when one of them cannot be removed."""
    if carriers.in_target(target) is NOTHING:
        return target
    path, mark, query = target.partition(b"?")
    # ASP.NET's `/(S(id))/` is a whole segment (reference case 150); what is left of such a path begins with a slash.
    path = SEGMENT.sub(lambda match: _unless_found(match[0], match[0], carriers), path) or b"/"
    if path.count(b";") > MAX_PAIRS:  # nobody needs so many; taking them out one by one would cost
        return None
    path = re.sub(rb";[^/;]*", lambda match: _unless_found(match[0], b"/x" + match[0], carriers), path)
    if carriers.in_target(b"/?" + query) is not NOTHING:
        pairs = re.split(rb"[&;]", query, maxsplit=MAX_PAIRS)
        if len(pairs) > MAX_PAIRS:
            return None
        query = b"&".join(pair for pair in pairs if carriers.in_target(b"/?" + pair) is NOTHING)
        mark = b"?" if query else b""
    stripped = path + mark + query
    return stripped if carriers.in_target(stripped) is NOTHING else None


def _unless_found(parameter: bytes, target: bytes, carriers: Carriers) -> bytes:
    return parameter if carriers.in_target(target) is NOTHING else b""
