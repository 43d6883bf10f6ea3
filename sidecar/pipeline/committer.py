"""Committing one lease, behind the judging: what is judged waits here, and goes to the broker in steps of time.

What overlaps: while one step is committed, the next batches are judged. Order holds because there is one committer
for a lease and its steps follow one another. A step, once tried, is tried again unchanged until the broker says that
it is safe or that the lease is lost: an outcome that is not known is never given up, so nothing can be dead-lettered
twice.

- Dies before `commit`: nothing was written, the batches come again.
- Dies within `commit`: the adapter's promise (one act).
- Dies after `commit`: both are safe, and reading goes on behind them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence

from sidecar.domain.errors import Fenced, Outage, Refused, TooLarge
from sidecar.domain.model import Outgoing
from sidecar.domain.ports.broker import Batch, Broker, Lease

FIRST_WAIT, LONGEST_WAIT, REFUSED_WAIT = 0.1, 10.0, 30.0
"""Seconds: the first and the longest wait after an outage, and the wait after a refusal."""


class Committer:
    """Commits the batches of one lease. `trouble` hears the sentence of every try that failed, and None once it goes
    well again; `progress` what was published by each step that is safe."""

    def __init__(
        self,
        broker: Broker,
        lease: Lease,
        *,
        shrink: Callable[[Outgoing], Outgoing | None],
        pace: Callable[[], float],
        trouble: Callable[[str | None, bool], None],
        progress: Callable[[Sequence[Outgoing]], None],
    ) -> None:
        self._broker, self._lease, self._shrink = broker, lease, shrink
        self._pace, self._trouble, self._progress = pace, trouble, progress
        self._batches: list[Batch] = []
        self._outgoing: list[Outgoing] = []
        self._work, self._idle, self._hurry = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._draining = 0
        self.waiting = 0
        """Records judged and not committed yet."""

    def add(self, batch: Batch, outgoing: Sequence[Outgoing]) -> None:
        self._batches.append(batch)
        self._outgoing.extend(outgoing)
        self.waiting += len(batch.records)
        self._work.set()
        self._idle.clear()

    def drop_untried(self) -> int | None:
        """Forget what no try was made for yet: it comes again after a rewind. Returns the first offset dropped."""
        dropped = next((batch.records[0].position.offset for batch in self._batches if batch.records), None)
        self.waiting -= sum(len(batch.records) for batch in self._batches)
        self._batches, self._outgoing = [], []
        return dropped

    async def idle(self) -> None:
        """Returns once nothing waits and no try is under way (or the lease is lost). Meanwhile no rest is taken."""
        self._draining += 1
        self._hurry.set()
        try:
            await self._idle.wait()
        finally:
            self._draining -= 1

    def retry_now(self) -> None:
        """Cut a wait short: a person says that the trouble is mended."""
        self._hurry.set()

    async def run(self) -> None:
        """Commits until the lease is lost (then returns) or the task is cancelled."""
        try:
            await self._steps()
        finally:
            self._idle.set()

    async def _steps(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            batches, outgoing = self._batches, self._outgoing
            self._batches, self._outgoing = [], []
            if batches and not await self._settle(batches, outgoing):
                return
            self.waiting -= sum(len(batch.records) for batch in batches)
            self._progress(outgoing)
            if not self._batches:
                self._idle.set()
            await self._rest(self._pace())

    async def _settle(self, batches: list[Batch], outgoing: list[Outgoing]) -> bool:
        """True once it is safe, False where the lease is lost."""
        wait, failed = FIRST_WAIT, False
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
                self._trouble(f"what is to be written is too large: {error}", True)
                failed = True
                await self._rest(REFUSED_WAIT)
            except Refused as error:
                self._trouble(f"dead letters or progress cannot be written: {error}", True)
                failed = True
                await self._rest(REFUSED_WAIT)
            except Outage as error:
                self._trouble(f"the broker does not commit: {error}", False)
                failed = True
                await self._rest(error.retry_after or wait * random.uniform(0.8, 1.2))
                wait = min(wait * 2, LONGEST_WAIT)
            else:
                if failed:
                    self._trouble(None, False)
                return True
        return False

    async def _rest(self, seconds: float) -> None:
        if seconds <= 0:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
                # Hurried is short, not absent: a broker that fails at once is not asked in a tight loop.
                await asyncio.sleep(0.01)
        if not self._draining:
            self._hurry.clear()
