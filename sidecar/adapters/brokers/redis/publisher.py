"""Publication of records to Redis streams outside a commit."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.adapters.brokers.redis.committer import (
    MAX_BYTES_PER_CALL,
    SMALLEST_ARGUMENT_LIMIT_BYTES,
    max_argument_bytes,
)
from sidecar.adapters.brokers.redis.entry_codec import SYSTEM, EntryCodec, offset, raw
from sidecar.adapters.redis_client.connection_pool import Command, RedisPool
from sidecar.domain.errors import TooLarge
from sidecar.domain.model import Outgoing
from sidecar.domain.position import Position

MAX_RECORDS_PER_CALL = 500


async def publish_records(servers: RedisPool, entries: EntryCodec, outgoing: Sequence[Outgoing]) -> list[Position]:
    """Publish records in order. Every entry gets a new id, because a stream accepts no id older than its newest.

    After an error some of the records may have been published.
    """
    positions: list[Position] = []
    for run in _split_runs(servers, entries, outgoing):
        for index, (_, fields) in enumerate(run, start=len(positions)):
            await _check_size(servers, outgoing[index].stream, fields, index)
        async with servers.borrow(run[0][0]) as connection:
            commands: list[Command] = [("XADD", key, "*", *fields) for key, fields in run]
            for reply in await connection.calls(commands):
                if isinstance(reply, Exception):
                    raise reply
                positions.append(Position(SYSTEM, outgoing[len(positions)].stream, 0, offset(reply)))
    return positions


def _split_runs(
    servers: RedisPool, entries: EntryCodec, outgoing: Sequence[Outgoing]
) -> list[list[tuple[bytes, list[bytes]]]]:
    """Split records into runs that one call can send to one hash slot, in order."""
    runs: list[list[tuple[bytes, list[bytes]]]] = []
    slot, size = -1, 0
    for record in outgoing:
        key, fields = raw(record.stream), entries.fields(record)
        record_slot, record_size = servers.slot(key), sum(map(len, fields))
        if record_slot != slot or size + record_size > MAX_BYTES_PER_CALL or len(runs[-1]) >= MAX_RECORDS_PER_CALL:
            runs.append([])
            slot, size = record_slot, 0
        runs[-1].append((key, fields))
        size += record_size
    return runs


async def _check_size(servers: RedisPool, stream: str, fields: Sequence[bytes], index: int) -> None:
    largest = max(map(len, fields))
    if largest > SMALLEST_ARGUMENT_LIMIT_BYTES and largest > (limit := await max_argument_bytes(servers, raw(stream))):
        raise TooLarge(f"{stream}: a field of {largest} bytes; the server accepts at most {limit}", index)
