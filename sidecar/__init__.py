"""logout-sidecar: OpenID Connect back-channel logout for applications that cannot be changed."""

__version__ = "0.1.0"
