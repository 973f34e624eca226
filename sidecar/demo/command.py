"""`logout-sidecar demo`: an identity provider, a legacy app and the sidecar on loopback, in one command.

Provider and app run in this process; the sidecar is a real `logout-sidecar run` beside it, with the embedded store in
a temporary folder. Everything is gone when the command ends, however it ends.
"""

import asyncio
import signal
import sys

from sidecar.demo.check import play
from sidecar.demo.child import ChildFailed
from sidecar.demo.site import Site, running_site
from sidecar.errors import SidecarError

CHECK_LIMIT_S = 60
EX_INTERRUPTED = 130


def run_demo(*, check: bool) -> int:
    """Run the demo until Ctrl-C, or play it once; returns the exit code."""
    try:
        asyncio.run(_check() if check else _interactive())
    except asyncio.CancelledError:
        print("\nStopped.")
        return EX_INTERRUPTED if check else 0
    except TimeoutError:
        return _failed(f"not finished within {CHECK_LIMIT_S} s")
    except (SidecarError, OSError) as error:
        return _failed(str(error))
    return 0


async def _check() -> None:
    _stop_on_signals()
    async with asyncio.timeout(CHECK_LIMIT_S), running_site(show=_ignore) as site:
        await play(site, say=_say)
    _say("All as promised.")


async def _interactive() -> None:
    _stop_on_signals()
    async with running_site(show=_show_log) as site:
        _say(_guide(site))
        code = await site.sidecar_ended()
        raise ChildFailed("sidecar_ended", f"the sidecar ended with exit code {code}")


def _stop_on_signals() -> None:
    """The first signal ends the demo in order; later ones change nothing, so that the child is never left behind."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - called from a coroutine
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if not task.cancelling():
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)


def _guide(site: Site) -> str:
    return f"""
The demo is running. Nothing of it leaves this machine; Ctrl-C ends it.

  The app, through the sidecar    {site.public}
  The identity provider           {site.issuer}
  The sidecar's own metrics       {site.ops / "metrics"}

 1. Open {site.public / "private"} and log in as Alice. The page shows a clock that the app streams.
 2. In a private window open it again and log in as Bob, or as Alice once more.
 3. Open {site.issuer / "sessions"}, where the administrator sees who is logged in. End Alice's first session.
 4. Look at her first window: the clock stands still. Reload: she is out. The app was never told.
 5. The other window goes on, and Alice can log in again.

 The app itself listens on {site.direct} and still believes the old cookie; in production only the
 sidecar can reach it. What the sidecar logs:
"""


def _failed(text: str) -> int:
    print(f"logout-sidecar demo: {text}", file=sys.stderr)
    return 1


def _say(text: str) -> None:
    print(text, flush=True)


def _show_log(line: str) -> None:
    print(f"  sidecar | {line}", flush=True)


def _ignore(_line: str) -> None:
    """A check shows the sidecar's log only when it fails to start."""
