"""The index contract in memory."""

from __future__ import annotations

import pytest

from sidecar.adapters.index.memory.index import MemoryIndex
from tests.contracts.index_cancellation import IndexCancellationContract
from tests.contracts.index_contract import JOIN, IndexContract


class TestMemoryIndex(IndexContract, IndexCancellationContract):
    @pytest.fixture(params=[1_000, 200_000], ids=["in many segments", "in one segment"])
    def index(self, request: pytest.FixtureRequest) -> MemoryIndex:
        return MemoryIndex(request.param, JOIN, self.MAX_FLOW)
