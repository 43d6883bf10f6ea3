"""A bounded queue with a thread behind it that sends what is put in: in batches, with back-off, and never in the way.

Whoever puts something in never waits. Once the queue is full what comes is dropped and counted, so that an unreachable
backend costs a known amount of memory and no more. A batch that a backend refuses for good is counted as failed; one
that it cannot take now is tried again until it can.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import structlog
from msgspec import Struct

from sidecar.domain.errors import Outage, Refused

log = structlog.get_logger()

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
CLOSE_SECONDS = 5.0


class BatchTransport(Protocol):
    """How one kind of telemetry gets to one backend. Called from one thread only."""

    def send(self, items: Sequence[bytes]) -> int:
        """Send these, and return how many of them the backend did not want. Raises Outage where trying again later is
        right, Refused where it is not."""

    def close(self) -> None:
        """Let go of connections; a `send` under way ends soon."""


class QueueBounds(Struct, frozen=True):
    """How much waits, and how much goes at once."""

    items: int = 50_000
    bytes: int = 64 << 20
    batch_items: int = 2_000
    batch_bytes: int = 2 << 20
    """Below the 4 MB that gRPC servers take by default."""
    linger: float = 1.0
    """Seconds that the first of a batch waits for more."""


class BatchQueue:
    """Sends what is put in, from a thread of its own."""

    def __init__(self, name: str, transport: BatchTransport, bounds: QueueBounds = QueueBounds()) -> None:  # noqa: B008  # frozen
        self._name, self._transport, self._bounds = name, transport, bounds
        self._queue: deque[bytes] = deque()
        self._bytes = self._in_flight = 0
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._left = False
        self._thread: threading.Thread | None = None
        self.sent = self.dropped = self.failed = 0
        self.trouble: str | None = None
        """Why the backend takes nothing now."""

    @property
    def waiting(self) -> int:
        """Items in the queue."""
        return len(self._queue)

    @property
    def full(self) -> bool:
        """Nothing more is taken now: making something to put in is wasted work."""
        return len(self._queue) >= self._bounds.items or self._bytes >= self._bounds.bytes

    def drop(self, count: int) -> None:
        """Count what was not even made because the queue is full."""
        self.dropped += count

    def put(self, items: Sequence[bytes]) -> None:
        """Take what fits, count what does not."""
        if not items:
            return
        with self._changed:
            room = self._bounds.items - len(self._queue)
            if self._closing.is_set() or room <= 0 or self._bytes >= self._bounds.bytes:
                self.dropped += len(items)
                return
            if len(items) > room:
                self.dropped += len(items) - room
                items = items[:room]
            before = len(self._queue)
            self._queue.extend(items)
            self._bytes += sum(map(len, items))
            # The sender is woken where it has something to do: by the first item, and by a batch that is full.
            if not before or len(self._queue) >= self._bounds.batch_items:
                self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"sending {self._name}", daemon=True)
            self._thread.start()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Send what waits, for so many seconds at most; what is left then counts as dropped. Blocks."""
        with self._changed:
            self._closing.set()
            self._changed.notify()
        thread = self._thread
        if thread is not None:
            thread.join(seconds)
        self._transport.close()
        if thread is not None and thread.is_alive():
            thread.join(1.0)
        with self._changed:
            # A request that does not end even now is not waited for.
            self.dropped += len(self._queue) + self._in_flight
            self._queue.clear()
            self._bytes = self._in_flight = 0
            self._left = True

    # --- the thread

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            if not self._deliver(batch):
                return

    def _next(self) -> list[bytes] | None:
        """The next batch, once it is full or its first item has waited long enough; None at the end."""
        bounds = self._bounds
        with self._changed:
            while not self._queue:
                if self._closing.is_set():
                    return None
                self._changed.wait()
            deadline = time.monotonic() + bounds.linger
            while len(self._queue) < bounds.batch_items and not self._closing.is_set():
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            batch: list[bytes] = []
            size = 0
            while self._queue and len(batch) < bounds.batch_items and size < bounds.batch_bytes:
                item = self._queue.popleft()
                batch.append(item)
                size += len(item)
            self._bytes -= size
            self._in_flight = len(batch)
            return batch

    def _deliver(self, batch: list[bytes]) -> bool:
        """False where we are closing and it cannot be delivered."""
        wait = FIRST_WAIT
        while True:
            try:
                unwanted = self._transport.send(batch)
            except Refused as error:
                self._count(failed=len(batch))
                self._say(str(error))
                return True
            except Outage as error:
                self._say(str(error))
                if self._closing.wait(error.retry_after or wait * random.uniform(0.8, 1.2)):
                    self._count(dropped=len(batch))
                    return False
                wait = min(wait * 2, LONGEST_WAIT)
            except Exception as error:  # a mistake, ours or the library's, must not end the thread in silence
                self._count(failed=len(batch))
                log.error("telemetry could not be sent", exporter=self._name, exc_info=error)
                return True
            else:
                self._count(sent=len(batch) - unwanted, failed=unwanted)
                self._say(None)
                return True

    def _count(self, *, sent: int = 0, dropped: int = 0, failed: int = 0) -> None:
        """What became of the batch under way; nothing where it was given up already."""
        with self._changed:
            if self._left:
                return
            self._in_flight = 0
            self.sent += sent
            self.dropped += dropped
            self.failed += failed

    def _say(self, trouble: str | None) -> None:
        """Once when it begins, once when it is over."""
        if trouble is not None and self.trouble is None:
            log.warning("telemetry is not taken", exporter=self._name, reason=trouble)
        elif trouble is None and self.trouble is not None:
            log.info("telemetry is taken again", exporter=self._name, dropped=self.dropped, failed=self.failed)
        self.trouble = trouble
