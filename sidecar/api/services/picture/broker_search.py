"""Search in the brokers for events that neither the index nor the history covers, within a few seconds.

Reads the watched streams from their newest uncovered record backwards, so that the latest events are found first. What
was read counts as looked at by further questions too, for half a minute.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

from msgspec import Struct

from sidecar.api.services.payloads import PayloadReader
from sidecar.domain.derived_ids import derive_trace_id, own_identity
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.event_keys import carried_ids, format_trace_id
from sidecar.domain.model import Event, Record
from sidecar.domain.offset_ranges import OffsetRange, subtract_ranges
from sidecar.domain.ports.broker import Broker
from sidecar.domain.ports.index import Coverage, IndexReader
from sidecar.domain.position import Partition

MAX_SEARCH_S = 5.0
MAX_SEARCHED_RECORDS = 100_000
"""Records that one search reads, and whose events it keeps in memory meanwhile."""
OFFSETS_PER_STEP = 5_000
RECORDS_PER_DECODE = 200
REPORT_AGE_S = 30.0
"""Time for which the result of a search is used again."""


class SearchReport(Struct):
    """The result of a search."""

    events: list[Event]
    """Events that were read, of all ids."""
    searched: int
    """Number of records that were read."""
    left: int | None
    """Number of records that were not read, at most; None if the broker cannot tell."""
    trouble: str | None = None
    """The reason why the brokers could not be read."""

    @property
    def complete(self) -> bool:
        """All records that neither index nor history covers were read."""
        return self.left == 0 and self.trouble is None

    def describe(self) -> str:
        """Describe what was looked at, as a part of a sentence."""
        if self.trouble is not None:
            return f"the brokers could not be searched: {self.trouble}"
        if self.complete and not self.searched:
            return "the brokers, which hold no other records"
        if self.complete:
            return f"the {self.searched} records of the brokers that are not covered by these"
        left = "older ones" if self.left is None else f"{self.left} older ones"
        return (
            f"the latest {self.searched} records of the brokers that are not covered by these; {left} were not looked "
            "at (tracecar events --scan reads all)"
        )


SearchStep = tuple[int, list[Event]]
"""Number of offsets that a step has passed, and the events there."""


class BrokerSearch:
    """Reads uncovered records. One search runs at a time."""

    def __init__(self, brokers: Sequence[Broker], payloads: PayloadReader, index: IndexReader) -> None:
        self._brokers, self._payloads, self._index = list(brokers), payloads, index
        self._lock = asyncio.Lock()
        self._report: SearchReport | None = None
        self._reported_at = -REPORT_AGE_S

    @property
    def report(self) -> SearchReport | None:
        """The result of the latest search; None if there was none lately."""
        return self._report if time.monotonic() - self._reported_at < REPORT_AGE_S else None

    async def run(self) -> SearchReport:
        """Search, or return the result of a search that is not old."""
        async with self._lock:
            report = self.report
            if report is None:
                report = self._report = await self._search()
                self._reported_at = time.monotonic()
            return report

    async def _search(self) -> SearchReport:
        report = SearchReport([], 0, 0)
        deadline = time.monotonic() + MAX_SEARCH_S
        try:
            ranges = [each for broker in self._brokers for each in await self._list_uncovered(broker)]
            steps = [self._read_backwards(broker, offsets) for broker, offsets in ranges]
            report.left = _count_left(ranges)
            await self._take_turns(steps, report, deadline)
        except (Outage, Refused) as error:
            report.trouble = str(error)
        return report

    async def _take_turns(
        self, readers: Sequence[AsyncGenerator[SearchStep, None]], report: SearchReport, deadline: float
    ) -> None:
        """Read a step of each partition in turn."""
        waiting = list(readers)
        try:
            while waiting and time.monotonic() < deadline and report.searched < MAX_SEARCHED_RECORDS:
                reader = waiting.pop(0)
                step = await anext(reader, None)
                if step is None:
                    continue
                offsets, events = step
                report.searched += len(events)
                report.events += events
                report.left = None if report.left is None else report.left - offsets
                waiting.append(reader)
        finally:
            for reader in readers:
                await reader.aclose()
        if not waiting and report.left is not None:
            report.left = 0

    async def _list_uncovered(self, broker: Broker) -> list[tuple[Broker, OffsetRange]]:
        """Return the ranges of a broker that neither index nor history covers, the newest of each partition last."""
        coverage = self._index.coverage()
        ranges: list[tuple[Broker, OffsetRange]] = []
        for status in await broker.status():
            partition = status.partition
            first, end = await broker.bounds(partition)
            end = await self._first_indexed(broker, partition, coverage, end)
            whole = OffsetRange(partition, None, first, end)
            ranges += [(broker, part) for part in subtract_ranges([whole], _list_covered(partition, coverage))]
        return ranges

    async def _first_indexed(self, broker: Broker, partition: Partition, coverage: Coverage, end: int) -> int:
        """Return the offset from which the index holds the partition."""
        if coverage.since is None or coverage.filling or partition not in coverage.partitions:
            return end
        async for records in broker.scan(partition, since=coverage.since):
            if records:
                return min(end, records[0].position.offset)
        return end

    async def _read_backwards(
        self, broker: Broker, offsets: OffsetRange
    ) -> AsyncGenerator[tuple[int, list[Event]], None]:
        """Yield the number of offsets of a step and its events, the newest step first."""
        end = offsets.end
        width = OFFSETS_PER_STEP if broker.traits.offsets_count_records else max(1, offsets.end - offsets.start)
        while end > offsets.start:
            start = max(offsets.start, end - width)
            events: list[Event] = []
            async for records in broker.scan(offsets.partition, start=start, until=end):
                events += await self._decode(records)
                if len(events) >= MAX_SEARCHED_RECORDS:
                    break
            yield end - start, events
            end = start

    async def _decode(self, records: Sequence[Record]) -> list[Event]:
        events: list[Event] = []
        for start in range(0, len(records), RECORDS_PER_DECODE):
            events += [each.event for each in await self._payloads.open(records[start : start + RECORDS_PER_DECODE])]
            await asyncio.sleep(0)
        return events


def has_id(event: Event, id: str) -> bool:
    """Return True if a caller may mean this event by an id."""
    if id == str(event.position) or any(key.value == id and key.word in _SEARCHED_WORDS for key in carried_ids(event)):
        return True
    source = event.correlation_id or own_identity(event)
    return event.trace_id is None and format_trace_id(derive_trace_id(source)) == id.lower()


_SEARCHED_WORDS = frozenset({"event_id", "trace_id", "aggregate_id", "correlation_id"})


def _list_covered(partition: Partition, coverage: Coverage) -> list[OffsetRange]:
    """Return the ranges of a partition that the history covers.

    None if it knows several incarnations of the stream: offsets of an earlier one say nothing about the present one.
    """
    if coverage.history is None:
        return []
    own = [each for each in coverage.history.covered if each.partition == partition]
    if len({each.incarnation for each in own}) > 1:
        return []
    return [OffsetRange(partition, None, each.start, each.end) for each in own]


def _count_left(ranges: Sequence[tuple[Broker, OffsetRange]]) -> int | None:
    if any(not broker.traits.offsets_count_records for broker, _ in ranges):
        return None
    return sum(offsets.end - offsets.start for _, offsets in ranges)
