"""Which changes of a configuration a running process takes over: every key is sorted, and none by accident."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from sidecar.config.load import load_all
from sidecar.config.model import Config
from sidecar.config.reload import RELOADED, Change, compare, lasting, named
from sidecar.config.settings import Settings

Write = Callable[[str], str]

SECRETS = {"KEY": "sixteen bytes or more", "P": "x", "Q": "x"}
BASE = """\
upstream: {url: "http://127.0.0.1:8080"}
providers:
  - {issuer: "https://idp.example.com", client_id: app}
session: {bind: [{from: token, cookie: id_token}]}
"""


def changed(write: Write, old: str, new: str) -> tuple[list[str], list[str]]:
    """What is taken over, and what needs a restart."""
    found = compare(*(load_all(write(text), SECRETS).config for text in (old, new)))
    return named(found.taken_over), named(found.needs_restart)


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        ("", "enforcement: {action: strip}", ["enforcement.action"]),
        ("", "enforcement: {action: redirect, login_url: /in}", ["enforcement.action", "enforcement.login_url"]),
        ("", "enforcement: {routes: [{path: /a/*, action: allow}]}", ["enforcement.routes"]),
        (
            "enforcement: {routes: [{path: /a/*, action: allow}]}",
            "enforcement: {routes: [{path: /b/*, action: allow}]}",
            ["enforcement.routes[0].path"],
        ),
        ("", "logout: {app_paths: [/out]}", ["logout.app_paths"]),
        ("", "store: {on_stale: fail_open}", ["store.on_stale"]),
        ("", "limits: {head_timeout: 3s, body_bytes: 9}", ["limits.head_timeout", "limits.body_bytes"]),
        ("", "reload: {poll: null}", ["reload.poll"]),
        ("", "log: {level: debug, access: true}", ["log.level", "log.access"]),
    ],
)
def test_what_is_taken_over(write: Write, old: str, new: str, keys: list[str]) -> None:
    assert changed(write, BASE + old, BASE + new) == (keys, [])


@pytest.mark.parametrize(
    ("new", "keys"),
    [
        ("listen: 127.0.0.1:1", ["listen"]),
        ("workers: 2", ["workers"]),
        ("trusted_proxies: [10.0.0.0/8]", ["trusted_proxies"]),
        ("trusted_proxies: [127.0.0.0/8, '::1/128', 10.0.0.0/8]", ["trusted_proxies"]),
        ("store: {fresh: 1s}", ["store.fresh"]),
        ("store: {url: 'sqlite://'}", ["store.url"]),
        ("store: {secret: {env: KEY}}", ["store.secret"]),
        ("control: {prefix: /_other}", ["control.prefix"]),
        ("drain: {delay: 1s}", ["drain.delay"]),
        ("limits: {connections: 5}", ["limits.connections"]),
        ("log: {format: text}", ["log.format"]),
    ],
)
def test_what_needs_a_restart(write: Write, new: str, keys: list[str]) -> None:
    assert changed(write, BASE, BASE + new) == ([], keys)


@pytest.mark.parametrize(
    ("new", "reloaded", "restarted"),
    [
        ("client_id: [app, other]", ["providers[0].client_id"], []),
        ("client_id: app, algorithms: [ES256]", ["providers[0].algorithms"], []),
        ("client_id: app, logout_token: {leeway: 5s}", ["providers[0].logout_token.leeway"], []),
        ("client_id: app, jwks_uri: 'https://idp.example.com/keys'", [], ["providers[0].jwks_uri"]),
        ("client_id: app, name: idp", [], ["providers[0].name"]),
    ],
)
def test_the_rules_of_a_provider_are_taken_over_and_its_place_is_not(
    write: Write, new: str, reloaded: list[str], restarted: list[str]
) -> None:
    text = BASE.replace("client_id: app", new)
    assert changed(write, BASE, text) == (reloaded, restarted)


def test_another_provider_needs_a_restart(write: Write) -> None:
    more = BASE.replace("session:", "  - {issuer: 'https://other.example.com', client_id: app}\nsession:")
    assert changed(write, BASE, more) == ([], ["providers"])
    other = BASE.replace("https://idp.", "https://new.")
    assert changed(write, BASE, other) == ([], ["providers[0].issuer"])


def test_a_secret_is_what_its_file_holds_and_a_password_is_its_file(write: Write, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sixteen bytes or more")
    text = BASE + f"store: {{url: 'redis://h', secret: {{file: {tmp_path}/key}}, password: {{file: {tmp_path}/key}}}}"
    before = load_all(write(text), {})
    assert before.files == (str(tmp_path / "config.yaml"), str(tmp_path / "key"))
    assert compare(before.config, load_all(write(text), {}).config) == Change((), ())
    (tmp_path / "key").write_text("sixteen other bytes or more")
    assert named(compare(before.config, load_all(write(text), {}).config).needs_restart) == ["store.secret"]


def test_the_same_file_changes_nothing(write: Write) -> None:
    everything = BASE + "trusted_proxies: [10.0.0.0/8]\nstore: {url: 'redis://h/1', password: {env: P}}\n"
    first, second = (load_all(write(everything), {"P": "x"}).config for _ in range(2))
    assert compare(first, second) == Change((), ())


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        ("", "enforcement: {action: strip}", True),
        ("", "log: {level: debug}", True),
        ("log: {level: debug, format: text}", "log: {format: text}", True),
        ("store: {on_stale: fail_open}", "", True),
        ("", "log: {format: text}", False),
        ("store: {url: 'redis://one'}", "store: {url: 'redis://two'}", False),
        ("store: {url: 'redis://h', password: {env: P}}", "store: {url: 'redis://h', password: {env: Q}}", False),
        ("listen: 127.0.0.1:1", "listen: 127.0.0.1:2", False),
    ],
)
def test_the_lasting_part_differs_where_a_restart_is_needed(write: Write, old: str, new: str, is_same: bool) -> None:
    assert (lasts(write, BASE + old) == lasts(write, BASE + new)) == is_same


def lasts(write: Write, text: str) -> str:
    return lasting(text, load_all(write(text), SECRETS).config)


RELAYED = BASE.replace("{from: token, cookie: id_token}", "{from: token_endpoint, callback: /cb}").replace(
    "session: {", "session: {credentials: [{cookie: SID}], "
)
SECRET = "store: {secret: {env: KEY}}\npublic_url: https://app.example.com\n"
NOTIFIED = RELAYED + SECRET + "on_revoked: {notify_app: {path: /logout}}\n"
CHECKED = RELAYED + SECRET + "provider_check: {every: 5m, by: userinfo}\n"
SEVERAL = RELAYED + "workers: 2\n"
SWITCHED_ON = {
    "the app is told": (NOTIFIED, NOTIFIED + "enforcement: {mode: observe, action: strip}", "enforcement.mode"),
    "the provider is asked": (CHECKED, CHECKED.replace("client_id: app", "client_id: other"), "providers[0].client_id"),
    "the first key": (SEVERAL, SEVERAL.replace("bind: [", "bind: [{from: token, cookie: id_token}, "), "session.bind"),
}


@pytest.mark.parametrize(("old", "new", "key"), SWITCHED_ON.values(), ids=SWITCHED_ON)
def test_what_is_built_into_something_that_is_switched_on_needs_a_restart(
    write: Write, old: str, new: str, key: str
) -> None:
    assert changed(write, old, new)[1] == [key]
    assert lasts(write, old) != lasts(write, new)


def test_the_rest_of_it_is_taken_over_all_the_same(write: Write) -> None:
    strips = NOTIFIED + "enforcement: {action: strip}"
    assert changed(write, NOTIFIED, strips) == (["enforcement.action"], [])
    assert lasts(write, NOTIFIED) == lasts(write, strips)
    elsewhere = SEVERAL.replace("/cb", "/callback")
    assert changed(write, SEVERAL, elsewhere) == (["session.bind[0].callback"], [])
    assert lasts(write, SEVERAL) == lasts(write, elsewhere)


# What the list names exists: a key that was renamed would need a restart from then on, and nobody would notice.


def keys(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, info in model.model_fields.items():
        yield (*path, name)
        for inner in models(info.annotation):
            yield from keys(inner, (*path, name))


def models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for inner in get_args(annotation):
        yield from models(inner)


def test_every_key_that_is_taken_over_exists() -> None:
    assert set(keys(Config)) >= RELOADED


def test_a_page_counts_as_changed_when_its_file_has_changed(write: Write, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("{{title}}")
    path = write(f"{BASE}enforcement: {{page: {page}}}")
    before = load_all(path, {})
    assert str(page) in before.files  # looked at like the file of a secret
    assert compare(before.config, load_all(path, {}).config) == Change((), ())
    page.write_text("{{title}} {{detail}}")
    assert named(compare(before.config, load_all(path, {}).config).taken_over) == ["enforcement.page"]


def test_the_operations_page_sorts_the_same_keys() -> None:
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    table = page.partition("| taken over |")[2].partition("\n\n")[0]
    keys_of_rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    told = {tuple(word.replace("[]", "").split(".")) for cell in keys_of_rows for word in cell.split("`")[1::2]}
    assert told == RELOADED
