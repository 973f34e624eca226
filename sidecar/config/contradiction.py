"""What settings say against each other: each alone is fine, together they cannot be meant.

One generator a subject. A check names every setting that it looked at (`involves`), so that the loader can leave out
the echo of a fault that it has reported already. Warnings are for what works, but not as most would expect.
"""

from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations

from sidecar.config.address import Address, TcpAddress, UnixAddress, is_loopback
from sidecar.config.binder_contradiction import binder_contradictions, binder_warnings
from sidecar.config.model import Config
from sidecar.config.outbound_contradiction import outbound_contradictions
from sidecar.config.plain_http import plain_http
from sidecar.config.problem import Fault, Path
from sidecar.config.provider_settings import ProviderSettings
from sidecar.config.receiver_contradiction import receiver_faults, receiver_warnings
from sidecar.config.repetition import duplicates
from sidecar.config.session_settings import BARE_PROFILES, Learned, Route
from sidecar.config.store_settings import StoreSettings
from sidecar.config.unbound_contradiction import unbound_contradictions, unbound_warnings

_STORE_URL: Path = ("store", "url")
_CONTROL_RESTART_S = 3.0
_NAMED_BY_APP = {"rails": "_APP_session", "laravel": "APP_session"}
_WILDCARDS = {"0.0.0.0": 4, "::": 6}  # noqa: S104 - compared with, not bound to


def contradictions(config: Config) -> Iterator[Fault]:
    """Everything that stops the sidecar from starting."""
    yield from _addresses(config)
    yield from _listener(config)
    yield from _providers(config)
    for index, provider in enumerate(config.providers):
        yield from _provider(provider, ("providers", index))
    yield from _public_url(config)
    yield from receiver_faults(config)
    yield from _session(config)
    yield from unbound_contradictions(config)
    yield from _enforcement(config)
    yield from _store(config)
    yield from outbound_contradictions(config)


def warnings(config: Config) -> Iterator[Fault]:
    """Everything that an operator should know and may well intend."""
    for index, peer in enumerate(config.trusted_proxies):
        if peer != "unix" and peer.prefixlen == 0:
            yield Fault(("trusted_proxies", index), "everybody may claim any address in X-Forwarded-For")
    yield from _listener_warnings(config)
    yield from _idle_secrets(config)
    yield from _store_warnings(config)
    yield from _worker_warnings(config)
    yield from receiver_warnings(config)
    if config.limits.connections_per_peer > config.limits.connections:
        yield Fault(("limits", "connections_per_peer"), "connections_per_peer is never reached: connections is smaller")
    yield from _coverage_warnings(config)
    yield from unbound_warnings(config)
    if config.enforcement.mode == "observe":
        yield Fault(("enforcement", "mode"), "nothing is enforced: logouts are recorded, and no session is ended")
    yield from binder_warnings(config)
    if config.log.access_sample < 1 and not config.log.access:
        yield Fault(("log", "access_sample"), "access_sample is not used: log.access is off")


# --- addresses ---


def _addresses(config: Config) -> Iterator[Fault]:
    relay = config.control.relay_listen
    relay_path: Path = ("control", "relay_listen")
    if isinstance(relay, TcpAddress) and not is_loopback(relay.host):
        # Codes and client secrets pass it, and whoever reaches it can redeem codes.
        yield Fault(relay_path, "the relay listens beyond loopback", "127.0.0.1:PORT, [::1]:PORT or unix:/path")
    listeners: list[tuple[Path, Address]] = [
        (("listen",), config.listen),
        (("ops", "listen"), config.ops.listen),
        (relay_path, relay),
    ]
    for (also, first), (path, second) in combinations(listeners, 2):
        if _collide(first, second):
            yield Fault(path, "two listeners on one address", "another port", also=also, involves=(also, path))
    for path, listener in listeners:
        if _reaches(config.upstream.url.address, listener):
            url: Path = ("upstream", "url")
            what = "the sidecar would forward to itself"
            yield Fault(url, what, "the address of the app", also=path, involves=(path, url))


def _collide(first: Address, second: Address) -> bool:
    if isinstance(first, UnixAddress) or isinstance(second, UnixAddress):
        return first == second
    if first.port != second.port or first.port == 0:  # 0: the system chooses, never the same twice
        return False
    hosts = {first.host, second.host}
    if "::" in hosts:  # takes IPv4 as well
        return True
    same_family = (":" in first.host) == (":" in second.host)
    return len(hosts) == 1 or "localhost" in hosts or (same_family and bool(hosts & _WILDCARDS.keys()))


