"""Files that are wrong: each fault is found, placed and explained."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.config.load import load, load_all
from sidecar.config.problem import ConfigErrors

if TYPE_CHECKING:
    from conftest import Problems

UPSTREAM = 'upstream: {url: "http://127.0.0.1:8080"}\n'
PROVIDERS = "providers: [{issuer: https://idp.example.com, client_id: app}]\n"
BIND = "session: {bind: [{from: token, cookie: id_token}]}\n"
GOOD = UPSTREAM + PROVIDERS + BIND


def test_a_minimal_file_is_enough(write: Callable[[str], str]) -> None:
    config = load(write(GOOD))
    assert config.providers[0].client_id == ("app",)
    assert config.session.max_age == 43200


SINGLE_FAULTS = [
    # text, line:column, path, words of the message
    ("listen: 4180", "4:9", "listen", "did you mean 0.0.0.0:4180?"),
    ("listen: host:99999", "4:9", "listen", "not a port"),
    ("listne: a:1", "4:1", "listne", "unknown key; expected one of control,"),
    ("listne: a:1", "4:1", "listne", "did you mean listen?"),
    ("login_url: /x", "4:1", "login_url", "did you mean enforcement.login_url?"),
    ("jwks-uri: x", "4:1", "jwks-uri", "did you mean providers[0].jwks_uri?"),
    ("ops:", "4:5", "ops", "section `ops` is empty; did the lines below lose their indent?"),
    ("ops:\n# listen: x", "4:5", "ops", "lose their indent"),
    ("trusted_proxies:", "4:17", "trusted_proxies", "lose their indent"),
    ("listen:", "4:8", "listen", "expected HOST:PORT"),
    ("ops: []", "4:6", "ops", "wrong type; expected a section of keys"),
    ("ops: text", "4:6", "ops", "wrong type; expected a section of keys"),
    ("trusted_proxies: 10.0.0.0/8", "4:18", "trusted_proxies", "wrong type; expected a list"),
    ("trusted_proxies: [10.0.0.1/8]", "4:19", "trusted_proxies[0]", "did you mean 10.0.0.0/8?"),
    ("trusted_proxies: [10.0.0.0/99]", "4:19", "trusted_proxies[0]", "not a network"),
    ("log: {access: yes}", "4:15", "log.access", "expected true or false; did you mean true?"),
    ('log: {access: "true"}', "4:15", "log.access", "expected true or false"),
    ("log: {access_sample: 10%}", "4:22", "log.access_sample", "expected a number"),
    ("log: {access_sample: 1.5}", "4:22", "log.access_sample", "not a share; expected a number from 0 to 1"),
    ("log: {access_sample: -0.1}", "4:22", "log.access_sample", "not a share"),
    ("log: {access_sample: .nan}", "4:22", "log.access_sample", "expected a number"),
    ("log: {access_sample: true}", "4:22", "log.access_sample", "expected a number"),
    ("log: {traceparent: always}", "4:20", "log.traceparent", "expected one of forward, create"),
    ("log: {level: warn}", "4:14", "log.level", "did you mean warning?"),
    ("log: {level: loud}", "4:14", "log.level", "expected one of debug, info, warning, error"),
    ("limits: {connections: 1.5}", "4:23", "limits.connections", "a whole number"),
    ("limits: {connections: true}", "4:23", "limits.connections", "a whole number"),
    ('limits: {connections: "7"}', "4:23", "limits.connections", "a whole number"),
    ("limits: {connections: 0}", "4:23", "limits.connections", "expected 1 to 1000000"),
    ("limits: {body_min_rate: 2MiB}", "4:25", "limits.body_min_rate", "out of bounds"),
    ("limits: {connections_per_peer: -1}", "4:32", "limits.connections_per_peer", "out of bounds"),
    ("limits: {head_bytes: 64KB}", "4:22", "limits.head_bytes", "did you mean KiB, MiB or GiB"),
    ("limits: {head_bytes: 10}", "4:22", "limits.head_bytes", "out of bounds"),
    ("limits: {head_timeout: 10}", "4:24", "limits.head_timeout", "did you mean 10s?"),
    ("limits: {head_timeout: 10sec}", "4:24", "limits.head_timeout", "not a duration"),
    ("limits: {head_timeout: 0s}", "4:24", "limits.head_timeout", "expected 10ms to 1d"),
    ("store: {url: mysql://x}", "4:14", "store.url", "not the URL of a store"),
    ("store: {url: sqlite://var/x}", "4:14", "store.url", "a slash is missing"),
    ("store: {namespace: 'a b'}", "4:20", "store.namespace", "not a usable namespace"),
    ("store: {on_stale: allow}", "4:19", "store.on_stale", "expected one of deny, fail_open"),
    ("control: {prefix: _sidecar}", "4:19", "control.prefix", "not a usable prefix"),
    ("control: {prefix: /_sidecar/}", "4:19", "control.prefix", "did you mean /_sidecar?"),
    ("control: {prefix: /}", "4:19", "control.prefix", "not a usable prefix"),
    ("control: {prefix: /a/../b}", "4:19", "control.prefix", "not a usable prefix"),
    ("enforcement: {login_url: //evil.example}", "4:26", "enforcement.login_url", "not a place to send a browser"),
    (
        "enforcement: {routes: [{path: /x}]}",
        "4:24",
        "enforcement.routes[0].action",
        "the key is missing; expected one of allow, reject, redirect, strip",
    ),
    ("enforcement: {routes: [{action: allow}]}", "4:24", "enforcement.routes[0].path", "the key is missing"),
    ("enforcement: {routes: [{path: x, action: allow}]}", "4:31", "enforcement.routes[0].path", "starts with a slash"),
    ("enforcement: {routes: [{path: /a/../b, action: allow}]}", "4:31", "enforcement.routes[0].path", "canonical"),
    ("enforcement: {routes: [{path: '/a?b', action: allow}]}", "4:31", "enforcement.routes[0].path", "cannot"),
    ("enforcement: {routes: [{path: /a, action: deny}]}", "4:43", "enforcement.routes[0].action", "allow, reject"),
    ("public_url: https://app.example.com/app", "4:13", "public_url", "only scheme, host and port"),
    ("public_url: app.example.com", "4:13", "public_url", "not an http or https URL"),
    ("public_url: !!str https://x", "4:13", "", "a YAML tag"),
    ("public_url: ${NOPE}", "4:13", "public_url", "the environment variable NOPE is not set"),
    ("log: {level: info}\nlog: {level: info}", "5:1", "log", "the key is here twice, first on line 4"),
    ("? [a]\n: b", "4:3", "", "a key is a list or a mapping"),
    ("<<: 5", "4:1", "", "<< merges something else than mappings"),
]


@pytest.mark.parametrize(("text", "place", "path", "words"), SINGLE_FAULTS)
def test_a_single_fault_is_found_where_it_is(
    problems: "Problems", text: str, place: str, path: str, words: str
) -> None:
    (problem,) = problems(f"{GOOD}{text}\n")
    assert f"{problem.mark.line}:{problem.mark.column}" == place
    assert problem.path == path
    assert words in problem.headline()


PROVIDER_FAULTS = [
    ("client_id: app", "the key is missing"),
    ("issuer: https://idp.example.com", "the key is missing"),
    ("issuer: idp.example.com, client_id: app", "not an http or https URL"),
    ("issuer: 'https://idp.example.com/?a=b', client_id: app", "an issuer has no query and no fragment"),
    ("issuer: 'https://idp.example.com/#a', client_id: app", "an issuer has no query and no fragment"),
    ("issuer: https://u:p@idp.example.com, client_id: app", "must not carry a user or a password"),
    ("issuer: https://idp.example.com, client_id: 12", "text, or a list of texts; put it in quotes"),
    ("issuer: https://idp.example.com, client_id: []", "the list is empty"),
    ("issuer: https://idp.example.com, client_id: ", "lose their indent"),
    ("issuer: https://idp.example.com, client_id: ''", "the text is empty"),
    ("issuer: https://idp.example.com, client_id: [a, 7]", "text; put it in quotes"),
    ("issuer: https://idp.example.com, client_id: app, algorithms: []", "the list is empty"),
    ("issuer: https://idp.example.com, client_id: app, algorithms: [none]", "unsigned tokens are never accepted"),
    ("issuer: https://idp.example.com, client_id: app, algorithms: [NONE]", "unsigned tokens are never accepted"),
    ("issuer: https://idp.example.com, client_id: app, algorithms: [RS265]", "did you mean RS256?"),
    ("issuer: https://idp.example.com, client_id: app, algorithms: RS256", "expected a list"),
    ("issuer: https://idp.example.com, client_id: app, client_secret: hunter2", "does not stand in the file itself"),
    ("issuer: https://idp.example.com, client_id: app, client_secret: {}", "the secret has no source"),
    ("issuer: https://idp.example.com, client_id: app, client_secret: {fil: /x}", "did you mean file?"),
    ("issuer: https://idp.example.com, client_id: app, logout_token: {unavailable_status: 500}", "one of 400, 503"),
    ("issuer: https://idp.example.com, client_id: app, logout_token: {leeway: 1h}", "expected 0s to 10m"),
    ("issuer: https://idp.example.com, client_id: app, logout_token: {max_age: 31d}", "expected 10s to 30d"),
    ("issuer: https://idp.example.com, client_id: app, logout_token: {jti_replay: maybe}", "accept, reject"),
]


@pytest.mark.parametrize(("provider", "words"), PROVIDER_FAULTS)
def test_a_fault_of_a_provider_is_found_once(problems: "Problems", provider: str, words: str) -> None:
    (problem,) = problems(f"{UPSTREAM}{BIND}providers:\n- {{{provider}}}\n")
    assert problem.mark.line == 4
    assert words in problem.headline()


SESSION_FAULTS = [
    (
        "bind: [{from: guess}]",
        "unknown binder; expected one of form_post, header, keycloak_code, token, token_endpoint",
    ),
    ("bind: [{from: formpost, callback: /cb}]", "did you mean form_post?"),
    ("bind: [{from: header, login_time: X-Since}]", "sid, sub or both"),
    ("bind: [{from: header, sid: X-Who, sub: x-who}]", "one header cannot be two things"),
    ("bind: [{from: header, sid: X-Sid, login_time: X-Sid}]", "one header cannot be two things"),
    ("bind: [{from: header, sid: Cookie}]", "a cookie is not named by its header"),
    ("credentials: [{cookie: a}], bind: [{from: form_post}]", "callback"),
    ("credentials: [{cookie: a}], bind: [{from: form_post, callback: /cb, success: {status: [99]}}]", "200 to 599"),
    (
        "credentials: [{cookie: a}], bind: [{from: keycloak_code, callback: /cb, success: {cookie: keep}}]",
        "did you mean kept?",
    ),
    ("credentials: [{cookie: a}], bind: [{from: token_endpoint, callback: /cb, unjoined: deny}]", "refuse"),
    ("bind: [{from: tokn, cookie: a}]", "did you mean token?"),
    ("bind: [{cookie: a}]", "the key `from` is missing; expected one of form_post, header, keycloak_code"),
    ("bind: [token]", "expected a section of keys"),
    ("bind: [{from: token, cookie: a}], credentials: [JSESSIONID]", "a section of keys: cookie, form_field, header"),
    ("bind: [{from: token, cookie: a}], voucher: off", "expected a section of keys: cookie, max_age"),
    ("bind: [null]", "section `session.bind[0]` is empty"),
    ("bind: {from: token, cookie: a}", "expected a list"),
    ("bind: [{from: token}]", "exactly one of cookie and header"),
    ("bind: [{from: token, cookie: a, header: b}]", "exactly one of cookie and header"),
    ("bind: [{from: token, cookie: 'a b'}]", "not a cookie name"),
    ("bind: [{from: token, header: Cookie}]", "did you mean cookie: NAME?"),
    ("bind: [{from: token, cokie: a}]", "did you mean cookie?"),
    ("bind: [{from: token_endpoint}], credentials: [{cookie: a}]", "the key is missing; expected Path of the app"),
    ("bind: [{from: token, cookie: a}], credentials: [{cookie: a, header: b}]", "a credential has one carrier"),
    ("bind: [{from: token, cookie: a}], credentials: [{}]", "a credential has one carrier"),
    ("bind: [{from: token, cookie: a}], credentials: [JSESSIONID]", "expected a section of keys"),
    ("bind: [{from: token, cookie: a}], credentials: [{path_parameter: 'a=b'}]", "not a parameter name"),
    ("bind: [{from: token, cookie: a}], credentials: [{path_segment: s}]", "one capital letter, such as S"),
    ("bind: [{from: token, cookie: a}], credentials: [{cookie: 'a*b*'}]", "one *, and letters beside it"),
    ("bind: [{from: token, cookie: a}], credentials: [{cookie: '*'}]", "one *, and letters beside it"),
    ("bind: [{from: token, cookie: a}], credentials: [{profile: php}]", "a credential has one carrier"),
    ("bind: [{from: token, cookie: a}], credentials: [{cookie: a, profile: pph}]", "did you mean php?"),
    ("bind: [{from: token, cookie: a}], profile: tomcta", "did you mean tomcat?"),
    ("bind: [{from: token, cookie: a}], profile: []", "the list is empty"),
    ("bind: [{from: token, cookie: a}], unbound: block", "expected one of allow, deny"),
    ("bind: [{from: token, cookie: a}], max_age: 0s", "out of bounds"),
]


@pytest.mark.parametrize(("session", "words"), SESSION_FAULTS)
def test_a_fault_of_the_session_is_found_once(problems: "Problems", session: str, words: str) -> None:
    (problem,) = problems(f"{UPSTREAM}{PROVIDERS}session:\n  {{{session}}}\n")
    assert problem.mark.line == 4
    assert words in problem.headline()


def test_every_fault_is_reported_at_once(problems: "Problems") -> None:
    text = """\
