"""Secrets come from files and variables, once, and never show themselves."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sidecar.config.load import load_all
from sidecar.config.secret import Secret

if TYPE_CHECKING:
    from conftest import Problems

VALUE = "correct horse battery"


@pytest.fixture
def with_secret(base: str) -> Callable[[str], str]:
    return lambda secret: f"{base}store: {{secret: {secret}}}\n"


def _secret(path: str, environ: dict[str, str] | None = None) -> bytes:
    secret = load_all(path, environ or {}).config.store.secret
    assert secret is not None
    return secret.reveal()


@pytest.mark.parametrize("content", [VALUE, f"{VALUE}\n", f"{VALUE}\r\n", f"{VALUE}\n\n"])
def test_a_file_is_read_and_line_ends_are_trimmed(
    write: Callable[[str], str], with_secret: Callable[[str], str], tmp_path: Path, content: str
) -> None:
    (tmp_path / "secret").write_bytes(content.encode())
    assert _secret(write(with_secret(f"{{file: {tmp_path}/secret}}"))) == VALUE.encode()


def test_blanks_and_bytes_inside_a_secret_are_kept(
    write: Callable[[str], str], with_secret: Callable[[str], str], tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b" \xff\x00" + b"x" * 16 + b" \n")
    assert _secret(write(with_secret(f"{{file: {tmp_path}/secret}}"))) == b" \xff\x00" + b"x" * 16 + b" "


def test_a_variable_is_read(write: Callable[[str], str], with_secret: Callable[[str], str]) -> None:
    assert _secret(write(with_secret("{env: KEY}")), {"KEY": VALUE}) == VALUE.encode()


def test_the_path_may_come_from_a_variable(
    write: Callable[[str], str], with_secret: Callable[[str], str], tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(VALUE)
    assert _secret(write(with_secret('{file: "${DIR}/secret"}')), {"DIR": str(tmp_path)}) == VALUE.encode()


@pytest.mark.parametrize(
    ("secret", "path", "words"),
    [
        ("{file: /nonexistent}", "store.secret.file", "the secret file does not exist"),
        ("{file: /}", "store.secret.file", "the secret file is a directory"),
        ("{file: /dev/null}", "store.secret.file", "the secret file is empty"),
        ("{file: /dev/zero}", "store.secret.file", "the secret file is too large"),
        ("{file: /proc/self/mem}", "store.secret.file", "the secret file cannot be read: Input/output error"),
        ("{file: ''}", "store.secret.file", "not a file name"),
        ("{env: NOPE}", "store.secret.env", "the environment variable is not set or empty"),
        ("{env: EMPTY}", "store.secret.env", "the environment variable is not set or empty"),
        ("{env: 'a b'}", "store.secret.env", "not the name of a variable"),
        ("{file: /proc/version, env: X}", "store.secret.env", "one source, not both file and env"),
        ("{}", "store.secret", "the secret has no source"),
        ("{file: null}", "store.secret", "the secret has no source"),
        ("hunter2", "store.secret", "a secret does not stand in the file itself"),
        ("12345", "store.secret", "a secret does not stand in the file itself"),
        ("[a]", "store.secret", "expected a section of keys"),
        ("{value: x}", "store.secret.value", "unknown key; expected one of env, file"),
    ],
)
def test_a_secret_that_cannot_be_had_is_an_error_with_its_line(
    problems: "Problems", with_secret: Callable[[str], str], secret: str, path: str, words: str
) -> None:
    (problem,) = problems(with_secret(secret), {"EMPTY": ""})
    assert problem.path == path
    assert words in problem.headline()
    assert problem.mark.line == 7


def test_a_secret_never_shows_itself(write: Callable[[str], str], with_secret: Callable[[str], str]) -> None:
    config = load_all(write(with_secret("{env: KEY}")), {"KEY": VALUE}).config
    shown = repr(config) + str(config) + config.model_dump_json() + repr(config.store.secret) + f"{config.store.secret}"
    assert VALUE not in shown
    assert "***" in shown


def test_a_secret_cannot_be_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret(b"x"))
