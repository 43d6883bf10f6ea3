"""Commits the batches of one lease, behind the decoding: decoded batches wait here and are committed at intervals.

While one commit runs, the next batches are decoded. Order holds because a lease has one committer and its commits
follow one another. A commit that was tried is retried unchanged until the broker says that it is durable
or that the lease is lost: an unknown outcome is never given up, so no record can be dead-lettered twice.

- A crash before `commit`: nothing was written, and the batches are delivered again.
- A crash within `commit`: the adapter's promise (one transaction) holds.
- A crash after `commit`: dead letters and offsets are durable, and reading continues behind them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence

from sidecar.domain.errors import Fenced, Outage, Refused, TooLarge
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.broker import Batch, Broker, Lease

COMMIT_RETRY_MIN_S, COMMIT_RETRY_MAX_S = 0.1, 10.0
"""Backoff after an outage."""
REFUSED_RETRY_S = 30.0
"""Wait after the broker refused a commit."""
MIN_WAIT_S = 0.01
"""Wait before a retry that a caller asked for: a broker that fails at once is not called in a tight loop."""


class Committer:
    """Commits the batches of one lease."""

    def __init__(
        self,
        broker: Broker,
        lease: Lease,
        *,
        shrink: Callable[[Outgoing], Outgoing | None],
        interval: Callable[[], float],
        on_trouble: Callable[[str | None, bool], None],
        on_commit: Callable[[Sequence[Outgoing]], None],
    ) -> None:
        """Create a committer; `run` does the work.

        Args:
            broker: Commits and publishes.
            lease: The lease whose batches are committed.
            shrink: Returns a lighter form of a record that is too large, or None.
            interval: Returns the seconds between two commits.
            on_trouble: Called with a sentence, and whether the broker refused, after every failed attempt; with None
                once a commit succeeds again.
            on_commit: Called with the published records of every durable commit.
        """
        self._broker, self._lease, self._shrink = broker, lease, shrink
        self._interval, self._on_trouble, self._on_commit = interval, on_trouble, on_commit
        self._batches: list[Batch] = []
        self._outgoing: list[Outgoing] = []
        self._work, self._idle, self._hurry = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._draining = 0
        self.waiting = 0
        """Records that are decoded and not committed yet."""

    def add(self, batch: Batch, outgoing: Sequence[Outgoing]) -> None:
        """Queue a batch with the records that its commit publishes."""
        self._batches.append(batch)
        self._outgoing.extend(outgoing)
        self.waiting += len(batch.records)
        self._work.set()
        self._idle.clear()

    def drop_queued(self) -> int | None:
        """Drop the batches whose commit was not tried yet: a rewind delivers them again.

        Returns the first offset that was dropped.
        """
        dropped = next((batch.records[0].position.offset for batch in self._batches if batch.records), None)
        self.waiting -= sum(len(batch.records) for batch in self._batches)
        self._batches, self._outgoing = [], []
        return dropped

    async def idle(self) -> None:
        """Return once nothing is queued and no commit is running, or the lease is lost.

        Until then the pauses between commits are skipped.
        """
        self._draining += 1
        self._hurry.set()
        try:
            await self._idle.wait()
        finally:
            self._draining -= 1

    def retry_now(self) -> None:
        """Cut the current wait short."""
        self._hurry.set()

    async def run(self) -> None:
        """Commit until cancelled or until the lease is lost."""
        try:
            await self._run()
        finally:
            self._idle.set()

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            batches, outgoing = self._batches, self._outgoing
            self._batches, self._outgoing = [], []
            if batches and not await self._commit(batches, outgoing):
                return
            self.waiting -= sum(len(batch.records) for batch in batches)
            self._on_commit(outgoing)
            if not self._batches:
                self._idle.set()
            await self._wait(self._interval())

    async def _commit(self, batches: list[Batch], outgoing: list[Outgoing]) -> bool:
        """Retry until the commit is durable (True) or the lease is lost (False)."""
        backoff, failed = COMMIT_RETRY_MIN_S, False
        while not self._lease.lost:
            try:
                await self._broker.commit(batches, outgoing)
            except Fenced:
                return False
            except TooLarge as error:
                smaller = self._shrink(outgoing[error.index])
                if smaller is not None:
                    outgoing[error.index] = smaller
                    continue
                self._on_trouble(f"cannot write a record because it is too large: {error}", True)
                failed = True
                await self._wait(REFUSED_RETRY_S)
            except Refused as error:
                self._on_trouble(f"cannot write dead letters or commit offsets: {error}", True)
                failed = True
                await self._wait(REFUSED_RETRY_S)
            except Outage as error:
                self._on_trouble(f"commit failed: {error}", False)
                failed = True
                await self._wait(error.retry_after or backoff * random.uniform(0.8, 1.2))
                backoff = min(backoff * 2, COMMIT_RETRY_MAX_S)
            else:
                if failed:
                    self._on_trouble(None, False)
                return True
        return False

    async def _wait(self, seconds: float) -> None:
        if seconds <= 0:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
                await asyncio.sleep(MIN_WAIT_S)
        if not self._draining:
            self._hurry.clear()
