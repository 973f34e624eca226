"""The real `logout-sidecar run`, as a child process with a configuration that the demo writes."""

import asyncio
import collections
import ctypes
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import yaml

from sidecar import clock
from sidecar.errors import SidecarError

START_LIMIT_S = 20
STOP_LIMIT_S = 8

_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None)


class ChildFailed(SidecarError):
    """The child process did not come up, or went away."""


def configuration(*, listen: int, ops: int, relay: int, app: int, issuer: str, client_id: str, folder: Path) -> str:
    """The sidecar's configuration, as an operator would write it."""
    document = {
        "listen": f"127.0.0.1:{listen}",
        "public_url": f"http://localhost:{listen}",
        "upstream": {"url": f"http://127.0.0.1:{app}"},
        "ops": {"listen": f"127.0.0.1:{ops}"},
        "control": {"relay_listen": f"127.0.0.1:{relay}"},
        "providers": [{"issuer": issuer, "client_id": client_id}],
        "session": {
            "credentials": [{"cookie": "JSESSIONID"}],
            "bind": [{"from": "token_endpoint", "callback": "/oidc/callback"}],
        },
        "enforcement": {"action": "reject", "login_url": "/login"},
        "store": {"url": f"sqlite:///{folder / 'state.db'}"},
        "drain": {"delay": "0s", "timeout": "2s"},  # no load balancer has to notice, and Ctrl-C should be quick
        "log": {"level": "info", "format": "text"},
    }
    return yaml.safe_dump(document, sort_keys=False)


@asynccontextmanager
async def running_sidecar(
    config: str, *, folder: Path, ready_url: str, show: Callable[[str], None]
) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """The sidecar from ready to stopped. `show` gets every line that it logs; the value waits for its exit code."""
    path = folder / "sidecar.yaml"
    path.write_text(config, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "sidecar", "run", "-c", str(path)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C reaches this process alone, which then stops the child in order
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )
    last: collections.deque[str] = collections.deque(maxlen=20)
    reader = asyncio.create_task(_read_lines(process, last, show))
    try:
        await _until_ready(process, ready_url, last)
        yield process.wait
    finally:
        await _stop(process)
        await reader


def _end_with_parent() -> None:
    """Asks Linux for a SIGTERM when the parent dies: one that is killed cannot stop its child any more."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def _read_lines(
    process: asyncio.subprocess.Process, last: collections.deque[str], show: Callable[[str], None]
) -> None:
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for above
    async for line in process.stdout:
        text = line.decode("utf-8", "replace").rstrip()
        last.append(text)
        show(text)


async def _until_ready(process: asyncio.subprocess.Process, url: str, last: collections.deque[str]) -> None:
    deadline = clock.boot() + START_LIMIT_S
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as http:
        while process.returncode is None and clock.boot() < deadline:
            if await _answers(http, url):
                return
            await asyncio.sleep(0.02)
    how = "is not ready in time" if process.returncode is None else f"ended with exit code {process.returncode}"
    raise ChildFailed("sidecar_not_ready", "\n  ".join([f"the sidecar {how}; its last lines:", *last]))


async def _answers(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Ask, then insist: the child is gone when this returns, even when it is cancelled."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOP_LIMIT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
