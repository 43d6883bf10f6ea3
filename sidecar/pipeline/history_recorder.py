"""Queue of rows for the history: filled by the partition workers without waiting, emptied by the history's writer.

The queue is bounded in bytes. A batch that does not fit is not queued; its range of offsets is noted as missed, and
read again from the broker later (`sidecar.pipeline.history_filler`). So a slow or broken storage never holds a commit.

Rows are encoded here, on the way of the batch, because the bytes are smaller than the event with its body, and because
redaction comes before anything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from msgspec import Struct
from msgspec.structs import replace

from sidecar.domain.broker_traits import traits_of
from sidecar.domain.history_rows import HistoryRow, encode_event, encode_row
from sidecar.domain.json_safe import encode_json
from sidecar.domain.large_records import LARGE_RECORD_BYTES, count_value_bytes, run_for_record
from sidecar.domain.model import Decoded, Event, Outgoing
from sidecar.domain.offset_ranges import OffsetRange, join_ranges
from sidecar.domain.ports.broker import Batch, Lease
from sidecar.domain.ports.history import DeadLetterFate
from sidecar.domain.position import Partition, Position
from sidecar.domain.redacted_payload import body_to_json, headers_to_json, redact_headers
from sidecar.domain.redaction import Redactor
from sidecar.pipeline.unwritten_offsets import UnwrittenOffsets

MAX_QUEUE_BYTES = 32 << 20
"""Bytes of encoded rows that wait for the writer."""
MAX_BODY_BYTES = 1 << 20
"""Bytes of a body as JSON, or of headers as JSON, above which they are left out."""


class RowEncoder:
    """Encodes decoded records as rows, redacted."""

    def __init__(self, redactor: Redactor, *, bodies: bool) -> None:
        self._redactor, self._bodies = redactor, bodies
        self.may_be_slow = bodies
        """False if no record is ever encoded in a thread."""
        self._redact: Callable[[Event], Event] | None = redactor.archived_event if redactor.active else None

    def encode(self, decoded: Sequence[Decoded], incarnation: str | None) -> list[bytes]:
        """Encode records of one partition."""
        redact = self._redact
        if not self._bodies:
            if redact is None:
                return [encode_event(each.event, incarnation) for each in decoded]
            return [encode_event(redact(each.event), incarnation) for each in decoded]
        return [self.encode_whole(each, incarnation) for each in decoded]

    def is_slow(self, decoded: Decoded) -> bool:
        """Check whether encoding a record takes so long that it is done in a thread."""
        return self.may_be_slow and count_value_bytes(decoded.record) > LARGE_RECORD_BYTES

    def encode_whole(self, decoded: Decoded, incarnation: str | None) -> bytes:
        """Encode a record with its body and headers."""
        event = decoded.event if self._redact is None else self._redact(decoded.event)
        body = encode_json(body_to_json(self._redactor, decoded))
        headers = encode_json(headers_to_json(redact_headers(self._redactor, decoded)))
        return encode_row(
            HistoryRow(
                event,
                incarnation,
                body if len(body) <= MAX_BODY_BYTES else None,
                headers if len(headers) <= MAX_BODY_BYTES else None,
            )
        )


@dataclass
class QueuedRows:
    """Content of the queue, which belongs into one segment."""

    lines: list[bytes] = field(default_factory=list)
    covered: list[OffsetRange] = field(default_factory=list)
    holes: list[OffsetRange] = field(default_factory=list)
    fates: list[DeadLetterFate] = field(default_factory=list)
    large: list[tuple[Decoded, str | None]] = field(default_factory=list)
    """Records that are encoded in a thread, with the incarnation of their stream."""
    filled: list[OffsetRange] = field(default_factory=list)
    """Ranges of which every member's records are in files once these rows are."""
    bytes: int = 0

    @property
    def is_empty(self) -> bool:
        """True if nothing is queued."""
        return not (self.lines or self.large or self.covered or self.holes or self.fates)


class HistoryCounters(Struct):
    """Counters of a recorder and its writer since start."""

    recorded: int = 0
    """Events that were queued."""
    written: int = 0
    """Events in files."""
    missed: int = 0
    """Events that could not be queued; they are read again from the broker."""
    filled: int = 0
    """Events that were read from the broker to close a gap."""
    lost: int = 0
    """Offsets that the broker no longer had when they were to be read again."""


