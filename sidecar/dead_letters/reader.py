"""Dead letters read from the brokers themselves, fetch by fetch, of all streams that may hold some."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from msgspec import Struct

from sidecar.dead_letters.dialects import read
from sidecar.domain.errors import TracecarError
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.ports.broker import Broker
from sidecar.domain.position import Partition
from sidecar.domain.stream_names import LEDGER, StreamNames


class LetterSource(Protocol):
    """A broker and what its dead-letter streams are called."""

    @property
    def broker(self) -> Broker: ...

    @property
    def naming(self) -> StreamNames: ...


class ReadScope(Struct):
    """How much of the dead-letter streams one search reads."""

    since: int | None = None
    """Milliseconds."""
    tail: int | None = None
    """Only so many records at the end of each partition; None: all."""
    left_out: bool = False
    """Set while reading, where the tail was not all."""


class FetchedLetters(Struct):
    """What one fetch of a dead-letter stream brought."""

    source: LetterSource
    letters: list[DeadLetter]


async def read_letters(
    sources: Sequence[LetterSource], reading: ReadScope, notes: list[str]
) -> AsyncIterator[FetchedLetters]:
    """The letters of all sources; what cannot be read is noted."""
    for source in sources:
        naming = source.naming
        try:
            async for records in _records(source, reading):
                letters = []
                for record in records:
                    letter = read(record, naming)
                    letter.written = record
                    letters.append(letter)
                yield FetchedLetters(source, letters)
                await asyncio.sleep(0)
        except TracecarError as error:
            notes.append(f"dead letters on {source.broker.system} could not be read: {error}")


async def _records(source: LetterSource, reading: ReadScope) -> AsyncIterator[Sequence[Record]]:
    since = reading.since
    for stream in await dead_letter_streams(source):
        for partition in await source.broker.partitions(stream):
            start = await _start(source.broker, partition, reading)
            async for records in source.broker.scan(partition, since=since if start is None else None, start=start):
                yield records if since is None else [record for record in records if record.timestamp >= since]


async def dead_letter_streams(source: LetterSource) -> list[str]:
    """The streams of this broker that may hold dead letters of the watched streams. Raises Outage, Refused."""
    watched = {status.partition.stream for status in await source.broker.status()}
    return [
        stream
        for stream in await source.broker.streams()
        if stream != LEDGER and source.naming.belongs(stream, watched)
    ]


async def _start(broker: Broker, partition: Partition, reading: ReadScope) -> int | None:
    """Where to begin to see the last `tail` records; None, the start, where offsets do not
    count records."""
    if reading.tail is None or not broker.traits.offsets_count_records:
        return None
    first, end = await broker.bounds(partition)
    if end - reading.tail <= first:
        return None
    reading.left_out = True
    return end - reading.tail
