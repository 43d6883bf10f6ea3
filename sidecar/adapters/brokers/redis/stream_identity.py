"""Identity of a stream: a consumer group without members, which ends with the stream.

Redis keeps no other trace by which a stream that was deleted and created again can be told from the old one.
"""

from __future__ import annotations

import secrets
import time

from sidecar.adapters.brokers.redis.entry_codec import as_bytes, pairs
from sidecar.adapters.brokers.redis.lua_scripts import ENSURE_IDENTITY
from sidecar.adapters.redis_client.connection_pool import RedisConnection
from sidecar.adapters.redis_client.errors import RedisReplyError

IDENTITY_PREFIX = b"tracecar.stream:"
"""Prefix of the group that gives a stream its identity."""


async def ensure_identity(connection: RedisConnection, key: bytes) -> bytes:
    """Return the name of the group that identifies the stream; create it if there is none.

    The name holds the time of its creation (see `known_since`) and a random number.
    """
    name = b"%s%x-%s" % (IDENTITY_PREFIX, time.time_ns() // 1_000_000, secrets.token_hex(8).encode())
    return as_bytes(await ENSURE_IDENTITY.call(connection, [key], [IDENTITY_PREFIX, name]))


async def find_identity(connection: RedisConnection, key: bytes) -> bytes:
    """Return the name of the group that identifies the stream; empty if there is none, or it cannot be seen."""
    try:
        groups = await connection.call("XINFO", "GROUPS", key)
    except RedisReplyError:
        return b""
    names = (as_bytes(pairs(flat)[b"name"]) for flat in groups)
    return next((name for name in names if name.startswith(IDENTITY_PREFIX)), b"")


def known_since(identity: bytes) -> int | None:
    """Return the time when a stream got its identity, in milliseconds; None if the identity does not tell."""
    created, dash, _ = identity.removeprefix(IDENTITY_PREFIX).partition(b"-")
    try:
        return int(created, 16) if dash else None
    except ValueError:
        return None
