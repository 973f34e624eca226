"""Steps of the wall clock: what is kept until a moment ends neither too early nor by a step."""

import pytest

from sidecar import clock


def test_without_a_step_the_three_agree():
    assert clock.early() == pytest.approx(clock.wall(), abs=0.05)
    assert clock.late() == pytest.approx(clock.wall(), abs=0.05)


def test_a_step_forward_does_not_reach_what_is_compared_with_an_expiry(monkeypatch):
    now = clock.wall()
    monkeypatch.setattr(clock, "wall", lambda: now + 3600)
    assert clock.early() == pytest.approx(now, abs=1)
    assert clock.late() == pytest.approx(now + 3600, abs=1)


def test_a_step_back_does_not_reach_what_an_expiry_is_counted_from(monkeypatch):
    now = clock.wall()
    monkeypatch.setattr(clock, "wall", lambda: now - 3600)
    assert clock.early() == pytest.approx(now - 3600, abs=1)
    assert clock.late() == pytest.approx(now, abs=1)
