"""The broker contract on a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.contracts.broker_contract import BrokerContract
from tests.support.redis import RedisHarness

pytestmark = pytest.mark.valkey


class ValkeyHarness(RedisHarness):
    _lowered = False

    async def too_large(self) -> bytes:
        self._lowered = True
        await self.client.config_set("proto-max-bulk-len", 1 << 20)
        return b"x" * ((1 << 20) + 1)

    async def close(self) -> None:
        if self._lowered:
            await self.client.config_set("proto-max-bulk-len", 512 << 20)
        await super().close()


class TestRedisBroker(BrokerContract):
    @pytest.fixture
    async def harness(self, valkey: EmbeddedValkey) -> AsyncIterator[RedisHarness]:
        harness = ValkeyHarness(valkey.url)
        yield harness
        await harness.close()
