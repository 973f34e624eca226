"""The image without a container engine: the wheel, installed alone, under bubblewrap as a pod would run it.

Read-only root, uid 65532, process 1 of its own process namespace, no HOME, no capabilities, an empty /tmp and an empty
state folder that can be written to. What the entry point, the command and the health check are is read from the
Dockerfile. Limit: root's own files seem to belong to the user, as user namespaces have it, so permissions are a test
of their own.
"""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from image_dockerfile import ROOT, the

from sidecar.build import IS_COMPILED
from sidecar.control.health import problem

PREFIX = "/opt/logout-sidecar"
INSTALLED_MIB = 80  # measured: 73; see docs/operations.md, with some room for new releases of what we depend on
CONFIG = """
listen: 127.0.0.1:{listen}
ops: {{listen: "127.0.0.1:{ops}"}}
control: {{relay_listen: "127.0.0.1:{relay}"}}
workers: {workers}
upstream: {{url: "http://127.0.0.1:9"}}
providers: [{{issuer: "http://127.0.0.1:9", client_id: app}}]
session: {{bind: [{{from: token, cookie: id_token}}]}}
drain: {{delay: 0s, timeout: 1s}}
"""


def pip(*arguments: str) -> None:
    result = subprocess.run([sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def built(folder: Path) -> Path:
    """The wheel of the image where this is the build that is tested; else the same without what is compiled."""
    if IS_COMPILED:
        return one_wheel(Path(sys.prefix) / "dist")
    context = folder / "context"
    context.mkdir()
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, context)
    shutil.copytree(ROOT / "sidecar", context / "sidecar", ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", "-q", "--no-deps", "--wheel-dir", str(folder / "dist"), str(context))
    return one_wheel(folder / "dist")


def one_wheel(folder: Path) -> Path:
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it depends on, and without pip: as the first stage makes it."""
    folder = tmp_path_factory.mktemp("image")
    wheel = built(folder)
    target = folder / "logout-sidecar"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(target)], check=True)
    pip("--python", str(target / "bin/python"), "install", "-q", "--only-binary=:all:", str(wheel))
    return target


@pytest.fixture(scope="module")
def bwrap() -> str:
    program = shutil.which("bwrap")
    if program is None:
        pytest.skip("bubblewrap is not installed")
    probe = subprocess.run([program, "--unshare-user", "--ro-bind", "/", "/", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("user namespaces are not allowed here")
    return program


@dataclass(frozen=True)
class Sandbox:
    """How a container of the image is started: `sandbox.words(...)`."""

    bwrap: str
    installed: Path
    state: Path
    config: Path

    def words(self, *command: str, info: int | None = None) -> list[str]:
        placed = [word.replace(PREFIX, str(self.installed)) for word in command]
        return [
            *(self.bwrap, "--unshare-user", "--uid", "65532", "--gid", "65532", "--cap-drop", "ALL"),
            *("--unshare-pid", "--as-pid-1", "--unshare-ipc", "--die-with-parent", "--new-session"),
            *("--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/var"),
            *("--ro-bind", str(self.installed), str(self.installed)),
            *("--bind", str(self.state), "/var/lib/logout-sidecar"),
            *("--tmpfs", "/run", "--ro-bind", str(self.config), "/run/sidecar.yaml"),
            *("--remount-ro", "/var", "--remount-ro", "/run", "--chdir", "/"),
            *("--clearenv", "--setenv", "PATH", f"{self.installed}/bin", "--setenv", "PYTHONDONTWRITEBYTECODE", "1"),
            *(("--info-fd", str(info)) if info is not None else ()),
            *placed,
        ]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.words(*command), capture_output=True, text=True, check=False, timeout=50)

    @contextmanager
    def started(self, *command: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """The running process and the id of process 1, as it is seen from outside."""
        readable, writable = os.pipe()
        with (self.state / "log").open("wb") as log:
            process = subprocess.Popen(self.words(*command, info=writable), stderr=log, pass_fds=[writable])
        os.close(writable)
        try:
            with os.fdopen(readable) as info:
                yield process, json.load(info)["child-pid"]
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def sandbox(bwrap: str, installed: Path, tmp_path: Path) -> Sandbox:
    state = tmp_path / "state"
    state.mkdir()
    config = tmp_path / "sidecar.yaml"
    config.touch()
    return Sandbox(bwrap, installed, state, config)


def until(condition: Callable[[], bool], limit: float = 20) -> bool:
    end = time.monotonic() + limit
    while not (fulfilled := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return fulfilled


@pytest.mark.timeout(180)  # the first test here pays for the installation
@pytest.mark.parametrize("workers", [1, 2])
def test_it_becomes_ready_is_healthy_and_ends_with_0_on_sigterm(
    sandbox: Sandbox, free_port: Callable[[], int], workers: int
) -> None:
    listen, ops, relay = (free_port() for _ in range(3))
    sandbox.config.write_text(CONFIG.format(listen=listen, ops=ops, relay=relay, workers=workers))
    entry = [*the("ENTRYPOINT").words, "run", "-c", "/run/sidecar.yaml"]
    with sandbox.started(*entry) as (process, first):
        ready = f"http://127.0.0.1:{ops}/readyz"
        assert until(lambda: problem(ready) is None), (sandbox.state / "log").read_text()
        assert sandbox.run(*the("HEALTHCHECK").words, "--url", ready).returncode == 0
        # Process 1 hears nothing of what it does not listen to.
        sandbox.config.write_text(sandbox.config.read_text() + "enforcement: {action: strip}\n")
        os.kill(first, signal.SIGHUP)
        assert until(lambda: '"event": "config_reloaded"' in (sandbox.state / "log").read_text())
        os.kill(first, signal.SIGTERM)
        assert process.wait(20) == 0
    log = (sandbox.state / "log").read_text()
    assert f'"compiled": {json.dumps(IS_COMPILED)}' in log
    assert '"event": "stopped"' in log
    assert (sandbox.state / "state.db").exists()


def test_the_health_check_fails_while_nobody_answers(sandbox: Sandbox, free_port: Callable[[], int]) -> None:
    result = sandbox.run(*the("HEALTHCHECK").words, "--url", f"http://127.0.0.1:{free_port()}/livez")
    assert (result.returncode, result.stdout) == (1, "")


def test_login_and_logout_work_in_there(sandbox: Sandbox) -> None:
    result = sandbox.run(*the("ENTRYPOINT").words, "demo", "--check")
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_sandbox_is_what_it_says(sandbox: Sandbox) -> None:
    """Or the tests above would show nothing."""
    script = (
        "import os, pathlib; print(os.getpid(), os.getuid(), os.environ.get('HOME'));"
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('CapEff')]);"
        f"[pathlib.Path(folder, 'x').touch() for folder in ('/tmp', '/var/lib/logout-sidecar')];"
        f"pathlib.Path('{PREFIX}/x').touch()"
    )
    result = sandbox.run(f"{PREFIX}/bin/python", "-c", script)
    assert result.stdout.splitlines() == ["1 65532 None", "['0000000000000000']"]
    assert "Read-only file system" in result.stderr


def test_everybody_may_read_what_is_installed(installed: Path) -> None:
    kept = [
        path
        for path in installed.rglob("*")
        if not path.is_symlink() and not path.stat().st_mode & (stat.S_IXOTH if path.is_dir() else stat.S_IROTH)
    ]
    assert kept == []


def test_the_installed_tree_is_small_and_has_no_package_manager(installed: Path) -> None:
    size = sum(path.stat().st_size for path in installed.rglob("*") if path.is_file() and not path.is_symlink())
    assert size < INSTALLED_MIB * 2**20
    assert not [*installed.glob("bin/pip*"), *installed.glob("lib/python*/site-packages/pip")]
