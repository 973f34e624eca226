"""How to get into a Redis: what belongs together, what stands in two places, and passwords that change."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sidecar.config.load import load_all

if TYPE_CHECKING:
    from conftest import Problems

ENVIRON = {"PASSWORD": "hunter2", "OTHER": "hunter3"}
SENTINEL = "redis+sentinel://a/main"
PASSWORD = "password: {env: PASSWORD}"


def _store(keys: str) -> str:
    return f"store: {{{keys}}}\n"


@pytest.mark.parametrize(
    ("keys", "path", "words"),
    [
        (PASSWORD, "store.password", "a Redis in store.url"),
        (f"url: 'sqlite://', username: u, {PASSWORD}", "store.username", "a Redis in store.url"),
        ("url: 'redis://h', username: u", "store.username", "store.password"),
        ("url: 'redis://h', ca_file: /ca", "store.ca_file", "rediss://"),
        ("url: 'redis://h', client_certificate: /c", "store.client_certificate", "rediss://"),
        ("url: 'redis://h', client_key: /k", "store.client_key", "rediss://"),
        ("url: 'rediss://h', client_key: /k", "store.client_key", "store.client_certificate"),
        ("url: 'redis://h', sentinel_password: {env: OTHER}", "store.sentinel_password", "redis+sentinel://"),
        (f"url: '{SENTINEL}', sentinel_username: u", "store.sentinel_username", "store.sentinel_password"),
        (f"url: 'redis://:p@h', {PASSWORD}", "store.password", "also stands in store.url"),
        (f"url: 'redis://u@h', username: u, {PASSWORD}", "store.username", "also stands in store.url"),
        ("url: 'rediss://h?ssl_ca_certs=/a', ca_file: /b", "store.ca_file", "also stands in store.url"),
    ],
)
def test_a_setting_without_its_other_half_or_in_two_places_is_a_fault(
    problems: "Problems", base: str, keys: str, path: str, words: str
) -> None:
    found = problems(base + _store(keys), ENVIRON)

    assert path in [problem.path for problem in found]
    assert words in "".join(problem.render() for problem in found)
    assert "hunter" not in "".join(problem.render() for problem in found)


@pytest.mark.parametrize(
    "keys",
    [
        f"url: 'redis://h', {PASSWORD}",
        f"url: 'redis://u@h', {PASSWORD}",
        f"url: 'unix:///run/r.sock', username: u, {PASSWORD}",
        "url: 'redis://u:p@h/1'",
        "url: 'rediss://h', ca_file: /ca, client_certificate: /c, client_key: /k",
        f"url: '{SENTINEL}', username: u, {PASSWORD}, sentinel_username: s, sentinel_password: {{env: OTHER}}",
        "url: 'rediss+cluster://a,b:7000', ca_file: /ca",
    ],
)
def test_what_belongs_together_is_accepted(problems: "Problems", base: str, keys: str) -> None:
    assert problems(base + _store(keys), ENVIRON) == []


def test_a_password_in_the_url_is_warned_of(write: Callable[[str], str], base: str) -> None:
    loaded = load_all(write(base + _store("url: 'redis://:hunter2@h', secret: {env: SECRET}")), {"SECRET": "x" * 16})

    (warning,) = loaded.warnings
    assert "store.password" in warning.render()
    assert "hunter2" not in warning.render() + repr(loaded.config) + str(loaded.config)


def test_a_password_from_a_file_is_read_again_and_the_last_good_one_holds(
    write: Callable[[str], str], base: str, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    text = base + _store(f"url: 'redis://h', password: {{file: {file}}}")
    password = load_all(write(text), {}).config.store.password
    assert password is not None
    assert password.reveal() == b"first"

    file.write_text("second\n")
    assert password.reveal() == b"second"
    file.write_text("")
    assert password.reveal() == b"second"
    file.unlink()
    assert password.reveal() == b"second"
    assert "second" not in repr(password) + str(password)


def test_a_password_file_that_is_missing_at_the_start_is_a_fault(
    problems: "Problems", base: str, tmp_path: Path
) -> None:
    (problem,) = problems(base + _store(f"url: 'redis://h', password: {{file: {tmp_path}/none}}"))

    assert "does not exist" in problem.render()
