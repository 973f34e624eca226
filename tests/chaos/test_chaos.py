"""Real processes under a nemesis keep the promises, and the checker notices those that do not.

Each round prints its seed; `make chaos MINUTES=60 SEED=...` plays other ones for longer.
"""

import os
from pathlib import Path

import pytest
from chaos_checker import report, violations
from chaos_history import Outcome
from chaos_round import MODES, play, summary
from chaos_site import GRACE_S, NAIVE
from chaos_stores import PROGRAMS

pytestmark = pytest.mark.timeout(90)  # a busy machine starts nine processes slowly

SEED = os.environ.get("CHAOS_SEED", "1")
SECONDS = {"losses": 6.0, "cuts": 6.0, "refusals": 6.0, "sentinel": 4.0, "cluster": 4.0}


@pytest.fixture
def server() -> str:
    if not PROGRAMS:
        pytest.skip("no redis or valkey server on this machine")
    return next(iter(PROGRAMS))


@pytest.mark.parametrize("mode", MODES)
async def test_no_acknowledged_logout_is_ever_forgotten_and_no_live_session_denied(
    mode: str, server: str, tmp_path: Path
) -> None:
    history = await play(mode, seed=SEED, seconds=SECONDS[mode], folder=tmp_path, server=server)

    print(f"seed {history.seed}: {summary(history)}")
    found = violations(history, grace=GRACE_S)
    assert not found, report(history, found)
    # Something has happened: a round in which nobody was logged out or nothing went wrong would prove nothing.
    assert sum(each.status == 200 for each in history.logouts) > 10
    assert {each.outcome for each in history.answers} >= {Outcome.SERVED, Outcome.DENIED}
    assert history.faults


async def test_a_sidecar_that_only_follows_a_cursor_is_found_out(server: str, tmp_path: Path) -> None:
    history = await play("losses", seed=SEED, seconds=3.0, folder=tmp_path, server=server, program=NAIVE)

    assert "I2" in {each.rule for each in violations(history, grace=GRACE_S)}
