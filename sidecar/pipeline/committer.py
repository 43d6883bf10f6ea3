"""Commits the decoded batches of one lease at intervals, while later batches are decoded.

Order is kept, because a lease has one committer, and its commits run one after the other. A failed commit is retried
unchanged until the broker confirms that it is durable, or until the lease is lost: an unknown outcome is never
abandoned, so no record can be dead-lettered twice.

- A crash before `commit`: nothing was written, and the batches are delivered again.
- A crash during `commit`: the adapter's promise (one transaction) holds.
- A crash after `commit`: dead letters and offsets are durable, and reading continues after them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from sidecar.domain.errors import Fenced, Outage, RecordRefused, Refused, TooLarge
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.broker import Batch, Broker, Lease
from sidecar.domain.position import Position
from sidecar.domain.record_size import count_record_bytes
from sidecar.pipeline.batch_split import Commit, count_records, split_commit

log = structlog.get_logger()

COMMIT_RETRY_MIN_S, COMMIT_RETRY_MAX_S = 0.1, 10.0
"""Backoff after an outage."""
REFUSED_RETRY_S = 30.0
"""Wait after the broker refused a commit."""
MAX_REFUSALS_PER_SKIP = 100
"""Refused attempts after which a skip no longer searches for the refused records, and drops all records that the commit
publishes."""
MIN_WAIT_S = 0.01
"""Wait before a retry that a caller requested, so that a broker that fails at once is not called in a tight loop."""


@dataclass
class _Skip:
    """An operator's order to drop the outgoing records that the broker refuses."""

    done: asyncio.Event = field(default_factory=asyncio.Event)
    lost: list[Position] = field(default_factory=list)
    refusals: int = 0
    error: Refused | None = None
    """The refusal of a commit that publishes nothing."""


