"""Dead letters of other frameworks among ours on a real Valkey, by cause; and the streams that `check` suggests."""

from __future__ import annotations

import uuid

import pytest

from sidecar.adapters.brokers.redis.broker import RedisBroker
from sidecar.config.schema import Config, DeadLettersConfig, RedisConfig, SourcesConfig
from sidecar.dead_letters.store import DeadLetterFilter, DeadLetterStore
from sidecar.demo.embedded_valkey import EmbeddedValkey
from sidecar.domain.model import Outgoing
from sidecar.domain.stream_names import StreamNames
from sidecar.runtime.wiring import BrokerSource
from tests.support import dead_letters as samples

pytestmark = pytest.mark.valkey


async def test_letters_of_all_frameworks_are_grouped_and_their_streams_suggested(valkey: EmbeddedValkey) -> None:
    stream, group = f"orders-{uuid.uuid4().hex[:8]}", "tracecar.shop"
    elsewhere = f"{stream}-dead-letters"
    config = RedisConfig(url=valkey.url, streams=[stream])

    def broker(*read: str) -> tuple[RedisBroker, StreamNames]:
        letters = DeadLettersConfig(read=["{stream}.dlt", "{stream}-dlt", *read])
        naming = Config(service="shop", sources=SourcesConfig(redis=config), dead_letters=letters).stream_names(group)
        return RedisBroker(config, "shop", naming), naming

    adapter, naming = broker()
    await adapter.start()
    try:
        ours = samples.written((), system="redis", offset=1_700_000_000_000 << 64)
        await adapter.publish(
            [
                Outgoing(stream, None, b"{}", ()),
                Outgoing(f"{stream}.dlt", None, ours.value, ours.headers),
                *[Outgoing(f"{stream}-dlt", None, b"{}", samples.WOLVERINE[:4]) for _ in range(3)],
                Outgoing(elsewhere, None, b"{}", samples.CONNECT),
            ]
        )
        grouped = await DeadLetterStore([BrokerSource(adapter, group, naming)]).groups()
        assert [(one.dialects, one.count, one.letter.stream) for one in grouped.causes] == [
            (["wolverine"], 3, stream),
            (["tracecar"], 1, "orders"),
        ]
        assert not grouped.notes
        suggested = [finding for finding in await adapter.inspect() if elsewhere in finding.what]
        assert [finding.ok for finding in suggested] == [True]
        assert "dead_letters.read" in suggested[0].detail
    finally:
        await adapter.close()

    adapter, naming = broker(f"{stream}-dead-*")
    await adapter.start()
    try:
        grouped = await DeadLetterStore([BrokerSource(adapter, group, naming)]).groups(DeadLetterFilter(since=0))
        assert {name for one in grouped.causes for name in one.dialects} == {"wolverine", "tracecar", "connect"}
        connect = next(one.letter for one in grouped.causes if one.dialects == ["connect"])
        assert (connect.stream, connect.origin) == ("orders", None), "Redis has no such positions"
        assert not [finding for finding in await adapter.inspect() if elsewhere in finding.what]
    finally:
        await adapter.close()
