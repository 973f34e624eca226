"""What an operator sees when the sidecar cannot start: one clear line, no traceback, an exit code that is not 0."""

import os
import re
import socket
from pathlib import Path

import pytest
from bench_stack import Cast, Sidecar


@pytest.fixture
def sidecar(tmp_path: Path) -> Sidecar:
    return Cast(tmp_path).sidecar


def failure(sidecar: Sidecar) -> tuple[int, str]:
    """Start it, expect it to end by itself; exit code and output."""
    with sidecar:
        code = sidecar.wait(within=10)
    return code, sidecar.output()


def expect_one_line(sidecar: Sidecar, about: str) -> None:
    """What the machine refuses: one line."""
    code, output = failure(sidecar)
    assert code not in {0, 78}
    assert "Traceback" not in output
    assert len([line for line in output.splitlines() if about in line]) == 1, output
    assert len(output.splitlines()) <= 2, output


def expect_config_error(sidecar: Sidecar, about: str) -> None:
    """What the file has wrong: where, what was expected, and the line itself."""
    code, output = failure(sidecar)
    assert code == 78
    assert "Traceback" not in output
    assert re.match(rf"{re.escape(str(sidecar.path))}:\d+:\d+: ", output)
    assert about in output
    assert output.splitlines()[-1] == "1 error"


@pytest.mark.parametrize("key", ["listen", "ops.listen", "control.relay_listen"])
def test_a_port_in_use_is_named_with_its_key(sidecar: Sidecar, key: str) -> None:
    section, _, name = key.rpartition(".")
    place = sidecar.config[section][name] if section else sidecar.config[name]
    host, _, port = place.rpartition(":")
    with socket.create_server((host, int(port))):
        expect_one_line(sidecar, f" {key}: cannot listen on {place}")


def test_a_secret_that_cannot_be_read(sidecar: Sidecar, tmp_path: Path) -> None:
    sidecar.config["store"]["secret"] = {"file": str(tmp_path / "missing-secret")}
    expect_config_error(sidecar, "missing-secret")


def test_a_secret_that_is_not_in_the_environment(sidecar: Sidecar) -> None:
    del sidecar.env["DIGEST_SECRET"]
    expect_config_error(sidecar, "DIGEST_SECRET")


def test_a_folder_in_which_no_database_can_be_made(sidecar: Sidecar) -> None:
    sidecar.config["store"]["url"] = "sqlite:////proc/state.db"  # read-only for root as well
    expect_one_line(sidecar, "/proc/state.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(sidecar: Sidecar, tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o500)
    sidecar.config["store"]["url"] = f"sqlite:///{folder / 'state.db'}"
    expect_one_line(sidecar, str(folder / "state.db"))


def test_a_file_that_is_no_database_stays_untouched(sidecar: Sidecar, tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    garbage = b"this is not a database, whatever its name says\n" * 100
    file.write_bytes(garbage)
    expect_one_line(sidecar, str(file))
    assert file.read_bytes() == garbage
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("state")) == ["state.db"]


def test_a_configuration_that_makes_no_sense(sidecar: Sidecar) -> None:
    sidecar.config["upstreem"] = sidecar.config.pop("upstream")
    code, output = failure(sidecar)
    assert code == 78
    assert "upstreem" in output
    assert "Traceback" not in output


def test_a_configuration_file_that_is_not_there(sidecar: Sidecar) -> None:
    sidecar.command[-1] = "/nowhere/sidecar.yaml"
    code, output = failure(sidecar)
    assert code == 78
    assert "/nowhere/sidecar.yaml" in output.splitlines()[0]
    assert "Traceback" not in output
