"""A changed configuration in a running sidecar: requests and streams under way, several processes, deaths between."""

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from bench_browser import Browser, is_refused
from bench_process import free_port, wait_for
from bench_stack import Cast, merged
from bench_workers import IN, OUT, Answer, Pod

CONNECTIONS = 48  # enough to meet each of three workers
STRIPPED = (200, None)


class Editor:
    """Whoever changes the file of a running sidecar."""

    def __init__(self, pod: Pod | Cast) -> None:
        self._pod = pod

    def write(self, text: str) -> None:
        """The whole file at one stroke, and SIGHUP."""
        path = self._pod.sidecar.path
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").replace(path)
        self._pod.sidecar.signal(signal.SIGHUP)

    def change(self, **sections: Any) -> None:
        """A change that is taken over; returns when the process that looks has taken it."""
        self._pod.sidecar.config = merged(self._pod.sidecar.config, sections)
        count = self.count("config_reloaded")
        self.write(yaml.safe_dump(self._pod.sidecar.config))
        # A signal that came before may be answered as well, and has changed nothing.
        self._pod.sidecar.wait_until(
            lambda: any(line["changed"] for line in self.lines("config_reloaded")[count:]), "a reload"
        )

    def refused(self, text: str) -> dict[str, Any]:
        """A change that is not; what the log says of it."""
        count = self.count("config_refused")
        self.write(text)
        self._pod.sidecar.wait_until(lambda: self.count("config_refused") == count + 1, "a refusal")
        return self.lines("config_refused")[-1]

    def reason_of(self, event: str) -> str:
        """What the only such line gives as the reason; the log is a moment behind."""
        wait_for(lambda: self.count(event) == 1, event)
        return str(self.lines(event)[0]["reason"])

    def count(self, event: str) -> int:
        return len(self.lines(event))

    def lines(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._pod.sidecar.output().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    with Pod(tmp_path, workers=1) as pod:
        yield pod


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Pod]:
    with Pod(tmp_path, workers=3) as pod:
        yield pod


def test_the_next_request_is_judged_by_the_new_rules_on_the_connection_that_is_open(pod: Pod) -> None:
    assert pod.log_out("s-1") == 200
    visit, edit = pod.visit("s-1"), Editor(pod)
    assert visit.get() == OUT
    edit.change(enforcement={"action": "strip"})
    assert visit.get() == STRIPPED
    edit.change(enforcement={"action": "reject", "routes": [{"path": "/static/*", "action": "allow"}]})
    assert (visit.get(), visit.get("/static/logo")) == (OUT, STRIPPED)
    assert edit.lines("config_reloaded")[-1]["changed"] == ["enforcement.action", "enforcement.routes"]
    assert pod.sidecar.metric('logout_sidecar_config_reloads_total{result="ok"}') == 2
    assert pod.log_out("s-2") == 200  # by the verifiers that were renewed
    assert pod.visit("s-2").get() == OUT


