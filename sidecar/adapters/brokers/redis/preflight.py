"""Checks of `tracecar check` for Redis: every connection and permission that running needs. They change nothing."""

from __future__ import annotations

import asyncio
import contextlib
from uuid import uuid4

from sidecar.adapters.brokers.redis import log_reader
from sidecar.adapters.brokers.redis.cluster_key_names import cluster_dead_letter_stream, crosses
from sidecar.adapters.brokers.redis.entry_codec import as_bytes, pairs, raw, text
from sidecar.adapters.brokers.redis.log_reader import is_pattern
from sidecar.adapters.redis_client.connection_pool import Command, RedisConnection, RedisPool
from sidecar.adapters.redis_client.errors import RedisReplyError
from sidecar.config.schema import RedisConfig
from sidecar.dead_letters.discovery import suggest_streams
from sidecar.domain.errors import Outage, Refused
from sidecar.domain.ports.broker import Finding
from sidecar.domain.stream_names import StreamNames

WHERE = "sources.redis"
OLDEST_VERSION = (6, 2)
MAX_CHECKED_STREAMS = 5
"""Streams that are checked for each pattern."""
SEARCH_TIMEOUT_S = 3.0
"""Time limit of the search for unread dead-letter streams among all keys of the server."""


async def inspect_server(config: RedisConfig, servers: RedisPool, naming: StreamNames, group: str) -> list[Finding]:
    """Return findings about the server, the groups and the streams. See `Broker.inspect`."""
    findings: list[Finding] = []
    try:
        await servers.start()
        async with servers.borrow(None) as connection:
            findings.append(await _version(servers, connection))
            findings += await _safety(connection)
    except (Outage, Refused) as error:
        return [*findings, Finding(f"{WHERE}: connect", False, f"{error}; see `{WHERE}.url` and `{WHERE}.tls`")]
    try:
        await _streams(config, servers, naming, group, findings)
    except (Outage, Refused) as error:
        findings.append(Finding(f"{WHERE}: list the streams", False, f"{error}; the streams were not checked"))
    return findings


async def _streams(
    config: RedisConfig, servers: RedisPool, naming: StreamNames, group: str, findings: list[Finding]
) -> None:
    for name in dict.fromkeys((*config.streams, *config.gate)):
        findings += await _name(servers, naming, name)
        try:
            streams = await _matching(servers, naming, name)
        except RedisReplyError as error:
            detail = f"{error}; allow it with ACL SETUSER, or name each stream"
            findings.append(Finding(f"{WHERE}.streams: {name}", False, detail))
            continue
        if is_pattern(name):
            detail = f"matches {len(streams)} streams" if streams else "matches no stream yet"
            if len(streams) > MAX_CHECKED_STREAMS:
                detail = f"matches {MAX_CHECKED_STREAMS} streams and more; these were tried"
            findings.append(Finding(f"{WHERE}.streams: {name}", True, detail))
        for stream in streams[:MAX_CHECKED_STREAMS]:
            async with servers.borrow(raw(stream)) as connection:
                findings += await _permissions(servers, connection, naming, group, stream)
                for other in config.exhausted:
                    findings.append(await _check_exhausted(connection, stream, other))
                if name in config.gate:
                    findings.append(await _gate(servers, connection, stream, config.gate[name]))
    if not config.streams and not config.gate:
        findings.append(Finding(f"{WHERE}.streams", False, "names no stream: nothing would be read"))
    findings += suggest_streams(WHERE, await _list_streams(servers), naming)


async def _list_streams(servers: RedisPool) -> set[str]:
    """List existing streams: as many as a short search finds; none without the permission to search."""
    streams: set[str] = set()
    with contextlib.suppress(TimeoutError, Refused):
        async with asyncio.timeout(SEARCH_TIMEOUT_S):
            async for stream in log_reader.names(servers):
                streams.add(stream)
    return streams


async def _version(servers: RedisPool, connection: RedisConnection) -> Finding:
    what = f"{WHERE}: connect"
    try:
        hello = pairs(await connection.call("HELLO", 2))
    except Refused as error:
        return Finding(what, True, f"{servers.target} answers; its version cannot be read ({error})")
    server, version = text(as_bytes(hello[b"server"])), text(as_bytes(hello[b"version"]))
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if parts < OLDEST_VERSION:
        return Finding(what, False, f"{server} {version}; at least {OLDEST_VERSION[0]}.{OLDEST_VERSION[1]} is needed")
    nodes = len(servers.nodes())
    note = f", {nodes} nodes" if servers.cluster else ""
    lost = "" if parts >= (7, 0) else "; before 7.0 the server reports no lag, and no entries that were trimmed unread"
    return Finding(what, True, f"{server} {version} at {servers.target}{note}{lost}")


async def _safety(connection: RedisConnection) -> list[Finding]:
    """Report what the server's settings can lose. Never an error, because it is the operator's choice."""
    what = f"{WHERE}: durability"
    try:
        policy = pairs(await connection.call("CONFIG", "GET", "maxmemory*"))
        files = pairs(await connection.call("CONFIG", "GET", "append*"))
    except Refused:
        return [Finding(what, True, "this user may not read the server's settings (CONFIG GET)")]
    notes = []
    if files.get(b"appendonly") != b"yes":
        notes.append("appendonly is off: a crash loses everything since the last snapshot, dead letters too")
    elif files.get(b"appendfsync") != b"always":
        notes.append(f"appendfsync is {text(as_bytes(files[b'appendfsync']))}: a crash may lose about the last second")
    evicts = text(as_bytes(policy.get(b"maxmemory-policy", b"noeviction")))
    if evicts.startswith("allkeys") and policy.get(b"maxmemory") != b"0":
        notes.append(f"maxmemory-policy is {evicts}: whole streams may be evicted; noeviction keeps them")
    return [Finding(what, True, "; ".join(notes) or "every write is on disk before it is acknowledged")]


