"""Settings of the store, and of how long a copy of it is trusted."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sidecar.config.address import (
    Store,
    parse_store,
)
from sidecar.config.rotating import RotatingSecret
from sidecar.config.secret import Secret
from sidecar.config.session_settings import OnStale
from sidecar.config.settings import Settings
from sidecar.config.values import (
    MINUTE,
    Count,
    Duration,
    FileName,
    Namespace,
    Switch,
    Text,
    between,
    sized,
    wrong,
)


class DurabilitySettings(Settings):
    """Where a logout has to be written before the provider hears 200, beyond the memory of the Redis master."""

    replicas: Annotated[Count, sized(0, 16)] = 0
    """How many replicas of the Redis master must have it."""
    fsync: Switch = False
    """It must be on the Redis master's disk (Redis 7.2 or Valkey, with appendfsync always). SQLite: always so."""


class StoreSettings(Settings):
    """Where revocations and bindings are kept, and how long the sidecar trusts its copy."""

    url: Store = parse_store("sqlite:////var/lib/logout-sidecar/state.db")
    """SQLite for one pod (four slashes: absolute path; `sqlite://`: in memory), or a Redis that pods share."""
    username: Text | None = None
    """User of the Redis servers; default: the default user."""
    password: RotatingSecret | None = None
    """Password of the Redis servers, {file: PATH} or {env: NAME}; a file is read again for each new connection."""
    sentinel_username: Text | None = None
    """User of the Sentinels, where they have users."""
    sentinel_password: RotatingSecret | None = None
    """Password of the Sentinels, {file: PATH} or {env: NAME}; they never get that of the servers."""
    ca_file: FileName | None = None
    """CA certificates (PEM) that a Redis with TLS is verified with; default: those of the system."""
    client_certificate: FileName | None = None
    """Certificate (PEM) that is shown to a Redis that asks for one; read again when it changes."""
    client_key: FileName | None = None
    """Its private key (PEM), not encrypted; default: in the same file."""
    namespace: Namespace = "lg"
    """Prefix of every key: deployments that share a Redis differ in it."""
    secret: Secret | None = None
    """Key of the digests, at least 16 bytes, {file: PATH} or {env: NAME}; default: made once, kept in the store."""
    other_secrets: tuple[Secret, ...] = ()
    """Keys that are accepted beside it while it is being changed: first the next one, afterwards the old one."""
    fresh: Annotated[Duration, between("250ms", "1d")] = 2.0
    """As long as the store was heard within this time, all is well."""
    grace: Annotated[Duration, between("250ms", "7d")] = MINUTE
    """Without hearing the store for longer than this, bound sessions are refused with 503, and cut where they flow."""
    on_stale: OnStale = "deny"
    """What happens then. fail_open serves on, and may serve a session that was logged out."""
    durability: DurabilitySettings = Field(default_factory=DurabilitySettings)
    """Where a logout has to be written before the provider hears 200; else it hears unavailable_status."""
    confirm: Literal["local", "all"] = "local"
    """When the provider hears 200: local when the answering pod refuses the session, all when no other pod that uses
    the store may serve it any more."""

    @model_validator(mode="after")
    def _long_secret(self) -> Self:
        for secret, key in ((self.secret, "secret"), *((each, "other_secrets") for each in self.other_secrets)):
            if secret is not None and len(secret) < 16:
                raise wrong("the secret is too short", "at least 16 bytes", at=key)
        return self