def _listener(config: Config) -> Iterator[Fault]:
    at: Path = ("tls",)
    pair = ((*at, "certificate"), (*at, "key"))
    if bool(config.tls.certificate) != bool(config.tls.key):
        given, missing = ("certificate", "key") if config.tls.certificate else ("key", "certificate")
        yield Fault((*at, given), "a certificate and its key come together", f"tls.{missing}", involves=pair)
    if config.tls.client_ca and not config.tls.certificate:
        involved = ((*at, "client_ca"), pair[0])
        yield Fault((*at, "client_ca"), "without TLS nobody shows a certificate", "tls.certificate", involves=involved)
    mode: Path = ("listen_mode",)
    if config.listen_mode is not None and isinstance(config.listen, TcpAddress):
        yield Fault(mode, "only a Unix socket has permissions", "listen: unix:/path", involves=(mode, ("listen",)))
    if config.proxy_protocol and not config.trusted_proxies:
        # Whoever is not trusted is not asked for the header, and is refused without it.
        switch: Path = ("proxy_protocol",)
        what = "every connection would be refused: no balancer is trusted"
        involved = (switch, ("trusted_proxies",))
        yield Fault(switch, what, "trusted_proxies with the balancer's network", involves=involved)


def _reaches(target: Address, listener: Address) -> bool:
    if isinstance(target, UnixAddress) or isinstance(listener, UnixAddress):
        return target == listener
    local = listener.host == target.host or (listener.host in _WILDCARDS and is_loopback(target.host))
    return local and target.port == listener.port


# --- providers ---


def _providers(config: Config) -> Iterator[Fault]:
    advice = {"issuer": "each issuer once; several clients are a list in client_id", "name": "a name of its own"}
    for key, expected in advice.items():
        for first, second in duplicates([getattr(provider, key) for provider in config.providers]):
            at: Path = ("providers", second, key)
            also: Path = ("providers", first, key)
            yield Fault(at, f"two providers with the same {key}", expected, also=also, involves=(at, also))


def _provider(provider: ProviderSettings, path: Path) -> Iterator[Fault]:
    if provider.jwks_uri and provider.jwks_file:
        yield Fault((*path, "jwks_file"), "keys come from one place", "jwks_uri or jwks_file", also=(*path, "jwks_uri"))
    symmetric = [name for name in provider.algorithms if name.startswith("HS")]
    if symmetric and provider.client_secret is None:
        involved = ((*path, "client_secret"), (*path, "algorithms"))
        what = f"{symmetric[0]} needs the client's secret"
        yield Fault((*path, "algorithms"), what, "client_secret: {file: PATH}", involves=involved)
    if not provider.allow_http:
        for key in ("issuer", "internal_url", "jwks_uri"):
            yield from plain_http(getattr(provider, key), (*path, key), (*path, "allow_http"))


def _public_url(config: Config) -> Iterator[Fault]:
    if not any(provider.allow_http for provider in config.providers):
        yield from plain_http(config.public_url, ("public_url",), ("providers",))


# --- sessions and enforcement ---


def _session(config: Config) -> Iterator[Fault]:
    session = config.session
    if not session.bind:
        what = "no binder: no session could ever be logged out"
        yield Fault(("session", "bind"), what, "at least one, such as {from: token_endpoint, callback: PATH}")
    yield from _repeated(session.profile, ("session", "profile"))
    yield from _repeated(session.credentials, ("session", "credentials"))
    yield from _unread(config)
    yield from _repeated(session.bind, ("session", "bind"))
    yield from binder_contradictions(config)
    for index, binder in enumerate(session.bind):
        path: Path = ("session", "bind", index)
        if isinstance(binder, Learned):
            if not session.names_a_credential:
                what = "the binder needs to know the app's credential"
                involved = (path, ("session", "credentials"), ("session", "profile"))
                expected = "session.profile, or session.credentials, such as [{cookie: JSESSIONID}]"
                yield Fault(path, what, expected, involves=involved)
            yield from _outside_prefix(config, binder.callback, (*path, "callback"))


def _unread(config: Config) -> Iterator[Fault]:
    """With several profiles, an entry says which of them reads its values."""
    profiles: Path = ("session", "profile")
    if len(config.session.profile) == 1:
        return
    for index, credential in enumerate(config.session.credentials):
        if credential.profile is None:
            path: Path = ("session", "credentials", index)
            expected = f"profile: {config.session.profile[0]}, or another"
            what = "there are several profiles: which one reads this credential?"
            yield Fault(path, what, expected, also=profiles, involves=(path, profiles))


