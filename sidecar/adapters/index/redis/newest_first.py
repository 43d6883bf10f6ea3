"""Iteration over events of the shared index, newest first, from any point on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence

from sidecar.adapters.index.redis.flow_closure import FlowReader
from sidecar.adapters.index.redis.key_layout import LOG_BYTES, WINDOW_MS, offset_from
from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.adapters.redis_client.connection_pool import Command
from sidecar.domain.correlation.event_order import Moment
from sidecar.domain.model import Event
from sidecar.domain.position import Partition

MAX_WINDOWS = 256
"""Windows to fetch together at most. Their number grows while they hold few matching events."""
STEP_EVENTS = 200
"""Events to fetch together."""
_Place = tuple[int, Partition, int]
"""Append time, partition, offset: orders like append time and position."""
_Entry = tuple[_Place, bytes]


async def newest(
    reading: FlowReader,
    shards: ShardClients,
    before: Moment | None = None,
    *,
    since: int | None = None,
    until: int | None = None,
    streams: Collection[str] | None = None,
) -> AsyncIterator[Sequence[Event]]:
    """Yield pages of events by append time, then position, newest first.

    They are below `before`, appended at `since` or later and before `until` (milliseconds), on these streams.
    """
    below = None if before is None else (before[0], before[1].log, before[1].offset)
    if until is not None and (below is None or until <= below[0]):
        below = (until, Partition("", "", 0), -1)
    top = None if below is None else below[0] // WINDOW_MS
    count = 1
    while True:
        windows = await _windows(reading, shards, top, None if since is None else since // WINDOW_MS, count)
        if not windows:
            return
        seen = 0
        async for part in _entries(reading, shards, windows, below):
            wanted = [
                (where, place)
                for where, place in part
                if (below is None or where < below)
                and (since is None or where[0] >= since)
                and (streams is None or where[1].stream in streams)
            ]
            wanted.sort(reverse=True)
            await reading.events(place for _, place in wanted)
            events = [(where, reading.event(place)) for where, place in wanted]
            yield [event for where, event in events if event is not None and event.appended_at == where[0]]
            seen += len(wanted)
        top = windows[-1] - 1
        if seen < STEP_EVENTS:
            count = min(2 * count, MAX_WINDOWS)


async def _windows(
    reading: FlowReader, shards: ShardClients, top: int | None, bottom: int | None, count: int
) -> list[int]:
    """Return the latest windows with events, from `top` down to `bottom`."""
    high, low = "+inf" if top is None else str(top), "-inf" if bottom is None else str(bottom)
    command: Command = ("ZREVRANGEBYSCORE", shards.keys.single(b"z"), high, low, "LIMIT", 0, count)
    (members,) = await reading.ask([(0, command)])
    return sorted(map(int, members), reverse=True)


async def _entries(
    reading: FlowReader, shards: ShardClients, windows: Sequence[int], below: _Place | None
) -> AsyncIterator[list[_Entry]]:
    """Yield the entries of these windows in parts; each part is older than the one before."""
    keys = [shards.keys.of_window(b"w", window) for window in windows]
    replies = await reading.ask([(shard, ("SMEMBERS", key)) for shard, key in keys])
    part: list[tuple[int, bytes]] = []
    for window, members in zip(windows, replies, strict=True):
        # Bytes sort by their milliseconds, which is enough until they are unpacked.
        members.sort(reverse=True)
        last = b""
        for member in members:
            milliseconds = member[:2]
            if milliseconds != last:
                last = milliseconds
                if len(part) >= STEP_EVENTS:
                    yield await _locate(reading, part)
                    part = []
            at = window * WINDOW_MS + int.from_bytes(milliseconds, "big")
            if below is None or at <= below[0]:
                part.append((at, member[2:]))
    yield await _locate(reading, part)


async def _locate(reading: FlowReader, part: Sequence[tuple[int, bytes]]) -> list[_Entry]:
    await reading.know_logs([place for _, place in part])
    located: list[_Entry] = []
    for at, place in part:
        log = reading.log(place)
        if log is not None:
            offset = offset_from(place[LOG_BYTES:], two_words=log.two_words)
            located.append(((at, log.partition, offset), place))
    return located
