"""Names of keys that share the hash slot of a stream on a Redis Cluster."""

from __future__ import annotations

from sidecar.adapters.redis_client.hash_slots import CLUSTER_SLOT_COUNT, hash_tag, slot
from sidecar.domain.stream_names import StreamNames

__all__ = [
    "CLUSTER_SLOT_COUNT",
    "add_hash_tag",
    "cluster_dead_letter_stream",
    "cluster_dead_letter_streams",
    "crosses",
    "hash_tag",
    "remove_hash_tag",
    "slot",
]


def add_hash_tag(stream: str) -> str:
    """Return a stream's name as part of other names, so that these names share its hash slot.

    The name is put in braces, unless it has a hash tag already.
    """
    key = stream.encode("utf-8", "surrogateescape")
    return stream if hash_tag(key) != key else f"{{{stream}}}"


def remove_hash_tag(stream: str) -> str:
    """Return the stream of a name that `add_hash_tag` returned."""
    inner = stream[1:-1]
    return inner if stream == f"{{{inner}}}" and add_hash_tag(inner) == stream else stream


def cluster_dead_letter_stream(naming: StreamNames, stream: str) -> str:
    """Return the dead-letter stream of `stream` on a Cluster: `{orders}.dlt`."""
    return naming.dead_letter_stream(add_hash_tag(stream))


def cluster_dead_letter_streams(naming: StreamNames, stream: str) -> list[str]:
    """List the names that the dead-letter stream of `stream` can have on a Cluster: within its hash slot, and plain."""
    names = (*naming.dead_letter_streams(add_hash_tag(stream)), *naming.dead_letter_streams(stream))
    return list(dict.fromkeys(names))


def crosses(stream: str, other: str) -> bool:
    """Check whether two streams are in different hash slots, so that one atomic step cannot change both."""
    return slot(stream.encode("utf-8", "surrogateescape")) != slot(other.encode("utf-8", "surrogateescape"))
