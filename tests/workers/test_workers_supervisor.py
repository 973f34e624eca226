"""The supervisor with real processes: what it starts, starts again, hands on and ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.workers.supervisor import FIRST_DELAY_S, LONGEST_DELAY_S, restart_delay

# Each child writes who it is, then does what the test says.
SCRIPT = """
import json, os, signal, sys, time
from sidecar.errors import SidecarError
from sidecar.workers.supervisor import Supervisor

folder, behaviour = sys.argv[1], json.loads(sys.argv[2])

def note(**fields):
    with open(folder + "/notes", "a") as notes:
        notes.write(json.dumps(fields) + "\\n")

def child(name):
    def body(lifeline, living):
        signal.signal(signal.SIGTERM, lambda number, frame: note(name=name, got="SIGTERM"))
        note(name=name, pid=os.getpid(), living=sorted(living))
        how = behaviour.get(name, "serve")
        while how == "listens late" and not os.path.exists(folder + "/listen"):
            time.sleep(0.005)
        signal.signal(signal.SIGHUP, lambda number, frame: note(name=name, got="SIGHUP"))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP,))
        note(name=name, listens=True)
        if how == "cannot start":
            raise SidecarError("cannot_listen", "the port is taken")
        if how == "fault":
            raise ValueError("a defect")
        if how == "until told":
            while not any(line["name"] == name and "got" in line for line in read()):
                time.sleep(0.005)
            return 0
        while how == "deaf":
            time.sleep(1)
        os.read(lifeline, 1)
        note(name=name, got="end of lifeline")
        return 0
    return body

def read():
    return [json.loads(line) for line in open(folder + "/notes")]

