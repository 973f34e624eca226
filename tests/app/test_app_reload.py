"""The reload: what is noticed, what is refused and kept, what is said. The swap is real, the process is this one."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sidecar import metrics
from sidecar.app.reload import SETTLE_S, Reloader
from sidecar.config.load import Loaded, load_all

TEXT = """\
upstream: {{url: "http://127.0.0.1:8080"}}
providers: [{{issuer: "https://idp.example.com", client_id: app, algorithms: [HS256], client_secret: {{file: {key}}}}}]
session: {{credentials: [{{cookie: SID}}], bind: [{{from: token_endpoint, callback: /callback}}]}}
reload: {{poll: {poll}}}
"""
STRIP = "enforcement: {action: strip}\n"


class Volume:
    """A mounted folder, as the kubelet makes it: a new folder for each version, and a link that is swapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.version = 0
        (folder / "key").write_text("a secret of 32 bytes, or of more than that")
        self.file = folder / "sidecar.yaml"
        self.file.symlink_to("..data/sidecar.yaml")

    def text(self, more: str = "", *, poll: str = "1h") -> str:
        return TEXT.format(key=self.folder / "key", poll=poll) + more

    def mount(self, text: str) -> None:
        self.version += 1
        place = self.folder / f"..{self.version}"
        place.mkdir()
        (place / "sidecar.yaml").write_text(text)
        link = self.folder / "..data_tmp"
        link.symlink_to(place.name)
        link.rename(self.folder / "..data")


class Bench:
    def __init__(self, volume: Volume, *, poll: str = "1h") -> None:
        volume.mount(volume.text(poll=poll))
        self.volume = volume
        self.taken: list[Loaded] = []
        self.fault: Exception | None = None
        self.reloader = Reloader(load_all(str(volume.file)), apply=self._apply)

    def _apply(self, loaded: Loaded) -> None:
        if self.fault is not None:
            raise self.fault
        self.taken.append(loaded)

    @property
    def actions(self) -> list[str]:
        return [loaded.config.enforcement.action for loaded in self.taken]

    async def look(self, *, is_told: bool = False) -> None:
        await self.reloader.look(is_told=is_told)


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


@pytest.fixture
async def bench(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async def at_once(_seconds: float) -> None:
        """What has stood still stands still."""

    monkeypatch.setattr("sidecar.app.reload.asyncio.sleep", at_once)
    yield Bench(volume)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)


def value(name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"logout_sidecar_{name}", labels) or 0.0


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, object]]:
    return [
        (record.message, fields.get("reason", fields.get("changed")))
        for record in caplog.records
        if (fields := getattr(record, "fields", {})) is not None
    ]


async def test_a_swapped_file_is_taken_over_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    count, before = value("config_reloads_total", result="ok"), value("config_last_reload_success_timestamp_seconds")
    assert before > 1e9
    metrics.config_last_reload_success.set(0)
    with caplog.at_level(logging.INFO):
        await bench.look()
        assert (bench.actions, said(caplog)) == ([], [])  # the file is what runs
        bench.volume.mount(bench.volume.text(STRIP))
        for _ in range(3):
            await bench.look()
    assert bench.actions == ["strip"]
    assert bench.reloader.running is bench.taken[-1]
    assert said(caplog) == [("config_reloaded", ["enforcement.action"])]
    assert value("config_reloads_total", result="ok") == count + 1
    assert value("config_last_reload_success_timestamp_seconds") >= before
    assert (value("config_differs"), bench.reloader.problem()) == (0, None)


FAULTS: list[tuple[str, str, Callable[[Volume], str | None]]] = [
    ("empty", "invalid", lambda _volume: ""),
    ("half a file", "invalid", lambda volume: volume.text(STRIP)[:150]),
    ("a typo", "invalid", lambda volume: volume.text("enforcment: {}\n")),
    ("contradictory", "invalid", lambda volume: volume.text("enforcement: {action: redirect}\n")),
    ("gone", "invalid", lambda _volume: None),
    ("another port", "needs_restart", lambda volume: volume.text(STRIP + "listen: 127.0.0.1:1\n")),
    ("another store", "needs_restart", lambda volume: volume.text("store: {url: 'sqlite://'}\n")),
]


@pytest.mark.parametrize(("reason", "make"), [each[1:] for each in FAULTS], ids=[name for name, *_ in FAULTS])
async def test_what_does_not_hold_changes_nothing_and_is_said_once(
    bench: Bench, caplog: pytest.LogCaptureFixture, reason: str, make: Callable[[Volume], str | None]
) -> None:
    await bench.look()
    count, running = value("config_reloads_total", result=reason), bench.reloader.running
    text = make(bench.volume)
    if text is None:
        (bench.volume.folder / "..data").unlink()
    else:
        bench.volume.mount(text)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            await bench.look()
    assert (bench.taken, bench.reloader.running) == ([], running)
    assert said(caplog) == [("config_refused", reason)]
    assert value("config_reloads_total", result=reason) == count + 1
    assert value("config_differs") == 1
    assert (bench.reloader.problem() or "").startswith(f"{reason}: ")
    (bench.volume.folder / "..data").unlink(missing_ok=True)
    bench.volume.mount(bench.volume.text(STRIP))
    await bench.look()
    assert (bench.actions, value("config_differs"), bench.reloader.problem()) == (["strip"], 0, None)