async def _name(servers: RedisPool, naming: StreamNames, name: str) -> list[Finding]:
    if naming.is_dead_letter(name):
        return [
            Finding(
                f"{WHERE}.streams: {name}",
                False,
                "is a dead-letter stream by its name and is never read; remove it from the list",
            )
        ]
    return []


async def _matching(servers: RedisPool, naming: StreamNames, name: str) -> list[str]:
    if not is_pattern(name):
        return [] if naming.is_dead_letter(name) else [name]
    streams: set[str] = set()
    async for stream in log_reader.names(servers, name):
        if not naming.is_dead_letter(stream):
            streams.add(stream)
        if len(streams) > MAX_CHECKED_STREAMS:
            break
    return sorted(streams)


async def _permissions(
    servers: RedisPool, connection: RedisConnection, naming: StreamNames, group: str, stream: str
) -> list[Finding]:
    key = raw(stream)
    kind = await connection.call("TYPE", key)
    if kind not in (b"stream", b"none"):
        detail = f"is a {text(kind)}, not a stream; name another one in `{WHERE}.streams`"
        return [Finding(f"{WHERE}: read {stream}", False, detail)]
    there = "exists" if kind == b"stream" else "does not exist yet, and would be created"
    letters = naming.dead_letter_stream(stream)
    findings = []
    if naming.written and servers.cluster and crosses(stream, letters):
        letters = cluster_dead_letter_stream(naming, stream)
        if crosses(stream, letters):
            detail = (
                f"{letters} is in another hash slot than {stream}, and the two are committed in one step; use "
                "{stream} in `dead_letters.stream`, and braces in the stream's name only as a hash tag"
            )
            return [Finding(f"{WHERE}: write to {letters}", False, detail)]
    unused = uuid4().hex
    read: list[Command] = [
        ("XREADGROUP", "GROUP", unused, unused, "STREAMS", key, ">"),
        ("XREAD", "COUNT", 1, "STREAMS", key, "$"),
        ("XRANGE", key, "-", "+", "COUNT", 1),
        ("XGROUP", "CREATE", key, group, "no-id"),
        ("XGROUP", "CREATECONSUMER", key, unused, unused),
        ("XGROUP", "DELCONSUMER", key, unused, unused),
        ("XGROUP", "SETID", key, unused, "0"),
        ("XACK", key, unused, "0-0"),
        ("XCLAIM", key, unused, unused, 1, "0-0"),
        ("XPENDING", key, unused),
        ("XINFO", "GROUPS", key),
        ("XINFO", "CONSUMERS", key, unused),
        ("XINFO", "STREAM", key),
        ("EVALSHA", "0" * 40, 1, key),
        ("EVAL", "return 0", 1, key),
        ("SCRIPT", "LOAD", "return 0"),
    ]
    findings.append(await _check_permissions(connection, f"{WHERE}: read {stream}", read, there))
    if naming.written:
        findings.append(
            await _check_permissions(connection, f"{WHERE}: write to {letters}", _writing(letters), "is allowed")
        )
    return findings


async def _check_exhausted(connection: RedisConnection, stream: str, group: str) -> Finding:
    """Check the permission to list and acknowledge entries that another group fails to process.

    They are configured by `sources.redis.exhausted`.
    """
    what, key = f"{WHERE}.exhausted: {group}: {stream}", raw(stream)
    (listed,) = await connection.calls([("XINFO", "GROUPS", key)])
    names = [] if isinstance(listed, Exception) else [pairs(flat)[b"name"] for flat in listed]
    if raw(group) not in names:
        # Not a problem: the group may read only some of the streams.
        return Finding(what, True, f"there is no group {group} on this stream yet: no entries would be taken from it")
    return await _check_permissions(
        connection, what, [("XPENDING", key, raw(group)), ("XACK", key, raw(group), "0-0")], "is allowed"
    )


async def _gate(servers: RedisPool, connection: RedisConnection, stream: str, target: str) -> Finding:
    """Check that records of `stream` that pass the gate can be written to `target`."""
    what = f"{WHERE}.gate: {stream}: write to {target}"
    if servers.cluster and crosses(stream, target):
        detail = (
            f"{target} is in another hash slot than {stream}, and both change in one step; give both the same hash "
            "tag, such as {orders}.in and {orders}"
        )
        return Finding(what, False, detail)
    return await _check_permissions(connection, what, _writing(target), "is allowed")


def _writing(stream: str) -> list[Command]:
    return [("XADD", raw(stream), "0-0", "payload", "x"), ("EVALSHA", "0" * 40, 1, raw(stream))]


async def _check_permissions(connection: RedisConnection, what: str, commands: list[Command], good: str) -> Finding:
    """Check that commands are permitted.

    Each is built so that it changes nothing (a group that does not exist, an invalid entry id); only a refusal counts.
    """
    for command, reply in zip(commands, await connection.calls(commands), strict=True):
        if isinstance(reply, RedisReplyError) and reply.code == "NOPERM":
            name = " ".join(str(word) for word in command[: 2 if command[0] in ("XGROUP", "XINFO", "SCRIPT") else 1])
            return Finding(what, False, f"{name} is refused ({reply}); allow it with ACL SETUSER")
    return Finding(what, True, good)
