"""A bounded queue with a thread that sends its items in batches, with retries and backoff.

Callers never block. When the queue is full, new items are dropped and counted, so that an unreachable backend costs a
bounded amount of memory. A batch that the backend rejects permanently is counted as failed; a batch that it cannot
accept now is retried until it can.
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

RETRY_WAIT_FIRST_S, RETRY_WAIT_MAX_S = 0.5, 30.0
CLOSE_TIMEOUT_S = 5.0


class BatchTransport(Protocol):
    """Sends one signal to one backend. Called from one thread only."""

    def send(self, items: Sequence[bytes]) -> int:
        """Send these items and return how many of them the backend rejected.

        Raises Outage if a retry can succeed, Refused if not.
        """

    def close(self) -> None:
        """Close the connections; a running `send` ends soon."""


class QueueBounds(Struct, frozen=True):
    """Limits of a queue and of a batch."""

    items: int = 50_000
    bytes: int = 64 << 20
    batch_items: int = 2_000
    batch_bytes: int = 2 << 20
    """Size of a batch, below the 4 MB that gRPC servers accept by default."""
    linger: float = 1.0
    """Seconds that the first item of a batch waits for further ones."""


class BatchQueue:
    """Sends queued items from a thread of its own. All methods are thread-safe."""

    def __init__(self, name: str, transport: BatchTransport, bounds: QueueBounds = QueueBounds()) -> None:  # noqa: B008  # frozen
        self._name, self._transport, self._bounds = name, transport, bounds
        self._queue: deque[bytes] = deque()
        self._bytes = self._in_flight = 0
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._abandoned = False
        self._thread: threading.Thread | None = None
        self.sent = self.dropped = self.failed = 0
        self.trouble: str | None = None
        """Reason why the backend accepts nothing now, or None."""

    @property
    def waiting(self) -> int:
        """Number of queued items."""
        return len(self._queue)

    @property
    def full(self) -> bool:
        """True if the queue accepts nothing now, so that encoding an item would be wasted work."""
        return len(self._queue) >= self._bounds.items or self._bytes >= self._bounds.bytes

    def drop(self, count: int) -> None:
        """Count items that were not encoded because the queue is full."""
        self.dropped += count

    def put(self, items: Sequence[bytes]) -> None:
        """Queue the items that fit, and count the others as dropped."""
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
            # Wake the thread only if it has work: for the first item and for a full batch.
            if not before or len(self._queue) >= self._bounds.batch_items:
                self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"sending {self._name}", daemon=True)
            self._thread.start()

    def close(self, seconds: float = CLOSE_TIMEOUT_S) -> None:
        """Send the queued items for at most `seconds`; the rest is counted as dropped. Blocks."""
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
            # A request that still runs is not waited for.
            self.dropped += len(self._queue) + self._in_flight
            self._queue.clear()
            self._bytes = self._in_flight = 0
            self._abandoned = True

    # --- the thread

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            if not self._deliver(batch):
                return

    def _next(self) -> list[bytes] | None:
        """Take the next batch once it is full or its first item has waited for `linger`; None at the end."""
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
        """Send a batch, with retries. Returns False if the queue was closed before the batch was sent.

        The trouble is reported before the result is counted: a reader that sees the count sees its reason.
        """
        wait = RETRY_WAIT_FIRST_S
        while True:
            try:
                rejected = self._transport.send(batch)
            except Refused as error:
                self._report(str(error))
                self._count(failed=len(batch))
                return True
            except Outage as error:
                self._report(str(error))
                if self._closing.wait(error.retry_after or wait * random.uniform(0.8, 1.2)):
                    self._count(dropped=len(batch))
                    return False
                wait = min(wait * 2, RETRY_WAIT_MAX_S)
            except Exception as error:  # a bug, ours or the library's, must not end the thread silently
                self._count(failed=len(batch))
                log.error("cannot send telemetry", exporter=self._name, exc_info=error)
                return True
            else:
                self._report(None)
                self._count(sent=len(batch) - rejected, failed=rejected)
                return True

    def _count(self, *, sent: int = 0, dropped: int = 0, failed: int = 0) -> None:
        """Count the result of the batch in flight, unless `close` gave it up already."""
        with self._changed:
            if self._abandoned:
                return
            self._in_flight = 0
            self.sent += sent
            self.dropped += dropped
            self.failed += failed

    def _report(self, trouble: str | None) -> None:
        """Log once when an outage begins and once when it ends."""
        if trouble is not None and self.trouble is None:
            log.warning("backend does not accept telemetry; retrying", exporter=self._name, reason=trouble)
        elif trouble is None and self.trouble is not None:
            log.info("backend accepts telemetry again", exporter=self._name, dropped=self.dropped, failed=self.failed)
        self.trouble = trouble