async def test_the_line_names_what_needs_a_restart_and_nothing_else(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.volume.mount(bench.volume.text(STRIP + "workers: 2\nstore: {fresh: 1s}\n"))
    await bench.look()
    (record,) = caplog.records
    assert record.fields["details"] == ["workers", "store.fresh"]  # type: ignore[attr-defined]
    assert bench.taken == []  # not even the half that could be


async def test_back_to_what_runs_ends_the_complaint(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.volume.mount("nonsense")
    await bench.look()
    bench.volume.mount(bench.volume.text())
    with caplog.at_level(logging.INFO):
        await bench.look()
    assert said(caplog)[-1] == ("config_reloaded", [])
    assert (bench.taken, value("config_differs"), bench.reloader.problem()) == ([], 0, None)


async def test_a_secret_that_comes_after_the_file_that_names_it(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    later = bench.volume.folder / "later"
    bench.volume.mount(bench.volume.text(STRIP).replace(str(bench.volume.folder / "key"), str(later)))
    for _ in range(2):
        await bench.look()
    assert said(caplog) == [("config_refused", "invalid")]
    later.write_text("another secret of 32 bytes, or of more than that")
    await bench.look()  # nothing has happened to the file itself
    assert bench.actions == ["strip"]


async def test_a_changed_secret_is_a_change(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    await bench.look()
    (bench.volume.folder / "key").write_text("quite another secret of at least 32 bytes")
    with caplog.at_level(logging.INFO):
        await bench.look()
    assert said(caplog) == [("config_reloaded", ["providers[0].client_secret"])]
    assert "quite another" not in caplog.text
    assert bench.taken[0].config.providers[0].client_secret is not None


async def test_a_file_that_is_being_written_is_not_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.look()
    bench.volume.mount(bench.volume.text(STRIP)[:-1])  # valid as it stands, and not complete
    rest = bench.volume.text("logout: {app_paths: [/out]}\n")
    waited = []

    async def moment(seconds: float) -> None:
        waited.append(seconds)
        (bench.volume.folder / "..data" / "sidecar.yaml").write_text(rest)

    monkeypatch.setattr("sidecar.app.reload.asyncio.sleep", moment)
    await bench.look()
    assert (bench.taken, waited) == ([], [SETTLE_S])
    await bench.look()
    assert [each.path for each in bench.taken[0].config.logout.app_paths] == ["/out"]


async def test_a_fault_of_ours_keeps_the_last_good_one(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.fault = RuntimeError("a defect")
    bench.volume.mount(bench.volume.text(STRIP))
    await bench.look()
    assert (bench.taken, value("config_differs")) == ([], 1)
    assert [record.message for record in caplog.records] == ["config_fault", "config_refused"]
    bench.fault = None
    await bench.look()  # it is tried again
    assert bench.actions == ["strip"]


async def test_the_operator_hears_of_each_sighup(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        await bench.look(is_told=True)
        bench.volume.mount("nonsense")
        for _ in range(2):
            await bench.look(is_told=True)
    assert [name for name, _ in said(caplog)] == ["config_reloaded", "config_refused", "config_refused"]


async def test_a_file_that_changes_while_it_is_read_is_read_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def changing(file: str) -> Loaded:
        loaded = load_all(file)
        monkeypatch.undo()
        bench.volume.mount(bench.volume.text("logout: {app_paths: [/out]}\n"))
        return loaded

    bench.volume.mount(bench.volume.text(STRIP))
    monkeypatch.setattr("sidecar.app.reload.load_all", changing)
    await bench.look(is_told=True)
    assert bench.taken == []
    watch = asyncio.create_task(bench.reloader.run())  # it was told, and has not answered yet
    async with asyncio.timeout(5):
        while not bench.taken:
            await asyncio.sleep(0.01)
    watch.cancel()
    await asyncio.wait({watch})
    assert [each.path for each in bench.taken[0].config.logout.app_paths] == ["/out"]


async def test_sighup_and_the_poll_are_both_heard(volume: Volume) -> None:
    slow = Bench(volume, poll="1h")
    watch = asyncio.create_task(slow.reloader.run())
    try:
        volume.mount(volume.text(STRIP))
        os.kill(os.getpid(), signal.SIGHUP)
        async with asyncio.timeout(5):
            while slow.actions != ["strip"]:
                await asyncio.sleep(0.01)
    finally:
        watch.cancel()
        await asyncio.wait({watch})
    quick = Bench(volume, poll="1s")
    watch = asyncio.create_task(quick.reloader.run())
    try:
        volume.mount(volume.text(STRIP, poll="1s"))
        async with asyncio.timeout(5):
            while quick.actions != ["strip"]:
                await asyncio.sleep(0.01)
    finally:
        watch.cancel()
        await asyncio.wait({watch})
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
