"""Fetcher of sets and events of the shared index, many in each step.

A query needs as many round trips as its flow is deep in keys, not as many as it has events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from sidecar.adapters.index.redis.key_layout import (
    CAUSE,
    EFFECT,
    LOG_BYTES,
    PartitionKey,
    log_from,
    offset_from,
    small,
    unpack_event,
)
from sidecar.adapters.index.redis.shards import ShardClients
from sidecar.adapters.redis_client.connection_pool import Command
from sidecar.domain.model import Event

STEP_TIMEOUT_S = 5.0
"""Time limit of one step of a query."""
MAX_PLACES_PER_SET = 100_000
"""Events that are read of one id; if there are more, a random sample."""
MAX_CROWDED_SETS = 1_000
"""Sets to remember because they have more events than that."""
STEP_EVENTS = 2_000
"""Events that are fetched in one step."""
Name = tuple[bytes, bytes]
"""Family (`i`, `t`, `k` or `a`) and hash of a set."""


class IndexFetcher:
    """Sets (by name) and events (by place) that one query has fetched.

    A place is the partition and offset of an event, as `key_layout` packs them.
    """

    def __init__(
        self,
        shards: ShardClients,
        join: Collection[str],
        max_flow: int,
        logs: dict[bytes, PartitionKey],
        crowded: dict[Name, None] | None = None,
    ) -> None:
        """Create a fetcher. `crowded` collects the sets that were read only in part."""
        self._shards, self._keys = shards, shards.keys
        self._join, self._max_flow = join, max_flow
        self._logs = logs
        """Partitions by their hash: shared by all questions, for they do not change."""
        self._crowded: dict[Name, None] = {} if crowded is None else crowded
        self._events: dict[bytes, Event | None] = {}
        self._sets: dict[Name, list[bytes]] = {}

    async def ask(self, commands: Sequence[tuple[int, Command]]) -> list[Any]:
        return await self._shards.ask(commands, STEP_TIMEOUT_S)

    # --- fetching

    async def places(self, names: Iterable[Name]) -> None:
        """Fetch the members of these sets."""
        wanted = [name for name in dict.fromkeys(names) if name not in self._sets]
        commands: list[tuple[int, Command]] = []
        for family, hash in wanted:
            shard, key = self._keys.of_id(family, hash)
            commands.append((shard, ("SRANDMEMBER", key, MAX_PLACES_PER_SET)))
        for name, members in zip(wanted, await self.ask(commands), strict=True):
            self._sets[name] = members
            self._crowded.pop(name, None)
            if len(members) >= MAX_PLACES_PER_SET:
                self._crowded[name] = None
                if len(self._crowded) > MAX_CROWDED_SETS:
                    del self._crowded[next(iter(self._crowded))]

    async def events(self, places: Iterable[bytes]) -> None:
        """Fetch the events at these places."""
        wanted = [place for place in dict.fromkeys(places) if place not in self._events]
        for start in range(0, len(wanted), STEP_EVENTS):
            await self._events_of(wanted[start : start + STEP_EVENTS])

    async def _events_of(self, places: Sequence[bytes]) -> None:
        await self.know_logs(places)
        buckets: dict[tuple[int, bytes], list[tuple[bytes, int, PartitionKey]]] = {}
        for place in places:
            log = self._logs.get(place[:LOG_BYTES])
            if log is None:
                self._events[place] = None
                continue
            offset = offset_from(place[LOG_BYTES:], two_words=log.two_words)
            buckets.setdefault(self._keys.of_bucket(log, offset >> log.bits), []).append((place, offset, log))
        commands: list[tuple[int, Command]] = [
            (shard, ("HMGET", key, *(small(offset & ((1 << log.bits) - 1)) for _, offset, log in members)))
            for (shard, key), members in buckets.items()
        ]
        for members, replies in zip(buckets.values(), await self.ask(commands), strict=True):
            for (place, offset, log), data in zip(members, replies, strict=True):
                self._events[place] = None if data is None else _event(data, log, offset)

    async def know_logs(self, places: Sequence[bytes]) -> None:
        """Fetch the partitions of these places."""
        unknown = list({place[:LOG_BYTES] for place in places} - self._logs.keys())
        if unknown:
            (replies,) = await self.ask([(0, ("HMGET", self._keys.single(b"l"), *unknown))])
            for name, written in zip(unknown, replies, strict=True):
                if written is not None:
                    self._logs[name] = log_from(written)

    def log(self, place: bytes) -> PartitionKey | None:
        """Return the partition of a place, once it is known."""
        return self._logs.get(place[:LOG_BYTES])

    def event(self, place: bytes) -> Event | None:
        return self._events.get(place)

    async def everything(self, names: Iterable[Name]) -> None:
        """Fetch these sets and all events in them, except sets that are too large to join events."""
        wanted = list(names)
        await self.places(wanted)
        await self.events(place for name in wanted if not self.hopeless(name) for place in self._places(name))

    async def fetch(self, *names: Name) -> None:
        """Fetch sets and all their events, however many."""
        await self.places(names)
        await self.events(place for name in names for place in self._places(name))

    def hopeless(self, name: Name) -> bool:
        """Check whether a fetched set is too large to join events."""
        return name[0] != b"i" and len(self._sets[name]) > 2 * self._max_flow + 100

    def under(self, name: Name) -> Iterator[Event]:
        """Yield the events of a fetched set.

        The caller checks that they have the id, because sets are found by hashes.
        """
        for place in self._places(name):
            event = self._events.get(place)
            if event is not None:
                yield event

    def _places(self, name: Name) -> Iterator[bytes]:
        members = self._sets.get(name, ())
        if name[0] != b"i":
            yield from members
            return
        for member in members:
            role = member[:1]
            if role == CAUSE:
                yield member[1:]
            elif role == EFFECT:
                yield member[5:]


def _event(data: bytes, log: PartitionKey, offset: int) -> Event | None:
    try:
        return unpack_event(data, log.partition, offset)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None  # bytes of another program under our key
