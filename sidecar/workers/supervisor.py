"""The first process of a pod with several: starts the others, and starts again what died.

It has no event loop, no thread and no state of any library, so that forking is safe at any time: even of a death only
the successor writes to the log. It waits for signals without handlers, so that none can interrupt anything. It owns
the sockets: what is queued on the socket of a worker that died waits for the next one. As process 1 of a container it
also collects whatever else ends.

A child ends when its lifeline does: a pipe of which the supervisor alone holds the other end. So no child outlives the
supervisor, and the control process is told to end by closing its lifeline. Linux (`sigtimedwait`, `pidfd`).
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

from sidecar import clock, log
from sidecar.errors import SidecarError

CANNOT_START: Final = 69  # EX_UNAVAILABLE of sysexits.h: starting again would not help
FAULT: Final = 70  # EX_SOFTWARE: a defect of ours
FIRST_DELAY_S: Final = 0.1
LONGEST_DELAY_S: Final = 5.0
WELL_S: Final = 10.0  # who lived this long is not counted as dying again and again
_TOLD: Final = frozenset((signal.SIGHUP, signal.SIGUSR1))  # about the configuration
_SIGNALS: Final = frozenset((signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)) | _TOLD

logger = logging.getLogger(__name__)

Body = Callable[[int, Mapping[int, int]], int]  # lifeline, living workers (pid to pidfd) -> exit code


class Child:
    """One role, the control process or a worker: a process that runs, or the time at which it is started again."""

    def __init__(self, name: str, body: Body) -> None:
        self.name = name
        self.body = body
        self.pid: int | None = None
        self.pidfd = -1
        self.due: float | None = 0.0  # None: not to be started again
        self.starts = 0
        self.last_code: int | None = None  # negative: a signal
        self._lifeline = -1  # the end that the supervisor holds
        self._started = 0.0
        self._early_deaths = 0

    def begun(self, pid: int, lifeline: int, now: float) -> None:
        """It runs."""
        self.pid, self.pidfd, self._lifeline = pid, os.pidfd_open(pid), lifeline
        self._started = now
        self.starts += 1

    def ended(self, now: float, code: int) -> None:
        """It is dead: start it again at once, and after ever longer waits when it keeps dying."""
        self.cut()
        os.close(self.pidfd)
        self.pid = None
        self.last_code = code
        self._early_deaths = 0 if now - self._started > WELL_S else self._early_deaths + 1
        if self.due is not None:
            self.due = now + restart_delay(self._early_deaths)

    def cut(self) -> None:
        """Close its lifeline: it ends by itself."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to exactly this process."""
        if self.pid is not None:
            signal.pidfd_send_signal(self.pidfd, number)


def restart_delay(early_deaths: int) -> float:
    """How long to wait before the next start."""
    if early_deaths <= 1:
        return 0.0
    return min(FIRST_DELAY_S * 2.0 ** min(early_deaths - 2, 10), LONGEST_DELAY_S)


