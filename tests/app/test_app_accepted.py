"""What a pod runs by, as its processes hand it on. Supervisor and control process are this one process."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.app.accepted import Accepted
from sidecar.config.load import load_all
from sidecar.config.problem import ConfigErrors

TEXT = """\
upstream: {{url: "http://127.0.0.1:8080"}}
providers: [{{issuer: "https://idp.example.com", client_id: app}}]
session: {{bind: [{{from: token, cookie: id_token}}]}}
store: {{other_secrets: [{{file: {key}}}]}}
enforcement: {{action: {action}}}
"""


@pytest.fixture
def signals() -> Iterator[list[int]]:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: heard.append(number))
    yield heard
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text("a secret of sixteen bytes, or of more")
    path = tmp_path / "sidecar.yaml"
    path.write_text(TEXT.format(key=tmp_path / "key", action="reject"))
    return path


def test_what_was_published_is_what_everybody_takes(file: Path, tmp_path: Path, signals: list[int]) -> None:
    supervisor = Accepted(load_all(str(file)), tmp_path)
    control = Accepted(supervisor.current(), tmp_path)
    file.write_text(TEXT.format(key=tmp_path / "key", action="strip"))
    control.publish(load_all(str(file)))
    assert signals == [signal.SIGUSR1]
    assert supervisor.current().config.enforcement.action == "reject"  # it has not heard of it
    file.write_text("the operator has gone on writing")
    supervisor.note()
    taken = supervisor.current()
    assert taken.config.enforcement.action == "strip"
    assert taken.files == (str(file), str(tmp_path / "key"))  # where the next control process looks
    assert control.current().config.enforcement.action == "strip"


def test_nobody_starts_with_the_old_one_while_the_new_one_cannot_be_read(
    file: Path, tmp_path: Path, signals: list[int]
) -> None:
    supervisor = Accepted(load_all(str(file)), tmp_path)
    file.write_text(TEXT.format(key=tmp_path / "key", action="strip"))
    Accepted(supervisor.current(), tmp_path).publish(load_all(str(file)))
    (tmp_path / "key").rename(tmp_path / "gone")
    supervisor.note()
    with pytest.raises(ConfigErrors):
        supervisor.current()
    (tmp_path / "gone").rename(tmp_path / "key")
    assert supervisor.current().config.enforcement.action == "strip"
    assert signals


def test_what_a_control_process_wrote_and_told_nobody_of_is_undone_by_the_next(
    file: Path, tmp_path: Path, signals: list[int]
) -> None:
    supervisor = Accepted(load_all(str(file)), tmp_path)
    (tmp_path / "configuration").write_text(TEXT.format(key=tmp_path / "key", action="strip"))
    Accepted(supervisor.current(), tmp_path).restore()
    assert supervisor.take().config.enforcement.action == "reject"
    assert signals == []


def test_who_is_told_of_nothing_keeps_what_there_is(file: Path, tmp_path: Path) -> None:
    loaded = load_all(str(file))
    assert Accepted(loaded, tmp_path / "folder").take() is loaded


def test_the_file_holds_no_secret(file: Path, tmp_path: Path, signals: list[int]) -> None:
    Accepted(load_all(str(file)), tmp_path).publish(load_all(str(file)))
    assert "a secret of sixteen" not in (tmp_path / "configuration").read_text()
    assert signals