class Committer:
    """Commits the batches of one lease."""

    def __init__(
        self,
        broker: Broker,
        lease: Lease,
        *,
        replace: Callable[[Outgoing, RecordRefused], Awaitable[Outgoing | None]],
        interval: Callable[[], float],
        on_trouble: Callable[[str | None, bool], None],
        on_commit: Callable[[Sequence[Outgoing]], None],
    ) -> None:
        """Create a committer. `run` does the work.

        Args:
            broker: Commits and publishes.
            lease: The lease whose batches are committed.
            replace: Returns the record to publish instead of a refused one, or None if there is none.
            interval: Returns the seconds between two commits.
            on_trouble: Called after every failed attempt, with a sentence and whether the broker refused; called with
                None once a commit succeeds again.
            on_commit: Called with the published records of every durable commit.
        """
        self._broker, self._lease, self._replace = broker, lease, replace
        self._interval, self._on_trouble, self._on_commit = interval, on_trouble, on_commit
        self._batches: list[Batch] = []
        self._outgoing_bytes = 0
        """Memory of what the queued batches publish."""
        self._outgoing: list[Outgoing] = []
        self._work, self._idle, self._hurry = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._draining = 0
        self._skip: _Skip | None = None
        self.waiting = 0
        """Number of records that are decoded and not committed yet."""
        self.waiting_bytes = 0
        """Memory of the records that their commits publish."""

    def add(self, batch: Batch, outgoing: Sequence[Outgoing]) -> None:
        """Queue a batch with the records that its commit publishes.

        The batch's records are dropped: retained until their commit, thousands of them would leave the processor's
        cache, and each collection of garbage would go through them.
        """
        self._batches.append(batch.without_records())
        self.waiting += len(batch.records)
        if outgoing:
            self._outgoing.extend(outgoing)
            size = count_record_bytes(outgoing)
            self._outgoing_bytes += size
            self.waiting_bytes += size
        self._work.set()
        self._idle.clear()

    def drop_queued(self) -> int | None:
        """Drop the batches whose commit was not tried yet. A rewind delivers them again.

        Returns the first dropped offset.
        """
        dropped = next((batch.offsets[0] for batch in self._batches if batch.offsets), None)
        self._release(self._batches, self._outgoing_bytes)
        self._batches, self._outgoing, self._outgoing_bytes = [], [], 0
        return dropped

    async def idle(self) -> None:
        """Wait until nothing is queued and no commit is running, or until the lease is lost.

        Meanwhile there are no pauses between commits.
        """
        self._draining += 1
        self._hurry.set()
        try:
            await self._idle.wait()
        finally:
            self._draining -= 1

    def retry_now(self) -> None:
        """End the current wait before a retry."""
        self._hurry.set()

    async def skip(self) -> list[Position]:
        """Drop the outgoing records that the broker refuses, and commit the rest.

        Returns the positions of the records whose dead letter, or whose copy for the stream behind a gate, is lost.
        Raises Refused if the broker refuses the offsets themselves.
        """
        if self._idle.is_set():
            return []
        if self._skip is None:
            self._skip = _Skip()
        skip = self._skip
        self._hurry.set()
        await skip.done.wait()
        if skip.error is not None:
            raise skip.error
        return skip.lost

    async def run(self) -> None:
        """Commit until canceled or until the lease is lost."""
        try:
            await self._run()
        finally:
            self._end_skip()
            self._idle.set()

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            batches, outgoing, size = self._batches, self._outgoing, self._outgoing_bytes
            self._batches, self._outgoing, self._outgoing_bytes = [], [], 0
            if batches and not await self._commit(batches, outgoing):
                return
            self._release(batches, size)
            del batches, outgoing  # they are not to be kept in memory until the next commit
            self._end_skip()
            self._on_commit(())
            if not self._batches:
                self._idle.set()
            await self._wait(self._interval())

    def _release(self, batches: Sequence[Batch], size: int) -> None:
        self.waiting -= count_records(batches)
        self.waiting_bytes -= size

    def _note_lost(self, dropped: Sequence[Outgoing]) -> None:
        for position in dict.fromkeys(outgoing.origin for outgoing in dropped if outgoing.origin is not None):
            log.warning("record skipped: neither passed on nor dead-lettered", position=str(position))
            if self._skip is not None:
                self._skip.lost.append(position)

    def _end_skip(self, error: Refused | None = None) -> None:
        if self._skip is not None:
            self._skip.error = error
            self._skip.done.set()
            self._skip = None

    async def _commit(self, batches: list[Batch], outgoing: list[Outgoing]) -> bool:
        """Retry until the commit is durable (True) or the lease is lost (False)."""
        backoff, failed, dropped = COMMIT_RETRY_MIN_S, False, list[Outgoing]()
        while not self._lease.lost:
            try:
                await self._broker.commit(batches, outgoing)
            except Fenced:
                return False
            except Refused as error:
                halves = self._split_off(batches, outgoing, error)
                if halves is not None:
                    if not (await self._commit(*halves[0]) and await self._commit(*halves[1])):
                        return False
                    break
                if isinstance(error, RecordRefused) and await self._replace_refused(outgoing, error):
                    continue
                if self._skip is not None and outgoing:
                    dropped, outgoing = outgoing, []
                    continue
                if dropped:
                    # Even the offsets alone are refused: what was dropped is to be written after all.
                    dropped, outgoing = [], dropped
                self._end_skip(error)
                self._on_trouble(f"cannot write dead letters or commit offsets: {error}", True)
                failed = True
                await self._wait(REFUSED_RETRY_S)
            except Outage as error:
                self._on_trouble(f"commit failed: {error}", False)
                failed = True
                await self._wait(error.retry_after or backoff * random.uniform(0.8, 1.2))
                backoff = min(backoff * 2, COMMIT_RETRY_MAX_S)
            else:
                self._on_commit(outgoing)
                self._note_lost(dropped)
                break
        else:
            return False
        if failed:
            self._on_trouble(None, False)
        return True

    def _split_off(
        self, batches: list[Batch], outgoing: list[Outgoing], error: Refused
    ) -> tuple[Commit, Commit] | None:
        """Return the two halves of a refused commit; None if it is to be tried as a whole.

        The record that the broker refuses is looked for where its error does not tell which one it is, and where an
        operator skips what is refused.
        """
        if not outgoing or count_records(batches) < 2 or isinstance(error, TooLarge):
            return None
        if self._skip is not None:
            self._skip.refusals += 1
            if self._skip.refusals > MAX_REFUSALS_PER_SKIP:
                return None
        elif not isinstance(error, RecordRefused):
            return None
        return split_commit(batches, outgoing)

    async def _replace_refused(self, outgoing: list[Outgoing], error: RecordRefused) -> bool:
        """Put another record in the place of the refused one, if there is one."""
        index = error.index if isinstance(error, TooLarge) else 0
        if index >= len(outgoing):
            return False
        substitute = await self._replace(outgoing[index], error)
        if substitute is not None:
            outgoing[index] = substitute
        return substitute is not None

    async def _wait(self, seconds: float) -> None:
        if seconds <= 0:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
                await asyncio.sleep(MIN_WAIT_S)
        if not self._draining:
            self._hurry.clear()
