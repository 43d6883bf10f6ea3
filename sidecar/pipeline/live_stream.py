"""The live stream: who listens hears of every event as it passes, as long as they keep up.

Publishing never waits: each subscriber has a bounded queue of batches. Who falls behind loses the oldest ones, and is
told how many."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

from sidecar.domain.errors import Outage
from sidecar.domain.model import Decoded

MOST_EVENTS = 5_000
"""Events that wait for one subscriber; with its body each takes some two kilobytes."""
MOST_BYTES = 8 << 20
"""Bytes of their values."""
MOST_SUBSCRIBERS = 64


class Subscription:
    """One listener's queue."""

    def __init__(self, live: LiveStream, most_events: int, most_bytes: int) -> None:
        self._live, self._most_events, self._most_bytes = live, most_events, most_bytes
        self._queue: deque[tuple[Sequence[Decoded], int]] = deque()
        self._events = self._bytes = 0
        self._wake = asyncio.Event()
        self._closed = False
        self._missed = 0

    def _put(self, decoded: Sequence[Decoded], size: int) -> None:
        self._queue.append((decoded, size))
        self._events += len(decoded)
        self._bytes += size
        while self._events > self._most_events or self._bytes > self._most_bytes:
            oldest, its_size = self._queue.popleft()
            self._events -= len(oldest)
            self._bytes -= its_size
            self.drop(len(oldest))
        self._wake.set()

    def drop(self, count: int) -> None:
        """Count events that the listener will not hear of."""
        self._missed += count
        self._live.dropped += count

    def missed(self) -> int:
        """Events lost since the last call."""
        count, self._missed = self._missed, 0
        return count

    @property
    def closed(self) -> bool:
        return self._closed

    async def next(self, timeout: float) -> Sequence[Decoded] | None:
        """The next batch; None where nothing came for `timeout` seconds, where events were lost meanwhile, or where the
        stream is closed."""
        if not self._queue and not self._closed:
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                return None
        if self._closed or not self._queue:
            return None
        decoded, size = self._queue.popleft()
        self._events -= len(decoded)
        self._bytes -= size
        return decoded

    async def __aiter__(self) -> AsyncIterator[Sequence[Decoded]]:
        """Batches until the stream is closed."""
        while not self._closed:
            decoded = await self.next(3600)
            if decoded is not None:
                yield decoded

    def close(self) -> None:
        self._closed = True
        self._wake.set()
        self._live.leave(self)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LiveStream:
    """Hands every published event to who listens."""

    def __init__(self, most_events: int = MOST_EVENTS, most_bytes: int = MOST_BYTES) -> None:
        self._most_events, self._most_bytes = most_events, most_bytes
        self._subscriptions: tuple[Subscription, ...] = ()
        self.dropped = 0
        """Events that subscribers were too slow for, since start."""

    @property
    def subscribers(self) -> int:
        return len(self._subscriptions)

    def publish(self, decoded: Sequence[Decoded]) -> None:
        """Tell the listeners. Costs one comparison where there are none."""
        if not self._subscriptions or not decoded:
            return
        size = sum([len(one.record.value) for one in decoded if one.record.value is not None])
        for subscription in self._subscriptions:
            subscription._put(decoded, size)

    def lost(self, count: int) -> None:
        """Events passed that nobody here will hear of."""
        for subscription in self._subscriptions:
            subscription.drop(count)

    def subscribe(self) -> Subscription:
        """A listener's queue, to be closed by the listener. Raises Outage where too many listen."""
        if len(self._subscriptions) >= MOST_SUBSCRIBERS:
            raise Outage(f"{MOST_SUBSCRIBERS} clients listen already: close one, or try again", retry_after=5)
        subscription = Subscription(self, self._most_events, self._most_bytes)
        self._subscriptions = (*self._subscriptions, subscription)
        return subscription

    def leave(self, subscription: Subscription) -> None:
        self._subscriptions = tuple(other for other in self._subscriptions if other is not subscription)

    def close(self) -> None:
        """End every subscription: the sidecar stops."""
        for subscription in self._subscriptions:
            subscription.close()
