"""Fields that belong to one connection and never cross the proxy (RFC 9110 section 7.6.1)."""

from sidecar.http1.names import METHOD_OVERRIDES, is_about_client

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    )
)

# What a `Connection` field may not make the proxy drop: framing, routing, credentials, and what the proxy itself
# tells the app. Otherwise a client could switch them off (reference case 34).
PROTECTED = frozenset(
    (
        b"host",
        b"content-length",
        b"content-type",
        b"cookie",
        b"authorization",
        b"origin",
        b"set-cookie",
        b"date",
        *METHOD_OVERRIDES,
    )
)


def nominated(options: list[bytes]) -> frozenset[bytes]:
    """The field names that `Connection` nominates for removal, without the options that are not fields."""
    return frozenset(options) - {b"close", b"keep-alive", b"upgrade"}


def is_protected(name: bytes) -> bool:
    """Whether a nomination of this (lower-case) name is an attack."""
    return name in PROTECTED or name.startswith(b"sec-websocket-") or is_about_client(name)
