"""The command line, as processes: exit codes, what goes where, and never a traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar import __version__, cli

Write = Callable[[str], str]


def call(*arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "sidecar", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **(environ or {})},
    )


def test_a_good_file_is_one_line_and_exit_0(write: Write, base: str) -> None:
    path = write(base)
    result = call("check-config", "-c", path)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{path}: ok\n", "")


def test_a_bad_file_is_every_error_on_standard_error_and_exit_78(write: Write, base: str) -> None:
    path = write(base + "listne: x\nlog: {level: loud}\n")
    result = call("check-config", "-c", path)
    assert (result.returncode, result.stdout) == (78, "")
    assert f"{path}:7:1: listne: unknown key" in result.stderr
    assert f"{path}:8:14: log.level:" in result.stderr
    assert result.stderr.endswith("2 errors\n")


def test_run_refuses_the_same_file_in_the_same_words(write: Write, base: str) -> None:
    path = write(base + "listne: x\n")
    checked, run = call("check-config", "-c", path), call("run", "-c", path)
    assert (run.returncode, run.stderr) == (78, checked.stderr)


def test_warnings_are_printed_and_the_file_is_still_ok(write: Write, base: str) -> None:
    path = write(base + "store: {on_stale: fail_open}\n")
    result = call("check-config", "-c", path)
    assert (result.returncode, result.stdout) == (0, f"{path}: ok\n")
    assert result.stderr.startswith(f"warning: {path}:7:19: store.on_stale:")


def test_what_of_a_change_needs_a_restart_is_said_against_the_old_file(write: Write, base: str, tmp_path: Path) -> None:
    old = tmp_path / "old.yaml"
    old.write_text(base)
    path = write(base + "listen: 127.0.0.1:1\nenforcement: {action: strip}\n")
    result = call("check-config", "-c", path, "--against", str(old))
    assert (result.returncode, result.stdout.splitlines()) == (
        0,
        [
            f"{path}: ok",
            "taken over by a reload: enforcement.action",
            "needs a restart: listen",
            "a running sidecar refuses the whole file until it is restarted",
        ],
    )
    report = json.loads(call("check-config", "-c", path, "--against", str(old), "--format", "json").stdout)
    assert report["changed"] == {"reloaded": ["enforcement.action"], "needs_restart": ["listen"]}
    same = call("check-config", "-c", path, "--against", path).stdout.splitlines()[1:]
    assert same == ["taken over by a reload: nothing", "needs a restart: nothing"]
    broken = call("check-config", "-c", path, "--against", str(tmp_path / "nowhere.yaml"))
    assert (broken.returncode, "nowhere.yaml:1:1: the file does not exist" in broken.stderr) == (78, True)


def test_the_json_report_has_errors_with_their_places(write: Write, base: str) -> None:
    result = call("check-config", "-c", write(base + "listne: x\n"), "--format", "json")
    report = json.loads(result.stdout)
    assert (result.returncode, result.stderr, report["ok"]) == (78, "", False)
    (error,) = report["errors"]
    assert (error["line"], error["column"], error["path"], error["suggestion"]) == (7, 1, "listne", "listen")


def test_the_json_report_names_variables_and_never_their_values(write: Write, base: str) -> None:
    path = write(base.replace("client_id: app", "client_id: ${CLIENT}") + "store: {on_stale: fail_open}\n")
    result = call("check-config", "-c", path, "--format", "json", environ={"CLIENT": "hunter2"})
    report = json.loads(result.stdout)
    assert (result.returncode, report["ok"], report["errors"], report["variables"]) == (0, True, [], ["CLIENT"])
    assert report["warnings"][0]["path"] == "store.on_stale"
    assert "hunter2" not in result.stdout


@pytest.mark.parametrize("path", ["/nonexistent", "/", "/proc/self/mem", "/dev/zero", ""])
def test_a_file_that_cannot_be_read_is_one_error(path: str) -> None:
    for command in ("check-config", "run"):
        result = call(command, "-c", path)
        assert result.returncode == 78
        assert result.stderr.endswith("1 error\n")
        assert "Traceback" not in result.stderr


def test_the_schema_is_printed_as_json() -> None:
    result = call("schema")
    assert result.returncode == 0
    assert json.loads(result.stdout)["title"] == "Config"


def test_the_version_is_printed() -> None:
    result = call("--version")
    assert (result.returncode, result.stdout) == (0, f"logout-sidecar {__version__}\n")


@pytest.mark.parametrize(
    "arguments", [[], ["nope"], ["run"], ["check-config"], ["check-config", "-c", "x", "--format", "xml"]]
)
def test_wrong_usage_is_exit_2_with_a_hint(arguments: list[str]) -> None:
    result = call(*arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("usage: logout-sidecar")


def test_check_config_reads_nothing_but_its_files(write: Write, base: str, tmp_path: Path) -> None:
    path = write(
        base.replace("client_id: app", "client_id: app\n    jwks_file: /nonexistent/jwks\n    ca_file: /nonexistent/ca")
        + f"store: {{url: sqlite:///{tmp_path}/state.db}}\n"
    )
    assert call("check-config", "-c", path).returncode == 0
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["config.yaml"]


def test_check_config_loads_no_server(write: Write, base: str) -> None:
    code = (
        f"import sys; from sidecar.cli import main; main(['check-config', '-c', {write(base)!r}]); print(*sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert not {"aiohttp", "asyncio", "uvloop", "redis"} & set(result.stdout.split())


def test_an_interrupt_is_exit_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_dispatch", interrupted)
    assert cli.main(["schema"]) == 130


def _schema_to(stdout: int) -> tuple[int, str]:
    command = [sys.executable, "-P", "-m", "sidecar", "schema"]
    result = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    return result.returncode, result.stderr


def test_a_reader_that_went_away_is_no_error_message() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert _schema_to(writer) == (1, "")
    os.close(writer)


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        assert _schema_to(full.fileno()) == (1, "logout-sidecar: [Errno 28] No space left on device\n")
