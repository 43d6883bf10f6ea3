"""Contract of every span exporter, independent of its backend."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from exporters.batch_queue import QueueBounds
from exporters.tracing.exporter import TraceExporter
from exporters.tracing.span_mapper import DeadLetterTarget, SpanMapper
from exporters.tracing.span_sink import SpanSink
from sidecar.config.schema import ExportersConfig, SamplingConfig
from sidecar.domain.model import Decoded, Event, Record
from sidecar.domain.position import Position
from tests.support.conditions import until

_streams = itertools.count(1)


class Rig(ABC):
    """A backend, and the spans that reached it."""

    @abstractmethod
    def backend(self, bounds: QueueBounds) -> SpanSink: ...

    @abstractmethod
    def arrived(self, trace_ids: Sequence[int]) -> list[tuple[int, int]]:
        """Return trace and span id of all spans of these traces that the backend has."""

    @abstractmethod
    def start(self) -> None:
        """Start the backend, if it is stopped."""

    @abstractmethod
    def stop(self) -> None: ...


def events(count: int) -> list[Decoded]:
    """Build events of a new stream, each with its trace."""
    stream = f"orders-{os.getpid()}-{next(_streams)}"
    base = time.time_ns() // 1_000_000
    found = []
    for offset in range(count):
        position = Position("kafka", stream, 0, offset)
        trace = int.from_bytes(os.urandom(16))
        event = Event(
            position, f"k{offset}", base, base * 1000, event_id=f"e{offset}", trace_id=trace, span_id=offset + 1
        )
        found.append(Decoded(Record(position, b"k", b"{}", (), base), event))
    return found


def to(backend: SpanSink) -> TraceExporter:
    """Send all events to this backend."""
    mapper = SpanMapper({"kafka": DeadLetterTarget("tracecar.shop", None)})
    return TraceExporter([backend], mapper, ExportersConfig(), SamplingConfig(), join=["trace"], max_flow=1000)


def tracing(rig: Rig, **bounds: Any) -> TraceExporter:
    return to(rig.backend(QueueBounds(**({"linger": 0.05} | bounds))))


def ids(decoded: Sequence[Decoded]) -> list[int]:
    return [one.event.trace_id or 0 for one in decoded]


class ExporterContract:
    """The promises. Subclasses provide a started `rig`, with a server of its own for tests that stop it."""

    async def test_every_span_arrives_once_and_is_counted(self, rig: Rig) -> None:
        exporter, offered = tracing(rig), events(500)
        for start in range(0, 500, 100):
            exporter.offer(offered[start : start + 100])
        await exporter.close()
        assert exporter.counts() == (500, 0, 0)
        await until(lambda: len(rig.arrived(ids(offered))) >= 500, "all spans")
        found = rig.arrived(ids(offered))
        assert len(found) == len(set(found)) == 500
        assert {trace for trace, _ in found} == set(ids(offered))
        assert exporter.trouble is None

    async def test_the_same_events_make_the_same_spans(self, rig: Rig) -> None:
        offered = events(20)
        for _ in range(2):
            exporter = tracing(rig)
            exporter.offer(offered)
            await exporter.close()
        await until(lambda: len(rig.arrived(ids(offered))) >= 20, "the spans")
        assert len(set(rig.arrived(ids(offered)))) == 20

    async def test_without_a_backend_what_does_not_fit_is_counted_and_the_rest_arrives_later(self, rig: Rig) -> None:
        rig.stop()
        exporter, offered = tracing(rig, items=300, batch_items=100), events(1000)
        for start in range(0, 1000, 50):
            exporter.offer(offered[start : start + 50])
        await until(lambda: exporter.trouble is not None, "the trouble to be told")
        sent, dropped, failed = exporter.counts()
        assert (sent, failed) == (0, 0)
        assert 600 <= dropped <= 700
        rig.start()
        await until(lambda: exporter.counts()[0] + exporter.counts()[1] == 1000, "what waited to be sent")
        assert exporter.trouble is None
        await until(lambda: len(rig.arrived(ids(offered))) == exporter.counts()[0], "what was sent to arrive")
        await exporter.close()
        assert sum(exporter.counts()) == 1000

    async def test_closing_without_a_backend_ends_and_counts_what_is_lost(self, rig: Rig) -> None:
        rig.stop()
        exporter, offered = tracing(rig), events(50)
        exporter.offer(offered)
        async with asyncio.timeout(30):
            await exporter.close()
        assert exporter.counts() == (0, 50, 0)
        exporter.offer(events(3))
        assert exporter.counts() == (0, 53, 0)
