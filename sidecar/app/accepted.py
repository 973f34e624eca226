"""The configuration that a pod with several processes runs by, and how all of them come to have the same.

The control process alone looks at the operator's file (`reload.py`). What it has found good it writes to a file in the
pod's private folder, and tells the supervisor (SIGUSR1). The supervisor takes that over, so that every process that is
started from then on has it, and tells the workers (SIGHUP), which take the same file. A worker that cannot take it ends
in good order, and no successor starts without it: all run by the same, whoever died in between (decision 026).

The file holds what the operator's file holds: names of secrets, and no secret.
"""

import contextlib
import os
import signal
from pathlib import Path

from sidecar.config.load import Loaded, load_all


class Accepted:
    """Made by the supervisor before the first fork; each process has its own copy, and they share the file."""

    def __init__(self, first: Loaded, folder: Path) -> None:
        self._loaded = first
        self._file = folder / "configuration"
        self._is_behind = False
        self._supervisor = os.pidfd_open(os.getpid())  # a number alone could be somebody else's by then

    def publish(self, loaded: Loaded) -> None:
        """In the control process: this is the configuration from now on. Raises OSError, and then it is not."""
        self._write(loaded.text)
        self._loaded = loaded
        with contextlib.suppress(ProcessLookupError):  # then this process ends as well
            signal.pidfd_send_signal(self._supervisor, signal.SIGUSR1)

    def restore(self) -> None:
        """At the start of a control process: what its predecessor wrote and told nobody of is not the configuration."""
        if self._file.exists():
            self._write(self._loaded.text)

    def _write(self, text: str) -> None:
        draft = self._file.with_suffix(".draft")
        draft.write_text(text, encoding="utf-8")
        draft.replace(self._file)

    def note(self) -> None:
        """In the supervisor, which must outlive everything and writes no log: there is another one."""
        self._is_behind = True
        with contextlib.suppress(Exception):  # whoever is started next tries again, and says what is wrong
            self.take()

    def take(self) -> Loaded:
        """Read what was published last. Raises ConfigErrors."""
        if not self._file.exists():  # somebody has sent the signal who is not the supervisor
            return self._loaded
        taken = load_all(str(self._file))
        files = (self._loaded.files[0], *taken.files[1:])
        self._loaded, self._is_behind = Loaded(taken.config, (), taken.variables, taken.text, files), False
        return self._loaded

    def current(self) -> Loaded:
        """At the start of a process: what the pod runs by. Raises ConfigErrors."""
        return self.take() if self._is_behind else self._loaded
