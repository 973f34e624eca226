"""What the calls of the line carry, as bytes: revocations, bindings, sessions.

Revocations and bindings have the format of the stores (`stores/packing.py`). A session goes as JSON: it is a login in
flight, in clear as the provider said it, and on no other way than the private socket.
"""

import dataclasses
import json
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from sidecar.core.identity import DIGEST_BYTES, BoundSession, Session
from sidecar.core.revocation import Revocation
from sidecar.stores.packing import pack_binding, pack_revocation, unpack_binding, unpack_revocation

_NEWS: Final = struct.Struct(">d?")
_PUT: Final = struct.Struct(f">{DIGEST_BYTES}sI")
_ENTRY_BYTES: Final = 31
_NO_KEY: Final = 0  # the key id is for readers of a store; here both ends have compared theirs before the first page


class News(NamedTuple):
    """A page for a worker. `proved`: boot time at which the control process knew all that the store knew."""

    revocations: list[Revocation]
    complete: bool
    proved: float


def pack_news(news: News) -> bytes:
    """The answer to LOAD and FOLLOW."""
    return _NEWS.pack(news.proved, news.complete) + pack_revocations(news.revocations)


def unpack_news(payload: bytes) -> News:
    """What `pack_news` made."""
    proved, complete = _NEWS.unpack_from(payload)
    return News(unpack_revocations(payload[_NEWS.size :]), complete, proved)


def pack_revocations(revocations: Iterable[Revocation]) -> bytes:
    """APPEND."""
    return b"".join(pack_revocation(revocation, _NO_KEY) for revocation in revocations)


def unpack_revocations(payload: bytes) -> list[Revocation]:
    """What `pack_revocations` made."""
    entries = range(0, len(payload), _ENTRY_BYTES)
    return [unpack_revocation(payload[start : start + _ENTRY_BYTES])[0] for start in entries]


def pack_put(credential: bytes, session: BoundSession, ttl: int) -> bytes:
    """PUT_BINDING."""
    return _PUT.pack(credential, ttl) + pack_binding(session)


def unpack_put(payload: bytes) -> tuple[bytes, BoundSession, int]:
    """What `pack_put` made."""
    credential, ttl = _PUT.unpack_from(payload)
    return credential, unpack_binding(payload[_PUT.size :]), ttl


def pack_named(name: bytes, ttl: int, value: bytes = b"") -> bytes:
    """PUT_SEALED and CLAIM."""
    return _PUT.pack(name, ttl) + value


def unpack_named(payload: bytes) -> tuple[bytes, int, bytes]:
    """What `pack_named` made."""
    name, ttl = _PUT.unpack_from(payload)
    return name, ttl, payload[_PUT.size :]


def pack_join(code: str, session: Session) -> bytes:
    """JOIN. A code is any text that a URL can hold, lone surrogates included; JSON escapes those."""
    return json.dumps({"code": code, "session": dataclasses.asdict(session)}).encode()


def unpack_join(payload: bytes) -> tuple[str, Session]:
    """What `pack_join` made."""
    join = json.loads(payload)
    return join["code"], Session(**join["session"])


def pack_code(code: str) -> bytes:
    """BEGIN, END and FAIL."""
    return code.encode(errors="surrogatepass")


def unpack_code(payload: bytes) -> str:
    """What `pack_code` made."""
    return payload.decode(errors="surrogatepass")
