"""The root of every error that the sidecar raises on purpose.

Each carries a stable, machine-readable `reason` (snake_case) that logs, metrics and error bodies use. Errors are told
apart by class and reason, never by their text. The text is for the operator and never holds a secret, a token, a
cookie, a `sub` or a `sid`.

    SidecarError
    ├── ConfigError        config/     the operator's file is wrong
    ├── TokenError         core/       a token that a peer sent is wrong
    ├── KeysUnavailable    oidc/       the provider's keys cannot be had
    ├── NoBearer           oidc/       no token for a provider's API can be had
    ├── ProtocolError      http1/      a peer broke HTTP
    ├── StoreError         stores/     the store cannot do what was asked
    └── UpstreamError      proxy/      the app cannot be reached or broke off
"""


class SidecarError(Exception):
    """Base of all errors raised on purpose; `reason` is stable across releases."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.reason = reason
