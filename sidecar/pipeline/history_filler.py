"""Fills the history from the broker with records that a crash or a full queue kept out of its files.

When a lease begins, the offsets between its mark (`Lease.history_mark`) and its start that no file covers are read
again with a scan, which commits nothing; so are gaps between older files. What the broker no longer has is a hole, told
in the coverage. What happens if the process dies between each two steps of a record's way:

1. The batch is decoded and queued, and the mark is at or below its first offset. Dies here: nothing is committed, and
   the batch is delivered again.
2. The offsets are committed, with the mark in the same request. Dies here: the mark tells the next owner that these
   offsets may be in no file, whether or not there is any file, and however many owners die in the same way.
3. The rows are staged. Dies here: as in 2, because staged rows are lost with their process.
4. The segment is appended. Dies here: the mark is too low until the next commit; the coverage shows that nothing is
   missing.
5. The mark rises, and is stored with the next commit. A partition that is idle keeps its low mark, as in 4.

Of a fill: the mark stays at the beginning of the gap until the filled rows are in a file. Dies before: the next owner
finds the same gap. A lease that is lost within a fill leaves the rest to its next owner in the same way.

A history that was switched on later has no mark and no files for what was committed before. It begins `index.lookback`
before the first lease.

Another member that had the partition before may still write its last rows, so the search for gaps waits until these
must be in a file. Rows that both write are one event.

Where members share a partition (Redis), each has a mark of its own, and coverage does not tell which records another
member was given. A lease begins with the lowest mark of all members that ever were, and everything from there to the
newest record that any of them was given is read again. So the events of a member that died before its first file are
found by the next member that starts, also if others have written files since.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import structlog

from sidecar.decoding.decoder import EventDecoder
from sidecar.domain.broker_traits import traits_of
from sidecar.domain.errors import Outage, TracecarError
from sidecar.domain.model import Decoded
from sidecar.domain.offset_ranges import OffsetRange, subtract_ranges
from sidecar.domain.ports.broker import Broker, Lease
from sidecar.domain.ports.history import History
from sidecar.domain.position import Partition
from sidecar.pipeline.history_recorder import HistoryRecorder

log = structlog.get_logger()

MAX_CONCURRENT_FILLS = 2
RETRY_MIN_S, RETRY_MAX_S = 1.0, 60.0
MISSED_POLL_INTERVAL_S = 1.0
HANDOVER_MARGIN_S = 5.0
"""Time after `flush` within which a former owner's rows are in a file."""
RECENT_MEMBER_MS = 15 * 60 * 1000
"""Members that wrote within this time before the newest row count as present, where members share a partition."""


