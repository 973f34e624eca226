"""What the settings of unknown credentials say against each other: their voucher, and where it can work at all."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from sidecar.config.address import is_loopback
from sidecar.config.model import Config
from sidecar.config.problem import Fault, Path
from sidecar.config.session_settings import BARE_PROFILES, TokenBinder


def unbound_contradictions(config: Config) -> Iterator[Fault]:
    """The voucher is a cookie of ours, and none of the app's."""
    session = config.session
    at: Path = ("session", "voucher", "cookie")
    name = session.voucher.cookie.lower()
    if name.startswith(("__host-", "__secure-")):
        yield Fault(at, "the prefix is put before the name by the sidecar", "the name alone")
    credentials = enumerate(session.credentials)
    taken: list[tuple[Path, str | None]] = [
        (("session", "credentials", index), credential.cookie) for index, credential in credentials
    ]
    taken += [
        (("session", "bind", index), binder.cookie)
        for index, binder in enumerate(session.bind)
        if isinstance(binder, TokenBinder)
    ]
    for path, cookie in taken:
        if cookie is not None and cookie.lower() in (name, f"__host-{name}"):
            yield Fault(at, "the name is that of a cookie of the app", "another name", also=path, involves=(at, path))


def unbound_warnings(config: Config) -> Iterator[Fault]:
    """Where unknown credentials are denied, and it does not work as most would expect."""
    session = config.session
    choices: list[tuple[Path, str | None]] = [(("session", "unbound"), session.unbound)]
    choices += [
        (("enforcement", "routes", index, "unbound"), route.unbound)
        for index, route in enumerate(config.enforcement.routes)
    ]
    path = next((path for path, choice in choices if choice == "deny"), None)
    if path is None:
        return
    url: Path = ("public_url",)
    host = urlsplit(config.public_url or "").hostname or ""
    if not (config.public_url or "").startswith("https://") and not is_loopback(host):
        what = "without https in public_url the voucher cookie has no __Host- prefix: another host can plant one"
        yield Fault(path, what, "public_url: https://...", also=url, involves=(path, url))
    names_no_cookie = BARE_PROFILES.issuperset(session.profile) and not any(each.cookie for each in session.credentials)
    if session.credentials and names_no_cookie:
        what = "no credential is a cookie: what the app gives out before a login is refused, and nobody can log in"
        yield Fault(path, what, "unbound: allow for the paths of the login")