listen: 4180
publc_url: x
upstream: {}
providers:
  - isuer: https://idp.example.com
    client_id: app
    algorithms: [HS256]
session: {bind: [{from: guess}]}
enforcement: {action: redirect}
store: {fresh: 9s, grace: 3s, url: "${NOPE}"}
"""
    found = [(problem.mark.line, problem.path) for problem in problems(text)]
    assert found == [
        (1, "listen"),
        (2, "publc_url"),
        (3, "upstream.url"),
        (5, "providers[0].isuer"),
        (7, "providers[0].algorithms"),
        (8, "session.bind[0].from"),
        (9, "enforcement.action"),
        (10, "store.grace"),
        (10, "store.url"),
    ]


def test_a_misspelt_key_is_not_missing_as_well(problems: "Problems") -> None:
    (problem,) = problems(UPSTREAM.replace("url", "ulr") + PROVIDERS + BIND)
    assert (problem.path, problem.suggestion) == ("upstream.ulr", "url")


def test_a_problem_shows_its_line_and_column(problems: "Problems") -> None:
    (problem,) = problems(f"{GOOD}log:\n  levle: info\n")
    headline, line, caret = problem.render().splitlines()
    assert headline.endswith(
        "config.yaml:5:3: log.levle: unknown key; expected one of access, access_sample, format, level, traceparent; "
        "did you mean level?"
    )
    assert line == "     5 |   levle: info"
    assert caret == "       |   ^"


def test_a_duplicate_key_shows_both_lines(problems: "Problems") -> None:
    (problem,) = problems(f"{GOOD}log: {{level: info}}\n\nlog: {{level: debug}}\n")
    assert problem.frame == ((6, "log: {level: debug}"), (4, "log: {level: info}"))


# --- the file as a whole ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "1:1: the file is empty"),
        ("# nothing\n", "1:1: the file is empty"),
        ("---\n", "the file is empty"),
        ("- a\n- b\n", "1:1: wrong type; expected a mapping of settings"),
        ("just words", "expected a mapping of settings"),
        ("42", "expected a mapping of settings"),
        ("a: b: c", "1:5: broken YAML: mapping values are not allowed here"),
        ("a: [1, 2", "broken YAML"),
        ("a: 'x", "broken YAML"),
        ("a:\n\tb: c", "broken YAML"),
        ("a: *nope", "undefined alias"),
        ("a: {b: ${V}}", 'expected quotes around "${...}" inside [ ] and { }'),
        ("a: 1\n---\nb: 2", "broken YAML: expected a single document"),
        ("%YAML 9.9\n---\na: 1", "broken YAML"),
        (b"listen: \xff\n", "1:9: the file is not UTF-8 text"),
        (b"# \xc3\xa9\n# x\xc3\n", "2:4: the file is not UTF-8 text"),
        ("listen: a\x00b", "1:10: a character is not allowed in YAML"),
        ("# " + "x" * 300_000, "the file is too large"),
        ("a: " + "[" * 1000, "nested too deep"),
        ("a: " + "{a: " * 1000, "nested too deep"),
        ("\n".join("  " * depth + "a:" for depth in range(100)), "nested too deep"),
    ],
)
def test_a_broken_file_is_one_problem(problems: "Problems", text: str | bytes, words: str) -> None:
    (problem,) = problems(text)
    assert words in problem.headline()


def test_a_byte_order_mark_and_dos_line_ends_do_no_harm(problems: "Problems") -> None:
    assert problems(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()) == []


def _bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]" for n in range(1, levels)]
    return "\n".join(lines)


def _merge_bomb(levels: int) -> str:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [" + ", ".join([f"*a{n - 1}"] * 9) + "]}" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        _bomb(12),
        _merge_bomb(12),
        "a: &a [*a]",
        "a: &a {b: *a}",
        "a: &a {<<: *a}",
        "a: &a {<<: {<<: *a}}",
        "a: &a ${NOPE:-" + "x" * 8000 + "}\nb: [" + "*a," * 20_000 + "]",
    ],
)
def test_aliases_cannot_blow_up(problems: "Problems", text: str) -> None:
    (problem,) = problems(text)
    assert "expands to too many values" in problem.headline()


def test_anchors_and_merges_work_and_own_keys_win(write: Callable[[str], str]) -> None:
    text = f"""{UPSTREAM}{BIND}
