"""Fixtures of the replay tests."""

from __future__ import annotations

import pytest


@pytest.fixture
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let replay jobs save their progress and poll often."""
    monkeypatch.setattr("sidecar.replay.job_progress.SAVE_INTERVAL_S", 0.02)
    monkeypatch.setattr("sidecar.replay.ramp_up.LOOK_INTERVAL_S", 0.01)
    monkeypatch.setattr("sidecar.replay.supervisor.LOOK_INTERVAL_S", 0.02)
