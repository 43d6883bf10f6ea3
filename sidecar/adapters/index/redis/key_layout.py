"""Layout of the shared index in Valkey or Redis.

Every key begins with `PREFIX:1{N}`: the version of this layout, and the shard as a hash tag, so that on a Cluster all
keys of a shard are in one slot. A server has one shard, a Cluster 32. A letter and raw bytes follow:

    e LOG BUCKET   hash    packed events of a range of one partition, by the low bits of their offsets: the content
    i ID           set     places of events with this id (after `0`), and of those that name it as their cause (after
                           `1` and the hash of their producer)
    t, k, a ID     sets    places of events with this trace, correlation and aggregate id
    y PRODUCER     hash    for each LOG that holds causes of this producer's events, the ids of such causes
    w SECOND       set     two bytes of milliseconds, then the place, of events appended in this second
    o SECOND       set     places that eviction visits again once this second is the oldest
    z, s           sorted sets (shard 0) of the seconds of `w`, and of those that eviction still has to visit
    l              hash    (shard 0) partitions by LOG
    n, d, g        the number of held and of evicted events in this shard, and a random id by which an emptied server
                   is detected
    x              hash    (shard 0) the append time up to which events were evicted, and the time of the last sweep
    c, m           hashes  (shard 0) the coverage, and the members
    q, v           (shard 0) the member that may evict flows; live records for members with subscribers

A place is LOG and the offset. Ids are hashes of four bytes, and sets only grow while their events live: their content
is a hint, and the packed event, of which there is one for each position, decides. So writes may be repeated and arrive
in any order, from any member, without a transaction over shards. All keys expire after twice the time to live.
"""

from __future__ import annotations

from binascii import crc32
from hashlib import blake2b

import msgspec
from msgspec import Struct

from sidecar.adapters.index.event_codec import EventCodec
from sidecar.domain.broker_traits import traits_of
from sidecar.domain.derived_ids import digest_id
from sidecar.domain.model import Event, SchemaRef
from sidecar.domain.position import Partition

LAYOUT_VERSION = 1
CLUSTER_SHARDS = 32
WINDOW_MS = 1_000
"""Length of the windows of append time: a second."""
LOG_BYTES = 6
CAUSE, EFFECT = b"\x00", b"\x01"
"""Roles of an event in the set of an id."""
UNKNOWN_PRODUCER = b"\x00\x00\x00\x00"
"""Hash that means an unknown producer."""
_SEQUENCE_MASK = (1 << 64) - 1
_BUCKET_BITS = 10
"""Low bits of an offset, which distinguish the events of one bucket: 1,024 records on Kafka. For an offset of two words
these are the low bits of the first word: a second on Redis."""


class _NoLeadingFields(Struct, array_like=True, frozen=True, gc=False):
    """The shared index packs nothing before the fields of an event: its key says its place."""


_codec = EventCodec(_NoLeadingFields, tuple[str | None, int | None, int | None, str | None] | None)
_pack, _unpack, _restore = _codec.pack, _codec.unpack, _codec.restore
_encode = msgspec.msgpack.Encoder().encode
_decode_log = msgspec.msgpack.Decoder(tuple[str, bytes, int]).decode


def pack_event(event: Event) -> bytes:
    """Pack an event without its position. Raises the errors in `UNPACKABLE`."""
    trace, schema = event.trace_id, event.schema
    return _pack(
        None if trace is None else trace.to_bytes(16, "big"),
        None if schema is None else (schema.subject, schema.version, schema.id, schema.guid),
        event,
    )


def unpack_event(data: bytes, log: Partition, offset: int) -> Event:
    """Unpack an event that `pack_event` packed. Raises msgspec.DecodeError for other bytes."""
    packed = _unpack(data)
    schema = packed.schema
    return _restore(packed, log.at(offset), None if schema is None else SchemaRef(*schema))


class PartitionKey(Struct, frozen=True, gc=False):
    """A partition in the index."""

    name: bytes
    """Hash of the partition."""
    number: int
    """The hash as a number, which spreads the partition's buckets over the shards."""
    partition: Partition
    bits: int
    two_words: bool
    """True if offsets have 128 bits, as Redis entry ids have."""
    written: bytes
    """Value of the partition in the hash `l`."""


def log_of(system: str, stream: str, number: int) -> PartitionKey:
    whole = _encode((system, stream.encode("utf-8", "surrogateescape"), number))
    name = blake2b(whole, digest_size=LOG_BYTES).digest()
    two_words = traits_of(system).offset_bits > 64
    bits = 64 + _BUCKET_BITS if two_words else _BUCKET_BITS
    return PartitionKey(name, int.from_bytes(name, "big"), Partition(system, stream, number), bits, two_words, whole)


def log_from(written: bytes) -> PartitionKey:
    """Parse `PartitionKey.written`. Raises msgspec.DecodeError."""
    system, stream, number = _decode_log(written)
    return log_of(system, stream.decode("utf-8", "surrogateescape"), number)


def offset_bytes(offset: int, *, two_words: bool) -> bytes:
    """Encode an offset in few bytes.

    A Kafka offset below a trillion takes five bytes; a Redis id takes eight for its milliseconds, then its sequence.
    """
    if two_words:
        sequence = offset & _SEQUENCE_MASK
        return (offset >> 64).to_bytes(8, "big") + sequence.to_bytes((sequence.bit_length() + 7) >> 3, "big")
    return offset.to_bytes(5 if offset < 1 << 40 else (offset.bit_length() + 7) >> 3, "big")


def offset_from(data: bytes, *, two_words: bool) -> int:
    if two_words:
        return int.from_bytes(data[:8], "big") << 64 | int.from_bytes(data[8:], "big")
    return int.from_bytes(data, "big")


def small(number: int) -> bytes:
    """Encode a non-negative number in as few bytes as possible."""
    return number.to_bytes((number.bit_length() + 7) >> 3, "big")


def id_hash(text: str) -> bytes:
    """Hash an event id, causation id or correlation id.

    The hash is the first four bytes of the trace id that is derived from the id, so a derived trace id finds its events
    too.
    """
    return digest_id(text)[:4]


def word_hash(text: str) -> bytes:
    """Hash an aggregate id or a producer."""
    return crc32(text.encode("utf-8", "surrogatepass")).to_bytes(4, "big")


def trace_hash(trace: bytes) -> bytes:
    """Hash the sixteen bytes of a trace id."""
    return crc32(trace).to_bytes(4, "big")


class KeyLayout:
    """Names of keys, and their shards."""

    def __init__(self, prefix: str, shards: int) -> None:
        self.shards = shards
        self.heads = [f"{prefix}:{LAYOUT_VERSION}{{{shard}}}".encode() for shard in range(shards)]
        """Prefix of the keys of each shard."""

    def of_id(self, family: bytes, hash: bytes) -> tuple[int, bytes]:
        """Return shard and key of a set of `i`, `t`, `k` or `a`."""
        shard = hash[3] % self.shards
        return shard, self.heads[shard] + family + hash

    def of_bucket(self, log: PartitionKey, bucket: int) -> tuple[int, bytes]:
        shard = (log.number + bucket) % self.shards
        return shard, self.heads[shard] + b"e" + log.name + small(bucket)

    def of_window(self, family: bytes, window: int) -> tuple[int, bytes]:
        shard = window % self.shards
        return shard, self.heads[shard] + family + str(window).encode()

    def single(self, name: bytes, shard: int = 0) -> bytes:
        return self.heads[shard] + name
