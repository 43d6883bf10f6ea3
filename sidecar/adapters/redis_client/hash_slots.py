"""Slots of a Redis Cluster.

A key's slot is the CRC-16 of its hash tag, else of the whole key (Redis Cluster specification, "Hash tags")."""

from __future__ import annotations

from binascii import crc_hqx

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
