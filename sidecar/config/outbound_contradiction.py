"""The same as `contradiction.py` for what the sidecar does by itself after a logout."""

from collections.abc import Iterator

from sidecar.config.model import Config
from sidecar.config.problem import Fault, Path

_AFTER: Path = ("logout", "after_app_logout")


def outbound_contradictions(config: Config) -> Iterator[Fault]:
    """Everything of it that stops the sidecar from starting."""
    after = config.logout.after_app_logout
    if after.end_session.enabled:
        switch = (*_AFTER, "end_session", "enabled")
        yield from _after_app_logout(config, switch)
        if config.public_url is None:
            # The provider compares post_logout_redirect_uri with what was registered, byte by byte.
            what = "the provider has to know where to send the browser back to"
            yield Fault(switch, what, "public_url", involves=(switch, ("public_url",)))


def _after_app_logout(config: Config, switch: Path) -> Iterator[Fault]:
    if not config.logout.app_paths:
        paths: Path = ("logout", "app_paths")
        what = "nothing follows a logout that no path is known for"
        yield Fault(switch, what, "logout.app_paths, such as [/logout]", involves=(switch, paths))
    yield from _kept(config, switch)


def _kept(config: Config, switch: Path) -> Iterator[Fault]:
    """What keeps something of a login encrypts it; the key must not lie beside it."""
    if config.store.secret is None:
        secret: Path = ("store", "secret")
        what = "it keeps something of each login, and the key for it must not be in the store"
        yield Fault(switch, what, "store.secret: {file: PATH}", involves=(switch, secret))
