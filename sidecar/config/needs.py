"""What a configuration needs of every process that has a gate, by several settings taken together."""

from sidecar.config.model import Config
from sidecar.config.session_settings import FormPostBinder, KeycloakCodeBinder, TokenBinder


def needs_provider(config: Config) -> bool:
    """Whether requests of browsers are read with what a provider says: its keys, its clock."""
    return any(isinstance(each, TokenBinder | FormPostBinder | KeycloakCodeBinder) for each in config.session.bind)


def needs_metadata(config: Config) -> bool:
    """Whether a process that has a gate has to know what the providers publish."""
    return config.logout.after_app_logout.end_session.enabled or config.provider_check.every is not None