class HistoryFiller:
    """Reads records that the history lacks from the broker again, and records them."""

    def __init__(
        self, history: History, recorder: HistoryRecorder, decoder: EventDecoder, *, flush_s: float, lookback_s: float
    ) -> None:
        """Create a filler.

        Args:
            history: Where gaps are looked for.
            recorder: Takes what was read again.
            decoder: Decodes it.
            flush_s: Longest time in seconds until an event is in a file.
            lookback_s: Length in seconds of the window before a lease that is always searched.
        """
        self._history, self._recorder, self._decoder = history, recorder, decoder
        self._delay_s = flush_s + min(flush_s, HANDOVER_MARGIN_S)
        self._limit = asyncio.Semaphore(MAX_CONCURRENT_FILLS)
        self._lookback_ms = int(lookback_s * 1000)
        self._leases: dict[Partition, tuple[Broker, Lease]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._missed_task: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        """Number of partitions that are being filled."""
        return len(self._tasks)

    def start(self) -> None:
        """Start to read again what does not fit into the queue."""
        self._missed_task = asyncio.ensure_future(self._fill_missed())

    def begin(self, broker: Broker, lease: Lease) -> None:
        """Fill the gaps before a new lease."""
        self._leases[lease.partition] = broker, lease
        mark = lease.history_mark
        self._recorder.begin(lease)
        task = asyncio.ensure_future(self._fill_before(broker, lease, mark))
        self._tasks.add(task)
        task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("filling the history crashed", exc_info=error)

    async def close(self) -> None:
        """Stop. Gaps that are left are found again by the next start."""
        tasks = [*self._tasks, *([] if self._missed_task is None else [self._missed_task])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fill_before(self, broker: Broker, lease: Lease, mark: int | None) -> None:
        await asyncio.sleep(self._delay_s)
        backoff = RETRY_MIN_S
        while not lease.lost:
            try:
                async with self._limit:
                    for gap in await self._find_gaps(broker, lease, mark):
                        await self._fill(broker, lease, gap)
                return
            except Outage as error:
                await asyncio.sleep(error.retry_after or backoff)
                backoff = min(2 * backoff, RETRY_MAX_S)
            except TracecarError as error:  # until an operator changes something
                log.warning("cannot fill the history; retrying", partition=str(lease.partition), reason=str(error))
                await asyncio.sleep(RETRY_MAX_S)

    async def _find_gaps(self, broker: Broker, lease: Lease, mark: int | None) -> list[OffsetRange]:
        """Return what is in no file, of that which was committed before the lease.

        Args:
            broker: Where records are read again.
            lease: The lease.
            mark: The mark that the lease began with; None if there was none.
        """
        coverage = await self._history.coverage()
        partition, incarnation = lease.partition, lease.incarnation
        known = [
            each
            for each in (*coverage.covered, *coverage.holes)
            if each.partition == partition and each.incarnation == incarnation
        ]
        if traits_of(partition.system).members_share_partitions:
            # Coverage of other members does not tell which records they were given, so nothing is subtracted.
            start, end = mark, lease.delivered
            if start is None and known:
                start = _find_resumption(known, partition)
            elif start is None:
                start, end = await self._find_window_start(broker, lease), lease.start
            return [OffsetRange(partition, incarnation, start, end)] if start < end else []
        self._recorder.note_written(known)
        first = await self._find_window_start(broker, lease) if mark is None else mark
        first = min([first, *(each.start for each in known)])
        return subtract_ranges([OffsetRange(partition, incarnation, first, lease.start)], known)

    async def _find_window_start(self, broker: Broker, lease: Lease) -> int:
        """Return the offset of the first record in the window before the lease; the lease's start if there is none."""
        if self._lookback_ms <= 0:
            return lease.start
        since = time.time_ns() // 1_000_000 - self._lookback_ms
        async for records in broker.scan(lease.partition, since=since, until=lease.start):
            if records:
                return min(records[0].position.offset, lease.start)
        return lease.start

    async def _fill(self, broker: Broker, lease: Lease, gap: OffsetRange) -> None:
        first, _ = await broker.bounds(lease.partition)
        is_numbered = broker.traits.offsets_count_records
        if is_numbered and first > gap.start:
            self._recorder.note_lost(_part(gap, gap.start, min(first, gap.end)))
        place = max(gap.start, first) if is_numbered else gap.start
        if place >= gap.end:
            return
        log.info("filling the history", partition=str(lease.partition), start=place, end=gap.end)
        async for records in broker.scan(lease.partition, start=place, until=gap.end):
            if not records:
                continue
            decoded = await self._decoder.decode_with_schemas(records)
            end = records[-1].position.offset + 1
            await self._add(lease, decoded, _part(gap, place, end))
            place = end
            if lease.incarnation != gap.incarnation:
                return  # created again meanwhile: what follows is another stream's
        await self._add(lease, [], _part(gap, place, gap.end))

    async def _add(self, lease: Lease, decoded: Sequence[Decoded], covered: OffsetRange) -> None:
        await self._recorder.wait_for_room()
        if covered.start < covered.end:
            # There is room: nothing else ran since the wait.
            self._recorder.add(decoded, self._recorder.own_range(covered), filled=covered)
            self._recorder.counters.filled += len(decoded)

    async def _fill_missed(self) -> None:
        """Read again what did not fit into the queue, once there is room."""
        while True:
            await asyncio.sleep(MISSED_POLL_INTERVAL_S)
            if not self._recorder.missed or not self._recorder.has_room:
                continue
            missed = self._recorder.missed[0]
            try:
                await self._fill_range(missed)
            except TracecarError as error:
                log.debug("cannot read events that the history lacks; retrying", reason=str(error))
                await asyncio.sleep(RETRY_MIN_S)
            else:
                self._recorder.missed = subtract_ranges(self._recorder.missed, [missed])

    async def _fill_range(self, missed: OffsetRange) -> None:
        broker, lease = self._leases.get(missed.partition, (None, None))
        if broker is None or lease is None or lease.incarnation != missed.incarnation:
            return  # its next owner finds the gap
        await self._fill(broker, lease, missed)


def _part(whole: OffsetRange, start: int, end: int) -> OffsetRange:
    return OffsetRange(whole.partition, whole.incarnation, start, max(start, min(end, whole.end)), whole.member)


def _find_resumption(known: Sequence[OffsetRange], partition: Partition) -> int:
    """Return the offset from which some member that was present lately has not written what it was given."""
    ends: dict[str | None, int] = {}
    for each in known:
        ends[each.member] = max(ends.get(each.member, 0), each.end)
    newest = max(ends.values())
    offset_at = traits_of(partition.system).offset_at
    time_of = traits_of(partition.system).time_of
    newest_ms = None if time_of is None else time_of(newest)
    if offset_at is None or newest_ms is None:
        return min(ends.values())
    oldest = offset_at(max(0, newest_ms - RECENT_MEMBER_MS))
    return min((end for end in ends.values() if end >= oldest), default=newest)
