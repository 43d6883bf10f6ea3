"""Identity of the records inside foreign dead letters: the records are decoded, so that their ids find the dead letter.

Tracecar's own dead letters carry these ids in headers. Other frameworks keep only the record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from sidecar.domain.model import DeadLetter, Decoded, Record
from sidecar.domain.position import Position

DecodeRecords = Callable[[Sequence[Record]], Awaitable[list[Decoded]]]
"""Function that decodes records as the pipeline does, and fetches their schemas. Never raises for a record's
content."""


async def add_identities(letters: Sequence[DeadLetter], decode: DecodeRecords) -> None:
    """Set event id, type, trace id and aggregate id of the dead letters that lack all of them."""
    pending = [
        (letter, letter.record)
        for letter in letters
        if letter.record is not None
        and letter.event_id is None
        and letter.type is None
        and letter.trace_id is None
        and letter.aggregate_id is None
        and letter.dialect != "tracecar"
    ]
    if not pending:
        return
    decoded = await decode([_at_its_stream(letter, record) for letter, record in pending])
    for (letter, _), result in zip(pending, decoded, strict=True):
        event = result.event
        letter.event_id, letter.type, letter.aggregate_id = event.event_id, event.type, event.aggregate_id
        letter.trace_id = None if event.trace_id is None else f"{event.trace_id:032x}"
        letter.schema = event.schema


def _at_its_stream(letter: DeadLetter, record: Record) -> Record:
    """Return the record under the stream that it failed on, because the stream decides its schema and its keys."""
    if letter.origin is not None or record.position.stream == letter.stream:
        return record
    position = record.position
    return replace(record, position=Position(position.system, letter.stream, position.partition, position.offset))
