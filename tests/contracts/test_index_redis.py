"""The index contract with a shared index, on a real Valkey."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from sidecar.adapters.index.redis.index import RedisIndex
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.domain.ports.index import Coverage
from tests.contracts.index_cancellation import IndexCancellationContract
from tests.contracts.index_contract import JOIN, IndexContract

pytestmark = pytest.mark.valkey


class TestRedisIndex(IndexContract, IndexCancellationContract):
    @pytest.fixture
    async def index(self, valkey: EmbeddedValkey) -> AsyncIterator[RedisIndex]:
        index = RedisIndex(valkey.url, join=JOIN, max_flow=self.MAX_FLOW, prefix=uuid.uuid4().hex, patience=30)
        yield index
        await index.close()

    async def held(self, index: RedisIndex) -> Coverage:
        await index.wait_until_written()
        return index.coverage()
