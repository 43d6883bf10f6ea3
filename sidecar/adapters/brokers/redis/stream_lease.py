"""State of one stream that this member reads: progress, hold, and the delivered entries that are not committed."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence

from sidecar.adapters.brokers.redis.entry_codec import SYSTEM, offset, raw
from sidecar.adapters.brokers.redis.history_marks import HistoryMarks
from sidecar.adapters.brokers.redis.stream_identity import known_since
from sidecar.domain.ports.broker import Batch, Lease
from sidecar.domain.position import Partition

MAX_TRACKED_BATCHES = 100_000


class RedisBatch(Batch, gc=False):
    """A batch that remembers its entries' ids as the server wrote them."""

    ids: Sequence[bytes] = ()
    """Ids to acknowledge when the batch is committed: those of its records, and of pending entries that no longer
    exist."""
    contiguous: bool = False
    """True if the entries were read as new ones: every entry between the first id and the last was delivered to us."""
    number: int = 0
    """Number under which the lease tracks the batch; 0: it is not tracked."""


class StreamLease:
    """One stream of the group, as this member reads it."""

    def __init__(self, stream: str, start: int, last: int, identity: bytes, marks: HistoryMarks) -> None:
        self.stream, self.key = stream, raw(stream)
        self.identity = identity
        """Name of the group that marks this stream (see `ensure_identity`). A stream that was created again has another
        one."""
        self.known_since = known_since(identity)
        """Fallback timestamp (ms) for entries whose ids are not times. None: use the number in the id."""
        self.lease = Lease(Partition(SYSTEM, stream, 0), start)
        self.lease.delivered = last + 1
        self.marks = marks
        """Storage of the lease's `history_mark`."""
        self.lease.incarnation = identity.decode("utf-8", "replace") or None
        self.held = False
        self.deleted = False
        """True if the stream was deleted: a stream that appears under its name is another one."""
        self.ended = False
        """True if the key is no longer this stream; the lease is lost once the queued batches are taken."""
        self.pending_cursor: bytes | None = b"0"
        """Id after which own pending entries are still to be delivered; None: all are delivered, and new entries are
        read."""
        self.generation = 0
        """Number of rewinds: batches of an earlier generation are not delivered."""
        self.last = last
        """Offset of the newest entry delivered to us, or to the group when we joined."""
        self.trimmed: tuple[int, int] | None = None
        """Number of entries that were trimmed before the group read them, and the last offset delivered to the group.
        Both are reported as a gap with the next batch."""
        self.parked: deque[tuple[int, RedisBatch]] = deque()
        """Batches, with their generation, that wait while the stream is held."""
        self.next_claim_at = 0.0
        """Event-loop time of the next search for entries of dead consumers."""
        self.next_reconciliation_at = 0.0
        """Event-loop time of the next comparison of our pending entries with the tracked batches."""
        self.tracking_incomplete = False
        """True if more batches are uncommitted than are tracked."""
        self._tracked: dict[int, RedisBatch | tuple[bytes, bytes]] = {}
        self._batch_count = 0

    def track(self, batch: RedisBatch) -> None:
        """Track a batch until it is committed or the stream is rewound."""
        if not batch.ids:
            return
        if len(self._tracked) >= MAX_TRACKED_BATCHES:
            self.tracking_incomplete = True
            return
        self._batch_count += 1
        batch.number = self._batch_count
        # A range where it suffices: tracking must not keep records in memory.
        self._tracked[batch.number] = (
            (batch.ids[0], batch.ids[-1])
            if batch.contiguous
            else RedisBatch(self.lease, (), batch.next_offset, ids=tuple(batch.ids))
        )

    def stop_tracking(self, batch: Batch) -> None:
        """Stop tracking a batch."""
        if isinstance(batch, RedisBatch):
            self._tracked.pop(batch.number, None)

    def list_uncommitted(self) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
        """List the delivered entries that are not committed: ranges of entry ids, and single ids."""
        ranges = [tracked for tracked in self._tracked.values() if isinstance(tracked, tuple)]
        batches = [tracked for tracked in self._tracked.values() if not isinstance(tracked, tuple)]
        return ranges, [entry_id for batch in batches for entry_id in batch.ids]

    def first_uncommitted(self) -> int:
        """Return the lowest offset that was delivered and is not committed; else the one after the newest."""
        ranges, single = self.list_uncommitted()
        ids = (*(first for first, _ in ranges), *single)
        return min(map(offset, ids), default=self.last + 1)

    def work_filter(self) -> Callable[[bytes], bool]:
        """Return a predicate that tells whether an entry id belongs to a batch that is tracked now."""
        ranges, single = self.list_uncommitted()
        spans = sorted((offset(first), offset(last)) for first, last in ranges)
        starts = [first for first, _ in spans]
        ids = set(map(offset, single))

        def is_in_work(entry_id: bytes) -> bool:
            at = offset(entry_id)
            index = bisect_right(starts, at) - 1
            return at in ids or (index >= 0 and at <= spans[index][1])

        return is_in_work

    def rewind(self) -> None:
        """Deliver all uncommitted entries again."""
        self.generation += 1
        self.pending_cursor = b"0"
        self.parked.clear()
        self._tracked.clear()
        self.tracking_incomplete = False
