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
from sidecar.config.problem import ConfigErrors


class Accepted:
    """Made by the supervisor before the first fork; each process has its own copy, and they share the file."""

    def __init__(self, first: Loaded, folder: Path) -> None:
        self._loaded = first
        self._file = folder / "configuration"
        self._is_behind = False
        self._supervisor = os.pidfd_open(os.getpid())  # a number alone could be somebody else's by then

    def publish(self, loaded: Loaded) -> None:
        """In the control process: this is the configuration from now on. Raises OSError, and then it is not."""
        draft = self._file.with_suffix(".draft")
        draft.write_text(loaded.text, encoding="utf-8")
        draft.replace(self._file)
        self._loaded = loaded
        with contextlib.suppress(ProcessLookupError):  # then this process ends as well
            signal.pidfd_send_signal(self._supervisor, signal.SIGUSR1)

    def note(self) -> None:
        """In the supervisor: there is another one. Says nothing: the log is not the supervisor's to write."""
        self._is_behind = True
        with contextlib.suppress(ConfigErrors):  # a secret's file has just gone: whoever is started next tries again
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
