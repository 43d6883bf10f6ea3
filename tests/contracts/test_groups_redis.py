"""The groups contract on a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.contracts.groups_contract import GroupsContract
from tests.support.redis import RedisHarness

pytestmark = pytest.mark.valkey


class TestRedisGroups(GroupsContract):
    @pytest.fixture
    async def harness(self, valkey: EmbeddedValkey) -> AsyncIterator[RedisHarness]:
        harness = RedisHarness(valkey.url)
        yield harness
        await harness.close()

    async def test_entries_acknowledged_out_of_order_count_as_consumed(self, harness, stream, group, foreign):
        await harness.create(stream)
        positions = await self._sent(harness, stream, 4)
        broker = harness.broker(stream, group=group)
        await broker.start()
        member, reader = await self._reads(harness, stream, foreign, 4, commit=0, batch=1)
        filled = [one for one in reader.batches if one.records]
        await member.commit(filled[2:3], [])
        found = await self._of(broker, foreign)
        assert found is not None
        (one,) = found.partitions
        assert [one.has_consumed(position.offset) for position in positions] == [False, False, True, False]
        await reader.__aexit__(None, None, None)
        await member.close()
        await broker.close()
