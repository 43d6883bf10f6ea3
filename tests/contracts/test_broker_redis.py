"""The broker contract on a real Valkey."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sidecar.adapters.brokers.redis.entry_codec import pairs
from sidecar.demo.embedded_valkey import EmbeddedValkey
from tests.contracts.batch_reader import Reader
from tests.contracts.broker_contract import BrokerContract
from tests.contracts.broker_harness import produce_numbered
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

    async def test_a_member_that_starts_gets_the_lowest_mark_and_moves_those_of_others(self, harness, stream, group):
        async def run(service: str, mark: int | None, *, killed: bool) -> tuple[int | None, int]:
            """Commit new entries with a mark, then end. Returns the first mark, and what was delivered before."""
            (position,) = await produce_numbered(harness, stream, 1)
            broker = harness.broker(stream, group=group, service=service)
            await broker.start()
            async with Reader(broker) as reader:
                (lease,) = await reader.leases(position.log)
                await reader.read(1)
                first, lease.history_mark = lease.history_mark, lease.delivered if mark is None else mark
                await broker.commit([batch for batch in reader.batches if batch.records], [])
            await (harness.crash(broker) if killed else broker.close())
            return first, lease.delivered

        async def marks() -> list[bytes]:
            groups = [pairs(flat) for flat in await harness.client.xinfo_groups(stream)]
            names = [each[b"name"] for each in groups if each[b"name"].startswith(b"tracecar.history:")]
            return sorted(name.rpartition(b":")[2].partition(b"@")[0] for name in names)

        await harness.create(stream)
        assert (await run("killed", 1_000 << 64, killed=True))[0] is None
        assert (await run("left", 2_000 << 64, killed=False))[0] == 1_000 << 64
        # It has not filled yet what the others left.
        assert (await run("third", 1_000 << 64, killed=True))[0] == 1_000 << 64
        assert await marks() == [b"killed", b"left", b"third"]
        first, delivered = await run("third", None, killed=True)
        assert first == 1_000 << 64
        assert await marks() == [b"killed", b"third"]
        assert (await run("fourth", None, killed=True))[0] == delivered
        # A user that may not remove groups moves the marks of members that left, too.
        await run("left", 2_000 << 64, killed=False)
        await harness.client.execute_command("ACL", "SETUSER", "default", "-xgroup|destroy")
        try:
            first, delivered = await run("fifth", None, killed=True)
            assert first < delivered
            assert b"left" in await marks()
            assert (await run("sixth", None, killed=True))[0] == delivered
        finally:
            await harness.client.execute_command("ACL", "SETUSER", "default", "+xgroup|destroy")
