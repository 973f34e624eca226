"""Which requests carry fields of a form, and whether they can be read here.

Some apps take their session from the body of a form (reference case 149). A body is read only where such a field is
declared, and only a urlencoded one of bounded size. Nothing is known here of what stands in it.
"""

import enum
import re
from collections.abc import Sequence
from typing import Final

MAX_FORM: Final = 64 * 1024  # bytes that are waited for; what is longer has a file in it, as a rule
_END_OF_TYPE = re.compile(rb"[;,\s]")  # PHP ends the type at each of these
_FORM: Final = b"application/x-www-form-urlencoded"
_TYPES: Final = frozenset((b"", _FORM, b"multipart/form-data"))  # Rack takes a body without a type for a form


class Body(enum.Enum):
    """What the body of a request is, as far as its head tells."""

    NO_FORM = enum.auto()
    READABLE = enum.auto()
    UNREADABLE = enum.auto()  # a form all the same


def body_of(types: Sequence[bytes], encodings: Sequence[bytes], length: int | None) -> Body:
    """Judge a body by its Content-Type, Content-Encoding and Content-Length fields; no length: chunked."""
    kinds = {_END_OF_TYPE.split(value.strip(), maxsplit=1)[0].lower() for value in types or [b""]}
    if not kinds & _TYPES:
        return Body.NO_FORM
    is_plain = all(value.strip().lower() in {b"", b"identity"} for value in encodings)
    is_one = len(types) < 2 and kinds <= {b"", _FORM}
    return Body.READABLE if is_one and is_plain and (length or 0) <= MAX_FORM else Body.UNREADABLE
