"""A stream that is read: where reading stands, what is held, what was delivered and not committed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from sidecar.adapters.brokers.redis.entry_codec import SYSTEM, raw
from sidecar.domain.ports.broker import Batch, Lease
from sidecar.domain.position import Partition

MOST_UNSETTLED = 100_000


class RedisBatch(Batch, gc=False):
    """A batch that remembers its entries' ids as the server wrote them."""

    ids: Sequence[bytes] = ()
    """What is acknowledged when it is committed: its records, and pending entries that are gone."""
    contiguous: bool = False
    """Read as new entries: within its first and last id the stream holds no others that anybody else was given."""


class StreamLease:
    """One stream of the group, as this member reads it."""

    def __init__(self, stream: str, start: int, last: int) -> None:
        self.stream, self.key = stream, raw(stream)
        self.lease = Lease(Partition(SYSTEM, stream, 0), start)
        self.held = False
        self.ended = False
        """It is no stream any more; the lease is lost once what was read is taken."""
        self.cursor: bytes | None = b"0"
        """Own pending entries are delivered behind this id; None: new entries are."""
        self.epoch = 0
        """Counts rewinds: what was read before one is delivered no more."""
        self.last = last
        """The newest entry delivered to us, or to the group when we joined, as an offset."""
        self.lost: tuple[int, int] | None = None
        """How many entries were trimmed before the group read them, and the last one it was given: to be reported with
        the next batch."""
        self.parked: deque[tuple[int, RedisBatch]] = deque()
        self.claim_at = 0.0
        """When entries of dead consumers are looked for next (the loop's time)."""
        self._uncommitted: dict[bytes, RedisBatch | tuple[bytes, bytes]] = {}
        self.unsure = False
        """More is uncommitted than is kept in mind."""

    def delivered(self, batch: RedisBatch) -> None:
        if not batch.ids:
            return
        if len(self._uncommitted) >= MOST_UNSETTLED:
            self.unsure = True
            return
        first, last = batch.ids[0], batch.ids[-1]
        # Ranges only, where they suffice: records that nobody needs any more are not kept alive.
        self._uncommitted[first] = (
            (first, last) if batch.contiguous else RedisBatch(self.lease, (), batch.next_offset, ids=tuple(batch.ids))
        )

    def committed(self, batch: Batch) -> None:
        if isinstance(batch, RedisBatch) and batch.ids:
            self._uncommitted.pop(batch.ids[0], None)

    def uncommitted(self) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
        """Ranges of entries, and single ones, that were delivered and are not committed."""
        ranges = [kept for kept in self._uncommitted.values() if isinstance(kept, tuple)]
        return ranges, [i for kept in self._uncommitted.values() if not isinstance(kept, tuple) for i in kept.ids]

    def rewind(self) -> None:
        self.epoch += 1
        self.cursor = b"0"
        self.parked.clear()
        self._uncommitted.clear()
        self.unsure = False
