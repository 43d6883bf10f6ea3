"""Events newest first, from any point on, out of the windows of the shared index."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from itertools import islice

from sidecar.correlation.moments import Moment
from sidecar.index.redis_layout import LOG_BYTES, SECOND, offset_from
from sidecar.index.redis_reading import Reading
from sidecar.index.redis_shards import Shards
from sidecar.model import Event, Partition
from sidecar.redis_link.connections import Command

FEWEST, MOST = 4, 256
"""Windows that are fetched together: more as an answer goes back further."""
STEP = 200
"""Events that are fetched together."""
_Entry = tuple[int, Partition, int, bytes]
"""Append time, partition, offset: orders like append time and position. Then the place."""


async def newest(
    reading: Reading,
    shards: Shards,
    before: Moment | None = None,
    *,
    since: int | None = None,
    until: int | None = None,
    streams: Collection[str] | None = None,
) -> AsyncIterator[Sequence[Event]]:
    """Some events at a time by append time, then position, newest first: those below `before`, appended at `since` or
    later and before `until` (milliseconds), on these streams."""
    below = None if before is None else (before[0], before[1].log, before[1].offset)
    if until is not None and (below is None or until <= below[0]):
        below = (until, Partition("", "", 0), -1)
    top = None if below is None else below[0] // SECOND
    count = FEWEST
    while True:
        windows = await _windows(reading, shards, top, None if since is None else since // SECOND, count)
        if not windows:
            return
        entries = [
            entry
            for entry in await _entries(reading, shards, windows)
            if (below is None or entry[:3] < below)
            and (since is None or entry[0] >= since)
            and (streams is None or entry[1].stream in streams)
        ]
        entries.sort(reverse=True)
        rest = iter(entries)
        while part := list(islice(rest, STEP)):
            await reading.events(place for *_, place in part)
            events = [(entry, reading.event(entry[3])) for entry in part]
            yield [event for entry, event in events if event is not None and event.appended_at == entry[0]]
        top, count = windows[-1] - 1, min(2 * count, MOST)


async def _windows(reading: Reading, shards: Shards, top: int | None, bottom: int | None, count: int) -> list[int]:
    """The latest windows that hold something, from `top` down to `bottom`."""
    high, low = "+inf" if top is None else str(top), "-inf" if bottom is None else str(bottom)
    command: Command = ("ZREVRANGEBYSCORE", shards.keys.single(b"z"), high, low, "LIMIT", 0, count)
    (members,) = await reading.ask([(0, command)])
    return sorted(map(int, members), reverse=True)


async def _entries(reading: Reading, shards: Shards, windows: Sequence[int]) -> list[_Entry]:
    keys = [shards.keys.of_window(b"w", window) for window in windows]
    replies = await reading.ask([(shard, ("SMEMBERS", key)) for shard, key in keys])
    await reading.know_logs([member[2:] for members in replies for member in members])
    found: list[_Entry] = []
    for window, members in zip(windows, replies, strict=True):
        for member in members:
            place = member[2:]
            log = reading.log(place)
            if log is not None:
                offset = offset_from(place[LOG_BYTES:], redis=log.partition.system == "redis")
                found.append((window * SECOND + int.from_bytes(member[:2], "big"), log.partition, offset, place))
    return found
