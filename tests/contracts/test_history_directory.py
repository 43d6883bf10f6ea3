"""The history contract in a local directory."""

from __future__ import annotations

import pytest

from sidecar.adapters.history.directory_store import DirectoryStore
from sidecar.adapters.history.parquet_history import ParquetHistory
from tests.contracts.history_contract import HistoryContract


class TestDirectoryHistory(HistoryContract):
    @pytest.fixture
    async def history(self, tmp_path):
        history = ParquetHistory(DirectoryStore(tmp_path / "history"))
        yield history
        await history.close()
