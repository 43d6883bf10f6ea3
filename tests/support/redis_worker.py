"""A process that reads a stream with `RedisBroker`, rejects bad values, and commits; tests kill it.

Usage: python -m tests.support.redis_worker URL STREAM GROUP
"""

from __future__ import annotations

import asyncio
import sys

from sidecar.adapters.brokers.redis.broker import RedisBroker
from sidecar.adapters.brokers.redis.traits import REDIS_TRAITS
from sidecar.config.schema import Config, RedisConfig, SourcesConfig
from sidecar.config.value_types import Duration, StartPosition
from sidecar.domain.broker_traits import register_traits
from sidecar.domain.errors import Fenced, Outage
from tests.contracts.batch_reader import letter

register_traits(REDIS_TRAITS)


async def work(url: str, stream: str, group: str) -> None:
    naming = Config(service="member", sources=SourcesConfig()).stream_names(group)
    config = RedisConfig(
        url=url, streams=[stream], group=group, start=StartPosition("earliest"), claim_idle=Duration(0.5)
    )
    broker = RedisBroker(config, "member", naming, max_records=20)
    while True:
        try:
            await broker.start()
            async for batch in broker.batches():
                bad = [record for record in batch.records if (record.value or b"").startswith(b"bad")]
                try:
                    await broker.commit([batch], [letter(record, naming, group) for record in bad])
                except Fenced:
                    continue
        except Outage:
            await broker.close()
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