class HistoryRecorder:
    """Records what the workers decode, for the history."""

    def __init__(self, encoder: RowEncoder, *, member: str, max_bytes: int = MAX_QUEUE_BYTES) -> None:
        """Create a recorder.

        Args:
            encoder: Encodes and redacts rows.
            member: Name of this sidecar, the same after a restart.
            max_bytes: Bytes of rows that may wait.
        """
        self._encoder, self._member, self._max_bytes = encoder, member, max_bytes
        self._queue = QueuedRows()
        self._next: dict[Partition, tuple[str | None, int]] = {}
        """Incarnation of each partition, and the offset that is expected next."""
        self._unwritten = UnwrittenOffsets()
        self.counters = HistoryCounters()
        self.missed: list[OffsetRange] = []
        """Ranges that could not be queued, and were not read again yet."""
        self._is_blocked = False
        """True while the writer cannot take any more: nothing is queued."""
        self._room = asyncio.Event()

    @property
    def queued_bytes(self) -> int:
        """Bytes of rows that wait for the writer."""
        return self._queue.bytes

    @property
    def has_room(self) -> bool:
        """Half of the queue is free: rows that are read again may come."""
        return not self._is_blocked and self._queue.bytes < self._max_bytes // 2

    async def wait_for_room(self) -> None:
        """Wait until half of the queue is free."""
        while not self.has_room:
            self._room.clear()
            await self._room.wait()

    def block(self, blocked: bool) -> None:
        """Note whether the writer can take more."""
        self._is_blocked = blocked
        self._room.set()

    def record(self, batch: Batch, decoded: Sequence[Decoded]) -> None:
        """Queue a batch of a lease, with the offsets that it covers, without waiting."""
        lease = batch.lease
        partition, incarnation = lease.partition, lease.incarnation
        start = self._start_of(batch)
        if batch.gap is not None and not batch.gap.recreated:
            self._note_hole(OffsetRange(partition, incarnation, batch.gap.wanted, batch.gap.resumed))
            start = max(start, batch.gap.resumed) if batch.gap.wanted <= start else start
        end = max(batch.next_offset, batch.records[-1].position.offset + 1) if batch.records else batch.next_offset
        self._next[partition] = incarnation, end
        if start < end:
            self.add(decoded, self.own_range(OffsetRange(partition, incarnation, start, end)))

    def _start_of(self, batch: Batch) -> int:
        """Return the first offset of a batch: behind the one before it, unless the partition was rewound."""
        lease = batch.lease
        incarnation, expected = self._next.get(lease.partition, (lease.incarnation, lease.start))
        first = batch.records[0].position.offset if batch.records else batch.next_offset
        return first if incarnation != lease.incarnation else min(expected, first)

    def begin(self, lease: Lease) -> None:
        """Note that a new lease of a partition begins: what follows need not continue what was recorded before."""
        self._next.pop(lease.partition, None)
        self._unwritten.begin(lease)

    def note_written(self, written: Iterable[OffsetRange]) -> None:
        """Note ranges that are in files, or that the broker no longer has: the marks of the leases follow."""
        self._unwritten.remove(written)

    def own_range(self, offsets: OffsetRange) -> OffsetRange:
        """Add this sidecar's name to the range if members can share the partition."""
        if not traits_of(offsets.partition.system).members_share_partitions:
            return offsets
        return replace(offsets, member=self._member)

    def add(self, decoded: Sequence[Decoded], covered: OffsetRange, filled: OffsetRange | None = None) -> bool:
        """Queue records with the range that they cover.

        Args:
            decoded: The records.
            covered: The range, of which this member's records are there.
            filled: The range of which every member's records are there, if the records were read with a scan.

        Returns:
            False if they do not fit: the range is missed then.
        """
        self._unwritten.add(covered)
        if self._is_blocked or self._queue.bytes >= self._max_bytes:
            self.counters.missed += len(decoded)
            self.missed = join_ranges((*self.missed, covered))
            return False
        queue = self._queue
        if filled is not None:
            queue.filled.append(filled)
        large = [each for each in decoded if self._encoder.is_slow(each)] if self._encoder.may_be_slow else []
        if large:
            queue.large += [(each, covered.incarnation) for each in large]
            queue.bytes += sum(count_value_bytes(each.record) for each in large)
            self.counters.recorded += len(large)
        small = decoded if not large else [each for each in decoded if not self._encoder.is_slow(each)]
        lines = self._encoder.encode(small, covered.incarnation)
        queue.lines += lines
        queue.bytes += sum(map(len, lines))
        self.counters.recorded += len(lines)
        last = queue.covered[-1] if queue.covered else None
        if last is not None and last.log == covered.log and last.end == covered.start:
            queue.covered[-1] = OffsetRange(last.partition, last.incarnation, last.start, covered.end, last.member)
        else:
            queue.covered.append(covered)
        for each in decoded:
            if each.event.replay_of is not None:
                self._note_replay(each.event, each.event.replay_of)
        return True

    def note_lost(self, hole: OffsetRange) -> None:
        """Note a range that the broker no longer had."""
        self._note_hole(hole)

    def _note_hole(self, hole: OffsetRange) -> None:
        if hole.start < hole.end:
            self._queue.holes.append(hole)
            if traits_of(hole.partition.system).offsets_count_records:
                self.counters.lost += hole.end - hole.start

    def _note_replay(self, event: Event, letter_id: str) -> None:
        try:
            origin = Position.parse(letter_id.partition("@")[2])
        except ValueError:
            return  # a report without a position
        self._queue.fates.append(
            DeadLetterFate(origin, None, letter_id, "replayed", event.observed_at, position=event.position)
        )

    def dead_lettered(self, published: Sequence[Outgoing], now_us: int) -> None:
        """Note dead letters that are durable now."""
        for outgoing in published:
            headers = dict(outgoing.headers)
            letter_id = headers.get("tracecar.dead-letter-id")
            if outgoing.origin is None or letter_id is None:
                continue
            timestamp = headers.get("tracecar.origin-timestamp")
            self._queue.fates.append(
                DeadLetterFate(
                    outgoing.origin,
                    int(timestamp) if timestamp else None,
                    letter_id.decode("utf-8", "replace"),
                    "open",
                    now_us,
                )
            )

    async def encode_large(self, rows: QueuedRows) -> None:
        """Encode the large records of what was taken."""
        while rows.large:
            decoded, incarnation = rows.large[-1]
            line = await run_for_record(decoded.record, self._encoder.encode_whole, decoded, incarnation)
            rows.lines.append(line)
            rows.large.pop()

    def take(self) -> QueuedRows:
        """Take everything that is queued."""
        queue, self._queue = self._queue, QueuedRows()
        self._room.set()
        return queue
