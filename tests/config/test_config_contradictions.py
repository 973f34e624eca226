"""Settings that contradict each other, and settings that are legal but worth a warning."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from sidecar.config.load import load_all

if TYPE_CHECKING:
    from conftest import Problems

UPSTREAM = "upstream: {url: http://127.0.0.1:8080}\n"
PROVIDERS = "providers: [{issuer: https://idp.example.com, client_id: app}]\n"
BIND = "session: {bind: [{from: token, cookie: id_token}]}\n"
GOOD = UPSTREAM + PROVIDERS + BIND
GOOD_LESS_PROVIDERS = f"{UPSTREAM}{BIND}providers: "
SECRET = "client_secret: {env: SECRET}"
ENVIRON = {"SECRET": "sixteen bytes or more"}


def _provider(keys: str) -> str:
    return f"{UPSTREAM}{BIND}providers: [{{client_id: app, {keys}}}]\n"


def _session(keys: str) -> str:
    return f"{UPSTREAM}{PROVIDERS}session: {{{keys}}}\n"


ISSUER = "issuer: https://idp.example.com"
TOKEN = "{from: token, cookie: id_token}"
END_SESSION = "logout: {after_app_logout: {end_session: {enabled: true"
SECRETS = "store: {secret: {env: SECRET}}\n"
TOKEN_ENDPOINT = "{from: token_endpoint, callback: /cb}"
KEYCLOAK = "{from: keycloak_code, callback: /cb}"
HEADER = "{from: header, sub: X-User, login_time: X-Since}"
CREDENTIALS = "credentials: [{cookie: a}]"


def _two_providers(bind: str) -> str:
    providers = f"providers: [{{{ISSUER}, client_id: [a, b]}}, {{issuer: https://two.example.com, client_id: c}}]\n"
    return f"{UPSTREAM}{providers}session: {{bind: [{bind}], {CREDENTIALS}}}\n"


NOTIFY = "on_revoked.notify_app"


def _notify(keys: str, *, credential: str = "cookie: s") -> str:
    session = f"credentials: [{{{credential}}}], bind: [{TOKEN_ENDPOINT}, {{from: token, cookie: i}}]"
    return _session(session) + SECRETS + f"on_revoked: {{notify_app: {{path: /logout, {keys}}}}}\n"


STRIVACITY = "logout.after_app_logout.strivacity"
FETCHED = "client_credentials: {token_url: https://t.example.com, client_id: x, client_secret: {env: SECRET}}"


def _strivacity(keys: str, *, url: str = "https://acme.example.com", providers: str = "") -> str:
    listed = f"providers: [{{issuer: https://idp.example.com, client_id: app}}, {providers}]\n"
    api = f"{{base_url: {url}, {keys}}}"
    return f"{UPSTREAM}{BIND}{SECRETS}{listed}logout: {{app_paths: [/x], after_app_logout: {{strivacity: {api}}}}}\n"


CONTRADICTIONS = [
    # text, path, words
    (_session("bind: []"), "session.bind", "no binder"),
    (UPSTREAM + PROVIDERS, "session.bind", "no binder"),
    (GOOD + "enforcement: {action: redirect}", "enforcement.action", "redirect needs login_url"),
    (
        GOOD + "enforcement: {routes: [{path: /x, action: redirect}]}",
        "enforcement.routes[0].action",
        "redirect needs login_url",
    ),
    (
        GOOD + "enforcement: {routes: [{path: /x, action: strip, login_url: /l}]}",
        "enforcement.routes[0].login_url",
        "strip never redirects",
    ),
    (
        GOOD + "enforcement: {routes: [{path: /x, action: allow}, {path: /x, methods: [GET], action: strip}]}",
        "enforcement.routes[1]",
        "the route never counts",
    ),
    (
        GOOD + "enforcement: {routes: [{path: /_sidecar/x, action: allow}]}",
        "enforcement.routes[0].path",
        "belongs to the sidecar",
    ),
    (GOOD + "logout: {app_paths: [/_sidecar/logout]}", "logout.app_paths[0]", "belongs to the sidecar"),
    (GOOD + "logout: {app_paths: [{path: /_sidecar/x}]}", "logout.app_paths[0]", "belongs to the sidecar"),
    (
        GOOD + SECRETS + "public_url: https://app.example.com\n" + END_SESSION + "}}}",
        "logout.after_app_logout.end_session.enabled",
        "nothing follows a logout that no path is known for",
    ),
    (
        GOOD + SECRETS + END_SESSION + "}}, app_paths: [/logout]}",
        "logout.after_app_logout.end_session.enabled",
        "where to send the browser back to",
    ),
    (
        GOOD + "public_url: https://app.example.com\n" + END_SESSION + "}}, app_paths: [/logout]}",
        "logout.after_app_logout.end_session.enabled",
        "must not be in the store",
    ),
    (_strivacity("token: {env: SECRET}"), f"{STRIVACITY}.base_url", "accounts are in an identity store"),
    (
        _strivacity(f"identity_store: c, {FETCHED}").replace(
            BIND, "session: {credentials: [{cookie: s}], bind: [{from: form_post, callback: /cb}]}\n"
        ),
        f"{STRIVACITY}.base_url",
        "account and session come from an ID token",
    ),
    (_strivacity("identity_store: c"), f"{STRIVACITY}.base_url", "the API takes one bearer token"),
    (
        _strivacity(f"identity_store: c, token: {{env: SECRET}}, {FETCHED}"),
        f"{STRIVACITY}.base_url",
        "the API takes one bearer token",
    ),
    (
        _strivacity("identity_store: c, client_credentials: {token_url: https://t.example.com, client_id: x}"),
        f"{STRIVACITY}.client_credentials.token_url",
        "the token endpoint wants a client_secret",
    ),
    (
        _strivacity(f"identity_store: c, issuer: https://other.example.com, {FETCHED}"),
        f"{STRIVACITY}.issuer",
        "no such provider",
    ),
    (
        _strivacity(f"identity_store: c, {FETCHED}", providers="{issuer: https://b.example.com, client_id: b}"),
        f"{STRIVACITY}.base_url",
        "of several providers",
    ),
    (
        _strivacity(f"identity_store: c, {FETCHED}", url="http://acme.example.com"),
        f"{STRIVACITY}.base_url",
        "http beyond loopback",
    ),
    (
        _strivacity(f"identity_store: c, {FETCHED}").replace("https://t.", "http://t."),
        f"{STRIVACITY}.client_credentials.token_url",
        "http beyond loopback",
    ),
    (
        GOOD + "logout: {after_app_logout: {strivacity: {identity_store: c}}}",
        f"{STRIVACITY}.identity_store",
        "means nothing without the API's address",
    ),
    (
        f"{UPSTREAM}{BIND}{SECRETS}public_url: https://app.example.com\n"
        "providers: [{issuer: https://idp.example.com, client_id: [a, b]}]\n" + END_SESSION + ", hint: none}}, "
        "app_paths: [/logout]}",
        "logout.after_app_logout.end_session.hint",
        "without a hint nobody knows",
    ),
    (
        _notify("").replace(f"{TOKEN_ENDPOINT}, ", ""),
        f"{NOTIFY}.path",
        "at a login that the sidecar sees",
    ),
    (_notify("", credential="header: X"), f"{NOTIFY}.path", "without a cookie there is nothing"),
    (_notify("").replace(SECRETS, ""), f"{NOTIFY}.path", "must not be in the store"),
    (_notify("csrf: {input: t}"), f"{NOTIFY}.csrf.input", "a token comes from a page"),
    (_notify("csrf: {path: /p}"), f"{NOTIFY}.csrf.path", "the token in one place"),
    (_notify("csrf: {path: /p, input: t, cookie: c}"), f"{NOTIFY}.csrf.path", "the token in one place"),
    (_notify("csrf: {path: /p, meta: t}"), f"{NOTIFY}.csrf.path", "where is the token to be sent"),
    (GOOD + "on_revoked: {notify_app: {csrf: {path: /p, input: t}}}", f"{NOTIFY}.csrf.path", "nothing calls the app"),
    (GOOD + SECRETS + "provider_check: {every: 5m}", "provider_check.every", "a login that goes through the relay"),
    (
        _session(f"credentials: [{{cookie: s}}], bind: [{TOKEN_ENDPOINT}]") + "provider_check: {every: 5m}",
        "provider_check.every",
        "must not be in the store",
    ),
    (_provider("issuer: http://idp.example.com"), "providers[0].issuer", "http beyond loopback"),
    (_provider("issuer: http://127.0.0.1.example.com"), "providers[0].issuer", "http beyond loopback"),
    (_provider(f"{ISSUER}, jwks_uri: http://idp.example.com/k"), "providers[0].jwks_uri", "http beyond loopback"),
    (_provider(f"{ISSUER}, internal_url: http://idp:8080"), "providers[0].internal_url", "http beyond loopback"),
    (GOOD + "public_url: http://app.example.com", "public_url", "http beyond loopback"),
    (
        _provider(f"{ISSUER}, jwks_uri: https://a/k, jwks_file: /k"),
        "providers[0].jwks_file",
        "keys come from one place",
    ),
    (_provider(f"{ISSUER}, algorithms: [HS256]"), "providers[0].algorithms", "HS256 needs the client's secret"),
    (
        f"{UPSTREAM}{BIND}providers: [{{{ISSUER}, client_id: a}}, {{{ISSUER}, client_id: b}}]",
        "providers[1].issuer",
        "two providers with the same issuer; expected each issuer once",
    ),
    (
        f"{GOOD_LESS_PROVIDERS}[{{{ISSUER}, client_id: a, name: n}}, {{issuer: https://b, client_id: b, name: n}}]",
        "providers[1].name",
        "two providers with the same name",
    ),
    (GOOD + "store: {fresh: 5s, grace: 3s}", "store.grace", "grace is shorter than fresh"),
    (GOOD + "store: {fresh: 2m}", "store.grace", "grace is shorter than fresh"),
    (GOOD + "store: {durability: {replicas: 1}}", "store.durability.replicas", "SQLite has no replicas"),
    (GOOD + "store: {confirm: all}", "store.confirm", "no other process can be waited for"),
    (GOOD + "store: {url: 'redis://h', confirm: all, on_stale: fail_open}", "store.on_stale", "breaks what"),
    (
        GOOD
        + "store: {url: 'redis://h', confirm: all}\n"
        + "enforcement: {routes: [{path: /x, action: reject, on_stale: fail_open}]}",
        "enforcement.routes[0].on_stale",
        "breaks what",
    ),
    (
        GOOD + "enforcement: {routes: [{path: /x, action: allow, on_stale: deny}]}",
        "enforcement.routes[0].on_stale",
        "forwards unjudged",
    ),
    (
        GOOD + "enforcement: {routes: [{path: /x, action: allow, unbound: deny}]}",
        "enforcement.routes[0].unbound",
        "forwards unjudged",
    ),
    (_session(f"bind: [{TOKEN}], voucher: {{cookie: ID_token}}"), "session.voucher.cookie", "a cookie of the app"),
    (
        _session(f"bind: [{TOKEN}], credentials: [{{cookie: __Host-a}}], voucher: {{cookie: a}}"),
        "session.voucher.cookie",
        "a cookie of the app",
    ),
    (_session(f"bind: [{TOKEN}], voucher: {{cookie: __Host-a}}"), "session.voucher.cookie", "by the sidecar"),
    (GOOD + "control: {relay_listen: 0.0.0.0:4183}", "control.relay_listen", "the relay listens beyond loopback"),
    (GOOD + "control: {relay_listen: host:4183}", "control.relay_listen", "the relay listens beyond loopback"),
    (GOOD + "ops: {listen: 0.0.0.0:4180}", "ops.listen", "two listeners on one address"),
    (GOOD + "ops: {listen: 127.0.0.1:4180}", "ops.listen", "two listeners on one address"),
    (GOOD + "control: {relay_listen: localhost:4181}", "control.relay_listen", "two listeners on one address"),
    (GOOD + "listen: unix:/a\nops: {listen: unix:/a}", "ops.listen", "two listeners on one address"),
    (GOOD + "listen: 127.0.0.1:8080", "upstream.url", "the sidecar would forward to itself"),
    (GOOD + "listen: 0.0.0.0:8080", "upstream.url", "the sidecar would forward to itself"),
    (_session(f"bind: [{TOKEN_ENDPOINT}]"), "session.bind[0]", "needs to know the app's credential"),
    (
        _session(f"bind: [{TOKEN_ENDPOINT}, {TOKEN_ENDPOINT}], credentials: [{{cookie: a}}]"),
        "session.bind[1]",
        "the same entry twice",
    ),
    (
        _session("bind: [{from: token, cookie: a}], credentials: [{cookie: a}, {cookie: a}]"),
        "session.credentials[1]",
        "the same entry twice",
    ),
    (_session(f"bind: [{KEYCLOAK}]"), "session.bind[0]", "needs to know the app's credential"),
    (_session("bind: [{from: form_post, callback: /cb}]"), "session.bind[0]", "needs to know the app's credential"),
    (
        _session(f"bind: [{{from: form_post, callback: /_sidecar/x}}], {CREDENTIALS}"),
        "session.bind[0].callback",
        "belongs to the sidecar",
    ),
    (
        _session(f"bind: [{TOKEN_ENDPOINT}, {{from: token_endpoint, callback: /x, unjoined: allow}}], {CREDENTIALS}"),
        "session.bind[1].unjoined",
        "one choice for all callbacks",
    ),
    (_two_providers(HEADER), "session.bind[0]", "does not say which provider"),
    (_two_providers(KEYCLOAK), "session.bind[0]", "does not say which provider"),
    (
        _two_providers(HEADER.replace("sub", "issuer: https://three.example.com, sub")),
        "session.bind[0].issuer",
        "no such provider",
    ),
    (_two_providers(HEADER.replace("sub", f"{ISSUER}, sub")), "session.bind[0]", "which it means; expected client_id"),
    (
        _two_providers(HEADER.replace("sub", f"{ISSUER}, client_id: c, sub")),
        "session.bind[0].client_id",
        "no such client",
    ),
    (_session(f"bind: [{HEADER}]") + "trusted_proxies: []", "session.bind[0]", "nobody is trusted"),
    (
        _session("bind: [{from: token_endpoint, callback: /_sidecar}], credentials: [{cookie: a}]"),
        "session.bind[0].callback",
        "belongs to the sidecar",
    ),
    (
        _session("bind: [{from: token, cookie: a}], profile: [php, tomcat], credentials: [{cookie: b}]"),
        "session.credentials[0]",
        "which one reads this credential?; expected profile: php, or another",
    ),
    (
        _session("bind: [{from: token, cookie: a}], profile: [php, php]"),
        "session.profile[1]",
        "the same entry twice",
    ),
    (GOOD + "store: {secret: {env: SHORT}}", "store.secret", "the secret is too short; expected at least 16 bytes"),
]


@pytest.mark.parametrize(("text", "path", "words"), CONTRADICTIONS)
def test_a_contradiction_is_found_once_with_its_line(problems: "Problems", text: str, path: str, words: str) -> None:
    (problem,) = problems(text, {"SHORT": "fifteen bytes .", **ENVIRON})
    assert problem.path == path
    assert words in problem.headline()
    assert problem.frame or path == "session.bind"


LEGAL = [
    GOOD + "store: {fresh: 1s, grace: 3s}",
    GOOD + "store: {fresh: 3s, grace: 3s}",
    GOOD + "store: {durability: {fsync: true}}",
    GOOD + "store: {url: 'redis://h', durability: {replicas: 2, fsync: true}, confirm: all}",
    GOOD + "enforcement: {routes: [{path: /x, action: reject, on_stale: fail_open}]}",
    _provider("issuer: http://idp.example.com, allow_http: true"),
    _provider("issuer: http://idp.example.com, allow_http: true") + "public_url: http://app.example.com",
    _provider("issuer: http://127.0.0.1:9000"),
    _provider("issuer: http://localhost:9000/realms/x"),
    _provider("issuer: 'http://[::1]:9000'"),
    _provider(f"{ISSUER}, jwks_uri: http://127.0.0.1:9000/keys"),
    _provider(f"{ISSUER}, jwks_file: /keys.json"),
    _provider(f"{ISSUER}, algorithms: [HS256], {SECRET}"),
    GOOD + "public_url: http://127.0.0.1:4180",
    _session(f"bind: [{TOKEN}], unbound: deny") + "public_url: http://127.0.0.1:4180",
    _session(f"bind: [{TOKEN}], credentials: [{{cookie: a}}], unbound: deny") + "public_url: https://app.test",
    GOOD + "enforcement: {routes: [{path: /x, action: reject, unbound: allow}]}",
    GOOD + "control: {relay_listen: unix:/run/relay.sock}",
    GOOD + "control: {relay_listen: '[::1]:4183'}",
    GOOD + "listen: 127.0.0.1:0\nops: {listen: 127.0.0.1:0}\ncontrol: {relay_listen: 127.0.0.1:0}",
    GOOD + "listen: 127.0.0.1:1\nops: {listen: '[::1]:1'}",
    GOOD + "enforcement: {action: redirect, login_url: /login}",
    GOOD + "enforcement: {login_url: /login, routes: [{path: /x, action: redirect}]}",
    GOOD + "enforcement: {routes: [{path: /x, methods: [GET], action: allow}, {path: /x, action: strip}]}",
    _session(f"bind: [{TOKEN_ENDPOINT}], credentials: [{{cookie: a}}]"),
    _session("bind: [{from: token, header: X-Token, audiences: [other]}]"),
    _session(f"bind: [{TOKEN_ENDPOINT}], profile: tomcat"),
    _session(f"bind: [{TOKEN_ENDPOINT}], profile: [php, tomcat], credentials: [{{cookie: b, profile: php}}]"),
]


@pytest.mark.parametrize("text", LEGAL)
def test_what_is_legal_is_accepted(problems: "Problems", text: str) -> None:
    assert [problem.headline() for problem in problems(text, ENVIRON)] == []


WARNINGS = [
    (GOOD + "store: {on_stale: fail_open}", "store.on_stale", "logged out may be served"),
    (
        GOOD + "enforcement: {routes: [{path: /x, action: reject, on_stale: fail_open}]}",
        "enforcement.routes[0].on_stale",
        "logged out may be served",
    ),
    (GOOD + "store: {url: 'sqlite://'}", "store.url", "in memory"),
    (GOOD + "store: {url: 'redis://h'}", "store.url", "whoever reads Redis can test guesses"),
    (GOOD + "trusted_proxies: [0.0.0.0/0]", "trusted_proxies[0]", "everybody may claim any address"),
    (_provider(f"{ISSUER}, {SECRET}"), "providers[0].client_secret", "client_secret is not used"),
    (_session(f"bind: [{TOKEN_ENDPOINT}], credentials: [{{header: a}}]"), "session.credentials", "stays unbound"),
    (
        _session(f"bind: [{TOKEN_ENDPOINT}], profile: rails"),
        "session.profile",
        "names its session cookie after the app",
    ),
    (_session(f"bind: [{TOKEN_ENDPOINT}], profile: laravel, credentials: [{{header: a}}]"), "session.profile", "after"),
    (GOOD + "enforcement: {routes: [{path: /*, action: allow}]}", "enforcement.routes[0]", "everything unjudged"),
    (GOOD + "enforcement: {mode: observe}", "enforcement.mode", "nothing is enforced"),
    (_session(f"bind: [{TOKEN}], unbound: deny"), "session.unbound", "another host can plant one"),
    (
        GOOD + "enforcement: {routes: [{path: /x, action: reject, unbound: deny}]}",
        "enforcement.routes[0].unbound",
        "another host can plant one",
    ),
    (
        _session(f"bind: [{TOKEN}], credentials: [{{header: a}}], unbound: deny") + "public_url: https://app.test",
        "session.unbound",
        "nobody can log in",
    ),
    (_session("bind: [{from: header, sid: X-Sid}]"), "session.bind[0]", "stays out until session.max_age"),
    (_session(f"bind: [{KEYCLOAK}], {CREDENTIALS}"), "session.bind[0]", "a logout that names no sid reaches nobody"),
    (
        _provider(f"{ISSUER}, jwks_file: /k").replace("bind: [", f"{CREDENTIALS}, bind: [{KEYCLOAK}, "),
        "session.bind[0]",
        "clock is unknown",
    ),
    (
        _provider(f"{ISSUER}, logout_token: {{sid_scope: subject}}").replace(
            "bind: [", f"{CREDENTIALS}, bind: [{KEYCLOAK}, "
        ),
        "providers[0].logout_token.sid_scope",
        "they have no sub",
    ),
    (GOOD + "limits: {connections: 5, connections_per_peer: 6}", "limits.connections_per_peer", "never reached"),
    (GOOD + "workers: 2\nstore: {fresh: 1s, grace: 2s}", "store.grace", "control process is restarted"),
    (GOOD + "log: {access_sample: 0.1}", "log.access_sample", "log.access is off"),
]


@pytest.mark.parametrize(("text", "path", "words"), WARNINGS)
def test_what_works_unlike_most_expect_is_a_warning(
    write: Callable[[str], str], text: str, path: str, words: str
) -> None:
    (warning,) = load_all(write(text), ENVIRON).warnings
    assert warning.path == path
    assert words in warning.headline()


def test_an_ordinary_file_has_no_warning(write: Callable[[str], str]) -> None:
    assert load_all(write(GOOD), {}).warnings == ()


@pytest.mark.parametrize(
    "text",
    [
        GOOD + "enforcement: {action: redirect, login_ulr: /login}",
        _provider(f"{ISSUER}, algorithms: [HS256], client_secret: {{env: NOPE}}"),
        _provider("issuer: http://idp.example.com, allow_http: yes"),
        GOOD + "store: {fresh: 5s, grace: 3 s}",
        _session("bind: [{from: tokn, cookie: a}]"),
    ],
)
def test_the_echo_of_a_fault_is_not_a_second_fault(problems: "Problems", text: str) -> None:
    assert len(problems(text)) == 1


def test_the_cookies_of_a_profile_can_begin_a_login(write: Callable[[str], str]) -> None:
    text = _session(f"bind: [{TOKEN}], profile: php, credentials: [{{header: a}}], unbound: deny")
    assert load_all(write(text + "public_url: https://app.test"), ENVIRON).warnings == ()
