"""`store.confirm: all`: when the provider has its 200, no pod serves the session, and nothing of it flows any more."""

import shutil
import time
from pathlib import Path
from typing import Any

from bench_process import wait_for
from bench_workers import OUT, Pod


def test_after_a_confirmed_logout_not_even_what_was_open_at_a_pod_that_is_cut_off_flows(
    redis_server: Any, tmp_path: Path
) -> None:
    redis_server.command("ACL", "SETUSER", "other", "on", ">secret", "~*", "+@all")
    (tmp_path / "password").write_text("secret")
    store = {"url": redis_server.url, "confirm": "all", "fresh": "500ms", "grace": "1s"}
    user = {"username": "other", "password": {"file": str(tmp_path / "password")}}
    folders = [tmp_path / name for name in ("ours", "other")]
    for folder in folders:
        folder.mkdir()
    ours, other = Pod(folders[0], workers=1, store=store), Pod(folders[1], workers=1, store=store | user)
    shutil.copy(folders[0] / "keys.json", folders[1] / "keys.json")
    other._key = ours._key
    with ours, other:
        wait_for(lambda: ours.sidecar.metric("logout_sidecar_replicas") == 2, "knowing the other pod")
        visit = other.visit("s-1")
        visit.begin()
        redis_server.command("ACL", "SETUSER", "other", "off")
        redis_server.command("CLIENT", "KILL", "USER", "other")
        began = time.monotonic()
        while (status := ours.log_out("s-1")) != 200:
            assert status == 400  # not confirmed: the provider may try again
            assert time.monotonic() - began < 15

        assert time.monotonic() - began > 1  # it was waited for: a 200 at once would have been a lie
        assert visit.is_cut(within=0.01)
        assert ours.answers("s-1", 1) == {OUT}
        assert other.answers("s-1", 1) == {(503, "replica_stale")}
