"""One pod with several worker processes: a logout counts everywhere at once, and no death of one disturbs the rest."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import requests
from bench_browser import Browser, is_refused
from bench_process import wait_for
from bench_stack import Cast
from bench_workers import IN, OUT, Answer, Pod, Visit, is_dead

WORKERS = 3
CONNECTIONS = 64  # the kernel spreads them by port: that of 64 none hits one of three workers happens once in 10^11


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    with Pod(tmp_path, workers=WORKERS) as pod:
        yield pod


class Load:
    """Visitors that come again and again, each time on a new connection, until the block ends."""

    def __init__(self, pod: Pod, sid: str, *, threads: int = 4) -> None:
        self._pod, self._cookie = pod, pod.cookie(sid)
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        self._over = threading.Event()
        self.answers: list[Answer | None] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for_more(self, count: int) -> None:
        enough = len(self.answers) + count
        wait_for(lambda: len(self.answers) >= enough, f"{count} more answers")

    def _run(self) -> None:
        while not self._over.is_set():
            visit = Visit(self._pod.sidecar.url, self._cookie)
            self.answers.append(visit.is_served())
            visit.close()


def test_a_login_through_one_worker_ends_in_all_of_them_with_the_logout(tmp_path: Path) -> None:
    """The whole way, with a real provider and a real app: the relay is in another process than the callback."""
    cast = Cast(tmp_path, workers=WORKERS)
    with cast.running(), Browser() as browser, Browser() as other:
        url = f"{cast.sidecar.url}/api/me"
        for each in (browser, other):
            each.log_in(f"{cast.sidecar.url}/private", "alice")
        assert cast.sidecar.metric('logout_sidecar_logins_total{outcome="joined"}') == 2
        assert cast.provider.end(cast.provider.sessions("alice")[0]) == "ok"
        assert all(is_refused(browser.probe(url)) for _ in range(CONNECTIONS))
        assert {other.probe(url).status_code for _ in range(8)} == {200}
        assert cast.sidecar.metric('logout_sidecar_bindings_total{binder="token_endpoint"}') == 2


def test_after_the_answer_to_a_logout_no_worker_lets_the_session_in(pod: Pod) -> None:
    kept = pod.visits("s-1", CONNECTIONS)
    pod.visits("s-2", 1)
    assert pod.log_out("s-1") == 200
    assert {visit.get() for visit in kept} == {OUT}
    assert pod.answers("s-1", CONNECTIONS) == {OUT}
    assert pod.answers("s-2", CONNECTIONS) == {IN}


def test_a_worker_that_is_killed_comes_back_and_the_others_notice_nothing(pod: Pod) -> None:
    kept = pod.visits("s-1", CONNECTIONS)
    assert pod.log_out("s-2") == 200
    pod.kill("worker 1", signal.SIGKILL)
    served = [visit.is_served() for visit in kept]
    assert set(served) == {IN, None}
    assert served.count(None) < CONNECTIONS * 2 / 3  # its own connections, a third of all
    assert pod.answers("s-1", CONNECTIONS) == {IN}  # those that hash to it wait in its queue
    pod.wait_for_start("worker 1", 2)
    pod.wait_until_ready()
    assert pod.answers("s-2", CONNECTIONS) == {OUT}
    assert pod.log_out("s-1") == 200
    assert pod.answers("s-1", CONNECTIONS) == {OUT}
    assert pod.sidecar.metric("logout_sidecar_worker_restarts_total") == 1


def test_a_worker_that_hangs_holds_up_no_logout_and_serves_nobody_afterwards(pod: Pod) -> None:
    kept = pod.visits("s-1", CONNECTIONS)
    hanging = pod.kill("worker 2", signal.SIGSTOP)
    status = None
    while status is None:  # a connection of ours may be one of the hanging worker's
        with contextlib.suppress(OSError):
            status = pod.log_out("s-1", timeout=1)  # a logout is answered within a second
    assert (status, is_dead(hanging)) == (200, True)
    assert {visit.is_served() for visit in kept} == {OUT, None}
    assert pod.answers("s-1", CONNECTIONS) == {OUT}
    assert pod.sidecar.metric('logout_sidecar_workers_killed_total{reason="unconfirmed"}') == 1


def test_what_is_open_when_a_pod_has_been_cut_off_for_too_long_is_cut_in_every_worker(
    redis_server: Any, tmp_path: Path
) -> None:
    store = {"url": redis_server.url, "fresh": "500ms", "grace": "1s"}
    with Pod(tmp_path, workers=2, store=store) as pod:
        mine, nobodys = [pod.visit("s-1") for _ in range(16)], [pod.visit_of_nobody() for _ in range(4)]
        for visit in (*mine, *nobodys):
            visit.begin()
        redis_server.suspend()
        assert all(visit.is_cut(within=5) for visit in mine)  # how soon is for tests/proxy/test_proxy_blind.py
        assert not any(visit.is_cut(within=0.1) for visit in nobodys)
        redis_server.resume()
        wait_for(lambda: pod.answers("s-1", 8) == {IN}, "serving again")


def test_the_control_process_may_die_and_nobody_notices(pod: Pod) -> None:
    assert pod.log_out("s-1") == 200
    with Load(pod, "s-2") as load:
        pod.kill("control", signal.SIGKILL)
        assert pod.answers("s-1", CONNECTIONS) == {OUT}
        assert pod.log_out("s-3") == 200  # waits in the queue of the next one
        assert pod.answers("s-3", CONNECTIONS) == {OUT}
        pod.wait_until_ready()
        load.wait_for_more(50)
    assert set(load.answers) == {IN}
    assert [pod.starts_of(f"worker {slot}") for slot in range(WORKERS)] == [1] * WORKERS
    assert pod.answers("s-1", CONNECTIONS) == {OUT}


def test_what_a_store_in_memory_forgets_with_the_control_process_the_workers_put_back(tmp_path: Path) -> None:
    with Pod(tmp_path, workers=2, store={"url": "sqlite://"}) as pod:
        assert pod.log_out("s-1") == 200
        pod.kill("control", signal.SIGKILL)
        pod.wait_for_start("control", 2)
        wait_for(lambda: pod.sidecar.metric("logout_sidecar_revocations_active") >= 1, "the control process to know")
        pod.kill("worker 0", signal.SIGKILL)
        pod.kill("worker 1", signal.SIGKILL)
        pod.wait_for_start("worker 0", 2)
        pod.wait_for_start("worker 1", 2)
        assert pod.answers("s-1", CONNECTIONS) == {OUT}


def test_sigterm_loses_no_request_and_ends_everything(pod: Pod) -> None:
    pids = [pod.pid_of(name) for name in ("control", *(f"worker {slot}" for slot in range(WORKERS)))]
    visits = [pod.visit("s-1") for _ in range(12)]
    answers: list[Answer | None] = []
    pod.app.free.clear()
    threads = [threading.Thread(target=lambda visit=visit: answers.append(visit.is_served())) for visit in visits]
    for thread in threads:
        thread.start()
    wait_for(lambda: pod.app.waiting == len(visits), "requests at the app")
    pod.sidecar.signal(signal.SIGTERM)
    wait_for(lambda: not pod.sidecar.is_ready(), "not being ready")
    assert requests.get(f"{pod.sidecar.ops}/livez", timeout=5).status_code == 200  # as long as something runs
    wait_for(lambda: not pod.takes_connections(), "the end of the listener")  # or clients would queue for nobody
    pod.app.free.set()
    for thread in threads:
        thread.join()
    assert answers == [IN] * len(visits)
    assert pod.sidecar.wait() == 0
    assert all(map(is_dead, pids))


def test_a_drain_under_load_refuses_nobody_before_its_delay_is_over(tmp_path: Path) -> None:
    with Pod(tmp_path, workers=2, drain={"delay": "1s"}) as pod:
        with Load(pod, "s-1") as load:
            load.wait_for_more(20)
            pod.sidecar.signal(signal.SIGTERM)
            pod.sidecar.wait_until_says("draining")
            load.wait_for_more(20)
        assert set(load.answers) == {IN}
        assert pod.sidecar.wait() == 0


def test_a_second_sigterm_waits_for_nobody(pod: Pod) -> None:
    visit = pod.visit("s-1")
    pod.app.free.clear()
    thread = threading.Thread(target=visit.is_served)
    thread.start()
    wait_for(lambda: pod.app.waiting == 1, "a request at the app")
    pod.sidecar.signal(signal.SIGTERM)
    pod.sidecar.wait_until_says("draining")
    pod.sidecar.signal(signal.SIGTERM)
    assert pod.sidecar.wait(within=2) == 1
    pod.app.free.set()
    thread.join()


def test_no_process_outlives_the_supervisor(pod: Pod) -> None:
    pids = [pod.pid_of(name) for name in ("control", *(f"worker {slot}" for slot in range(WORKERS)))]
    pod.sidecar.kill()
    wait_for(lambda: all(map(is_dead, pids)), "the end of all processes")


def test_the_bench_ends_even_what_a_test_has_stopped(tmp_path: Path) -> None:
    with Pod(tmp_path, workers=2) as pod:
        stopped = [pod.kill(name, signal.SIGSTOP) for name in ("worker 0", "control")]
    wait_for(lambda: all(map(is_dead, stopped)), "the end of all processes")


def test_the_numbers_of_all_workers_are_one(pod: Pod) -> None:
    pod.answers("s-1", CONNECTIONS)
    assert requested(pod) == CONNECTIONS
    pod.kill("worker 0", signal.SIGKILL)
    pod.wait_for_start("worker 0", 2)
    pod.wait_until_ready()
    assert requested(pod) == CONNECTIONS
    assert pod.sidecar.metric("logout_sidecar_workers_ready") == WORKERS
    assert pod.sidecar.metric("logout_sidecar_store_up") == 1


def requested(pod: Pod) -> float:
    text = requests.get(f"{pod.sidecar.ops}/metrics", timeout=5).text
    lines = [line for line in text.splitlines() if line.startswith("logout_sidecar_http_requests_total{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if 'method="GET"' in line and 'code="200"' in line)


def test_a_store_that_cannot_be_used_ends_the_pod_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"no database at all, but long enough to be read as a header" * 20)
    pod = Pod(tmp_path, workers=WORKERS)
    pod.app.server_close()
    with pod.sidecar:
        assert pod.sidecar.wait() == 1
    assert str(tmp_path / "state.db") in pod.sidecar.output()
