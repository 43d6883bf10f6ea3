"""The desk: dead letters found again, wherever they lie, letters of one origin as one."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from sidecar.dead_letters.causes import Cause, Causes, cause
from sidecar.dead_letters.dialects import read
from sidecar.dead_letters.naming import LEDGER, Naming
from sidecar.errors import TracecarError
from sidecar.model import DeadLetter, Partition, Record
from sidecar.ports import Broker


class Source(Protocol):
    """A broker and what its dead-letter streams are called."""

    @property
    def broker(self) -> Broker: ...

    @property
    def naming(self) -> Naming: ...


class Letters(Struct):
    """All letters of one origin: one failure, whichever groups met it."""

    letter: DeadLetter
    """The latest of them."""
    groups: list[str]
    """The groups that lettered this origin, in the order of their letters."""
    cause: str
    state: str = "open"


class Found(Struct):
    """The answer to a search: newest first."""

    letters: list[Letters]
    notes: list[str]
    """Sentences: what could not be looked at."""


class Grouped(Struct):
    """Dead letters by their cause: the cause with the most letters first."""

    causes: list[Cause]
    letters: int
    """How many there are, one for each origin and cause."""
    folded: int
    """How many of them are of causes that are not told apart."""
    notes: list[str]


class Reading(Struct):
    """How much of the dead-letter streams one search reads."""

    wanted: Callable[[DeadLetter], bool] | None = None
    since: int | None = None
    """Milliseconds."""
    tail: int | None = None
    """Only so many records at the end of each partition; None: all."""
    left_out: bool = False
    """Set while reading, where the tail was not all."""


class Desk:
    """Reads the dead letters of the watched streams from the brokers themselves."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    async def newest(
        self, limit: int, *, wanted: Callable[[DeadLetter], bool] | None = None, since: int | None = None
    ) -> Found:
        """The newest `limit` dead letters (0: all), of those that are `wanted`, failed at or after `since`
        (milliseconds). Without a wish only the ends of the streams are read; with one, all of them."""
        notes: list[str] = []
        reading = Reading(wanted, since, tail=2 * limit if wanted is None and limit else None)
        found = await self._search(limit, reading, notes)
        while reading.tail is not None and len(found) < limit and reading.left_out:
            reading = Reading(wanted, since, tail=4 * reading.tail)
            found = await self._search(limit, reading, notes)
        return Found(found, list(dict.fromkeys(notes)))

    async def show(self, id: str) -> Letters | None:
        """One dead letter by its id, with all groups of its origin; None where no stream holds it (any more)."""
        found = await self._search(1, Reading(lambda letter: letter.id == id), [])
        if not found:
            return None
        key = _origin(found[0].letter)
        same = await self._search(1, Reading(lambda letter: _origin(letter) == key), [])
        whole = same[0] if same else found[0]
        return Letters(found[0].letter, whole.groups, whole.cause)

    async def reads(self, system: str, stream: str) -> bool:
        """Whether this is a stream where dead letters of the watched streams are looked for. Raises Outage, Refused."""
        for source in self._sources:
            if source.broker.system == system and stream != LEDGER:
                watched = {status.partition.stream for status in await source.broker.status()}
                if source.naming.belongs(stream, watched):
                    return True
        return False

    async def groups(
        self,
        *,
        wanted: Callable[[DeadLetter], bool] | None = None,
        holds: Callable[[DeadLetter], Awaitable[bool]] | None = None,
        since: int | None = None,
    ) -> Grouped:
        """The causes of all dead letters that are `wanted` and, where that is asked for, whose record `holds` what is
        looked for; failed at or after `since` (milliseconds)."""
        causes = Causes(time.time_ns() // 1_000)
        notes: list[str] = []
        async for letters in self._letters(Reading(wanted, since), notes):
            for letter in letters:
                if holds is None or await holds(letter):
                    causes.add(letter)
        found = causes.found()
        return Grouped(found, causes.letters, causes.folded, [*dict.fromkeys(notes), *causes.notes])

    async def _search(self, limit: int, reading: Reading, notes: list[str]) -> list[Letters]:
        newest = _Newest(limit)
        async for letters in self._letters(reading, notes):
            for letter in letters:
                newest.add(letter)
        return newest.letters()

    async def _letters(self, reading: Reading, notes: list[str]) -> AsyncIterator[list[DeadLetter]]:
        """The letters that are wanted, fetch by fetch, of all sources; what cannot be read is noted."""
        wanted = reading.wanted
        for source in self._sources:
            naming = source.naming
            try:
                async for records in self._records(source, reading):
                    letters = [read(record, naming) for record in records]
                    yield letters if wanted is None else list(filter(wanted, letters))
                    await asyncio.sleep(0)
            except TracecarError as error:
                notes.append(f"dead letters on {source.broker.system} could not be read: {error}")

    async def _records(self, source: Source, reading: Reading) -> AsyncIterator[Sequence[Record]]:
        since = reading.since
        for stream in await self._streams(source):
            for partition in await source.broker.partitions(stream):
                start = await _start(source.broker, partition, reading)
                async for records in source.broker.scan(partition, since=since if start is None else None, start=start):
                    yield records if since is None else [one for one in records if one.timestamp >= since]

    @staticmethod
    async def _streams(source: Source) -> list[str]:
        watched = {status.partition.stream for status in await source.broker.status()}
        return [
            stream
            for stream in await source.broker.streams()
            if stream != LEDGER and source.naming.belongs(stream, watched)
        ]


async def _start(broker: Broker, partition: Partition, reading: Reading) -> int | None:
    """Where to begin to see the last `tail` records; Redis ids do not count entries, so there it is the start."""
    if reading.tail is None or broker.system == "redis":
        return None
    first, end = await broker.bounds(partition)
    if end - reading.tail <= first:
        return None
    reading.left_out = True
    return end - reading.tail


def _origin(letter: DeadLetter) -> tuple[object, ...]:
    if letter.origin is None:
        return (letter.id,)
    return (letter.origin, letter.origin_timestamp)


def _age(letter: DeadLetter) -> tuple[int, str]:
    """Newest letters compare highest; the position settles ties so that lists do not flicker."""
    return (letter.appended_at, str(letter.position))


class _Newest:
    """The newest letters by origin, at most `limit` of them (0: no bound)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._found: dict[tuple[object, ...], Letters] = {}

    def add(self, letter: DeadLetter) -> None:
        held = self._found.get(_origin(letter))
        if held is None:
            self._found[_origin(letter)] = Letters(letter, _group(letter), cause(letter))
            if self._limit and len(self._found) > 4 * self._limit + 1_000:
                self._shrink()
            return
        held.groups = list(dict.fromkeys([*held.groups, *_group(letter)]))
        if _age(letter) >= _age(held.letter):
            held.letter, held.cause = letter, cause(letter)

    def letters(self) -> list[Letters]:
        self._shrink()
        return sorted(self._found.values(), key=lambda one: _age(one.letter), reverse=True)

    def _shrink(self) -> None:
        if self._limit:
            kept: Iterable[Letters] = heapq.nlargest(
                self._limit, self._found.values(), key=lambda one: _age(one.letter)
            )
            self._found = {_origin(one.letter): one for one in kept}


def _group(letter: DeadLetter) -> list[str]:
    return [] if letter.group is None else [letter.group]
