"""Fetching from the shared index, in steps over many sets and events at once: so an answer takes as many round trips as
its flow is deep in keys, not as it has events."""

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

SECONDS = 5.0
"""How long the servers may take for one step of a question."""
MOST_PLACES = 100_000
"""Places that are looked at under one id; where there are more, some of them."""
MOST_CROWDED = 1_000
"""Sets that are remembered for having more."""
STEP = 2_000
"""Events that are fetched in one step."""
Name = tuple[bytes, bytes]
"""Family and hash of a set."""


class IndexFetcher:
    """What was fetched for one question: sets by name, events by place."""

    def __init__(
        self,
        shards: ShardClients,
        join: Collection[str],
        max_flow: int,
        logs: dict[bytes, PartitionKey],
        crowded: dict[Name, None] | None = None,
    ) -> None:
        """`crowded` is told about sets that were not looked at whole."""
        self._shards, self._keys = shards, shards.keys
        self._join, self._max_flow = join, max_flow
        self._logs = logs
        """Partitions by their hash: shared by all questions, for they do not change."""
        self._crowded: dict[Name, None] = {} if crowded is None else crowded
        self._events: dict[bytes, Event | None] = {}
        self._sets: dict[Name, list[bytes]] = {}

    async def ask(self, commands: Sequence[tuple[int, Command]]) -> list[Any]:
        return await self._shards.ask(commands, SECONDS)

    # --- fetching

    async def places(self, names: Iterable[Name]) -> None:
        """Fetch what stands under these names, and the events that lie there."""
        wanted = [name for name in dict.fromkeys(names) if name not in self._sets]
        commands: list[tuple[int, Command]] = []
        for family, hash in wanted:
            shard, key = self._keys.of_id(family, hash)
            commands.append((shard, ("SRANDMEMBER", key, MOST_PLACES)))
        for name, members in zip(wanted, await self.ask(commands), strict=True):
            self._sets[name] = members
            self._crowded.pop(name, None)
            if len(members) >= MOST_PLACES:
                self._crowded[name] = None
                if len(self._crowded) > MOST_CROWDED:
                    del self._crowded[next(iter(self._crowded))]

    async def events(self, places: Iterable[bytes]) -> None:
        """Fetch the events at these places."""
        wanted = [place for place in dict.fromkeys(places) if place not in self._events]
        for start in range(0, len(wanted), STEP):
            await self._events_of(wanted[start : start + STEP])

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
            (shard, ("HMGET", key, *(small(offset & ((1 << log.bits) - 1)) for _, offset, log in found)))
            for (shard, key), found in buckets.items()
        ]
        for found, replies in zip(buckets.values(), await self.ask(commands), strict=True):
            for (place, offset, log), data in zip(found, replies, strict=True):
                self._events[place] = None if data is None else _event(data, log, offset)

    async def know_logs(self, places: Sequence[bytes]) -> None:
        """Fetch which partitions these places are on."""
        unknown = list({place[:LOG_BYTES] for place in places} - self._logs.keys())
        if unknown:
            (replies,) = await self.ask([(0, ("HMGET", self._keys.single(b"l"), *unknown))])
            for name, written in zip(unknown, replies, strict=True):
                if written is not None:
                    self._logs[name] = log_from(written)

    def log(self, place: bytes) -> PartitionKey | None:
        """Where a place is, once its partition is known."""
        return self._logs.get(place[:LOG_BYTES])

    def event(self, place: bytes) -> Event | None:
        return self._events.get(place)

    async def everything(self, names: Iterable[Name]) -> None:
        """Fetch these sets and all events in them, but for sets that are too large to join."""
        wanted = list(names)
        await self.places(wanted)
        await self.events(place for name in wanted if not self.hopeless(name) for place in self._places(name))

    async def fetch(self, name: Name) -> None:
        """Fetch a set and all events in it, however many."""
        await self.places([name])
        await self.events(self._places(name))

    def hopeless(self, name: Name) -> bool:
        """Whether a fetched set is too large to join anything."""
        return name[0] != b"i" and len(self._sets[name]) > 2 * self._max_flow + 100

    def under(self, name: Name) -> Iterator[Event]:
        """The events of a fetched set. Which of them really have the id, the caller looks at."""
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
        return None  # somebody else's bytes under our name