def _repeated(entries: Sequence[Hashable], path: Path) -> Iterator[Fault]:
    for first, second in duplicates(entries):
        yield Fault((*path, second), "the same entry twice", also=(*path, first))


def _outside_prefix(config: Config, pattern: str, path: Path) -> Iterator[Fault]:
    prefix = config.control.prefix
    if pattern == prefix or pattern.startswith(f"{prefix}/"):
        involved = (path, ("control", "prefix"))
        yield Fault(path, "the path belongs to the sidecar (control.prefix)", "a path of the app", involves=involved)


def _enforcement(config: Config) -> Iterator[Fault]:
    rules = config.enforcement
    at: Path = ("enforcement",)
    login: Path = (*at, "login_url")
    if rules.action == "redirect" and rules.login_url is None:
        involved = (login, (*at, "action"))
        yield Fault((*at, "action"), "redirect needs login_url", "enforcement.login_url: /login", involves=involved)
    for index, route in enumerate(rules.routes):
        path: Path = (*at, "routes", index)
        if route.action == "redirect" and route.login_url is None and rules.login_url is None:
            involved = (login, (*path, "login_url"))
            yield Fault((*path, "action"), "redirect needs login_url", "login_url, here or above", involves=involved)
        if route.action == "allow" and route.on_stale is not None:
            stale: Path = (*path, "on_stale")
            what = "allow forwards unjudged, however old the replica is"
            yield Fault(stale, what, "on_stale only beside another action", involves=(stale, (*path, "action")))
        if route.action == "allow" and route.unbound is not None:
            unbound: Path = (*path, "unbound")
            what = "allow forwards unjudged, known or not"
            yield Fault(unbound, what, "unbound only beside another action", involves=(unbound, (*path, "action")))
        if route.action != "redirect" and route.login_url is not None:
            yield Fault((*path, "login_url"), f"{route.action} never redirects", "login_url only beside redirect")
        yield from _outside_prefix(config, route.path, (*path, "path"))
    yield from _hidden_routes(rules.routes)
    for index, app_path in enumerate(config.logout.app_paths):
        yield from _outside_prefix(config, app_path.path, ("logout", "app_paths", index))


def _hidden_routes(routes: tuple[Route, ...]) -> Iterator[Fault]:
    at: Path = ("enforcement", "routes")
    first: dict[str, int] = {}  # path to the route that takes all its methods
    for index, route in enumerate(routes):
        if route.path in first:
            what = "the route never counts: an earlier one takes all that it matches"
            yield Fault((*at, index), what, also=(*at, first[route.path]))
        elif not route.methods:
            first[route.path] = index


def _store(config: Config) -> Iterator[Fault]:
    if config.store.grace < config.store.fresh:
        fresh: Path = ("store", "fresh")
        grace: Path = ("store", "grace")
        yield Fault(grace, "grace is shorter than fresh", "at least fresh", also=fresh, involves=(fresh, grace))
    yield from _store_needs(config.store)
    yield from _store_twice(config.store)
    yield from _confirmation(config)


def _store_needs(store: StoreSettings) -> Iterator[Fault]:
    """Settings of the store that another one gives a meaning to."""
    redis = store.url.redis
    is_tls = redis is not None and redis.tls
    is_watched = redis is not None and redis.kind == "sentinel"
    for keys, is_met, needed in (
        (("username", "password"), redis is not None, "a Redis in store.url"),
        (("ca_file", "client_certificate", "client_key"), is_tls, "rediss:// in store.url"),
        (("sentinel_username", "sentinel_password"), is_watched, "redis+sentinel:// in store.url"),
        (("username",), redis is None or store.password or redis.password, "store.password"),
        (("sentinel_username",), not is_watched or store.sentinel_password, "store.sentinel_password"),
        (("client_key",), not is_tls or store.client_certificate, "store.client_certificate"),
    ):
        for key in keys:
            if getattr(store, key) is not None and not is_met:
                path: Path = ("store", key)
                yield Fault(path, f"{key} means nothing without another setting", needed, involves=(path, _STORE_URL))


