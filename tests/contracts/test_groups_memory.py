"""The groups contract in memory."""

from __future__ import annotations

import pytest

from tests.contracts.groups_contract import GroupsContract
from tests.contracts.test_broker_memory import MemoryHarness


class TestMemoryGroups(GroupsContract):
    @pytest.fixture
    async def harness(self) -> MemoryHarness:
        return MemoryHarness()
