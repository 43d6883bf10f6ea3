"""Derives span ids from positions, so that a restart or a second sidecar sends the same span again.

The span of a record at offset `n` of a log has the id

    mix(B + (n mod 2^64) * 0x9E3779B97F4A7C15 + (n >> 64) * 0xD1342543DE82EF95)   modulo 2^64

where `B` is the BLAKE2b hash, 8 bytes read big-endian, of the log as positions write it (`kafka://orders/0`), and `mix`
folds the upper half into the lower one. Within a partition of Kafka no two offsets share an id; otherwise two spans of
one trace share an id as rarely as two random ids do. Zero is not a valid id and becomes one.
"""

from __future__ import annotations

from hashlib import blake2b

from sidecar.domain.position import Partition, Position

ID_MASK = (1 << 64) - 1
LOW_FACTOR, HIGH_FACTOR = 0x9E3779B97F4A7C15, 0xD1342543DE82EF95


def span_id_base(log: Partition) -> int:
    """Return `B`, the base of the span ids of a log."""
    return int.from_bytes(blake2b(str(log).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def span_id(base: int, offset: int) -> int:
    """Return the id of the span of the record at an offset: 64 bits, never zero."""
    mixed = (
        base + offset * LOW_FACTOR
        if offset <= ID_MASK
        else base + (offset & ID_MASK) * LOW_FACTOR + (offset >> 64) * HIGH_FACTOR
    ) & ID_MASK
    return mixed ^ (mixed >> 32) or 1


def span_id_at(position: Position) -> int:
    """Return the id of the span of the record at a position."""
    return span_id(span_id_base(position.log), position.offset)
