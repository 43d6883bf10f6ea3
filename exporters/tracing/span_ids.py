"""Span ids that follow from where a record lies: a restart, or a second sidecar, sends the same span, not another.

The span of a record at offset `n` of a log has the id

    mix(B + (n mod 2^64) * 0x9E3779B97F4A7C15 + (n >> 64) * 0xD1342543DE82EF95)   modulo 2^64

where `B` is the BLAKE2b hash, 8 bytes read big-endian, of the log as positions write it (`kafka://orders/0`), and `mix`
folds the upper half into the lower one. Within a partition of Kafka no two offsets share an id; otherwise two spans of
one trace share one as seldom as two random ids do. Zero, which is no id, becomes one.
"""

from __future__ import annotations

from hashlib import blake2b

from sidecar.domain.position import Partition, Position

MASK = (1 << 64) - 1
STEP, STEP_HIGH = 0x9E3779B97F4A7C15, 0xD1342543DE82EF95


def base_of(log: Partition) -> int:
    """What the ids of a log's spans begin from."""
    return int.from_bytes(blake2b(str(log).encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def span_id(base: int, offset: int) -> int:
    """The id of the span of the record at an offset, 64 bits and never zero."""
    mixed = (
        base + offset * STEP if offset <= MASK else base + (offset & MASK) * STEP + (offset >> 64) * STEP_HIGH
    ) & MASK
    return mixed ^ (mixed >> 32) or 1


def span_id_at(position: Position) -> int:
    """The same from a position."""
    return span_id(base_of(position.log), position.offset)