workers = [child(f"worker {slot}") for slot in range(2)]
deadline = behaviour.get("deadline", 5.0)
stop = lambda: note(name="supervisor", got="stop")
accepted = lambda: note(name="supervisor", got="accepted")
supervisor = Supervisor(
    control=child("control"), workers=workers, deadline_s=deadline, on_stop=stop, on_accepted=accepted
)
sys.exit(supervisor.run())
"""


class Pod:
    def __init__(self, folder: Path, **behaviour: Any) -> None:
        self.notes = folder / "notes"
        self.notes.touch()
        names = {name.replace("_", " "): how for name, how in behaviour.items()}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder), json.dumps(names)], stderr=subprocess.PIPE, text=True
        )

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.notes.read_text().splitlines()]

    def starts(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["name"] == name and "pid" in line]

    def pid(self, name: str) -> int:
        return int(self.starts(name)[-1]["pid"])

    def wait_for(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + 5
        while not condition():
            assert time.monotonic() < end, self.notes.read_text()
            time.sleep(0.005)

    def wait_for_all(self) -> None:
        self.wait_for(lambda: all(map(self.starts, ("control", "worker 0", "worker 1"))))

    def listening(self) -> int:
        return sum("listens" in line for line in self.lines())

    def heard(self, word: str) -> list[str]:
        return [line["name"] for line in self.lines() if line.get("got") == word]

    def end(self) -> tuple[int, str]:
        _, said = self.process.communicate(timeout=10)
        return self.process.returncode, said


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Pod]]:
    pods: list[Pod] = []

    def start(**behaviour: Any) -> Pod:
        pods.append(Pod(tmp_path, **behaviour))
        return pods[-1]

    yield start
    for pod in pods:
        pod.process.kill()
        for line in pod.lines():
            with contextlib.suppress(KeyError, FileNotFoundError, ProcessLookupError):
                if str(pod.notes.parent) in Path(f"/proc/{line['pid']}/cmdline").read_text():  # still ours
                    os.kill(line["pid"], signal.SIGKILL)
        pod.process.communicate()


@pytest.mark.parametrize(
    ("early_deaths", "delay"),
    [(0, 0), (1, 0), (2, FIRST_DELAY_S), (3, 2 * FIRST_DELAY_S), (50, LONGEST_DELAY_S), (10**6, LONGEST_DELAY_S)],
)
def test_who_keeps_dying_waits_ever_longer(early_deaths: int, delay: float) -> None:
    assert restart_delay(early_deaths) == delay


def test_a_dead_worker_is_started_again_alone(start: Callable[..., Pod]) -> None:
    pod = start()
    pod.wait_for_all()
    os.kill(pod.pid("worker 0"), signal.SIGKILL)
    pod.wait_for(lambda: len(pod.starts("worker 0")) == 2)
    assert [len(pod.starts(name)) for name in ("control", "worker 1")] == [1, 1]


def test_a_new_control_process_is_told_who_lives(start: Callable[..., Pod]) -> None:
    pod = start()
    pod.wait_for_all()
    assert pod.starts("control")[0]["living"] == []
    workers = sorted(pod.pid(name) for name in ("worker 0", "worker 1"))
    os.kill(pod.pid("control"), signal.SIGKILL)
    pod.wait_for(lambda: len(pod.starts("control")) == 2)
    assert pod.starts("control")[1]["living"] == workers


def test_the_control_process_ends_after_the_last_worker(start: Callable[..., Pod]) -> None:
    pod = start(worker_0="until told", worker_1="until told")
    pod.wait_for_all()
    pod.process.send_signal(signal.SIGTERM)
    assert pod.end()[0] == 0
    got = [(line["name"], line["got"]) for line in pod.lines() if "got" in line]
    assert got[0] == ("supervisor", "stop")
    assert got[-1] == ("control", "end of lifeline")
    assert {("worker 0", "SIGTERM"), ("worker 1", "SIGTERM"), ("control", "SIGTERM")} <= set(got)


def test_two_signals_or_the_deadline_end_what_does_not_end(start: Callable[..., Pod]) -> None:
    pod = start(worker_0="deaf", deadline=0.2)
    pod.wait_for_all()
    began = time.monotonic()
    pod.process.send_signal(signal.SIGTERM)
    assert pod.end()[0] == 1
    assert time.monotonic() - began < 3


def test_who_cannot_start_ends_the_pod_with_its_line(start: Callable[..., Pod]) -> None:
    code, said = start(control="cannot start").end()
    assert (code, said.splitlines()) == (1, ["logout-sidecar: the port is taken (cannot_listen)"])


def test_a_defect_is_logged_and_the_process_is_started_again(start: Callable[..., Pod]) -> None:
    pod = start(worker_1="fault")
    pod.wait_for(lambda: len(pod.starts("worker 1")) >= 3)
    pod.process.kill()
    assert "a defect" in pod.end()[1]


def test_lifelines_end_with_the_supervisor(start: Callable[..., Pod]) -> None:
    pod = start(worker_1="deaf")  # the last one holds nobody else's lifeline
    pod.wait_for_all()
    pod.process.kill()
    ends = {"control", "worker 0"}
    pod.wait_for(lambda: {line["name"] for line in pod.lines() if line.get("got") == "end of lifeline"} == ends)


# About the configuration


def test_who_asks_for_a_look_at_the_configuration_asks_the_control_process(start: Callable[..., Pod]) -> None:
    pod = start()
    pod.wait_for(lambda: pod.listening() == 3)
    pod.process.send_signal(signal.SIGHUP)
    pod.wait_for(lambda: pod.heard("SIGHUP"))
    pod.process.send_signal(signal.SIGUSR1)  # a second thing that it is told, so that the first is over
    pod.wait_for(lambda: pod.heard("accepted"))
    assert pod.heard("SIGHUP")[0] == "control"
    assert pod.heard("SIGHUP").count("control") == 1


def test_another_configuration_is_taken_over_before_the_workers_hear_of_it(start: Callable[..., Pod]) -> None:
    pod = start()
    pod.wait_for(lambda: pod.listening() == 3)
    pod.process.send_signal(signal.SIGUSR1)
    pod.wait_for(lambda: len(pod.heard("SIGHUP")) == 2)
    assert sorted(pod.heard("SIGHUP")) == ["worker 0", "worker 1"]
    words = [line["got"] for line in pod.lines() if line.get("got") in {"accepted", "SIGHUP"}]
    assert words == ["accepted", "SIGHUP", "SIGHUP"]


def test_who_does_not_listen_yet_hears_of_it_as_soon_as_it_does(start: Callable[..., Pod]) -> None:
    pod = start(worker_1="listens late")
    pod.wait_for(lambda: pod.listening() == 2 and pod.starts("worker 1"))
    pod.process.send_signal(signal.SIGUSR1)
    pod.wait_for(lambda: pod.heard("SIGHUP") == ["worker 0"])
    (pod.notes.parent / "listen").touch()
    pod.wait_for(lambda: pod.heard("SIGHUP") == ["worker 0", "worker 1"])
    assert len(pod.starts("worker 1")) == 1  # it did not die of it
