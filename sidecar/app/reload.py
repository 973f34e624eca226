"""A changed configuration, taken over by the running process: the whole of it, or nothing.

Mounted files change by a swap of symbolic links, which no watch on the file notices, so contents are compared
(reference case 185): of the file itself and of the files of its secrets and of its page. A change is read when it has
stood still for a moment, so that a file that is being written is not taken for a short one. SIGHUP says that it is
complete.

Everything is checked and built before anything changes. What does not hold, or needs a restart, leaves the last good
configuration at work; the log, a metric and `/readyz?verbose` say so until the file is mended (decision 026).
"""

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path as FilePath
from typing import Final

from sidecar import clock, log, metrics
from sidecar.app.process import hung_up
from sidecar.config.load import Loaded, load_all
from sidecar.config.problem import ConfigErrors
from sidecar.config.reload import compare, named
from sidecar.errors import SidecarError

_logger = logging.getLogger(__name__)

SETTLE_S: Final = 1.0
_TOLD: Final = 20  # keys or errors in one line of the log
_READ_BYTES: Final = 1024 * 1024  # of one file: more than the loader takes

Apply = Callable[[Loaded], None]


class Refused(SidecarError):
    """The file says what this process cannot do; `keys` are the settings that stand in the way."""

    def __init__(self, reason: str, message: str, keys: Sequence[str] = ()) -> None:
        super().__init__(reason, message)
        self.keys = tuple(keys)


class Reloader:
    """Looks at the file that the process was started with. Make it inside the running loop, which hears SIGHUP then."""

    def __init__(self, running: Loaded, *, apply: Apply) -> None:
        """`apply` changes the process at one stroke, or raises and has changed nothing."""
        self.running = running
        self._apply = apply
        self._seen: bytes | None = None  # of the files when they were last found good
        self._refusal: tuple[str, str] | None = None
        self._told = hung_up()
        metrics.config_differs.set(0)
        metrics.config_last_reload_success.set(clock.wall())

    def problem(self) -> str | None:
        """Why the file is not what runs; None when it is."""
        return None if self._refusal is None else ": ".join(self._refusal)

    def observes(self) -> bool:
        """Whether the configuration that runs enforces nothing."""
        return self.running.config.enforcement.mode == "observe"

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            is_told = await self._is_told_within(self.running.config.reload.poll)
            try:
                await self.look(is_told=is_told)
            except Exception:  # a fault of ours: it must not end the watch
                _logger.exception("config_watch_failed")

    async def look(self, *, is_told: bool) -> None:
        """Look once. `is_told`: somebody says that the file is complete, and wants to hear what becomes of it."""
        seen = await self._fingerprint()
        if seen == self._seen and self._refusal is None and not is_told:
            return
        if not is_told:
            await asyncio.sleep(SETTLE_S)
            if await self._fingerprint() != seen:
                return  # it is being written; the next look will find it complete
        try:
            loaded = await asyncio.to_thread(load_all, self._file)  # parsing takes as long as a hundred requests
            if await self._fingerprint() != seen:
                if is_told:
                    self._told.set()  # it was not complete after all: whoever said so gets an answer to what it becomes
                return
            self._take(loaded, is_told=is_told)
        except ConfigErrors as errors:
            self._refuse("invalid", [problem.headline() for problem in errors.problems], is_told=is_told)
        except Refused as error:
            self._refuse(error.reason, error.keys, is_told=is_told)
        except Exception:  # while it was built: nothing has changed yet
            _logger.exception("config_fault")
            self._refuse("fault", (), is_told=is_told)
        else:
            # What a secret's file holds was read before this; a new name among them is looked at once more.
            self._seen = seen if loaded.files == self.running.files else None
            self.running = loaded

    @property
    def _file(self) -> str:
        return self.running.files[0]

    async def _is_told_within(self, seconds: float | None) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._told.wait()
        is_told = self._told.is_set()
        self._told.clear()
        return is_told

    async def _fingerprint(self) -> bytes:
        return await asyncio.to_thread(_fingerprint, self.running.files)  # beside the loop: a mount may hang

    def _take(self, loaded: Loaded, *, is_told: bool) -> None:
        change = compare(self.running.config, loaded.config)
        if change.needs_restart:
            raise Refused("needs_restart", "", named(change.needs_restart))
        changed = change.taken_over
        if changed:
            self._apply(loaded)
            metrics.config_reloads.labels("ok").inc()
        if changed or is_told or self._refusal is not None:
            log.event(_logger, logging.INFO, "config_reloaded", changed=named(changed)[:_TOLD])
        self._refusal = None
        metrics.config_differs.set(0)
        metrics.config_last_reload_success.set(clock.wall())

    def _refuse(self, reason: str, details: Sequence[str], *, is_told: bool) -> None:
        """Say it once, or to whoever asks."""
        refusal = (reason, "; ".join(details[:_TOLD]))
        if refusal != self._refusal or is_told:
            metrics.config_reloads.labels(reason).inc()
            log.event(_logger, logging.ERROR, "config_refused", reason=reason, details=list(details[:_TOLD]))
        self._refusal = refusal
        metrics.config_differs.set(1)


def _fingerprint(files: Sequence[str]) -> bytes:
    digest = hashlib.blake2b()
    for file in files:
        content = _content(file)
        digest.update(b"%d:%b" % (len(content), content))
    return digest.digest()


def _content(file: str) -> bytes:
    try:
        with FilePath(file).open("rb") as stream:
            return stream.read(_READ_BYTES)
    except OSError as error:
        return b"errno %d" % (error.errno or 0)  # being unreadable is a change as well