def test_a_file_that_does_not_hold_weakens_nothing(pod: Pod) -> None:
    edit = Editor(pod)
    text = pod.sidecar.path.read_text()
    assert pod.log_out("s-1") == 200
    for broken in ("", text[: len(text) // 2], "enforcement: {action: strip}"):
        assert edit.refused(broken)["reason"] == "invalid"
        assert pod.visit("s-1").get() == OUT
    pod.sidecar.path.unlink()
    count = edit.count("config_refused")
    pod.sidecar.signal(signal.SIGHUP)
    pod.sidecar.wait_until(lambda: edit.count("config_refused") == count + 1, "a refusal")
    assert pod.visit("s-1").get() == OUT
    assert pod.sidecar.metric("logout_sidecar_config_differs") == 1
    verbose = requests.get(f"{pod.sidecar.ops}/readyz?verbose", timeout=5)
    assert verbose.status_code == 200  # it serves as before
    assert "[-]configuration failed: invalid: " in verbose.text
    edit.write(text)
    wait_for(lambda: pod.sidecar.metric("logout_sidecar_config_differs") == 0, "being well again")


def test_what_needs_a_restart_is_named_and_comes_with_it(pod: Pod) -> None:
    edit = Editor(pod)
    assert pod.log_out("s-1") == 200
    listen = f"127.0.0.1:{free_port()}"
    other = merged(pod.sidecar.config, {"ops": {"listen": listen}, "enforcement": {"action": "strip"}})
    assert edit.refused(yaml.safe_dump(other))["details"] == ["ops.listen"]
    assert pod.visit("s-1").get() == OUT  # the half that could be taken over is not
    pod.sidecar.config, pod.sidecar.ops = other, f"http://{listen}"
    pod.sidecar.terminate()
    pod.sidecar.start()
    pod.wait_until_ready()
    assert pod.visit("s-1").get() == STRIPPED


def test_a_change_is_found_without_being_told_of_it(tmp_path: Path) -> None:
    with Pod(tmp_path, workers=1, reload={"poll": "1s"}) as pod:
        assert pod.log_out("s-1") == 200
        changed = yaml.safe_dump(merged(pod.sidecar.config, {"enforcement": {"action": "strip"}}))
        pod.sidecar.path.with_suffix(".new").write_text(changed)
        pod.sidecar.path.with_suffix(".new").replace(pod.sidecar.path)
        pod.sidecar.wait_until(lambda: pod.visit("s-1").get() == STRIPPED, "the new rules")


def test_a_request_under_way_is_answered_and_one_of_a_session_that_ends_is_not(pod: Pod) -> None:
    """The verdict before the reload is looked at again by the rules after it, whatever the count of logouts was."""
    assert pod.log_out("s-0") == 200  # the old rules have seen one logout; the new ones will have seen one as well
    answers: dict[str, Answer | None] = {}
    visits = {sid: pod.visit(sid) for sid in ("s-1", "s-2")}
    pod.app.free.clear()
    threads = [
        threading.Thread(target=lambda sid=sid, visit=visit: answers.update({sid: visit.is_served()}))
        for sid, visit in visits.items()
    ]
    for thread in threads:
        thread.start()
    wait_for(lambda: pod.app.waiting == 2, "requests at the app")
    Editor(pod).change(log={"access": True})
    assert pod.log_out("s-1") == 200
    pod.app.free.set()
    for thread in threads:
        thread.join()
    assert answers == {"s-1": OUT, "s-2": IN}


def test_a_stream_that_was_begun_before_a_reload_is_cut_by_a_logout_after_it(pod: Pod) -> None:
    mine, other = pod.visit("s-1"), pod.visit("s-2")
    for visit in (mine, other):
        visit.begin()
    Editor(pod).change(enforcement={"action": "strip"})
    assert pod.log_out("s-1") == 200
    assert mine.is_cut(within=5)
    assert not other.is_cut(within=0.1)


def test_the_rules_for_logout_tokens_are_taken_over_and_the_keys_stay(pod: Pod) -> None:
    edit = Editor(pod)
    (provider,) = pod.sidecar.config["providers"]
    Path(provider["jwks_file"]).unlink()  # nobody can fetch them again
    edit.change(providers=[{**provider, "client_id": "other"}])
    assert pod.log_out("s-1") == 400
    assert edit.reason_of("logout_token") == "wrong_audience"
    assert pod.visit("s-1").get() == (401, "bad_token")  # browsers' tokens too
    edit.change(providers=[{**provider, "client_id": ["other", "app"]}])
    assert pod.visit("s-1").get() == IN
    assert pod.log_out("s-1") == 200
    assert pod.visit("s-1").get() == OUT


def test_the_relay_reads_logins_by_the_new_rules(tmp_path: Path) -> None:
    cast = Cast(tmp_path)
    with cast.running(), Browser() as browser, Browser() as other:
        edit = Editor(cast)
        (provider,) = cast.sidecar.config["providers"]
        edit.change(providers=[{**provider, "client_id": "other"}])
        assert browser.log_in(f"{cast.sidecar.url}/private", "alice").status_code == 503
        assert edit.reason_of("login_unverified") == "wrong_audience"
        edit.change(providers=[provider])
        other.log_in(f"{cast.sidecar.url}/private", "alice")
        assert cast.provider.end(cast.provider.sessions("alice")[-1]) == "ok"
        assert is_refused(other.probe(f"{cast.sidecar.url}/api/me"))


@pytest.mark.parametrize("processes", [1, 2])
def test_from_observing_to_enforcing_without_a_restart(tmp_path: Path, processes: int) -> None:
    with Pod(tmp_path, workers=processes, enforcement={"mode": "observe"}) as pod:
        edit = Editor(pod)
        assert pod.log_out("s-1") == 200
        assert all_answers(pod, "s-1") == {IN}
        assert pod.sidecar.metric("logout_sidecar_enforcing") == 0
        edit.change(enforcement={"mode": "enforce"})
        wait_for(lambda: all_answers(pod, "s-1") == {OUT}, "enforcement everywhere")
        assert pod.sidecar.metric("logout_sidecar_enforcing") == 1
        edit.change(enforcement={"mode": "observe"})
        wait_for(lambda: all_answers(pod, "s-1") == {IN}, "observing everywhere")
        assert edit.count("not_enforcing") == 2  # nobody can overlook it


@pytest.mark.parametrize("processes", [1, 2])
def test_the_relay_refuses_codes_by_the_new_rule(tmp_path: Path, processes: int) -> None:
    cast = Cast(tmp_path, workers=processes)
    form = {"grant_type": "authorization_code", "code": "of no callback"}

    def redeemed() -> str:
        return requests.post(f"{cast.sidecar.relay}/token", data=form, timeout=5).text

    with cast.running(cast.provider, cast.sidecar):
        assert "login_unjoined" in redeemed()
        session = cast.sidecar.config["session"]
        (binder,) = session["bind"]
        Editor(cast).change(session={"bind": [{**binder, "unjoined": "allow"}]})
        assert "login_unjoined" not in redeemed()  # the provider has the last word on it


# Several processes


def all_answers(pod: Pod, sid: str) -> set[Answer]:
    return pod.answers(sid, CONNECTIONS)


def test_every_worker_takes_it_over_and_so_does_whoever_is_started_later(workers: Pod) -> None:
    pod, edit = workers, Editor(workers)
    assert pod.log_out("s-1") == 200
    assert all_answers(pod, "s-1") == {OUT}
    edit.change(enforcement={"action": "strip"})
    wait_for(lambda: all_answers(pod, "s-1") == {STRIPPED}, "all workers")
    assert [pod.starts_of(f"worker {slot}") for slot in range(3)] == [1] * 3
    for number, name in enumerate(("worker 1", "control"), start=1):
        pod.kill(name, signal.SIGKILL)
        pod.wait_for_start(name, 2)
        pod.wait_until_ready()
        assert all_answers(pod, "s-1") == {STRIPPED}
        assert edit.count("config_reloaded") == number  # the new control process has nothing to take over
        edit.change(enforcement={"action": "strip", "login_url": f"/login{number}"})
    edit.change(enforcement={"action": "reject"})
    wait_for(lambda: all_answers(pod, "s-1") == {OUT}, "all workers, those that were started later as well")


def test_none_takes_over_what_one_could_not(workers: Pod) -> None:
    pod, edit = workers, Editor(workers)
    assert pod.log_out("s-1") == 200
    edit.change(enforcement={"action": "strip"})
    wait_for(lambda: all_answers(pod, "s-1") == {STRIPPED}, "all workers")
    assert edit.refused("nonsense")["reason"] == "invalid"
    for name in ("worker 0", "control"):
        pod.kill(name, signal.SIGKILL)
        pod.wait_for_start(name, 2)
    pod.wait_until_ready()
    assert all_answers(pod, "s-1") == {STRIPPED}  # the last good one, not the first
    edit.count("config_refused")
    pod.sidecar.signal(signal.SIGHUP)
    wait_for(lambda: pod.sidecar.metric("logout_sidecar_config_differs") == 1, "the new control process to say so")


def test_a_signal_that_reaches_every_process_of_the_pod_harms_none(workers: Pod) -> None:
    """As `pkill -HUP` sends it, or a terminal that is closed."""
    pod, edit = workers, Editor(workers)
    names = ["control", *(f"worker {slot}" for slot in range(3))]
    for name in names:
        pod.kill(name, signal.SIGHUP)
    pod.sidecar.signal(signal.SIGHUP)
    edit.change(enforcement={"action": "strip"})
    assert pod.log_out("s-1") == 200
    wait_for(lambda: all_answers(pod, "s-1") == {STRIPPED}, "all workers")
    assert [pod.starts_of(name) for name in names] == [1] * 4


def test_a_pod_under_load_is_reloaded_without_one_lost_request(workers: Pod) -> None:
    pod, edit = workers, Editor(workers)
    over, answers = threading.Event(), []

    def load() -> None:
        while not over.is_set():
            answers.extend(pod.answers("s-1", 4))

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(5):
        edit.change(enforcement={"login_url": f"/login{number}"}, limits={"head_timeout": f"{number + 5}s"})
    over.set()
    for thread in threads:
        thread.join()
    assert set(answers) == {IN}
    assert [pod.starts_of(f"worker {slot}") for slot in range(3)] == [1] * 3


def test_the_first_token_binder_of_a_pod_with_workers_needs_a_restart(tmp_path: Path) -> None:
    bind = [{"from": "token_endpoint", "callback": "/callback"}]
    session = {"credentials": [{"cookie": "SID"}], "bind": bind}
    with Pod(tmp_path, workers=2, session=session) as pod:
        more = [*bind, {"from": "token", "cookie": "id_token"}]
        changed = yaml.safe_dump(merged(pod.sidecar.config, {"session": {"bind": more}}))
        assert Editor(pod).refused(changed)["details"] == ["session.bind"]


def test_a_worker_that_cannot_take_it_over_is_replaced_by_one_that_has_it(tmp_path: Path) -> None:
    """A secret's file goes away in the moment between the control process's look and the worker's."""
    key = tmp_path / "secret"
    key.write_text("a secret of 32 bytes, or of more than that")
    with Pod(tmp_path, workers=2, store={"other_secrets": [{"file": str(key)}]}) as pod:
        edit = Editor(pod)
        assert pod.log_out("s-1") == 200
        stopped = [pod.kill(f"worker {slot}", signal.SIGSTOP) for slot in range(2)]
        try:
            edit.change(enforcement={"action": "strip"})
            key.rename(tmp_path / "gone")
        finally:
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):  # one that was silent for too long was replaced anyway
                    os.kill(pid, signal.SIGCONT)
        for slot in range(2):
            pod.wait_for_start(f"worker {slot}", 2)
        (tmp_path / "gone").rename(key)
        pod.wait_until_ready()
        wait_for(lambda: all_answers(pod, "s-1") == {STRIPPED}, "the successors")
