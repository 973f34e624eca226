"""The state of one process when its store is away, or holds something wrong, at the start."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sidecar import clock
from sidecar.app import state as state_module
from sidecar.app.state import State
from sidecar.config.load import load
from sidecar.config.model import Config
from sidecar.core.freshness import Freshness
from sidecar.core.identity import Digester, Kind
from sidecar.core.logout_token import LogoutToken
from sidecar.core.revocation import SLACK_S, Revocation
from sidecar.stores.interface import StoreError
from sidecar.stores.sqlite import SqliteStore

TEXT = """\
upstream: {url: "http://127.0.0.1:8080"}
providers: [{issuer: "https://idp.example.com", client_id: app}]
session: {bind: [{from: token, cookie: id_token}]}
store: {url: "sqlite://"}
"""


class Troubled(SqliteStore):
    """A real store that gives its secret, and takes revocations, when the test lets it."""

    def __init__(self) -> None:
        super().__init__(None)
        self.is_away = True
        self.takes = asyncio.Event()
        self.short = False

    async def secret(self) -> bytes:
        if self.is_away:
            raise StoreError("store_unavailable")
        return b"short" if self.short else await super().secret()

    async def append(self, revocations: Any) -> None:
        await self.takes.wait()
        await super().append(revocations)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    return load(str(path))


async def until(condition: Callable[[], object]) -> None:
    began = clock.boot()
    while not condition():
        assert clock.boot() - began < 5, "waited too long"
        await asyncio.sleep(0.005)


def logout(sid: str) -> LogoutToken:
    return LogoutToken("https://idp.example.com", ("app",), sid, None, 1000, 1000, False, "jti", clock.wall() + 60)


async def test_a_store_that_was_never_reached_is_shown_as_a_problem(config: Config):
    store = Troubled()
    state = State(config, store)
    state.start(lambda _revocation: None, lambda: None)
    try:
        assert state.problem() is not None
        store.is_away = False
        await until(state.feed.loaded.is_set)
        assert state.problem() is None
    finally:
        await state.aclose()


@pytest.mark.parametrize(
    ("limits", "age_s", "said"),
    [((5, 5), 0, None), ((1, 60), 2, "stale, 2"), ((1, 2), 3, "blind, 3"), ((1, 2), None, "blind, never loaded")],
)
async def test_how_old_the_replica_is_is_shown_to_the_operator(
    config: Config, limits: tuple[float, float], age_s: float | None, said: str | None
):
    state = State(config, SqliteStore(None), freshness=Freshness(*limits))
    if age_s is not None:
        state.freshness.proved(clock.boot() - age_s)

    shown = state.staleness()
    assert (shown or "").startswith(said or "")
    assert (shown is None) == (said is None)


async def test_logouts_from_before_the_key_are_all_enforced_before_the_store_is_waited_for(config: Config):
    store = Troubled()
    state = State(config, store)
    enforced: list[Revocation] = []
    state.start(enforced.append, lambda: None)
    try:
        for number in range(5):
            with pytest.raises(StoreError):
                await state.revoker(logout(f"s-{number}"), int(clock.wall()) + 60)
        store.is_away = False
        await until(lambda: enforced)
        assert len(enforced) == 5
    finally:
        store.takes.set()
        await state.aclose()


async def test_a_start_that_dies_is_told_to_the_operator(config: Config, caplog: pytest.LogCaptureFixture):
    store = Troubled()
    store.is_away, store.short = False, True
    state = State(config, store)
    with caplog.at_level(logging.CRITICAL):
        state.start(lambda _revocation: None, lambda: None)
        await until(lambda: caplog.records)
    assert caplog.records[0].getMessage() == "state_died"
    assert state.problem() == "state_died"
    await state.aclose()


async def test_a_defect_behind_one_revocation_keeps_no_other_from_the_replica(
    config: Config, caplog: pytest.LogCaptureFixture
):
    store = SqliteStore(None)
    state = State(config, store)
    seen: list[Revocation] = []

    def defective(revocation: Revocation) -> None:
        seen.append(revocation)
        raise ZeroDivisionError

    state.start(defective, lambda: None)
    try:
        await until(state.feed.loaded.is_set)
        own, fed = (Revocation(Kind.SID, bytes((number,)) * 16, 1, 2**31) for number in (1, 2))
        await state.publisher.publish([own])
        await store.append([fed])
        await until(lambda: state.replica.cutoff(fed.digest) is not None)
        assert state.replica.cutoff(own.digest) is not None
        assert state.publisher.waiting == 0
        assert state.problem() is None
        assert len(seen) == 2
        assert caplog.text.count("revocation_fault") == 2
    finally:
        await state.aclose()


async def test_a_file_that_was_locked_at_the_start_is_opened_when_it_is_free(config: Config, tmp_path: Path):
    path = str(tmp_path / "state.db")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    state = State(config, SqliteStore(path))
    await state.open()
    state.start(lambda _revocation: None, lambda: None)
    try:
        other.execute("ROLLBACK")
        await until(state.feed.loaded.is_set)
    finally:
        other.close()
        await state.aclose()


@pytest.mark.parametrize("had_a_secret_of_its_own", [True, False])
async def test_a_key_that_the_store_made_before_one_was_set_goes_on_counting(
    tmp_path: Path, had_a_secret_of_its_own: bool
):
    """Else setting `store.secret` would forget every logout of the last hours, and nobody would know."""
    before = SqliteStore(str(tmp_path / "state.db"))
    await before.open()
    old = Digester(await before.secret()) if had_a_secret_of_its_own else None
    await before.aclose()
    (tmp_path / "secret").write_bytes(b"the secret that was set later")
    path = tmp_path / "config.yaml"
    path.write_text(
        TEXT.replace('url: "sqlite://"', f'url: "sqlite:///{tmp_path}/state.db", secret: {{file: {tmp_path}/secret}}')
    )
    keys: list[int] = []
    state = State(load(str(path)), SqliteStore(str(tmp_path / "state.db")))
    state.start(lambda _revocation: None, lambda: keys.append(1))
    try:
        await until(state.feed.loaded.is_set)
        assert [each.key_id for each in state.digester.others] == ([old.key_id] if old else [])
        assert len(keys) == len(state.digester.others)  # what was digested before has to be digested again
    finally:
        await state.aclose()


@pytest.mark.parametrize("has_expired", [True, False])
async def test_when_no_session_is_left_that_needs_it_the_old_key_is_said_to_be_removable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, has_expired: bool
):
    monkeypatch.setattr(state_module, "REMOVABLE_S", 0.01)
    url = f"sqlite:///{tmp_path}/state.db"
    (tmp_path / "secret").write_bytes(b"the secret that was set later")
    path = tmp_path / "config.yaml"
    path.write_text(TEXT.replace('url: "sqlite://"', f'url: "{url}", secret: {{file: {tmp_path}/secret}}'))
    config = load(str(path))
    store = SqliteStore(str(tmp_path / "state.db"))
    await store.open()
    await store.secret()
    since = int(clock.wall() - config.session.max_age - SLACK_S) + (0 if has_expired else 60)
    await store.superseded(since)
    asked: list[int] = []
    superseded = store.superseded

    async def counted(now: int) -> int | None:
        asked.append(now)
        return await superseded(now)

    store.superseded = counted  # type: ignore[method-assign]
    state = State(config, store)
    state.start(lambda _revocation: None, lambda: None)
    try:
        await until(lambda: "store_key_removable" in caplog.text if has_expired else len(asked) > 2)
        said = [record for record in caplog.records if record.getMessage() == "store_key_removable"]
        assert len(said) == has_expired
        assert len(state.digester.others) == 1  # dropped by nobody but the operator
    finally:
        await state.aclose()


async def test_with_a_key_of_its_own_a_logout_is_enforced_before_the_store_is_reached(tmp_path: Path):
    (tmp_path / "secret").write_bytes(b"the secret of the deployment")
    path = tmp_path / "config.yaml"
    path.write_text(TEXT.replace('url: "sqlite://"', f'url: "sqlite://", secret: {{file: {tmp_path}/secret}}'))
    store = Troubled()

    async def away() -> bytes | None:
        raise StoreError("store_unavailable")

    store.kept_secret = away  # type: ignore[method-assign]
    state = State(load(str(path)), store)
    enforced: list[Revocation] = []
    state.start(enforced.append, lambda: None)
    try:
        await until(state.keyed.is_set)
        logging_out = asyncio.create_task(state.revoker(logout("s-1"), int(clock.wall()) + 60))
        await until(lambda: enforced)
        assert not state.feed.loaded.is_set()
        logging_out.cancel()
        await asyncio.wait({logging_out})
    finally:
        store.takes.set()
        await state.aclose()
