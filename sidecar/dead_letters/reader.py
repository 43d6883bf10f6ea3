"""Reader of dead letters from the brokers, page by page, from all streams that may contain some."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from msgspec import Struct

from sidecar.dead_letters.dialects import read
from sidecar.dead_letters.identity import DecodeRecords, add_identities
from sidecar.domain.errors import TracecarError
from sidecar.domain.model import DeadLetter, Record
from sidecar.domain.ports.broker import Broker
from sidecar.domain.position import Partition
from sidecar.domain.stream_names import LEDGER, StreamNames


class LetterSource(Protocol):
    """A broker and the names of its dead-letter streams."""

    @property
    def broker(self) -> Broker: ...

    @property
    def naming(self) -> StreamNames: ...


class ReadScope(Struct):
    """Part of the dead-letter streams that one search reads."""

    since: int | None = None
    """Append time in milliseconds from which dead letters are read."""
    tail: int | None = None
    """Number of records to read at the end of each partition; None: all."""
    is_partial: bool = False
    """Set while reading: some partition has more records than `tail`."""


class FetchedLetters(Struct):
    """The dead letters of one fetch."""

    source: LetterSource
    letters: list[DeadLetter]


async def read_letters(
    sources: Sequence[LetterSource], scope: ReadScope, notes: list[str], decode: DecodeRecords | None = None
) -> AsyncIterator[FetchedLetters]:
    """Read the dead letters of all sources. If a source cannot be read, a sentence is added to `notes`.

    With `decode`, foreign dead letters get the identity of the record inside.
    """
    for source in sources:
        naming = source.naming
        try:
            async for records in _records(source, scope):
                letters = []
                for record in records:
                    letter = read(record, naming)
                    letter.written = record
                    letters.append(letter)
                if decode is not None:
                    await add_identities(letters, decode)
                yield FetchedLetters(source, letters)
                await asyncio.sleep(0)
        except TracecarError as error:
            notes.append(f"dead letters on {source.broker.system} could not be read: {error}")


async def _records(source: LetterSource, scope: ReadScope) -> AsyncIterator[Sequence[Record]]:
    since = scope.since
    for stream in await dead_letter_streams(source):
        for partition in await source.broker.partitions(stream):
            start = await _start(source.broker, partition, scope)
            async for records in source.broker.scan(partition, since=since if start is None else None, start=start):
                yield records if since is None else [record for record in records if record.timestamp >= since]


async def dead_letter_streams(source: LetterSource) -> list[str]:
    """List the streams of a broker that may contain dead letters of the watched streams. Raises Outage, Refused."""
    watched = {status.partition.stream for status in await source.broker.status()}
    return [
        stream
        for stream in await source.broker.streams()
        if stream != LEDGER and source.naming.belongs(stream, watched)
    ]


async def _start(broker: Broker, partition: Partition, scope: ReadScope) -> int | None:
    """Return the offset of the last `tail` records. None, the start, where offsets do not count records."""
    if scope.tail is None or not broker.traits.offsets_count_records:
        return None
    first, end = await broker.bounds(partition)
    if end - scope.tail <= first:
        return None
    scope.is_partial = True
    return end - scope.tail
