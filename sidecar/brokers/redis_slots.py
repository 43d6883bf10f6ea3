"""Slots of a Redis Cluster, and the names by which what belongs to a stream shares its slot.

A key's slot is the CRC-16 of its hash tag, else of the whole key (Redis Cluster specification, "Hash tags")."""

from __future__ import annotations

from binascii import crc_hqx

from sidecar.dead_letters.naming import Naming

SLOTS = 16_384


def hash_tag(key: bytes) -> bytes:
    """What counts of a key: what stands between its first `{` and the next `}` if that is something, else all of it."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            return key[start + 1 : end]
    return key


def slot(key: bytes) -> int:
    """The Cluster slot of a key, 0 to 16,383."""
    return crc_hqx(hash_tag(key), 0) % SLOTS


def tagged(stream: str) -> str:
    """The name in which a stream stands within other names on a Cluster, so that they share its slot: in braces, or
    as it is where it carries a hash tag of its own."""
    key = stream.encode("utf-8", "surrogateescape")
    return stream if hash_tag(key) != key else f"{{{stream}}}"


def untagged(stream: str) -> str:
    """The stream whose name `tagged` gave."""
    inner = stream[1:-1]
    return inner if stream == f"{{{inner}}}" and tagged(inner) == stream else stream


def cluster_dead_letter_stream(naming: Naming, stream: str) -> str:
    """What the dead-letter stream of `stream` is called on a Cluster: `{orders}.dlt`."""
    return naming.dead_letter_stream(tagged(stream))


def cluster_dead_letter_streams(naming: Naming, stream: str) -> list[str]:
    """All names under which dead letters of `stream` are looked for on a Cluster: within its slot, and as elsewhere."""
    names = (*naming.dead_letter_streams(tagged(stream)), *naming.dead_letter_streams(stream))
    return list(dict.fromkeys(names))


def crosses(stream: str, other: str) -> bool:
    """Whether two streams do not share a slot, so that no step of a Cluster can hold both."""
    return slot(stream.encode("utf-8", "surrogateescape")) != slot(other.encode("utf-8", "surrogateescape"))
