"""The ledger contract in memory."""

from __future__ import annotations

import pytest

from tests.contracts.ledger_contract import LedgerContract
from tests.contracts.test_broker_memory import MemoryHarness


class TestMemoryLedger(LedgerContract):
    @pytest.fixture
    async def harness(self) -> MemoryHarness:
        return MemoryHarness()
