"""Writes the queue of the recorder to the history, beside the pipeline.

Every moment the queued rows go to the storage's staging area, so that memory holds few of them. After `flush` seconds,
or when much is staged, they become a segment. What happens when something fails between each two steps:

- Staging fails (the disk is full): the rows stay in memory and are staged again. Meanwhile the queue fills; what does
  not fit is missed, counted, and read again from the broker once there is room.
- Appending fails (the bucket is away, slow or refuses): what is staged stays, and goes on growing up to
  `MAX_STAGED_BYTES`. Beyond that the recorder is blocked, and its batches are missed. Commits go on.
- Appending succeeds and its answer is lost: the same rows are appended again. Each of them is one event in every
  answer.
- The process dies at any moment: staged and queued rows are gone. Their offsets are in no file and not below the mark
  that is stored with each commit, so the next owner of the partition reads them again from the broker
  (`sidecar.pipeline.history_filler`).
- The process dies after appending and before the next commit: the mark lies too low, and the filler sees in the
  coverage that nothing is missing.
- The task is canceled within an append: the outcome is unknown, as after an exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Protocol

import structlog

from sidecar.domain.errors import Outage, TracecarError
from sidecar.domain.offset_ranges import OffsetRange
from sidecar.domain.ports.history import History, HistorySegment
from sidecar.pipeline.history_recorder import HistoryRecorder, QueuedRows

log = structlog.get_logger()

STAGE_INTERVAL_S = 0.25
MAX_SEGMENT_BYTES = 256 << 20
"""Staged bytes that become a segment before its time."""
MAX_STAGED_BYTES = 512 << 20
"""Staged bytes above which nothing more is taken, because segments cannot be appended."""
MAX_SEGMENT_RANGES = 5_000
RETRY_MIN_S, RETRY_MAX_S = 1.0, 60.0
CLOSE_TIMEOUT_S = 20.0
MAINTENANCE_INTERVAL_S = 60.0


class MaintainedHistory(History, Protocol):
    """A history with work to do in the background."""

    async def start(self) -> None:
        """Prepare to answer."""

    async def maintain(self) -> None:
        """Merge small files, and delete what is older or larger than the limits."""


class HistoryWriter:
    """Writes one history."""

    def __init__(self, history: MaintainedHistory, recorder: HistoryRecorder, *, flush_s: float) -> None:
        self._history, self._recorder, self._flush_s = history, recorder, flush_s
        self._unstaged = QueuedRows()
        """Rows that are to be staged next."""
        self._segment = HistorySegment([], [], [], [])
        """Coverage and facts that belong to the staged rows."""
        self._filled: list[OffsetRange] = []
        """Ranges that are filled once the staged rows are in a file."""
        self._staged_bytes = self._staged_rows = 0
        self._due = 0.0
        """Event-loop time by which the segment is to be appended; 0 if it is empty."""
        self._retry_at, self._backoff = 0.0, RETRY_MIN_S
        self.problem: str | None = None
        """Reason why the last attempt failed; None if it succeeded."""
        self.last_flush_us: int | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._flushed = asyncio.Condition()

    @property
    def staged_bytes(self) -> int:
        """Bytes of rows that are staged, and in no file yet."""
        return self._staged_bytes

    def start(self) -> None:
        """Start to write and to maintain."""
        self._tasks = [asyncio.ensure_future(self._run()), asyncio.ensure_future(self._maintain())]

    async def close(self) -> None:
        """Append what is queued, within `CLOSE_TIMEOUT_S`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError, TracecarError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._stage()
                await self._append()

    async def _run(self) -> None:
        await self._history.start()
        while True:
            await asyncio.sleep(min(STAGE_INTERVAL_S, self._flush_s))
            await self.tick()

    async def tick(self) -> None:
        """Stage what is queued, and append it if it is due."""
        now = asyncio.get_running_loop().time()
        if now < self._retry_at:
            return
        try:
            if self._staged_bytes < MAX_STAGED_BYTES:
                await self._stage()
            self._recorder.block(self._staged_bytes >= MAX_STAGED_BYTES)
            if self._is_due(now):
                await self._append()
            self.problem, self._backoff = None, RETRY_MIN_S
            self._recorder.block(False)
        except TracecarError as error:
            self._note_failure(error)
        except Exception as error:
            log.exception("writing the history failed by a bug; retrying")
            self._note_failure(error)

    def _note_failure(self, error: Exception) -> None:
        if self.problem is None:
            log.warning("cannot write the history; it is retried, and commits go on", reason=str(error))
        self.problem = str(error)
        wait = error.retry_after if isinstance(error, Outage) and error.retry_after else self._backoff
        self._retry_at = asyncio.get_running_loop().time() + wait
        self._backoff = min(2 * self._backoff, RETRY_MAX_S)

    async def _stage(self) -> None:
        unstaged = self._unstaged
        if unstaged.is_empty:
            unstaged = self._unstaged = self._recorder.take()
        if unstaged.is_empty:
            return
        if self._is_empty():
            self._due = asyncio.get_running_loop().time() + self._flush_s
        await self._recorder.encode_large(unstaged)
        await self._history.stage(unstaged.lines)
        self._staged_bytes += unstaged.bytes
        self._staged_rows += len(unstaged.lines)
        segment = self._segment
        segment.covered = [*segment.covered, *unstaged.covered]
        segment.holes = [*segment.holes, *unstaged.holes]
        segment.fates = [*segment.fates, *unstaged.fates]
        self._filled += unstaged.filled
        self._unstaged = QueuedRows()

    def _is_empty(self) -> bool:
        segment = self._segment
        return not (self._staged_rows or segment.covered or segment.holes or segment.fates)

    def _is_due(self, now: float) -> bool:
        if self._is_empty():
            return False
        return (
            now >= self._due
            or self._staged_bytes >= MAX_SEGMENT_BYTES
            or len(self._segment.covered) >= MAX_SEGMENT_RANGES
        )

    async def _append(self) -> None:
        if self._is_empty():
            return
        await self._history.append(self._segment)
        self._recorder.note_written((*self._segment.covered, *self._segment.holes, *self._filled))
        self._recorder.counters.written += self._staged_rows
        self._segment, self._filled = HistorySegment([], [], [], []), []
        self._staged_bytes = self._staged_rows = 0
        self.last_flush_us = time.time_ns() // 1000
        async with self._flushed:
            self._flushed.notify_all()

    async def wait_for_flush(self) -> None:
        """Wait until a segment was appended after this call."""
        async with self._flushed:
            await self._flushed.wait()

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(MAINTENANCE_INTERVAL_S)
            try:
                await self._history.maintain()
            except TracecarError as error:
                log.warning("cannot maintain the history; retrying", reason=str(error))
            except Exception:
                log.exception("maintaining the history failed by a bug; retrying")

    def sentences(self) -> Sequence[str]:
        """Describe what is wrong, for the status."""
        sentences = []
        if self.problem is not None:
            sentences.append(f"history: cannot write: {self.problem}; commits go on, and it is retried")
        if self._recorder.missed:
            sentences.append(
                f"history: {self._recorder.counters.missed} events did not fit into the queue; they are read again "
                "from the broker"
            )
        return sentences
