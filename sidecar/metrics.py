"""Every metric that is not on the path of each request, declared in one place.

The data plane counts in plain integers and exports them through a collector of its own (`proxy/stats.py`); a
prometheus-client counter costs about a microsecond, which a logout can afford and a request cannot. No label ever
holds a path, a `sub`, a `sid` or anything else that a stranger chooses.
"""

from collections.abc import Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.metrics_core import Metric

PREFIX = "logout_sidecar"


class Measures(Protocol):
    """Whatever has numbers for a scrape. prometheus-client asks for no base class either (decision 032)."""

    def collect(self) -> Iterable[Metric]:
        """The numbers of the moment."""


registry = CollectorRegistry()
ProcessCollector(registry=registry)  # memory, CPU time, file descriptors

logout_tokens = Counter(
    "logout_tokens",
    "Logout tokens received, by result and reason.",
    ("result", "reason"),
    namespace=PREFIX,
    registry=registry,
)
logout_messages = Counter(
    "logout_messages",
    "Messages about logouts in other forms than logout tokens, by endpoint, result and reason.",
    ("endpoint", "result", "reason"),
    namespace=PREFIX,
    registry=registry,
)
logout_token_last_received = Gauge(
    "logout_token_last_received_timestamp_seconds",
    "When the last logout token arrived, valid or not.",
    namespace=PREFIX,
    registry=registry,
)
logout_seconds = Histogram(
    "logout_request_duration_seconds",
    "From the arrival of a logout POST to its answer.",
    namespace=PREFIX,
    registry=registry,
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)
revocations_active = Gauge(
    "revocations_active", "Live revocations in this replica.", namespace=PREFIX, registry=registry
)
revocations_applied = Counter(
    "revocations_applied",
    "Revocations that changed this replica, by kind.",
    ("kind",),
    namespace=PREFIX,
    registry=registry,
)
streams_cut = Counter(
    "streams_cut",
    "Open streams that were closed because their session is revoked, or because nobody can know whether it is.",
    ("reason",),
    namespace=PREFIX,
    registry=registry,
)

enforcing = Gauge(
    "enforcing", "1 while denials are enforced, 0 while they are only observed.", namespace=PREFIX, registry=registry
)
store_up = Gauge("store_up", "1 while the store answers, else 0.", namespace=PREFIX, registry=registry)
store_seconds = Histogram(
    "store_operation_duration_seconds",
    "Duration of store operations.",
    ("operation",),
    namespace=PREFIX,
    registry=registry,
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)
store_errors = Counter(
    "store_errors", "Failed store operations, by reason.", ("reason",), namespace=PREFIX, registry=registry
)
replica_age = Gauge(
    "replica_age_seconds", "Age of the last proof that the store was heard.", namespace=PREFIX, registry=registry
)
replica_state = Gauge(
    "replica_state",
    "1 for the state that the replica is in: fresh, stale or blind.",
    ("state",),
    namespace=PREFIX,
    registry=registry,
)
replicas = Gauge(
    "replicas",
    "Replicas on this log that may be serving, this one included.",
    namespace=PREFIX,
    registry=registry,
)
outbox_age = Gauge(
    "outbox_age_seconds", "How long the oldest one has waited for the store.", namespace=PREFIX, registry=registry
)
outbox_length = Gauge(
    "outbox_length", "Revocations enforced here that the store has not taken yet.", namespace=PREFIX, registry=registry
)

jwks_last_success = Gauge(
    "jwks_last_success_timestamp_seconds",
    "Last time a provider's keys were fetched.",
    ("provider",),
    namespace=PREFIX,
    registry=registry,
)
jwks_fetches = Counter(
    "jwks_fetches",
    "Fetches of a provider's keys, by outcome.",
    ("provider", "outcome"),
    namespace=PREFIX,
    registry=registry,
)

bindings = Counter("bindings", "Bindings made, by binder.", ("binder",), namespace=PREFIX, registry=registry)
logins = Counter(
    "logins", "Logins seen by the relay or in callbacks, by outcome.", ("outcome",), namespace=PREFIX, registry=registry
)

app_logouts = Counter(
    "app_logouts",
    "Sessions that users ended at the app's own logout, and that are refused here since.",
    namespace=PREFIX,
    registry=registry,
)

provider_logouts = Counter(
    "provider_logouts",
    "Sessions that were to be ended at the provider by its API, by outcome.",
    ("outcome",),
    namespace=PREFIX,
    registry=registry,
)

app_notifications = Counter(
    "app_notifications",
    "Calls of the app's logout for sessions that were revoked, by result.",
    ("result",),
    namespace=PREFIX,
    registry=registry,
)

provider_checks = Counter(
    "provider_checks",
    "Sessions that the provider was to be asked about, by what is known then.",
    ("standing",),
    namespace=PREFIX,
    registry=registry,
)

accept_errors = Counter(
    "accept_errors",
    "Connections that could not be accepted for want of descriptors or memory, by error.",
    ("reason",),
    namespace=PREFIX,
    registry=registry,
)
tls_certificate_expiry = Gauge(
    "tls_certificate_expiry_timestamp_seconds",
    "When the certificate of the public listener expires; 0 without TLS.",
    namespace=PREFIX,
    registry=registry,
)
tls_reloads = Counter(
    "tls_certificate_reloads",
    "Certificates that were found changed: `ok`, or why the last good one stays.",
    ("result",),
    namespace=PREFIX,
    registry=registry,
)
config_reloads = Counter(
    "config_reloads",
    "Changed configuration files: `ok`, or why the last good configuration stays.",
    ("result",),
    namespace=PREFIX,
    registry=registry,
)
config_last_reload_success = Gauge(
    "config_last_reload_success_timestamp_seconds",
    "When the configuration file was last found to be what runs, or was taken over; the start counts.",
    namespace=PREFIX,
    registry=registry,
)
config_differs = Gauge(
    "config_differs",
    "1 while the configuration file is not what runs, because it was refused.",
    namespace=PREFIX,
    registry=registry,
)
upstream_exposed = Gauge(
    "upstream_exposed",
    "1 while the app answers at the address of the pod, past the sidecar; whether the operator has accepted that.",
    ("accepted",),
    namespace=PREFIX,
    registry=registry,
)
log_lines_dropped = Counter(
    "log_lines_dropped", "Log lines lost because nobody read them in time.", namespace=PREFIX, registry=registry
)
workers = Gauge("workers", "Worker processes that should run.", namespace=PREFIX, registry=registry)
workers_ready = Gauge("workers_ready", "Worker processes that are ready.", namespace=PREFIX, registry=registry)
worker_restarts = Counter(
    "worker_restarts", "Worker processes that replaced one that had ended.", namespace=PREFIX, registry=registry
)
workers_killed = Counter(
    "workers_killed",
    "Worker processes that were ended by force, by reason.",
    ("reason",),
    namespace=PREFIX,
    registry=registry,
)
build_info = Gauge("build_info", "Always 1; the version is a label.", ("version",), namespace=PREFIX, registry=registry)