class Supervisor:
    """Runs the pod. `on_stop`: the supervisor's own sockets have to be closed, or clients would queue on them.

    SIGHUP asks for a look at the configuration: that is the control process's business. With SIGUSR1 it says that there
    is another one: `on_accepted` takes it over for whoever is started later, and the workers are told (SIGHUP).
    """

    def __init__(
        self,
        *,
        control: Body,
        workers: Sequence[Body],
        deadline_s: float,
        on_stop: Callable[[], None],
        on_accepted: Callable[[], None],
    ) -> None:
        self._control = Child("control", control)
        self._workers = [Child(f"worker {slot}", body) for slot, body in enumerate(workers)]
        self._deadline_s = deadline_s
        self._on_stop = on_stop
        self._on_accepted = on_accepted
        self._deadline: float | None = None  # None: it is not to end
        self._is_hard = False  # SIGKILL has been sent; nothing is left but to collect
        self._code = 0

    def run(self) -> int:
        """Start everything, and return the exit code when everything has ended."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        while not self._is_over():
            self._start_due()
            info = signal.sigtimedwait(_SIGNALS, self._patience())
            if info is not None:
                self._told(signal.Signals(info.si_signo))
            self._reap()
            if self._deadline is not None:
                self._come_to_an_end(self._deadline)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return self._code

    @property
    def _children(self) -> list[Child]:
        return [self._control, *self._workers]

    def _is_over(self) -> bool:
        return all(child.pid is None and child.due is None for child in self._children)

    def _patience(self) -> float:
        """Seconds until something has to be done without being told."""
        times = [child.due for child in self._children if child.pid is None and child.due is not None]
        if self._deadline is not None and not self._is_hard:
            times.append(self._deadline)
        return max(0.0, min(times) - clock.boot()) if times else 60.0

    # Starting

    def _start_due(self) -> None:
        now = clock.boot()
        for child in self._children:
            if child.pid is None and child.due is not None and child.due <= now:
                self._start(child, now)

    def _start(self, child: Child, now: float) -> None:
        theirs, ours = os.pipe()
        try:
            pid = os.fork()
        except OSError as error:  # no process or no memory to be had now
            os.close(theirs)
            os.close(ours)
            child.due = now + LONGEST_DELAY_S
            log.event(logger, logging.ERROR, "process_not_started", name=child.name, detail=error.strerror)
            return
        if pid == 0:
            os.close(ours)
            self._become(child, theirs)
        os.close(theirs)
        child.begun(pid, ours, now)

    def _become(self, child: Child, lifeline: int) -> NoReturn:
        """The child, from its first moment to its last. It must not run what the supervisor still has to do."""
        code = FAULT
        try:
            for other in self._children:
                other.cut()  # a lifeline ends with its last holder, and that is to be the supervisor
            # What is said about the configuration waits until somebody listens: it would end the process.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS - _TOLD)
            _report(child)
            code = child.body(lifeline, {each.pid: each.pidfd for each in self._workers if each.pid is not None})
        except SidecarError as error:
            print(f"logout-sidecar: {error} ({error.reason})", file=sys.stderr, flush=True)  # noqa: T201 - as the command does
            code = CANNOT_START
        except Exception:
            logger.critical("process_fault", exc_info=True)
        finally:
            logging.shutdown()
            os._exit(code)

    # What it is told

    def _told(self, number: signal.Signals) -> None:
        match number:
            case signal.SIGTERM | signal.SIGINT:
                self._told_to_end()
            case signal.SIGHUP:
                self._control.signal(signal.SIGHUP)
            case signal.SIGUSR1:
                self._on_accepted()
                for worker in self._workers:
                    worker.signal(signal.SIGHUP)
            case _:  # somebody has died: `_reap` finds out who
                pass

    # Ending

    def _reap(self) -> None:
        """Collect the dead: our own, and as process 1 everybody's."""
        while (dead := _dead()) is not None:
            pid, status = dead
            for child in self._children:
                if child.pid == pid:
                    self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: Child, code: int) -> None:
        child.ended(clock.boot(), code)
        if code == CANNOT_START and child.starts == 1 and self._deadline is None:
            self._end_hard()

    def _told_to_end(self) -> None:
        """The first time in good order, the second time at once."""
        if self._deadline is not None:
            self._end_hard()
            return
        self._deadline = clock.boot() + self._deadline_s
        self._on_stop()
        for worker in self._workers:
            worker.due = None
        for child in self._children:
            child.signal(signal.SIGTERM)

    def _come_to_an_end(self, deadline: float) -> None:
        if all(worker.pid is None for worker in self._workers):
            # Last, because workers that finish what runs still need it.
            self._control.due = None
            self._control.cut()
        if clock.boot() >= deadline and not self._is_hard:
            log.event(logger, logging.ERROR, "stopped_hard", after_s=self._deadline_s)
            self._end_hard()

    def _end_hard(self) -> None:
        self._is_hard, self._code = True, 1
        self._deadline = clock.boot()
        for child in self._children:
            child.due = None
            child.signal(signal.SIGKILL)


def _dead() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:  # there are none
        return None
    return (pid, status) if pid else None


def _report(child: Child) -> None:
    """Written by the child itself: the log has a thread, and the supervisor shall have none."""
    if child.last_code is None:
        log.event(logger, logging.INFO, "process_started", name=child.name, pid=os.getpid())
    else:
        code = child.last_code
        log.event(logger, logging.WARNING, "process_restarted", name=child.name, pid=os.getpid(), last_code=code)
