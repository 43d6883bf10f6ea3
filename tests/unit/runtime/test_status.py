"""Problems in `tracecar status`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sidecar.adapters.index.memory.index import MemoryIndex
from sidecar.domain.errors import Outage
from sidecar.domain.ports.broker import PartitionStatus
from sidecar.domain.position import Partition
from sidecar.pipeline.live_stream import LiveStream
from sidecar.runtime.status import StatusReporter, StatusSources
from tests.support.conditions import until
from tests.support.pipeline import Harness, harness


class Named:
    """A memory broker that lists some of the configured streams."""

    def __init__(self, broker: Any, *streams: str, named: Sequence[str] = ()) -> None:
        self._broker, self._streams, self.system, self.named_streams = broker, streams, "redis", named

    async def warnings(self) -> Sequence[str]:
        return ["dead-letter topic a.dlt: retention.ms=1"]

    async def status(self) -> list[PartitionStatus]:
        return [PartitionStatus(Partition("redis", stream, 0), 0, 0, 0) for stream in self._streams]


def parts(one: Harness) -> StatusSources:
    return StatusSources(
        config=one.config,
        counters=one.counters,
        catalog=one.catalog,
        live=LiveStream(),
        index=MemoryIndex(1_000, join=one.config.correlation.join, max_flow=1_000),
        exporters=(),
        pipelines=[one.pipeline],
    )


async def test_an_unreachable_broker_is_reported_with_the_reason() -> None:
    one = harness()
    one.broker.fail_next("start", Outage("connection refused", retry_after=60))
    async with one.running():
        await until(lambda: one.pipeline.unreached, "the first try")
        status = await StatusReporter(parts(one)).status()
        assert not status.ready
        assert status.trouble == ["memory cannot be reached: connection refused"]


async def test_a_broker_that_is_reached_again_is_no_trouble() -> None:
    one = harness()
    one.broker.fail_next("start", Outage("connection refused", retry_after=0.01))
    async with one.running():
        await until(lambda: one.pipeline.reached, "the second try")
        status = await StatusReporter(parts(one)).status()
        assert status.ready
        assert status.trouble == []


async def test_records_deleted_before_they_were_read_are_reported() -> None:
    one = harness()
    one.produce(*one.good(10))
    async with one.running():
        await until(lambda: one.committed() == 10, "committing")
    one.produce(*one.good(10, 10))
    one.log.trim(Partition("memory", "orders", 0), 15)
    two = Harness(one.log, one.registry)
    async with two.running():
        await until(lambda: two.committed() == 20, "committing")
        (sentence,) = (await StatusReporter(parts(two)).status()).trouble
        assert "from memory://orders/0/10 to before memory://orders/0/15" in sentence


async def test_a_configured_stream_that_is_not_read_is_reported() -> None:
    one = harness()
    async with one.running():
        await until(lambda: one.pipeline.reached, "the broker")
        one.pipeline.broker = Named(one.broker, "a", named=("a", "b"))
        sentence, warning = (await StatusReporter(parts(one)).status()).trouble
        assert sentence.startswith("b is not read")
        assert warning == "dead-letter topic a.dlt: retention.ms=1"
        one.pipeline.broker = one.broker


async def test_lagging_partitions_are_listed_by_lag() -> None:
    one = harness()
    async with one.running():
        await until(lambda: one.pipeline.reached, "the broker")

        async def behind() -> list[PartitionStatus]:
            lags = {0: 3, 1: 0, 2: 900, 3: None, 4: 3}
            return [
                PartitionStatus(Partition("memory", "orders", number), 0, 0, lag, ours=number != 2)
                for number, lag in lags.items()
            ]

        one.broker.status = behind  # type: ignore[method-assign]
        (stream,) = (await StatusReporter(parts(one)).status()).streams
        assert [(at.partition, at.lag, at.settled_here) for at in stream.behind] == [
            (2, 900, False),
            (0, 3, True),
            (4, 3, True),
        ]


async def test_a_stream_whose_name_is_not_utf8_is_shown_escaped() -> None:
    one = harness()
    async with one.running():
        await until(lambda: one.pipeline.reached, "the broker")
        one.counters.of("memory", "cart\udcff").add_events(1)
        status = await StatusReporter(parts(one)).status()
        assert "cart\\udcff" in [stream.stream for stream in status.streams]
        msgspec.json.encode(status)
