"""A harness for the Redis broker on a real Valkey, and what other programs do with the server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence

from redis.asyncio import Redis as Client

from sidecar.adapters.brokers.redis.broker import RedisBroker
from sidecar.adapters.brokers.redis.entry_codec import (
    SYSTEM,
    EntryCodec,
    RawEntry,
    entry_id,
    offset,
    raw,
)
from sidecar.config.schema import RedisConfig
from sidecar.config.value_types import Duration, StartPosition
from sidecar.domain.model import Outgoing, Record
from sidecar.domain.position import Partition, Position
from tests.contracts.broker_harness import EARLIEST, BrokerHarness
from tests.servers.server_versions import selected_version


class RedisHarness(BrokerHarness):
    system = SYSTEM
    partitioned = False
    keyed = False
    trims = selected_version() >= (7, 0)

    def __init__(self, url: str, client: Client | None = None) -> None:
        self.url = url
        self.client = client or Client.from_url(url, protocol=2)
        # redis-py's parsing of streams loses repeated fields and their order.
        for command in ("XRANGE", "XREADGROUP", "XINFO STREAM", "XINFO GROUPS", "XPENDING", "CONFIG GET"):
            self.client.response_callbacks.pop(command, None)
        self._entries = EntryCodec("payload")
        self._brokers: list[RedisBroker] = []

    def broker(
        self,
        *streams: str,
        group: str,
        start: StartPosition = EARLIEST,
        max_records: int = 1000,
        service: str = "contract",
        claim_idle: float = 0.5,
        url: str | None = None,
        gate: Mapping[str, str] | None = None,
    ) -> RedisBroker:
        config = RedisConfig(
            url=url or self.url,
            streams=list(streams),
            group=group,
            start=start,
            claim_idle=Duration(claim_idle),
            gate=dict(gate or {}),
        )
        broker = RedisBroker(config, service, self.naming(group), max_records=max_records)
        self._brokers.append(broker)
        return broker

    def unreachable(self) -> RedisBroker:
        return self.broker("orders", group="group", url="redis://127.0.0.1:1/0")

    async def create(self, stream: str, partitions: int = 1) -> None:
        setup = uuid.uuid4().hex
        await self.client.xgroup_create(raw(stream), setup, mkstream=True)
        await self.client.xgroup_destroy(raw(stream), setup)

    async def produce(self, records: Sequence[Outgoing]) -> list[Position]:
        pipe = self.client.pipeline(transaction=False)
        for record in records:
            pipe.execute_command("XADD", raw(record.stream), "*", *self._entries.fields(record))
        ids = await pipe.execute()
        return [Position(SYSTEM, r.stream, 0, offset(one)) for r, one in zip(records, ids, strict=True)]

    async def contents(self, stream: str) -> list[Record]:
        found: list[RawEntry] = await self.client.execute_command("XRANGE", raw(stream), "-", "+")
        return self._entries.records(stream, found)

    async def crash(self, broker: RedisBroker) -> None:
        """A dead process does not return its pending entries."""
        broker._release_entries = _nothing  # type: ignore[method-assign]
        await broker.close()

    async def trim(self, partition: Partition, before: int) -> None:
        await self.client.execute_command("XTRIM", raw(partition.stream), "MINID", entry_id(before))

    async def close(self) -> None:
        await asyncio.gather(*(broker.close() for broker in self._brokers))
        await self.client.aclose()


async def _nothing(*_: object) -> None:
    pass