providers:
  - &one
    issuer: https://one.example
    client_id: app
    logout_token: &rules {{leeway: 5s, max_age: 1h}}
  - <<: *one
    issuer: https://two.example
    logout_token: {{<<: *rules, leeway: 7s}}
"""
    one, two = load(write(text)).providers
    assert (two.issuer, two.client_id) == ("https://two.example", ("app",))
    assert (one.logout_token.leeway, two.logout_token.leeway, two.logout_token.max_age) == (5, 7, 3600)


def test_a_missing_file_is_one_line() -> None:
    with pytest.raises(ConfigErrors, match=r"/nonexistent/c.yaml:1:1: the file does not exist") as caught:
        load("/nonexistent/c.yaml")
    assert caught.value.reason == "config_invalid"


def test_a_directory_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="this is a directory"):
        load(str(tmp_path))


def test_a_name_with_a_nul_is_one_line() -> None:
    with pytest.raises(ConfigErrors, match="cannot be read"):
        load("a\0b")


def test_a_long_list_of_repetitions_is_one_problem_each(problems: "Problems") -> None:
    provider = "- {issuer: https://idp.example.com, client_id: app}\n"
    assert len(problems(f"{UPSTREAM}{BIND}providers:\n{provider * 1000}")) == 999


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_one_line(write: Callable[[str], str]) -> None:
    path = Path(write(GOOD))
    path.chmod(0)
    with pytest.raises(ConfigErrors, match="may not be read by this user"):
        load(str(path))


def test_a_file_that_fails_while_it_is_read_is_one_line() -> None:
    with pytest.raises(ConfigErrors, match="cannot be read: Input/output error"):
        load("/proc/self/mem")


def test_values_of_variables_are_never_shown(problems: "Problems") -> None:
    texts = ["listen", "public_url", "upstream", "providers", "trusted_proxies", "session", "log", "store"]
    for key in texts:
        for problem in problems(f"{GOOD}{key}2: x\n{key}: ${{V}}\n", {"V": "hunter2"}):
            assert "hunter2" not in problem.render()


@pytest.mark.parametrize(
    "text",
    [
        "store: {secret: hunter2}",
        "store: {secret: hunter2, nope: 1}",
        "store:\n  secret:\n    value: hunter2",
        "store:\n  secret:\n    hunter2",
        "store:\n  secret:\n    - hunter2",
        "store: {url: 'redis://:hunter2@'}",
        "store: {url: 'redis://me:hunter2@h:x'}",
        "store: {password: hunter2}",
        "store:\n  secret: 'hunter2",
        "clientsecret: hunter2",
        "upstream2: http://me:hunter2@app",
        "listen: 1\nstore: {nope: 1, secret: hunter2}",
        "logout: {after_app_logout: {strivacity: {client_credentials: hunter2}}}",
    ],
)
def test_secrets_in_the_file_are_masked(problems: "Problems", text: str) -> None:
    found = problems(f"{GOOD}{text}\n")
    assert found
    assert "hunter2" not in "".join(problem.render() + str(problem.as_json()) for problem in found)


@pytest.mark.parametrize(
    "text",
    [
        "session:\n  bind: [{from: token, cookie: a}]\n  credentials: [{cookies: JSESSIONID}]",
        "session:\n  bind: [{from: token, cookie: a}]\n  credentials: JSESSIONID",
        "session:\n  bind: [{from: token, cookie: a}]\n  credentials: [{cookie: a, header: b}]",
    ],
)
def test_what_only_sounds_secret_is_shown(problems: "Problems", text: str) -> None:
    (problem,) = problems(UPSTREAM + PROVIDERS + text)
    assert problem.frame[0][1] == text.splitlines()[-1]


YAML_PIECES = st.sampled_from(
    [
        *(
            "listen: ",
            "upstream:\n",
            "  url: ",
            "providers:\n",
            "- ",
            "issuer: ",
            "client_id: ",
            "session:\n",
            "  bind: ",
        ),
        *(
            "[",
            "]",
            "{",
            "}",
            ", ",
            "from: token",
            "null",
            "~",
            "&a ",
            "*a",
            "<<: ",
            "!x ",
            "${V}",
            "${",
            "'",
            '"',
            "\n",
        ),
        *(
            "  ",
            "1",
            "true",
            "10s",
            "http://h:1",
            "store: ",
            "secret: ",
            "file: /x",
            "env: V",
            "? ",
            ": ",
            "#",
            "|",
            ">",
        ),
    ]
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.lists(YAML_PIECES, max_size=25).map("".join), st.text(max_size=60)))
def test_no_text_breaks_the_loader(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes((GOOD + text).encode(errors="surrogatepass"))
    try:
        load_all(str(path), {"V": "v"})
        found = None
    except ConfigErrors as errors:
        found = errors.problems
    assert found is None or (found and all(problem.render() and problem.as_json() for problem in found))
