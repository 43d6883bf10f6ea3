"""The history contract in memory."""

from __future__ import annotations

import pytest

from sidecar.adapters.history.memory import MemoryHistory
from tests.contracts.history_contract import HistoryContract


class TestMemoryHistory(HistoryContract):
    @pytest.fixture
    def history(self) -> MemoryHistory:
        return MemoryHistory()