def _confirmation(config: Config) -> Iterator[Fault]:
    at: Path = ("store", "confirm")
    if config.store.url.redis is None and config.store.durability.replicas:
        replicas: Path = ("store", "durability", "replicas")
        what = "SQLite has no replicas, and every logout is on the disk"
        yield Fault(replicas, what, "a Redis in store.url", involves=(replicas, _STORE_URL))
    if config.store.confirm == "local":
        return
    if config.store.url.redis is None:
        # Processes on one file find each other's entries by looking, and cannot be told that somebody waits.
        what = "with SQLite no other process can be waited for"
        yield Fault(at, what, "local, or a Redis in store.url", involves=(at, _STORE_URL))
    routes = enumerate(config.enforcement.routes)
    choices: list[tuple[Path, str | None]] = [(("store", "on_stale"), config.store.on_stale)]
    choices += [(("enforcement", "routes", index, "on_stale"), route.on_stale) for index, route in routes]
    for path, choice in choices:
        if choice == "fail_open":
            # A replica that fails open never stops serving, so that no other one could ever rely on it.
            what = "fail_open breaks what store.confirm: all promises"
            yield Fault(path, what, "deny, or store.confirm: local", also=at, involves=(path, at))


def _store_twice(store: StoreSettings) -> Iterator[Fault]:
    """What stands in the URL as well."""
    redis = store.url.redis
    if redis is None:
        return
    in_url = {"username": redis.username, "password": redis.password, "ca_file": redis.ca_file}
    in_url |= {"client_certificate": redis.certificate, "client_key": redis.key}
    for key, value in in_url.items():
        if value is not None and getattr(store, key) is not None:
            path: Path = ("store", key)
            yield Fault(
                path, f"{key} also stands in store.url", "one place", also=_STORE_URL, involves=(path, _STORE_URL)
            )


# --- warnings ---


def _listener_warnings(config: Config) -> Iterator[Fault]:
    if isinstance(config.listen, UnixAddress) and "unix" not in config.trusted_proxies:
        refused = "every connection is refused" if config.proxy_protocol else "the proxy before it is not believed"
        what = f"listen is a Unix socket and trusted_proxies has no unix: {refused}"
        yield Fault(("trusted_proxies",), what, "unix among trusted_proxies")


def _idle_secrets(config: Config) -> Iterator[Fault]:
    for index, provider in enumerate(config.providers):
        is_used = config.provider_check.every is not None or any(name.startswith("HS") for name in provider.algorithms)
        if provider.client_secret is not None and not is_used:
            what = "client_secret is not used: no HS256, HS384 or HS512 in algorithms, and no provider_check"
            yield Fault(("providers", index, "client_secret"), what)


def _store_warnings(config: Config) -> Iterator[Fault]:
    store = config.store
    open_routes = [index for index, route in enumerate(config.enforcement.routes) if route.on_stale == "fail_open"]
    risks: list[Path] = [("store", "on_stale")] if store.on_stale == "fail_open" else []
    for path in risks + [("enforcement", "routes", index, "on_stale") for index in open_routes]:
        yield Fault(path, "while the store is away, sessions that were logged out may be served")
    if store.url.kind == "sqlite" and store.url.path is None:
        yield Fault(("store", "url"), "the store is in memory: a restart forgets every logout")
    if store.url.kind == "redis" and store.secret is None:
        what = "without store.secret its key is kept in Redis: whoever reads Redis can test guesses"
        yield Fault(("store", "url"), what, "store.secret: {file: PATH}")
    if store.url.redis is not None and store.url.redis.password is not None:
        yield Fault(_STORE_URL, "a password in a URL cannot be rotated, and is seen", "store.password: {file: PATH}")


def _worker_warnings(config: Config) -> Iterator[Fault]:
    if config.workers > 1 and config.store.grace < _CONTROL_RESTART_S:
        what = "workers refuse bound sessions while the control process is restarted: grace is too short for it"
        yield Fault(("store", "grace"), what, f"{_CONTROL_RESTART_S:g}s or more", also=("workers",))


def _coverage_warnings(config: Config) -> Iterator[Fault]:
    session = config.session
    is_learned = all(isinstance(binder, Learned) for binder in session.bind)
    names_cookies = any(credential.cookie for credential in session.credentials)
    if is_learned and not names_cookies and BARE_PROFILES.issuperset(session.profile):
        what = "no credential is a cookie: a session that the app starts in Set-Cookie stays unbound"
        yield Fault(("session", "credentials"), what)
    for profile, expected in _NAMED_BY_APP.items():
        if profile in session.profile and not names_cookies:
            what = f"{profile} names its session cookie after the app, and no cookie is declared"
            yield Fault(("session", "profile"), what, f"session.credentials: [{{cookie: {expected}}}]")
    for index, route in enumerate(config.enforcement.routes):
        if route.action == "allow" and route.path in {"/*", "*"} and not route.methods:
            yield Fault(("enforcement", "routes", index), "this route forwards everything unjudged")
