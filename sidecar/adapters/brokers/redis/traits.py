"""Properties of Redis Streams that other rooms depend on, and the format of entry ids. Imports no client library."""

from __future__ import annotations

import re

from sidecar.domain.broker_traits import BrokerTraits

SEQUENCE_BITS = 64
"""Bits of the sequence in an offset. An entry id `MILLISECONDS-SEQUENCE` is kept as one integer, `milliseconds << 64 |
sequence`, so that offsets of all brokers compare as integers."""
MIN_TIME_MS, MAX_TIME_MS = 946_684_800_000, 4_102_444_800_000
"""The years 2000 and 2100: entry ids outside them are not times, but numbers that a producer chose."""
_ENTRY_ID = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")


def parse_entry_id(text: str) -> int:
    """Pack `1700000000000-3` into an integer that sorts like entry ids. Raises ValueError if it is not an entry id."""
    match = _ENTRY_ID.fullmatch(text)
    if match is None or int(match[1]) >> SEQUENCE_BITS or int(match[2] or 0) >> SEQUENCE_BITS:
        raise ValueError(f"expected a Redis entry id such as 1700000000000-0, found {text!r}")
    return int(match[1]) << SEQUENCE_BITS | int(match[2] or 0)


def format_entry_id(offset: int) -> str:
    """Return the entry id that `parse_entry_id` packed."""
    return f"{offset >> SEQUENCE_BITS}-{offset & ((1 << SEQUENCE_BITS) - 1)}"


def is_time(offset: int) -> bool:
    """Check that the entry id of an offset can be a time."""
    return MIN_TIME_MS <= offset >> SEQUENCE_BITS < MAX_TIME_MS


def _offset_at(milliseconds: int) -> int:
    return milliseconds << SEQUENCE_BITS


def _time_of(offset: int) -> int | None:
    return offset >> SEQUENCE_BITS if is_time(offset) else None


REDIS_TRAITS = BrokerTraits(
    scheme="redis",
    position_form="redis://STREAM/MILLISECONDS-SEQUENCE",
    source_path="sources.redis",
    streams_path="sources.redis.streams",
    partitioned=False,
    format_offset=format_entry_id,
    parse_offset=parse_entry_id,
    offset_bits=64 + SEQUENCE_BITS,
    offsets_count_records=False,
    offset_at=_offset_at,
    time_of=_time_of,
    members_share_partitions=True,
    bodyless_entries=True,
    keyed=False,
)
