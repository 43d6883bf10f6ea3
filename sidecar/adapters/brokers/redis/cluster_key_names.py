"""The names by which what belongs to a stream shares its slot of a Redis Cluster."""

from __future__ import annotations

from sidecar.adapters.redis_client.hash_slots import SLOTS, hash_tag, slot
from sidecar.domain.stream_names import StreamNames

__all__ = [
    "SLOTS",
    "cluster_dead_letter_stream",
    "cluster_dead_letter_streams",
    "crosses",
    "hash_tag",
    "slot",
    "tagged",
    "untagged",
]


def tagged(stream: str) -> str:
    """The name in which a stream stands within other names on a Cluster, so that they share its slot: in braces, or
    as it is where it carries a hash tag of its own."""
    key = stream.encode("utf-8", "surrogateescape")
    return stream if hash_tag(key) != key else f"{{{stream}}}"


def untagged(stream: str) -> str:
    """The stream whose name `tagged` gave."""
    inner = stream[1:-1]
    return inner if stream == f"{{{inner}}}" and tagged(inner) == stream else stream


def cluster_dead_letter_stream(naming: StreamNames, stream: str) -> str:
    """What the dead-letter stream of `stream` is called on a Cluster: `{orders}.dlt`."""
    return naming.dead_letter_stream(tagged(stream))


def cluster_dead_letter_streams(naming: StreamNames, stream: str) -> list[str]:
    """All names under which dead letters of `stream` are looked for on a Cluster: within its slot, and as elsewhere."""
    names = (*naming.dead_letter_streams(tagged(stream)), *naming.dead_letter_streams(stream))
    return list(dict.fromkeys(names))


def crosses(stream: str, other: str) -> bool:
    """Whether two streams do not share a slot, so that no step of a Cluster can hold both."""
    return slot(stream.encode("utf-8", "surrogateescape")) != slot(other.encode("utf-8", "surrogateescape"))
