"""Hash slots of a Redis Cluster.

A key's slot is the CRC-16 of its hash tag, else of the whole key (Redis Cluster specification, "Hash tags").
"""

from __future__ import annotations

from binascii import crc_hqx

CLUSTER_SLOT_COUNT = 16_384


def hash_tag(key: bytes) -> bytes:
    """Return the part of a key that is hashed: the text between its first `{` and the next `}`, else the whole key."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            return key[start + 1 : end]
    return key


def slot(key: bytes) -> int:
    """Return the Cluster slot of a key, 0 to 16,383."""
    return crc_hqx(hash_tag(key), 0) % CLUSTER_SLOT_COUNT
