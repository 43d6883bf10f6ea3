"""The ledger contract on a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.contracts.ledger_contract import LedgerContract
from tests.contracts.test_broker_redis import ValkeyHarness
from tests.support.redis import RedisHarness

pytestmark = pytest.mark.valkey


class TestRedisLedger(LedgerContract):
    @pytest.fixture
    async def harness(self, valkey: EmbeddedValkey) -> AsyncIterator[RedisHarness]:
        harness = ValkeyHarness(valkey.url)
        yield harness
        await harness.close()
